"""The engines share out work of any kind alike: results, notes, errors, deaths."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.conftest import TESTS
from freeda.engines import ENGINES, WAITING, Work, actor_pool, find_engine, on_ray, processes
from freeda.errors import FreedaError, InputError, WorkerError
from waiting import alive, wait_for


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)  # where worker processes find the toys
    monkeypatch.setattr(on_ray, "TOLD", 1e6)  # that a worker takes long to come is told of, were it slow here


def share(engine: str, out: Path, pieces: list[dict[str, Any]], **first: Any) -> tuple[list[Any], list[Any]]:
    """What was made and noted by two workers."""
    reads = ("words.txt",) if first.get("reads") else ()
    made: list[Any] = []
    notes: list[Any] = []
    work = Work("engines.toys", first, out, "pieces made so far", reads, "piece {number}")
    find_engine(engine, "cpu", 2).share_out(work, pieces, made.append, notes.append)
    return made, notes


def squares(out: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (out / "deep").iterdir()}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_piece_once(tmp_path: Path, engine: str, cluster: Any, capfd: Any) -> None:
    (tmp_path / "words.txt").write_text(" said")
    made, notes = share(engine, tmp_path, [{"number": i} for i in range(8)], reads=True)
    assert sorted(m["number"] for m in made) == list(range(8))
    assert squares(tmp_path) == {str(i): f"{i * i} said" for i in range(8)}
    assert sorted(notes) == [[i, part] for i in range(8) for part in range(3)]
    assert all(m["waiting"] == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"} for m in made)
    processes = {m["process"] for m in made}
    assert os.getpid() not in processes and len(processes) <= 2
    # Loaded once: what a worker counts goes on from piece to piece.
    for process in processes:
        assert [m["times"] for m in made if m["process"] == process] == list(
            range(1, 1 + sum(m["process"] == process for m in made))
        )
    if engine == "ray":
        assert {m["threads"] for m in made} == {"1"}
        assert capfd.readouterr() == ("", "")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "words.txt"]


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_wait_as_the_user_says(
    tmp_path: Path, engine: str, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    made, _ = share(engine, tmp_path, [{"number": 1}])
    assert made[0]["waiting"] == {"OMP_WAIT_POLICY": "ACTIVE"}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("piece", "first", "kind", "says"),
    [
        ({"raise": "photo.jpg: not an image"}, {}, InputError, "photo.jpg: not an image"),
        ({"stumble": "x"}, {}, WorkerError, "worker.* failed: KeyError: 'x'"),
        ({}, {"fails": "weights"}, InputError, "weights: not there"),
    ],
    ids=["one of ours", "any other", "while it loads"],
)
def test_an_error_is_the_error(
    tmp_path: Path, engine: str, cluster: Any, piece: Any, first: Any, kind: type[FreedaError], says: str
) -> None:
    with pytest.raises(kind, match=says) as error:
        share(engine, tmp_path, [{"number": 0}, {"number": 1, **piece}], **first)
    assert type(error.value) is kind and "\n" not in str(error.value)
    assert kind is WorkerError or str(error.value) == says


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dead_worker_s_piece_is_made_by_another(
    tmp_path: Path, engine: str, cluster: Any, capfd: Any
) -> None:
    pieces: list[dict[str, Any]] = [{"number": i} for i in range(5)]
    pieces[3]["once"] = str(tmp_path / "killed")
    out = tmp_path / "out"
    out.mkdir()
    made, notes = share(engine, out, pieces)
    dead, _, left = (tmp_path / "killed").read_text().partition(" ")
    assert sorted(m["number"] for m in made) == list(range(5))
    assert next(m["process"] for m in made if m["number"] == 3) != int(dead)
    assert squares(out) == {str(i): str(i * i) for i in range(5)}
    assert sorted(notes) == [[i, part] for i in range(5) for part in range(3)]
    assert capfd.readouterr() == ("", "")  # nothing of Ray's about the death
    if engine == "ray":
        folder = Path(left)
        assert folder.parent == Path(os.environ["TMPDIR"]) and not folder.is_relative_to(tmp_path)
        share("ray", out, [{"number": 0}])  # whoever comes next on that node tidies, be it in another run
        assert not folder.exists()


@pytest.mark.parametrize(
    ("engine", "always", "says"),
    [
        ("ray", "killed", ""),
        ("local", "gone", r"worker [12] on cpu ended with exit code 3 \(luck\); often"),
    ],
)
def test_a_piece_that_kills_all_its_workers(
    tmp_path: Path, cluster: Any, engine: str, always: str, says: str
) -> None:
    # The second piece kills once the first one's file is there: all deaths might else come before it.
    after = {"started": str(tmp_path / "started"), "wait": str(tmp_path / "deep" / "0.txt")}
    pieces = [{"number": 0}, {"number": 1, **after, "always": always}]
    with pytest.raises(WorkerError, match=rf"3 workers died at piece 1: .*{says}.*memory.*so far") as error:
        share(engine, tmp_path, pieces)
    assert "\n" not in str(error.value) and squares(tmp_path) == {"0": "0"}


def test_what_kills_all_workers_while_they_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_pool, "DEATHS", 2)
    says = r"2 workers died while they loaded: worker [12] on cpu was killed by signal 9; often memory"
    with pytest.raises(WorkerError, match=says):
        share("local", tmp_path, [{"number": i} for i in range(2)], dies=True)


def test_a_worker_killed_while_it_has_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, killed = processes._Worker.make, []

    def make(self: Any, piece: int, order: dict[str, Any]) -> Any:
        if not killed:
            killed.append(self.process.pid)
            os.kill(killed[0], signal.SIGKILL)
            wait_for(lambda: not alive(killed[0]))
        return real(self, piece, order)

    monkeypatch.setattr(processes._Worker, "make", make)
    made, _ = share("local", tmp_path, [{"number": i} for i in range(3)])
    assert sorted(m["number"] for m in made) == [0, 1, 2]
    assert killed and killed[0] not in {m["process"] for m in made}


def test_a_removed_node_s_piece_is_made_by_another(tmp_path: Path, cluster: Any, second: Any) -> None:
    go, out = tmp_path / "go", tmp_path / "out"
    started = [tmp_path / f"started {i}" for i in range(2)]
    pieces: list[dict[str, Any]] = [
        {"number": i, "started": str(started[i]), "wait": str(go)} for i in range(2)
    ]
    pieces += [{"number": i} for i in range(2, 6)]
    removed: list[set[str]] = []

    def remove() -> None:
        wait_for(lambda: all(path.exists() and path.read_text() for path in started))
        at_work = {path.read_text() for path in started}
        cluster.remove_node(second, allow_graceful=False)
        wait_for(lambda: not all(alive(pid) for pid in at_work))
        removed.append(at_work)
        go.touch()

    thread = threading.Thread(target=remove)
    thread.start()
    made, notes = share("ray", out, pieces)
    thread.join()
    assert len(removed[0]) == 2  # both nodes were at work
    assert squares(out) == {str(i): str(i * i) for i in range(6)}
    assert sorted(m["number"] for m in made) == list(range(6))
    assert sorted(notes) == [[i, part] for i in range(6) for part in range(3)]
    assert len({str(m["process"]) for m in made} & removed[0]) == 1  # the other one is gone


def test_an_address_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(InputError, match=r"RAY_ADDRESS is '127\.0\.0\.1:9': no Ray cluster answers there"):
        share("ray", tmp_path, [{"number": 0}])


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 404 Not Found\r\n\r\n", b"no", None], ids=["web", "other", "silent"]
)
def test_an_address_of_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bytes | None
) -> None:
    """Ray itself would ask there for many minutes, and complain all the while."""
    pytest.importorskip("ray")
    monkeypatch.setattr(on_ray, "KNOCK", 2.0 if says is None else 100.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    if says is not None:
                        connection.sendall(says)
                    else:
                        connection.recv(100)
                        connection.recv(100)  # until the other side has had enough

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(InputError, match=f"RAY_ADDRESS is '127.0.0.1:{port}': no Ray cluster answers"):
            share("ray", tmp_path, [{"number": 0}])
        thread.join()


def test_what_ray_start_noted(tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without RAY_ADDRESS the cluster of `ray start` is used, and where that is gone one is begun."""
    ray = pytest.importorskip("ray")
    address = os.environ["RAY_ADDRESS"]
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where it is noted
    noted = tmp_path / "ray" / "ray_current_cluster"
    noted.parent.mkdir()
    assert on_ray._begun_here() == ""  # nor is a cluster found that was not noted
    noted.write_text("127.0.0.1:9")
    assert on_ray._begun_here() == ""
    noted.write_text(address)
    with on_ray.connected(1):
        assert ray.get_runtime_context().gcs_address == address


