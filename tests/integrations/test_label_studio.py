"""The machine learning backend of Label Studio: its documented requests, its brushes, what it may read."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("fastapi", reason="the extra app")

from fastapi.testclient import TestClient
from label_studio import Studio, command, create_app
from label_studio_masks import decode, encode
from typer.testing import CliRunner

import freeda
from freeda.bank.taught import Taught
from freeda.errors import InputError
from freeda.lock import only_writer

DOCS = Path(__file__).resolve().parents[2] / "docs"
WORDS = ("sunset", "water", "house", "tree")
LABELS = "".join(f'<Label value="{word}"/>' for word in WORDS)
CONFIG = (
    '<View><Image name="photo" value="$image"/>'
    f'<BrushLabels name="tag" toName="photo">{LABELS}</BrushLabels>'
    f'<KeyPointLabels name="click" toName="photo" smart="true">{LABELS}</KeyPointLabels>'
    f'<RectangleLabels name="box" toName="photo" smart="true">{LABELS}</RectangleLabels></View>'
)
TASK = {"id": 7, "data": {"image": "/data/local-files/?d=scene.png"}}


def read_brush(code: list[int]) -> list[int]:
    """The values of a brush's code, read bit by bit as rle-pack describes them."""
    bits = (byte >> (7 - i) & 1 for byte in code for i in range(8))

    def number(width: int) -> int:
        return int("".join(map(str, islice(bits, width))), 2)

    values: list[int] = []
    count, word = number(32), number(5) + 1
    widths = [number(4) + 1, number(4) + 1, number(4) + 1, number(4) + 1]
    while len(values) < count:
        repeated = number(1)
        length = number(widths[number(2)]) + 1
        values += [number(word)] * length if repeated else [number(word) for _ in range(length)]
    assert len(values) == count
    return values


def write_brush(values: list[int], widths: tuple[int, ...] = (2, 5, 7, 9)) -> list[int]:
    """A code of values without any run that repeats: as long as they can be, of other widths than ours."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    for at in range(0, len(values), 2 ** widths[3]):
        run = values[at : at + 2 ** widths[3]]
        text += f"011{len(run) - 1:0{widths[3]}b}" + "".join(f"{value:08b}" for value in run)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def painted(result: dict[str, Any]) -> np.ndarray:
    """The mask of a region, its code read by the plain reader: RGBA, all four channels alike."""
    height, width = result["original_height"], result["original_width"]
    picture = np.array(read_brush(result["value"]["rle"])).reshape(height, width, 4)
    assert set(np.unique(picture)) <= {0, 255} and (picture == picture[..., :1]).all()
    return picture[..., 3] == 255


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 30), (70, 500)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_brush_is_read_and_written(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    values = np.repeat(255 * mask.astype(int).ravel(), 4).tolist()
    assert read_brush(encode(mask)) == values
    np.testing.assert_array_equal(decode(encode(mask), shape), mask)
    strokes = np.random.default_rng(1).integers(
        0, 256, (*shape, 4)
    )  # of any colour: only what is opaque counts
    strokes[..., 3] = 200 * mask
    np.testing.assert_array_equal(decode(write_brush(strokes.ravel().tolist()), shape), mask)


def test_a_damaged_brush_is_one_line() -> None:
    code = encode(np.eye(9, dtype=bool))
    for wrong in (code[:-3], code[:5], [], [300], ["a"], [1.5], [*code[:4], 255, *code[5:]]):
        with pytest.raises(InputError, match="rle"):
            decode(wrong, (9, 9))
    with pytest.raises(InputError, match="not of a picture of 9 x 8"):
        decode(code, (8, 9))


@pytest.fixture(scope="module")
def model() -> freeda.FreeDA:
    return freeda.load("miniature")


@pytest.fixture
def lessons() -> Taught:
    return Taught()


@pytest.fixture
def backend(model: freeda.FreeDA, lessons: Taught) -> TestClient:
    return TestClient(create_app(model.with_taught(lessons), Studio(files=DOCS)))


def asked(task: Any = TASK, marks: list[Any] | None = None, config: str = CONFIG) -> dict[str, Any]:
    """A request as Label Studio documents it (make_predictions of its api_connector)."""
    context = None if marks is None else {"result": marks}
    params = {"login": None, "password": None, "context": context}
    return {"tasks": [task], "project": "2.1629208574", "label_config": config, "params": params}


def mark(kind: str, word: str = "house", positive: bool = True, **value: Any) -> dict[str, Any]:
    return {
        "original_width": 512,
        "original_height": 512,
        "image_rotation": 0,
        "value": {**value, kind: [word]},
        "is_positive": positive,
        "id": "fBWv1t0S2L",
        "from_name": "click",
        "to_name": "photo",
        "type": kind,
        "origin": "manual",
    }


def event(action: str, result: list[Any], number: int = 17, **more: Any) -> dict[str, Any]:
    """A webhook's payload (webhook_reference); newer versions of Label Studio send the task along."""
    annotation = {
        "id": number,
        "result": result,
        "was_cancelled": False,
        "task": 7,
        "completed_by": 1,
        **more,
    }
    return {
        "action": action,
        "annotation": annotation,
        "project": {"id": 2, "label_config": CONFIG},
        "task": TASK,
    }


