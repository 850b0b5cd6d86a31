"""Sharing: what goes up, what comes down by the hub's own client from a hub on this machine; refusals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, constants
from huggingface_hub.errors import LocalEntryNotFoundError

from freeda.bank import hub
from freeda.bank.format import shard_name
from freeda.bank.hub import bank_card, model_licences
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.errors import BankError, InputError
from hub import REPO, Hub, serve
from small_banks import MODELS, make_bank, make_pair, tree


class FakeApi:
    """Takes an upload into a folder, as the hub's client describes it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[tuple[str, Any]]()

    def create_repo(self, repo: str, **how: Any) -> None:
        self.asked.append((repo, how))

    def upload_folder(
        self, *, folder_path: str, allow_patterns: list[str], delete_patterns: list[str], **how: Any
    ) -> None:
        self.asked.append(("folder", how))
        for old in tree(self.folder) if self.folder.exists() else ():
            if any(fnmatch(old, pattern) for pattern in delete_patterns):
                (self.folder / old).unlink()
        for file, data in tree(Path(folder_path)).items():
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / file).write_bytes(data)

    def upload_file(self, *, path_or_fileobj: bytes, path_in_repo: str, **how: Any) -> str:
        (self.folder / path_in_repo).write_bytes(path_or_fileobj)
        return "https://hub/commit/1"


@pytest.fixture
def bank(tmp_path: Path) -> Any:
    made = make_bank(tmp_path / "bank", [[make_pair(i) for i in range(5)], [make_pair(i) for i in (6, 7, 8)]])
    (made.path / "log.jsonl").write_text("what happened here stays here\n")
    return made


