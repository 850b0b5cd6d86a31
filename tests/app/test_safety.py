"""The running page: no file but its own, no way out, plain answers to bad requests."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from PIL import Image

from freeda.app import files
from freeda.app.files import OwnFolder
from freeda.app.limits import HOST, Limits
from freeda.app.server import serve
from freeda.errors import InputError

from .conftest import WAIT


def get(served: Any, path: str) -> tuple[int, bytes]:
    """A raw request: nothing tidies the path on the way."""
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=WAIT / 1000)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def post(served: Any, path: str, value: Any) -> tuple[int, bytes]:
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=WAIT / 1000)
    connection.request("POST", path, json.dumps(value), {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def upload(served: Any, name: str, data: bytes) -> str:
    place = urlsplit(served.url)
    mark = "----freeda"
    body = (
        (
            f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        + data
        + f"\r\n--{mark}--\r\n".encode()
    )
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=WAIT / 1000)
    connection.request(
        "POST", "/gradio_api/upload", body, {"content-type": f"multipart/form-data; boundary={mark}"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    return str(json.loads(answer.read())[0])


def call(served: Any, data: list[Any]) -> str:
    """What the endpoint `segment` answers, as its stream of events."""
    status, told = post(served, "/gradio_api/call/segment", {"data": data})
    if status != 200:
        return f"status {status}"
    return get(served, f"/gradio_api/call/segment/{json.loads(told)['event_id']}")[1].decode()


@pytest.mark.parametrize("given", [99999, 0, None, "x", float("nan")])
def test_numbers_outside_a_slider(served: Any, given: Any) -> None:
    """What its box holds is told on the page, as it is of the endpoint's number; no HTTP 500."""
    ids = {one["api_name"]: one["id"] for one in served.blocks.config["dependencies"]}

    def ask(event: str, *data: Any) -> tuple[int, str]:
        value = {"fn_index": ids[event], "data": data, "session_hash": "sliders"}
        status, told = post(served, f"/gradio_api/run/{event}", value)
        return status, told.decode()

    status, told = ask("label", "tree", 0.8, given, 100, False)
    assert status == 200 and '"note":"References a word (K) is ' in told and "from 1 to 500" in told
    assert "Mask threshold is " in ask("cut", given)[1]
    if given is not None:  # the preset's own
        photograph = upload(served, "a.png", (Path(__file__).parents[2] / "docs" / "scene.png").read_bytes())
        assert "local_weight is " in call(served, [photograph, "tree", given or -1])


def test_listens_on_this_machine_only(served: Any) -> None:
    assert urlsplit(served.url).hostname == HOST == "127.0.0.1" and served.public is None


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/../../../etc/passwd",
        str(Path(__file__).resolve()),
        "/proc/self/environ",
    ],
)
def test_no_file_is_served(served: Any, name: str) -> None:
    for path in (name, quote(name, safe=""), quote(name)):
        status, body = get(served, f"/gradio_api/file={path}")
        assert status in (400, 403, 404) and b"root:" not in body, (status, body[:200])


def test_not_even_from_where_it_was_started(served: Any) -> None:
    inside = next(p for p in Path.cwd().iterdir() if p.is_file())
    assert get(served, f"/gradio_api/file={inside}")[0] in (403, 404)
    assert get(served, f"/gradio_api/file={served.folder.path}/../{Path(os.devnull).name}")[0] in (403, 404)
    neighbour = served.folder.path.with_name(served.folder.path.name + "-neighbour")
    neighbour.mkdir()
    try:
        (neighbour / "file").write_text("x")
        assert get(served, f"/gradio_api/file={neighbour}/file")[0] in (403, 404)
    finally:
        (neighbour / "file").unlink()
        neighbour.rmdir()


def test_the_page_tells_nobody(served: Any) -> None:
    config = json.loads(get(served, "/config")[1])
    assert config["analytics_enabled"] is False and config.get("is_space") is not True
    for _, dependency in enumerate(config["dependencies"]):
        known = dependency["api_visibility"] == "public"
        assert known == (dependency["api_name"] == "segment"), dependency["api_name"]
    home, told = str(Path.home()), json.dumps(config).replace(str(served.folder.path), "")
    assert home == "/" or home not in told  # of a user without one, every path would be in it


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../etc/passwd", "http://127.0.0.1:9/x.png", "/tmp", "no.png"],
)
def test_the_endpoint_reads_uploads_only(served: Any, path: str) -> None:
    answer = call(served, [path, "tree", None])
    assert "error" in answer and "root:" not in answer and '"classes"' not in answer


def test_gradio_fetches_nothing_for_anybody(served: Any) -> None:
    fetched: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(404)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{listener.server_port}/x.png"
        file = {"path": place, "url": place, "meta": {"_type": "gradio.FileData"}}
        for data in ([file, "tree", None], ["x", [{"deep": file}], None]):
            assert call(served, data) == "status 400"
        listener.shutdown()
    assert fetched == []


def test_the_endpoint_reads_pictures_only(served: Any) -> None:
    for name, data in (("a.png", b"no picture"), ("b.png", b""), ("c.svg", b"<svg/>")):
        sent = upload(served, name, data)
        answer = call(served, [sent, "tree", None])
        assert "error" in answer and "Traceback" not in answer and '"classes"' not in answer