def test_it_is_found_and_set_up(backend: TestClient) -> None:
    assert backend.get("/health").json()["status"] == "UP"
    body = {"project": "2.16", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "t"}
    assert backend.post("/setup", json=body).json()["model_version"].startswith("freeda ")


def test_a_task_is_labelled_as_the_model_labels_it(backend: TestClient, model: freeda.FreeDA) -> None:
    answer = backend.post("/predict", json=asked())
    assert answer.status_code == 200
    (found,) = answer.json()["results"]
    wanted = model.segment(DOCS / "scene.png", list(WORDS))
    assert [one["value"]["brushlabels"] for one in found["result"]] == [[word] for word in WORDS]
    for word, one in zip(WORDS, found["result"], strict=True):
        assert (one["from_name"], one["to_name"], one["type"]) == ("tag", "photo", "brushlabels")
        assert one["value"]["format"] == "rle" and one["image_rotation"] == 0
        np.testing.assert_array_equal(painted(one), wanted.mask(word))
    assert len({one["id"] for one in found["result"]}) == 4
    assert found["score"] == pytest.approx(1 - wanted.uncertainty) and 0 <= found["score"] <= 1
    assert found["model_version"] == backend.post("/setup", json={}).json()["model_version"]


def test_polygons_in_the_place_of_brushes(backend: TestClient, model: freeda.FreeDA, lessons: Taught) -> None:
    config = CONFIG.replace("BrushLabels", "PolygonLabels")
    (found,) = backend.post("/predict", json=asked(config=config)).json()["results"]
    wanted = model.segment(DOCS / "scene.png", list(WORDS))
    size = wanted.size
    filled = np.full(size, -1)
    for one in found["result"]:
        assert one["type"] == "polygonlabels" and one["value"]["closed"] is True
        corners = np.array(one["value"]["points"]) / 100 * size[::-1]
        ring = Image.new("1", (4 * size[1], 4 * size[0]))
        ImageDraw.Draw(ring).polygon([(4 * x - 0.5, 4 * y - 0.5) for x, y in corners], fill=1)
        (word,) = one["value"]["polygonlabels"]
        filled[np.array(ring)[2::4, 2::4]] = WORDS.index(word)
    assert (filled == wanted.labels).mean() > 0.985  # a pixel to each side
    assert len(found["result"]) < 12 and max(len(one["value"]["points"]) for one in found["result"]) < 400
    body = event("ANNOTATION_CREATED", found["result"])
    body["project"]["label_config"] = config
    assert backend.post("/webhook", json=body).json()["lessons"] == len(found["result"])
    for word in WORDS:
        areas = sum(lesson.area for lesson in lessons.lessons if lesson.word == word)
        assert areas == pytest.approx(wanted.shares[word], abs=0.01)
    for wrong in (
        [[1, 2], [3, 4]],
        [[1, 2], [3, 4], [5]],
        [[1, 2], [3, None], [5, 6]],
        "x",
        [["a", 1], [2, 3], [4, 5]],
    ):
        body["annotation"]["result"] = [{**one, "value": {**one["value"], "points": wrong}}]
        assert backend.post("/webhook", json=body).status_code == 400, wrong


def test_the_rest_is_left_out(model: freeda.FreeDA) -> None:
    app = create_app(model.with_taught(Taught()), Studio(files=DOCS), others="everything else")
    config = CONFIG.replace(LABELS, '<Label value="water"/>')
    (found,) = TestClient(app).post("/predict", json=asked(config=config)).json()["results"]
    (one,) = found["result"]
    wanted = model.segment(DOCS / "scene.png", ["water"], others="everything else")
    np.testing.assert_array_equal(painted(one), wanted.mask("water"))
    assert 0 < painted(one).mean() < 1


