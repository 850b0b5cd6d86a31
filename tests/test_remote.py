"""Banks in object storage: a real S3 server's protocol on this machine, and fsspec's memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collection.fakes import OPTIONS, PRESET, captions, fake_models
from commands import refused, run
from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.collection.job import collect
from freeda.errors import BankError, InputError
from freeda.lock import only_writer
from freeda.remote import RemotePlace, is_remote, opened


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """Where a bucket "banks" is: a function that makes addresses in it."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    patch = pytest.MonkeyPatch()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        patch.setenv(name, value)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="banks")
    yield lambda name: f"s3://banks/{name}?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    running.stop()
    patch.undo()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def place(s3: Any, kind: str, name: str) -> str:
    return str(s3(name)) if kind == "s3" else f"memory://{name}"


def make(out: str | Path, n: int, limit: int | None = None, **given: Any) -> Bank:
    options = replace(OPTIONS, region_values=True)
    return collect(captions(n), out, PRESET, "cpu", models=fake_models(**given), options=options, limit=limit)


def fetched(url: str, folder: Path) -> dict[str, bytes]:
    """All files there but the log, which tells of times."""
    folder.mkdir()
    RemotePlace(url, folder).fetch()
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "log.jsonl"
    }


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_bank_in_object_storage(
    tmp_path: Path, s3: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, stored, real = place(s3, kind, "whole"), list[str](), RemotePlace.store
    with monkeypatch.context() as patch:
        patch.setattr(RemotePlace, "store", lambda self, *names: (stored.extend(names), real(self, *names)))
        bank = make(url, 20)
    assert stored.count("log.jsonl") == 1 and sum(name.endswith(".parquet") for name in stored) == 14
    assert stored.index("regions/shards/00003.parquet") < stored.index("shards/00003.parquet")
    local = make(tmp_path / "local", 20)
    assert fetched(url, tmp_path / "a") == fetched(f"file://{tmp_path / 'local'}", tmp_path / "b")
    assert [bank.row(i)["caption"] for i in range(len(bank))] == [
        local.row(i)["caption"] for i in range(len(local))
    ]
    assert len((tmp_path / "a" / "log.jsonl").read_text().splitlines()) == 7
    assert not list(find_damage(tmp_path / "a"))


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_a_stopped_run_goes_on_elsewhere(
    tmp_path: Path, s3: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, drawn = place(s3, kind, "stopped"), []

    def stop(texts: Any) -> None:
        drawn.extend(texts)
        if len(drawn) > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(url, 20, fails=stop)
    names = RemotePlace(url, tmp_path).names()
    there = {f"{at}shards/0000{i}.parquet" for at in ("", "regions/") for i in (0, 1)}
    assert {n for n in names if n.endswith("parquet")} == there
    assert "bank.json" not in names and "log.jsonl" in names
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "another machine"))
    drawn.clear()
    make(url, 20, fails=drawn.extend)
    assert len(drawn) == 14  # all but the two shards that were there
    make(tmp_path / "local", 20)
    assert fetched(url, tmp_path / "a") == fetched(f"file://{tmp_path / 'local'}", tmp_path / "b")


def test_a_bank_there_is_extended_and_left_alone(tmp_path: Path, s3: Any) -> None:
    url, drawn = s3("extended"), list[str]()
    make(url, 20, limit=10)
    with pytest.raises(KeyboardInterrupt):  # from here on it is half-written there too
        make(url, 20, fails=lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert "bank.json" not in RemotePlace(url, tmp_path).names()
    assert len(make(url, 20)) == len(make(tmp_path / "local", 20))
    make(url, 20, fails=drawn.extend)
    assert drawn == []
    with pytest.raises(BankError, match="more than the captions asked for"):
        make(url, 20, limit=5)


def test_what_is_no_bank_is_neither_fetched_nor_touched(tmp_path: Path, s3: Any, cache: Path) -> None:
    url = s3("papers")
    (tmp_path / "thesis.pdf").write_bytes(b"years")
    RemotePlace(url, tmp_path).store("thesis.pdf")
    with pytest.raises(BankError, match=r"holds 'thesis.pdf', which is no part of a bank") as error:
        make(url, 20)
    assert "papers" in str(error.value) and not list(cache.rglob("thesis.pdf"))
    assert RemotePlace(url, tmp_path).names() == ["thesis.pdf"]


def test_addresses_that_lead_nowhere(tmp_path: Path, s3: Any, cache: Path) -> None:
    text = tmp_path / "captions.txt"
    text.write_text("a cat")
    nobody = s3("x").replace("s3://banks", "s3://nobody-has-this")
    for url, says in ((nobody, "nobody-has-this"), ("gopher://bank", "gopher"), ("s3://", "cannot be")):
        refused(run("collect", text, "--out", url, "--device", "cpu"), url.split("?")[0], says)
    assert not list(cache.rglob("*.parquet"))  # told before anything was drawn


def test_an_arrow_that_was_built_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Arrow lacks is left to fsspec, which says what is to be installed."""
    import pyarrow
    import pyarrow.fs

    class Lacking(pyarrow.fs.FileSystem):  # type: ignore[misc]
        @staticmethod
        def from_uri(uri: str) -> Any:
            raise pyarrow.ArrowNotImplementedError("Got S3 URI but Arrow compiled without S3 support")

    monkeypatch.setattr(pyarrow.fs, "FileSystem", Lacking)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    assert RemotePlace("memory://some/bank", tmp_path).names() == []
    with pytest.raises(InputError, match=r"^az://some/bank: cannot be used \(Install adlfs"):
        RemotePlace("az://some/bank", tmp_path)


def test_paths_and_addresses(tmp_path: Path) -> None:
    assert is_remote("s3://a/b") and is_remote("gs://a/b") and not is_remote(tmp_path)
    assert not is_remote(f"file://{tmp_path}") and not is_remote("C:\\banks")
    with opened(f"file://{tmp_path}/a%20bank", lambda _: None) as there:
        assert there.folder == tmp_path / "a bank"


def test_one_run_an_address(tmp_path: Path) -> None:
    with opened("memory://alone", lambda _: None) as there:
        (there.folder / "shards").mkdir()
        with pytest.raises(InputError, match="another run"), opened("memory://alone", lambda _: None):
            pass
        assert (there.folder / "shards").exists()  # the second one did not empty it
    with only_writer(there.folder.parent):
        pass