def test_nobody_skips_the_line(served: Any) -> None:
    status, told = post(served, "/gradio_api/run/segment", {"data": ["x.png", "tree", None]})
    assert status != 200 and b'"classes"' not in told


def test_nobodys_events_are_answered(served: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("call/segment/abc", "call/nothing/abc", "queue/data?session_hash=nobody"):
        status, told = get(served, f"/gradio_api/{path}")
        assert status == 200 and b"404: Not Found" in told
    assert post(served, "/gradio_api/run/nothing", {"data": []})[0] == 404
    assert "Traceback" not in capfd.readouterr().err


def test_a_page_behind_a_proxy_hangs_up_on_the_silent(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy is set, the page is asked directly. Who says nothing, or less than a head, is left."""
    for name, proxy in (("http_proxy", "http"), ("ALL_PROXY", "socks5")):
        monkeypatch.setenv(name, f"{proxy}://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org")
    page = serve(model, port=None, limits=Limits(silent_seconds=1))
    try:
        assert os.environ["no_proxy"] == "example.org"
        place = urlsplit(page.url)
        said = (b"", b"GET / HT", b"GET /theme.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
        callers = [socket.create_connection((place.hostname, place.port), timeout=20) for _ in said]
        start = time.monotonic()
        for caller, first in zip(callers, said, strict=True):
            caller.sendall(first)
        assert b"200 OK" in callers[2].recv(99)
        with suppress(OSError):
            while time.monotonic() - start < 20:  # a letter now and then is no request either
                callers[1].sendall(b"T")
                callers[2].sendall(b"G")
                time.sleep(0.2)
        assert 0.9 < time.monotonic() - start < 20
        for caller in callers:
            with suppress(ConnectionError):
                while caller.recv(9999):
                    pass
            caller.close()
    finally:
        page.close()


def test_the_same_photograph_twice(served: Any, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    data = (tmp_path / "red.png").read_bytes()
    sent = [upload(served, "red.png", data) for _ in range(2)]
    assert sent[0] == sent[1]  # Gradio's way: so the first to be done must not take it from the second
    for path, words in zip(sent, ("sunset, water", "tree"), strict=True):
        assert '"classes"' in call(served, [path, words, None])


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_no_other_site_comes_in(served: Any, headers: dict[str, str]) -> None:
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=WAIT / 1000)
    connection.request("GET", "/config", headers=headers)
    assert connection.getresponse().status == 403


def test_files_go_in_time_and_when_they_are_too_many(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(files, "_PAUSE", 1e6)  # it tidies by this test's clock alone
    own = OwnFolder(Limits(minutes=10, folder_megabytes=1))
    try:
        for age, size, name in (
            (0, 600_000, "new"),
            (30, 300_000, "older"),
            (90, 200_000, "third"),
            (700, 1, "old"),
        ):
            (own.path / name).mkdir()
            (own.path / name / "file").write_bytes(b"x" * size)
            os.utime(own.path / name / "file", (1e9 - age, 1e9 - age))
            os.utime(own.path / name, (1e9, 1e9))
        (own.path / "way-out").symlink_to(tmp_path)
        own.tidy(1e9)
        assert {path.parent.name for path in own.path.rglob("file")} == {"new", "older"}
        own.tidy(1e9 + 61)
        assert {path.name for path in own.path.iterdir() if path.is_dir()} >= {"new", "older"}
        own.tidy(1e9 + 601)
        assert not list(own.path.rglob("file"))
        own.tidy(time.time() + 700)
        assert not list(own.path.iterdir()) and tmp_path.is_dir()
    finally:
        own.remove()


def test_events_with_foreign_paths_are_refused(served: Any) -> None:
    config = json.loads(get(served, "/config")[1])
    (event,) = [d for d in config["dependencies"] if d["api_name"] == "upload"]
    asked = {
        "data": ["tree", 0.9, 24, 100, False],
        "event_data": {"path": "/etc/passwd", "name": "x.png"},
        "fn_index": event["id"],
        "session_hash": "stranger",
        "trigger_id": event["targets"][0][0],
    }
    status, _ = post(served, "/gradio_api/queue/join", asked)
    told = get(served, "/gradio_api/queue/data?session_hash=stranger")[1].decode()
    assert status == 200 and '"success":false' in told.replace(" ", "") and "root:" not in told


def test_uploads_lie_in_the_pages_own_folder(tmp_path: Path) -> None:
    before = os.environ.get("GRADIO_TEMP_DIR")
    own = OwnFolder()
    try:
        (own.path / "in").write_text("x")
        (own.path / "way-out").symlink_to("/etc/passwd")
        assert own.upload(str(own.path / "in")).read_text() == "x"
        for path in ("/etc/passwd", f"{own.path}/../x", f"{own.path}-neighbour/x", "in", "", "a\0b"):
            with pytest.raises(InputError, match="no photograph"):
                own.upload(path)
        with pytest.raises(InputError, match="no photograph"):
            own.upload(f"{own.path}/way-out")
        with pytest.raises(InputError, match="gone"):
            own.upload(f"{own.path}/gone")
    finally:
        own.remove()
    assert not own.path.exists() and os.environ.get("GRADIO_TEMP_DIR") == before
