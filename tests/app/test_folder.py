"""A folder: labelled in the background, shared by all browsers, kept on disk whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import httpx
import numpy as np
import pytest

from freeda.app import correcting
from freeda.app.limits import Limits
from freeda.app.photographs import samples
from freeda.app.server import serve
from freeda.app.store import Disk
from freeda.app.studio import SHARED, Studio
from freeda.errors import InputError
from freeda.images import of_world
from freeda.presets import DRAWN
from freeda.show.export import png
from waiting import wait_for

from .conftest import PATIENCE, Visitor, running

WORDS = "sunset, water, tree, house, night, wall, grass, owl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four scenes, half as large as the samples are."""
    place = tmp_path / "photos"
    place.mkdir()
    for one in samples()[:4]:
        (place / one.name).write_bytes(png(of_world(one.image[::2, ::2], DRAWN)))
    return place


@contextmanager
def opened(model: Any, folder: Path, words: str | None = None, **limits: int) -> Iterator[Visitor]:
    with running(model, Limits(**limits), folder, words) as (client, studio):
        yield Visitor(client, studio, SHARED)


def holds(state: Any) -> Any:
    """What must not be lost: all but how far the labels are."""
    kept = ("words", "settings", "lessons", "undo", "redo")
    pictures = {one["id"]: (one["state"] == "accepted", one["corrections"]) for one in state["pictures"]}
    classes = [(one["number"], one["name"], one["colour"]) for one in state["classes"]]
    return {**{name: state[name] for name in kept}, "classes": classes, "pictures": pictures}