def test_no_room_for_any_worker(
    tmp_path: Path, cluster: Any, second: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(on_ray, "PATIENCE", 0.0)
    made: list[Any] = []
    work = Work("engines.toys", {}, tmp_path, "pieces made so far")
    with pytest.raises(
        WorkerError, match=r"no worker was there after 0 s: each asks for 1 CPU and 1 GPU of"
    ) as e:
        find_engine("ray", "cuda", 1).share_out(work, [{"number": 0}], made.append, made.append)
    assert "\n" not in str(e.value) and "has 2 CPUs and 0 GPUs in all" in str(e.value) and made == []
    monkeypatch.setattr(on_ray, "PATIENCE", 3.0)
    with pytest.raises(WorkerError, match="no worker was there after 3 s"):
        find_engine("ray", "cuda", 1).share_out(work, [{"number": 0}], made.append, made.append)
    said, errors = capfd.readouterr()
    assert said == "" and len(errors.splitlines()) == 1 and "no room for a worker yet: each asks" in errors


def test_loading_may_take_longer_than_coming(
    tmp_path: Path, cluster: Any, second: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience is for workers to be there: models may then be fetched for as long as it takes."""
    go, late = tmp_path / "go", [0.0]
    real = on_ray._Worker.notes

    def notes(self: Any) -> Any:
        found = real(self)
        if self.there and not go.exists():  # a worker is there, and none has loaded
            late[0] = 10 * on_ray.PATIENCE
            go.touch()
        return found

    monkeypatch.setattr(on_ray._Worker, "notes", notes)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0])
    monkeypatch.setattr(actor_pool, "time", clock)
    made, _ = share("ray", tmp_path, [{"number": i} for i in range(2)], loads=str(go))
    assert len(made) == 2 and late[0] > 0


def test_the_local_engine_imports_no_ray(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from freeda.engines import Work, find_engine; "
        "import freeda.cli, freeda.collection.job, freeda.evaluation.job; "
        "work = Work('engines.toys', {}, Path(sys.argv[1]), 'pieces'); made = []; "
        "find_engine('local', 'cpu', 2).share_out(work, [{'number': 1}], made.append, made.append); "
        "print(len(made), 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "4 False", done.stderr


@pytest.mark.slow
def test_a_cluster_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAY_ADDRESS=local begins one for the run, which ends with it."""
    # The last of these tests: Ray cannot go back to a cluster from another one within one process.
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    made, _ = share("ray", tmp_path, [{"number": i} for i in range(3)])
    assert len(made) == 3 and not ray.is_initialized()
    wait_for(lambda: not any(alive(str(m["process"])) for m in made))