def upload(bank: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> FakeApi:
    api = FakeApi(folder)
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub.push(bank.path, REPO, **how) == "https://hub/commit/1"
    return api


def pull(there: Hub | None, home: Path, out: Path, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """`freeda bank pull` as a program, its hub client pointed at `there` (None: at an address of nobody)."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": there.address if there is not None else "http://127.0.0.1:9",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "freeda", "bank", "pull", REPO, "--out", str(out)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()  # and not a word of the hub client's own
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in says:
        assert word in lines[0], lines[0]


def test_what_goes_up(bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    (there / "shards").mkdir(parents=True)
    (there / "shards" / "00007.parquet").write_bytes(b"of an older, longer bank")
    api = upload(bank, there, monkeypatch, private=True, licence="cc-by-4.0")
    assert set(tree(there)) == {"bank.json", "README.md", shard_name(0), shard_name(1)}
    assert api.asked[0] == (REPO, {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert (there / "README.md").read_text() == bank_card(bank, REPO, "cc-by-4.0")


def test_up_and_down_again(bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, home = tmp_path / "there", tmp_path / "home"
    upload(bank, there, monkeypatch)
    (there / "shards" / "99999.parquet").write_bytes(b"not listed")
    (there / "evil.py").write_text("raise SystemExit")
    with serve(there) as local:
        done = pull(local, home, tmp_path / "pulled")
        assert done.returncode == 0, done.stderr
        assert "bank of 8 pairs" in done.stdout
        assert not any("evil" in a or "99999" in a or "README" in a for a in local.asked if "resolve" in a)
    mine = {name: data for name, data in tree(bank.path).items() if name != "log.jsonl"}
    assert tree(tmp_path / "pulled") == mine  # the arrays too, made again
    assert not list(find_damage(tmp_path / "pulled"))
    # Once fetched it is had offline too; nothing else is.
    assert pull(None, home, tmp_path / "again", offline=True).returncode == 0
    assert tree(tmp_path / "again") == mine
    refused(pull(None, tmp_path / "empty", tmp_path / "none", offline=True), "HF_HUB_OFFLINE", REPO)
    refused(pull(None, home, tmp_path / "pulled"), "is there already")
    assert not (tmp_path / "none").exists()


def test_what_comes_down_damaged_is_refused(
    bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    upload(bank, there, monkeypatch)
    data = bytearray((there / shard_name(1)).read_bytes())
    data[len(data) // 2] ^= 1
    (there / shard_name(1)).write_bytes(data)
    with serve(there) as local:
        refused(pull(local, tmp_path / "a", tmp_path / "out"), REPO, shard_name(1), "SHA-256")
        (there / "bank.json").write_text(
            '{"format": "freeda-bank", "version": 2, "shards": [{"file": "../x"}]}'
        )
        refused(pull(local, tmp_path / "b", tmp_path / "out"), REPO, "damaged")
        (there / "bank.json").unlink()
        refused(pull(local, tmp_path / "c", tmp_path / "out"), REPO, "no such bank")
        local.status = 401
        refused(pull(local, tmp_path / "d", tmp_path / "out"), REPO, "hf auth login")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    refused(pull(None, tmp_path / "home", tmp_path / "out"), REPO, "cannot be asked", "network")


def test_pushing_refuses(bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi(tmp_path / "there")
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BankError, match="nothing can be shared offline"):
        hub.push(bank.path, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("bank", "a/b/c", "../b", "a/..", "a b/c", "/etc/passwd", "a/b\n"):
        with pytest.raises(InputError, match="no repository's name"):
            hub.push(bank.path, name)
        with pytest.raises(InputError, match="no repository's name"):
            hub.pull(name, tmp_path / "x")
    data = bytearray((bank.path / shard_name(0)).read_bytes())
    data[200] ^= 1
    (bank.path / shard_name(0)).write_bytes(data)
    with pytest.raises(BankError, match=r"shards/00000.parquet .*SHA-256.* it is not shared"):
        hub.push(bank.path, REPO)
    assert not api.asked


def test_the_card(tmp_path: Path) -> None:
    nouns = ["cat"] * 5 + ["dog"] * 2 + ["```\n# evil"] + ["owl"]
    generator = {"id": "stable-diffusion-v1-5/stable-diffusion-v1-5", "revision": "abc"}
    bank = make_bank(
        tmp_path / "bank",
        [[make_pair(i, noun=noun) for i, noun in enumerate(nouns)]],
        models={**MODELS, "generator": generator},
    )
    card = bank_card(bank, REPO, "mit")
    header = DatasetCard(card).data.to_dict()  # as the hub's own client reads it
    assert header["license"] == "mit" and header["pretty_name"] == "freeda bank, 9 pairs"
    assert "| `openai/clip-vit-base-patch16` | keys | MIT |" in card
    assert "| `facebook/dinov2-base at abc` | prototypes | Apache-2.0 |" in card
    assert "stable-diffusion-v1-5 at abc` | pictures | CreativeML OpenRAIL-M |" in card
    assert "| pairs | 9 |" in card and "| different nouns | 4 |" in card and bank.identity in card
    # Two nouns of one pair, one of two, one of four to seven.
    assert "  1 2 ########################################\n2-3 1 ####################\n4-7 1" in card
    assert card.count("```") == 8 and "\n# evil" not in card  # no noun ends its block
    other = make_bank(
        tmp_path / "other",
        [[make_pair(99)]],
        models={**MODELS, "generator": {"id": "me/mine", "revision": None}},
    )
    both = merge([bank.path, other.path], tmp_path / "both").bank
    assert ("me/mine", "pictures", "unknown") in model_licences(both.meta)
    assert len(model_licences(both.meta)) == 4


def test_files_that_cannot_be_linked_are_copied(
    bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)

    def download(repo: str, file: str, **how: Any) -> str:
        if not (bank.path / file).exists():
            raise LocalEntryNotFoundError(file)
        return str(bank.path / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    asked: list[Any] = []

    def fetch(repo: str, revision: str, **how: Any) -> str:
        asked.append(revision)
        return str(bank.path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    pulled = hub.pull(REPO, tmp_path / "pulled", revision="main")
    assert len(pulled) == 8
    # The hub's cache names folders by commit: shards come from that of bank.json, whatever "main" is now.
    assert asked == [bank.path.name]
    shutil.rmtree(bank.path)
    assert not list(find_damage(tmp_path / "pulled"))