def test_it_is_labelled_and_goes_on(model: Any, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with opened(model, folder, WORDS) as somebody:
        assert somebody.ask("GET", "/api/info")["folder"] == {"id": "folder", "name": "photos"}
        state = somebody.idle()
        assert [one["state"] for one in state["pictures"]] == ["labelled"] * 4 and state["warnings"] == []
        first, second = (one["id"] for one in state["pictures"][:2])
        region = somebody.labels(first)["regions"][0]["region"]
        somebody.correct(first, kind="region", regions=[region], word="owl")
        somebody.correct(second, kind="box", box=[0, 0, 20, 20], exact=True, word="lamp", teach=False)
        somebody.accept(second)
        kept, labels = holds(somebody.state()), somebody.map(second)[1]
        corrected = somebody.map(first)[1][somebody.map(first)[0] == region]
    with opened(model, folder, WORDS) as again:  # the same command: words that joined the list stay
        assert holds(again.state()) == kept and kept["words"].endswith(", lamp")
        np.testing.assert_array_equal(again.map(second)[1], labels)
        regions, found = again.map(first)
        np.testing.assert_array_equal(found[regions == region], corrected)
        assert {one["id"]: one["name"] for one in again.state()["pictures"]}[first].startswith("scene-")
        state = again.ask("POST", f"{again.at}/undo")
        assert (
            state["undo"].startswith("lamp in")
            and [one["state"] for one in state["pictures"]].count("accepted") == 0
        )
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert sorted(path.name for path in (folder / ".freeda" / "accepted").iterdir()) == [f"{second}.png"]


def test_other_words_of_the_command_line(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as somebody:
        picture = somebody.idle()["pictures"][0]["id"]
        box = {"kind": "box", "box": [0, 0, 20, 20], "exact": True}
        somebody.correct(picture, word="Kite", **box)
    with opened(model, folder, "night, wall") as again:
        state = again.state()
        assert (
            state["words"] == "night, wall" and state["classes"][2]["name"] == "Kite"
        )  # the correction holds
        state = again.correct(picture, word="kite", **box)["state"]  # it joins the list again, and teaches
        assert state["words"] == "night, wall, Kite" and len(state["lessons"]) == 2


def test_what_was_labelled_is_not_labelled_again(
    model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(model, folder, WORDS) as somebody:
        somebody.correct(somebody.idle()["pictures"][0]["id"], kind="region", regions=[0], word="owl")
        doubts = {one["id"]: one["uncertainty"] for one in somebody.idle()["pictures"]}
    times: list[Any] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda *given, **how: times.append(given) or encode(*given, **how))
    with opened(model, folder) as again:
        state = again.state()
        assert state["work"] is None and times == []
        assert {one["id"]: one["uncertainty"] for one in state["pictures"]} == doubts
        assert again.labels(state["pictures"][0]["id"])["version"] == 1 and len(times) == 1
    (folder / "scene-2.png").write_bytes((folder / "scene-3.png").read_bytes())
    with (folder / ".freeda" / "labelled.jsonl").open("a") as file:
        file.write("torn [")
    with opened(model, folder) as again:
        again.idle()
        assert len(times) == 2
        again.words("night, wall")
        again.idle()
    assert len(times) == 5  # one of them was still encoded


def test_two_browsers_lose_nothing(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as one:
        other = Visitor(one.client, one.studio, SHARED)
        ids = [row["id"] for row in one.idle()["pictures"]]

        def work(visitor: Visitor, left: int, word: str) -> None:
            for n, picture in enumerate(ids * 3):
                box = [left + 4 * n, 0, left + 4 * n + 4, 40]
                visitor.correct(picture, kind="box", box=box, exact=True, word=word, teach=bool(n % 2))

        given = ((one, 0, "kite"), (other, 100, "lamp"))  # both words are new
        threads = [Thread(target=work, args=each) for each in given]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = one.state()
        assert [row["corrections"] for row in state["pictures"]] == [6] * 4
        assert len(state["lessons"]) == 12 and other.state()["revision"] >= state["revision"]
        names = [row["name"] for row in state["classes"]]
        assert sorted(state["words"].split(", ")[-2:]) == ["kite", "lamp"]
        for n, picture in enumerate(ids * 3):
            labels = one.map(picture)[1]
            for left, word in ((0, "kite"), (100, "lamp")):
                assert (labels[:40, left + 4 * n : left + 4 * n + 4] == names.index(word)).all()
        kept = holds(one.state())
    with opened(model, folder) as again:
        assert holds(again.state()) == kept


def test_what_was_seen_last_follows_first(model: Any, folder: Path) -> None:
    studio = Studio(model)
    try:
        ws = studio.open_folder(folder, WORDS)
        for picture in ws.pictures.values():
            studio.labels(ws, picture)
        assert ws.stale() == []
        unsure = sorted(ws.pictures.values(), key=lambda one: -(one.uncertainty or 0))
        ws.look(unsure[3].id)
        ws.look(unsure[2].id)
        body = {"kind": "region", "regions": [0], "word": "owl"}
        correcting.correct(studio, ws, unsure[3], correcting.Correction(**body))
        assert [one.id for one in ws.stale()] == [unsure[i].id for i in (2, 0, 1)]
        correcting.accept(studio, ws, unsure[0], True)
        assert [one.id for one in ws.stale()] == [unsure[i].id for i in (2, 1)]
    finally:
        studio.close()


def test_answers_come_as_soon_as_there_is_something_new(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as somebody:
        revision, began = somebody.idle()["revision"], time.monotonic()
        waiting = f"{somebody.at}?after={revision}&wait="
        assert somebody.ask("GET", f"{waiting}0.3")["revision"] == revision
        assert time.monotonic() - began >= 0.3
        Timer(0.2, somebody.words, ["night, wall"]).start()
        state = somebody.ask("GET", f"{waiting}{PATIENCE}")
        assert state["revision"] > revision and time.monotonic() - began < 20


def test_a_second_server_is_refused(model: Any, folder: Path) -> None:
    first = serve(model, port=None, folder=folder, words=WORDS)
    try:
        with pytest.raises(InputError, match="another run is writing this folder's labels"):
            serve(model, port=None, folder=folder)
    finally:
        first.close()
    serve(model, port=None, folder=folder).close()


def test_a_torn_line_is_dropped_and_told(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as somebody:
        picture = somebody.idle()["pictures"][0]["id"]
        somebody.accept(picture)
        kept = holds(somebody.state())
    log = folder / ".freeda" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"event":"accept","pict')
    with opened(model, folder) as again:
        assert holds(again.state()) == kept
        assert "log.jsonl: its last line was torn" in again.state()["warnings"][0]
        again.ask("POST", f"{again.at}/undo")
    assert log.read_bytes() == whole + b'{"event":"undo"}\n'
    log.write_bytes(b"no json\n" + whole)
    with pytest.raises(InputError, match=r"log.jsonl: line 1 is damaged"):
        Disk(folder / ".freeda")


def test_a_damaged_map_is_told(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as somebody:
        picture = somebody.idle()["pictures"][0]["id"]
        somebody.accept(picture)
    (file,) = (folder / ".freeda" / "accepted").iterdir()
    for damage in (lambda: file.write_bytes(file.read_bytes()[:60]), file.unlink):
        damage()
        with opened(model, folder) as again:
            told = again.ask("GET", f"{again.at}/pictures/{picture}/labels", status=400)["detail"]
            assert "cannot be read" in told and str(folder) not in told
            assert again.ask("POST", f"{again.at}/undo")["redo"].startswith("accepted")
            again.labels(picture)
            again.ask("POST", f"{again.at}/redo")


def test_lessons_that_are_gone_are_told_and_their_numbers_are_not_given_again(
    model: Any, folder: Path
) -> None:
    with opened(model, folder, WORDS) as somebody:
        first = somebody.idle()["pictures"][0]["id"]
        for number in range(2):
            region = somebody.labels(first)["regions"][number]["region"]
            somebody.correct(first, kind="region", regions=[region], word="owl")
    (folder / ".freeda" / "taught.jsonl").unlink()
    with opened(model, folder, WORDS) as again:
        assert any("2 of 2 lessons are gone" in line for line in again.state()["warnings"])
        region = again.labels(first)["regions"][2]["region"]
        state = again.correct(first, kind="region", regions=[region], word="owl")["state"]
        assert [lesson["id"] for lesson in state["lessons"]] == ["3"]
    with opened(model, folder, WORDS) as again:
        assert [lesson["id"] for lesson in again.state()["lessons"]] == ["3"]


def test_another_photograph_of_the_same_name_is_not_what_was_worked_on(model: Any, folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    with opened(model, folder, WORDS) as somebody:
        known = {one["name"]: one["id"] for one in somebody.idle()["pictures"]}
        somebody.accept(known[names[0]])
        data = (folder / names[1]).read_bytes()
        (folder / names[1]).write_bytes(data + b" ")  # while it is open
        box = {"kind": "box", "box": [0, 0, 20, 20], "word": "owl"}
        answer = somebody.client.post(f"{somebody.at}/pictures/{known[names[1]]}/corrections", json=box)
        assert answer.status_code == 400 and "has changed" in answer.json()["detail"]
        (folder / names[1]).write_bytes(data)
    (folder / names[0]).write_bytes((folder / names[2]).read_bytes())
    with opened(model, folder, WORDS) as again:
        (told,) = (one for one in again.idle()["pictures"] if one["name"] == names[0])
        assert "another photograph" in told["error"]
        answer = again.client.get(f"{again.at}/pictures/{told['id']}/labels")
        assert answer.status_code == 400 and "put that one back" in answer.json()["detail"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_holds_nobody_up(model: Any, folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    with opened(model, folder, WORDS) as somebody:
        errors = [one["error"] for one in somebody.state()["pictures"] if one["name"] == "pipe.jpg"]
        assert len(errors) == 1 and "pipe" in errors[0]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "5",
        '{"event": "undo"}',
        '{"event": ["words"]}',
        '{"event": "words", "words": 5, "settings": {}, "colours": {}}',
        '{"event": "words", "words": "", "settings": {"unknown": 1}, "colours": {}}',
        '{"event": "words", "words": "", "settings": {}, "colours": {"a": "zz"}}',
        '{"event": "teach", "picture": ["a"], "word": "cat", "lesson": "1"}',
        '{"event": "correct", "picture": "a", "mask": {}, "word": 7, "how": "box", "lesson": null}',
        "[" * 100_000,
    ],
)
def test_a_log_that_is_none_is_told_by_its_line(model: Any, folder: Path, line: str) -> None:
    (folder / ".freeda").mkdir()
    (folder / ".freeda" / "log.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"log\.jsonl: line 1 is damaged"):
        serve(model, port=None, folder=folder)


def test_a_full_disk_changes_nothing(model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(model, folder, WORDS) as somebody:
        picture = somebody.idle()["pictures"][0]["id"]
        kept, whole = holds(somebody.state()), (folder / ".freeda" / "log.jsonl").read_bytes()
        write = os.write

        def full(handle: int, data: bytes) -> int:
            if b'"correct"' in data:
                write(handle, data[:10])
                raise OSError(28, "No space left on device")
            return write(handle, data)

        monkeypatch.setattr(os, "write", full)
        answer = somebody.correct(picture, 400, kind="box", box=[0, 0, 9, 9], exact=True, word="owl")
        assert answer == {
            "detail": "log.jsonl cannot be written (No space left on device): nothing was changed"
        }
        monkeypatch.undo()
        assert holds(somebody.state()) == kept and (folder / ".freeda" / "log.jsonl").read_bytes() == whole


def test_little_memory_is_enough(model: Any, folder: Path) -> None:
    """Encoded pictures are dropped and encoded again."""
    with opened(model, folder, WORDS, memory_megabytes=1) as somebody:
        state = somebody.idle()
        assert len(somebody.studio._encoded) == 1
        maps = {one["id"]: somebody.map(one["id"])[1] for one in state["pictures"]}
        assert {one["state"] for one in somebody.state()["pictures"]} == {"labelled"}
    with opened(model, folder) as again:
        for picture, labels in maps.items():
            np.testing.assert_array_equal(again.map(picture)[1], labels)


def test_what_cannot_be_read_is_told(model: Any, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "cut.png").write_bytes((folder / "scene-1.png").read_bytes()[:2000])
    with opened(model, folder, WORDS) as somebody:
        state = somebody.idle()
        failed = {one["name"]: one["error"] for one in state["pictures"] if one["state"] == "failed"}
        assert sorted(failed) == ["broken.png", "cut.png"] and str(folder) not in json.dumps(state)
        assert "not an image" in failed["broken.png"] and "truncated" in failed["cut.png"]
        somebody.send(samples()[0].image, status=409)
        picture = state["pictures"][0]["id"]
        somebody.ask("DELETE", f"{somebody.at}/pictures/{picture}", status=409)


def test_names_of_any_bytes(model: Any, folder: Path) -> None:
    data, name = (folder / "scene-1.png").read_bytes(), os.fsdecode(b"a\xff <b>\n.png")
    try:
        (folder / name).write_bytes(data)
    except OSError:
        pytest.skip("this file system takes no such name")
    with opened(model, folder, WORDS) as somebody:
        (row,) = (one for one in somebody.idle()["pictures"] if "<b>" in one["name"])
        assert row["name"] == r"a\udcff <b>\n.png"
        box = {"kind": "box", "box": [0, 0, 9, 9], "exact": True, "word": "owl"}
        assert somebody.correct(row["id"], **box)["state"]["lessons"][0]["picture"] == row["name"]
        somebody.accept(row["id"])
        assert somebody.export(kind="labels", picture=row["id"]).status_code == 200
        assert len(somebody.export(kind="coco").content) > 1000
        kept = holds(somebody.state())
    with opened(model, folder) as again:
        assert holds(again.state()) == kept


def test_stopped_and_gone_on(model: Any, folder: Path) -> None:
    with opened(model, folder, WORDS) as somebody:
        state = somebody.ask("DELETE", f"{somebody.at}/work")
        assert state["work"] is None or state["work"]["what"] == "stopped"
        somebody.words("night, wall")
        somebody.idle()
        somebody.ask("DELETE", f"{somebody.at}/work")
        picture = somebody.state()["pictures"][0]["id"]
        somebody.correct(picture, kind="region", regions=[0], word="owl")  # a lesson
        state = somebody.until(lambda state: state["work"] is not None and state["work"]["what"] == "stopped")
        assert state["work"]["done"] < state["work"]["of"] == 4 and state["work"]["seconds_left"] is None
        assert somebody.ask("POST", f"{somebody.at}/work")["work"] is not None
        assert somebody.idle()["work"] is None


class Server:
    """One in a process of its own, with a visitor who does as it is told until it is killed."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "freeda", "app", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--classes", WORDS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.startswith("freeda is at"), said + self.process.communicate()[0]
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/workspaces/folder", timeout=PATIENCE
        )
        self.answered = 0

    def work(self, actions: list[tuple[str, str]]) -> None:
        with suppress(httpx.HTTPError):
            for n, (action, picture) in enumerate(actions):
                path, body = f"/pictures/{picture}", None
                if action == "correct":
                    path, box = f"{path}/corrections", [5 * n % 99, 0, 5 * n % 99 + 30, 50]
                    body = {"kind": "box", "box": box, "exact": True, "word": f"w{n % 3}"}
                elif action == "undo":
                    path = "/undo"
                else:
                    path, body = f"{path}/accept", {"accepted": action == "accept"}
                answer = self.client.post(path, json=body)
                assert answer.status_code == 200, answer.text
                self.answered += 1

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def outcome(actions: list[tuple[str, str]], ids: list[str]) -> Any:
    """What holds after these, step by step: lessons, and of each picture (accepted, corrections)."""
    done: list[tuple[str, str]] = []
    for action, picture in actions:
        if action == "undo":
            done.pop()
        elif action != "reject" or accepted(done, picture):
            done.append((action, picture))
    corrections = [picture for action, picture in done if action == "correct"]
    return len(corrections), {id: (accepted(done, id), corrections.count(id)) for id in ids}


def accepted(done: list[tuple[str, str]], picture: str) -> bool:
    return ["reject", *(a for a, p in done if p == picture and a != "correct")][-1] == "accept"


@pytest.mark.parametrize("kills", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_any_moment(model: Any, folder: Path, kills: int) -> None:
    """All that was answered is there afterwards, and at most the one action besides that was under way."""
    rng, held = np.random.default_rng(kills), []
    with opened(model, folder) as first:
        ids = sorted(one["id"] for one in first.state()["pictures"])
    for _ in range(kills):
        server = Server(folder)
        kinds = ["correct", "correct", *rng.choice(["correct", "accept", "reject", "undo"], 998)]
        actions = [(str(kind), ids[rng.integers(4)]) for kind in kinds]
        worker = Thread(target=server.work, args=(actions,))
        worker.start()
        wait_for(lambda server=server: server.answered >= 8)
        time.sleep(float(rng.random()))
        server.kill()
        worker.join()
        held = [*held, *actions[: server.answered + 1]]
        with opened(model, folder) as again:
            found = holds(again.state())
            told = len(found["lessons"]), found["pictures"]
            if told != outcome(held, ids):
                held.pop()
            assert told == outcome(held, ids) and server.answered < 1000
            ws = again.studio.workspace(SHARED)
            for id, (sure, _) in found["pictures"].items():  # the label maps are there, too
                truth = again.studio.truth(ws, ws.pictures[id])
                assert (truth is not None) == sure