def test_clicks_and_boxes_take_regions(backend: TestClient, model: freeda.FreeDA) -> None:
    regions = model.segment(DOCS / "scene.png", list(WORDS)).regions

    def taken(*marks: dict[str, Any]) -> np.ndarray:
        (found,) = backend.post("/predict", json=asked(marks=list(marks))).json()["results"]
        (one,) = found["result"]
        assert one["value"]["brushlabels"] == ["house"]
        return painted(one)

    def at(x: float, y: float) -> np.ndarray:
        return regions == regions[min(int(y * 5.12), 511), min(int(x * 5.12), 511)]

    click = mark("keypointlabels", x=50, y=20, width=0.3)
    np.testing.assert_array_equal(taken(click), at(50, 20))
    corner = mark("keypointlabels", x=100, y=100, width=0.3)
    np.testing.assert_array_equal(taken(corner), at(100, 100))
    np.testing.assert_array_equal(taken(click, corner), at(50, 20) | at(100, 100))
    away = mark("keypointlabels", positive=False, x=100, y=100, width=0.3)
    np.testing.assert_array_equal(taken(away, corner, click), at(50, 20) & ~at(100, 100))
    box = mark("rectanglelabels", x=10, y=40, width=60, height=59.9, rotation=0)
    inside = np.zeros(regions.shape, bool)
    inside[round(0.4 * 512) : round(0.999 * 512), round(0.1 * 512) : round(0.7 * 512)] = True
    held = [n for n in np.unique(regions) if inside[regions == n].mean() >= 0.5]
    assert held
    np.testing.assert_array_equal(taken(box), np.isin(regions, held))
    small = taken(mark("rectanglelabels", x=50, y=50, width=1, height=1))
    assert small[256:261, 256:261].all() and small.sum() == 25


def test_annotations_teach_and_unteach(backend: TestClient, lessons: Taught) -> None:
    (before,) = backend.post("/predict", json=asked()).json()["results"]
    house = next(one for one in before["result"] if one["value"]["brushlabels"] == ["house"])
    click = mark("keypointlabels", x=50, y=20, width=0.3)  # stays in the annotation, and teaches nothing
    answer = backend.post("/webhook", json=event("ANNOTATION_CREATED", [house, click]))
    assert (answer.status_code, answer.json()) == (201, {"status": "ok", "lessons": 1})
    (lesson,) = lessons.lessons
    assert lesson.word == "house"
    (after,) = backend.post("/predict", json=asked()).json()["results"]
    assert after["model_version"] != before["model_version"]  # so that Label Studio asks again
    tree = {**house, "value": {**house["value"], "brushlabels": ["tree"]}}
    backend.post("/webhook", json=event("ANNOTATION_UPDATED", [tree]))
    assert [lesson.word for lesson in lessons.lessons] == ["tree"]
    backend.post("/webhook", json=event("ANNOTATION_CREATED", [house, tree], number=18))
    assert [lesson.word for lesson in lessons.lessons] == ["tree", "house", "tree"]
    wrong = {**house, "value": {**house["value"], "rle": house["value"]["rle"][:-9]}}
    answer = backend.post("/webhook", json=event("ANNOTATION_UPDATED", [tree, wrong], number=18))
    assert answer.status_code == 400 and len(lessons) == 3
    gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 17}, {"id": 99}], "project": {"id": 2}}
    assert backend.post("/webhook", json=gone).status_code == 201
    assert [lesson.word for lesson in lessons.lessons] == ["house", "tree"]
    backend.post("/webhook", json=event("ANNOTATION_UPDATED", [house], number=18, was_cancelled=True))
    assert len(lessons) == 0
    assert backend.post("/webhook", json={"action": "PROJECT_UPDATED"}).status_code == 200


def test_a_lesson_is_heeded(backend: TestClient) -> None:
    """The region that was taught to be something else is that, from the next prediction on."""
    click = asked(marks=[mark("keypointlabels", "tree", x=50, y=20, width=0.3)])
    (taught,) = backend.post("/predict", json=click).json()["results"][0]["result"]
    backend.post("/webhook", json=event("ANNOTATION_CREATED", [taught]))
    (found,) = backend.post("/predict", json=asked()).json()["results"]
    (tree,) = [one for one in found["result"] if one["value"]["brushlabels"] == ["tree"]]
    assert painted(tree)[painted(taught)].mean() > 0.9


WRONG = {
    "no task": ({"label_config": CONFIG}, "tasks"),
    "no config": ({"tasks": [TASK]}, "label_config"),
    "a config that is no XML": (asked(config="<View>"), "no XML"),
    "a config without brushes": (
        asked(config='<View><Image name="a" value="$a"/></View>'),
        "neither BrushLabels",
    ),
    "brushes of no image": (asked(config=CONFIG.replace("$image", "image")), "BrushLabels"),
    "a label twice": (asked(config=CONFIG.replace("tree", "House")), "given twice"),
    "a blank label": (asked(config=CONFIG.replace("tree", " ")), "blank"),
    "a task that is none": (asked(task=3), "data.image is None"),
    "a task of other data": (asked(task={"id": 1, "data": {"text": "x"}}), "data.image is None"),
    "an address that is none": (asked(task={"data": {"image": "http://[::1"}}), "http://"),
    "no such file": (asked(task={"data": {"image": "/data/local-files/?d=a.png"}}), "no such file"),
    "no picture": (asked(task={"data": {"image": "/data/local-files/?d=app.md"}}), "app.md: cannot identify"),
    "a mark that is none": (asked(marks=["x"]), "type is None"),
    "a mark elsewhere": (asked(marks=[mark("keypointlabels", x="3", y=4)]), "x is '3'"),
    "a mark nowhere": (asked(marks=[mark("keypointlabels", y=4)]), "x is None"),
    "a mark of another label": (asked(marks=[mark("keypointlabels", "cat", x=3, y=4)]), "'cat'"),
    "a mark of another kind": (asked(marks=[mark("ellipselabels", x=3, y=4)]), "ellipselabels"),
    "a turned box": (
        asked(marks=[mark("rectanglelabels", x=3, y=4, width=9, height=9, rotation=5)]),
        "upright",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests_are_one_line(backend: TestClient, case: str) -> None:
    body, told = WRONG[case]
    answer = backend.post("/predict", json=body)
    assert answer.status_code == 400 and told in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_wrong_bodies_are_one_line(backend: TestClient) -> None:
    for body in (b"", b"[]", b"{", b'"x"'):
        answer = backend.post("/webhook", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()) == (400, {"detail": "expected a JSON object"})
    wide = {
        "tasks": [TASK],
        "label_config": CONFIG,
        "params": {"context": {"result": [mark("keypointlabels", y=1)]}},
    }
    text = json.dumps(wide).replace('"y": 1', '"y": 1, "x": NaN')
    answer = backend.post("/predict", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and "x is nan" in answer.json()["detail"]
    for body in (
        {},
        {"action": "ANNOTATION_CREATED"},
        {"action": "ANNOTATIONS_DELETED"},
        event("ANNOTATION_UPDATED", [3]),
    ):
        assert backend.post("/webhook", json=body).status_code == 400


class Neighbour(BaseHTTPRequestHandler):
    """A Label Studio: pictures and tasks for who brings the token, and an address that leads elsewhere."""

    seen: ClassVar[list[tuple[str, str | None]]] = []
    elsewhere = ""

    def log_message(self, *said: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(json.dumps({"access": "short"}).encode() if body == {"refresh": "a.b.c"} else None)

    def do_GET(self) -> None:
        Neighbour.seen.append((self.path, self.headers["Authorization"]))
        if self.path == "/data/elsewhere.png":
            self.send_response(302)
            self.send_header("Location", self.elsewhere)
            self.end_headers()
        elif self.headers["Authorization"] not in ("Token secret", "Bearer short"):
            self.answer(None)
        elif self.path == "/api/tasks/7/":
            self.answer(json.dumps({"id": 7, "data": {"image": "/data/upload/2/a%20b.png"}}).encode())
        else:
            self.answer((DOCS / "scene.png").read_bytes())

    def answer(self, body: bytes | None) -> None:
        self.send_response(401 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture
def neighbours() -> Iterator[tuple[str, str]]:
    """The addresses of two of them: Label Studio, and a host that must never be asked."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    Neighbour.seen, Neighbour.elsewhere = [], f"{urls[1]}/stolen.png"
    yield urls[0], urls[1]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("token", "sent"), [("secret", "Token secret"), ("a.b.c", "Bearer short")])
def test_pictures_of_label_studio_itself(
    model: freeda.FreeDA, neighbours: tuple[str, str], token: str, sent: str
) -> None:
    backend = TestClient(create_app(model.with_taught(Taught()), Studio(neighbours[0], token)))
    for url in (
        "/data/upload/2/a b.png",
        f"{neighbours[0]}/data/upload/2/é.png",
        "/data/local-files/?d=x.png",
    ):
        answer = backend.post("/predict", json=asked(task={"id": 1, "data": {"image": url}}))
        assert answer.status_code == 200 and len(answer.json()["results"][0]["result"]) == 4
    assert Neighbour.seen == [
        ("/data/upload/2/a%20b.png", sent),
        ("/data/upload/2/%C3%A9.png", sent),
        ("/data/local-files/?d=x.png", sent),
    ]
    house = answer.json()["results"][0]["result"][2]
    old = {key: value for key, value in event("ANNOTATION_CREATED", [house]).items() if key != "task"}
    assert backend.post("/webhook", json=old).json()["lessons"] == 1  # the task was asked for


@pytest.mark.parametrize(
    "url",
    [
        "{other}/a.png",
        "//{bare}/a.png",
        "http://x@{bare}/a.png",
        "file:///etc/hostname",
        "/etc/hostname",
        "etc/hostname",
        "ftp://{bare}/a.png",
        "/data/elsewhere.png",
        "data:image/png;base64,AA",
        "s3://bucket/a.png",
        "gopher:x",
        "",
    ],
)
def test_nothing_else_is_read(model: freeda.FreeDA, neighbours: tuple[str, str], url: str) -> None:
    studio, other = neighbours
    given = url.format(other=other, bare=other.removeprefix("http://"))
    backend = TestClient(create_app(model.with_taught(Taught()), Studio(studio, "wrong")))
    answer = backend.post("/predict", json=asked(task={"id": 1, "data": {"image": given}}))
    assert answer.status_code == 400 and answer.json()["detail"].startswith(given)
    assert all(path != "/stolen.png" and path != "/a.png" for path, _ in Neighbour.seen)


def test_files_only_from_their_folder(model: freeda.FreeDA, tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    folder = tmp_path / "files"
    folder.mkdir()
    picture.save(folder / "in side.png")
    picture.save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    backend = TestClient(create_app(model.with_taught(Taught()), Studio(files=folder)))

    def status(d: str) -> int:
        url = f"/data/local-files/?d={d}"
        return backend.post("/predict", json=asked(task={"id": 1, "data": {"image": url}})).status_code

    assert status("in%20side.png") == status("in side.png") == status("/in%20side.png") == 200
    for d in (
        "../outside.png",
        "%2e%2e/outside.png",
        "link.png",
        str(tmp_path / "outside.png"),
        "",
        ".",
        "x%00.png",
    ):
        assert status(d) == 400, d


def test_who_must_log_in(model: freeda.FreeDA) -> None:
    backend = TestClient(create_app(model.with_taught(Taught()), Studio(), login="ann:pass:word"))
    assert backend.get("/health").status_code == 401
    assert backend.get("/health", auth=("ann", "pass")).status_code == 401
    assert backend.get("/health", auth=("ann", "pass:word")).status_code == 200


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served: list[Any] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **where: served.append((app, where)))
    for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "LABEL_STUDIO_API_KEY", "LABEL_STUDIO_URL"):
        monkeypatch.delenv(name, raising=False)
    refused = CliRunner().invoke(command, ["--host", "0.0.0.0"])
    assert refused.exit_code == 2 and "BASIC_AUTH_USER" in refused.output and not served
    missing = CliRunner().invoke(command, ["--bank", str(tmp_path / "none")])
    assert missing.exit_code == 2 and missing.output.count("\n") == 1 and not served
    options = ["--files", str(DOCS), "--taught", str(tmp_path / "taught.jsonl")]
    with only_writer(tmp_path):
        second = CliRunner().invoke(command, options)
    assert second.exit_code == 2 and str(tmp_path) in second.output and not served
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 0, done.output
    ((app, where),) = served
    assert where == {"host": "127.0.0.1", "port": 9090}
    assert TestClient(app).post("/predict", json=asked()).status_code == 200


def test_it_stays_small() -> None:
    for path in (DOCS.parent / "integrations").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 150, path.name
