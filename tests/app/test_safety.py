"""The running studio: who may ask, no file but its own, bounds, plain answers to bad requests."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image

from freeda.app.limits import HOST, Limits
from freeda.app.photographs import samples
from freeda.app.server import serve
from freeda.errors import InputError

from .conftest import PATIENCE, Visitor, running, to_png


@pytest.fixture(scope="module")
def served(model: Any) -> Iterator[Any]:
    found = serve(model, port=None, limits=Limits(requests_per_minute=10_000))
    yield found
    found.close()
    assert not found.studio.place.exists()


def ask(
    served: Any, path: str, method: str = "GET", body: bytes = b"", **told: str
) -> tuple[int, bytes, Any]:
    """A raw request: nothing tidies the path on the way. `told` are headers, with _ for -."""
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    headers = {name.replace("_", "-"): value for name, value in told.items()}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_listens_on_this_machine_only(served: Any) -> None:
    assert urlsplit(served.url).hostname == HOST == "127.0.0.1" and served.token is None
    status, page, headers = ask(served, "/")
    assert status == 200 and b"freeda" in page
    assert "default-src 'self'; img-src 'self' data: blob:" in headers["content-security-policy"]
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_only_under_this_machines_name(served: Any) -> None:
    for host in ("127.0.0.1:7860", "localhost", "localhost:1", "[::1]:7860"):
        assert ask(served, "/", host=host)[0] == 200, host
    for host in ("evil.example:7860", "10.0.0.1", "localhost.evil.example", "127.0.0.1.nip.io", "[", "::1"):
        assert ask(served, "/", host=host)[0] == 400, host  # a name that was made to mean 127.0.0.1


def test_other_sites_may_show_a_link_and_no_more(served: Any) -> None:
    here = f"http://{urlsplit(served.url).netloc}"
    for told in (
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": here},
        {"sec_fetch_site": "same-origin", "origin": "https://behind.a.proxy"},
        {},
    ):
        assert ask(served, "/api/workspaces", "POST", **told)[0] == 200, told
    for told in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},  # another port of this machine
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site", "origin": here},
    ):
        for method in ("GET", "POST", "OPTIONS"):
            status, said, _ = ask(served, "/api/info", method, **told)
            assert status == 403 and json.loads(said)["detail"].startswith("another site"), told
        assert ask(served, "/", **told)[0] == 200


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../etc/passwd", str(Path(__file__).resolve())])
def test_no_file_is_served(served: Any, name: str) -> None:
    for path in (name, quote(name, safe=""), quote(name)):
        for place in ("/", "/static/", "/static/../", "/api/samples/", "/static-offline-docs/"):
            status, body, _ = ask(served, place + path)
            assert status in (400, 404) and b"root:" not in body and b"def test" not in body, (place, path)


def test_the_api_is_told_of_without_a_network(served: Any) -> None:
    status, page, _ = ask(served, "/docs")
    assert status == 200 and b"//cdn" not in page and b"https://" not in page
    assert "/api/segment" in json.loads(ask(served, "/openapi.json")[1])["paths"]
    for path in [part.split(b'"')[0].decode() for part in page.split(b'src="')[1:]]:
        assert ask(served, path)[0] == 200


def test_who_says_nothing_is_left(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    page = serve(model, port=None, limits=Limits(silent_seconds=1))
    try:
        place = urlsplit(page.url)
        said = (b"", b"GET / HT", b"GET /api/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        callers = [socket.create_connection((place.hostname, place.port), timeout=20) for _ in said]
        start = time.monotonic()
        for caller, first in zip(callers, said, strict=True):
            caller.sendall(first)
        assert b"200 OK" in callers[2].recv(99)
        with suppress(OSError):
            while time.monotonic() - start < 20:  # a letter now and then is no request either
                time.sleep(0.3)
                callers[1].sendall(b"T")
        for caller in callers:
            with suppress(OSError):
                while caller.recv(9999):
                    pass
        assert time.monotonic() - start < 15
    finally:
        page.close()


def test_a_token_lets_in(model: Any) -> None:
    page = serve(model, port=None, token="0123456789")
    try:
        for path in ("/", "/api/info", "/static/index.html", "/docs", "/?token=0123456780", "/?token=%ff"):
            status, said, _ = ask(page, path)
            assert status == 401 and b"Bearer" in said, path
        assert ask(page, "/api/info", authorization="Bearer 0123456789")[0] == 200
        assert ask(page, "/api/info", authorization="Bearer 012345678")[0] == 401
        assert ask(page, "/api/info?token=0123456789")[0] == 401  # no address that could be passed on
        status, _, headers = ask(page, "/?token=0123456789")
        cookie = headers["set-cookie"]
        assert status == 200 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert ask(page, "/api/info", cookie=f"a=b; {cookie.split(';')[0]}")[0] == 200
        assert ask(page, "/api/info", cookie="freeda_token=x")[0] == 401
    finally:
        page.close()
    wide = serve(model, "0.0.0.0", None)
    try:
        assert wide.token is not None and len(wide.token) == 32
        port = urlsplit(wide.url).port
        wide.url = f"http://127.0.0.1:{port}/"
        assert ask(wide, "/")[0] == 401
        assert ask(wide, "/", host="a.name", authorization=f"Bearer {wide.token}")[0] == 200
    finally:
        wide.close()
    with pytest.raises(InputError, match="8 letters and digits"):
        serve(model, port=None, token="x; Path=/")


def test_sizes(model: Any) -> None:
    limits = Limits(upload_megabytes=1, request_megabytes=2, seconds=3, requests_per_minute=10_000)
    page = serve(model, port=None, limits=limits)
    try:
        workspace = json.loads(ask(page, "/api/workspaces", "POST")[1])["id"]
        path = f"/api/workspaces/{workspace}/pictures"
        form = {"content_type": "multipart/form-data; boundary=x"}
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for size, says in ((1_500_000, b"larger than 1 MB"), (3_000_000, b"too large: at most 2,100,000")):
            status, said, _ = ask(page, path, "POST", head + b"0" * size + b"\r\n--x--\r\n", **form)
            assert status == 413 and says in said
        status, said, _ = ask(page, "/api/draw", "POST", b"0" * 9_000_000, content_type="application/json")
        assert status == 413
        place = urlsplit(page.url)
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as caller:
            # Told less than is sent, in chunks.
            caller.sendall(
                b"POST /api/draw HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            with suppress(OSError):
                for _ in range(90):
                    caller.sendall(b"186a0\r\n" + b"0" * 100_000 + b"\r\n")
            with suppress(OSError):
                assert b"413" in caller.recv(99)
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as caller:
            caller.sendall(b"POST /api/draw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
            assert b"408" in caller.recv(99)  # who never finishes
    finally:
        page.close()


def test_rates(model: Any) -> None:
    page = serve(model, port=None, limits=Limits(requests_per_minute=5, uploads_per_minute=2))
    try:
        form = {"content_type": "multipart/form-data; boundary=x"}
        assert [ask(page, "/api/segment", "POST", b"x", **form)[0] for _ in range(3)] == [400, 400, 429]
        assert [ask(page, "/api/info")[0] for _ in range(3)] == [200, 200, 429]
        assert ask(page, "/static/index.html")[0] == 200  # the page's own files cost nothing
    finally:
        page.close()


def test_photographs_that_are_too_large(model: Any, tmp_path: Path) -> None:
    with running(model, Limits(megapixels=1, pictures=3)) as found:
        visitor = Visitor(*found)
        Image.new("1", (1200, 1000)).save(tmp_path / "large.png")
        told = visitor.send((tmp_path / "large.png").read_bytes(), name="large.png", status=413)
        assert told == {"detail": "large.png has 1.2 megapixels: at most 1"}
        Image.new("1", (30_000, 30_000)).save(tmp_path / "large.png")  # 110 kB that would be 2.7 GB
        told = visitor.send((tmp_path / "large.png").read_bytes(), name="large.png", status=413)
        assert told == {"detail": "large.png has far too many megapixels: at most 1"}
        for data in (b"no picture", b"", b"<svg/>"):
            told = visitor.send(data, name="text.png", status=400)
            assert "text.png" in told["detail"] and str(visitor.studio.place) not in told["detail"]
        small = to_png(samples()[0].image)
        assert "not an image" in visitor.send(small, b"no picture", status=400)["detail"]
        assert visitor.state()["pictures"] == [] and not list((visitor.studio.place / visitor.id).iterdir())
        visitor.send(small, small)
        assert "at most 3 pictures" in visitor.send(small, small, status=413)["detail"]
        assert len(list((visitor.studio.place / visitor.id).iterdir())) == 2


def test_a_photograph_of_24_megapixels_is_taken(model: Any) -> None:
    with running(model) as found:
        visitor = Visitor(*found)
        out = io.BytesIO()
        Image.fromarray(samples()[0].image).resize((6000, 4000)).save(out, "JPEG")
        visitor.send(out.getvalue(), name="photo.jpg")
        row = visitor.state()["pictures"][0]
        assert (row["width"], row["height"]) == (6000, 4000)
        data = visitor.ask("GET", f"{visitor.at}/pictures/{row['id']}/image?side=1000")
        assert Image.open(io.BytesIO(data)).size == (1000, 667)


def test_workspaces_do_not_meet_and_the_oldest_goes(model: Any) -> None:
    with running(model, Limits(workspaces=2)) as found:
        first, second = Visitor(*found, sample=0), Visitor(*found, sample=1)
        picture = first.first()
        second.ask("GET", f"{second.at}/pictures/{picture}/labels", status=404)
        second.state()
        first.state()  # used last
        Visitor(*found)
        assert "open the photographs again" in second.ask("GET", second.at, status=404)["detail"]
        assert first.state()["pictures"][0]["id"] == picture
        assert not (second.studio.place / second.id).exists()


def test_too_much_in_all(model: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 450, 3), dtype="uint8")
    with running(model, Limits(folder_megabytes=1)) as found:
        first, second = Visitor(*found), Visitor(*found)
        first.send(noise)
        second.send(noise)  # the older workspace made room
        first.ask("GET", first.at, status=404)
        assert "at most 1 MB" in second.send(noise, status=413)["detail"]
        assert len(second.state()["pictures"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/workspaces", b"[" * 100_000),
        ("POST", "/api/workspaces", b'{"sample": -1}'),
        ("POST", "/api/draw", b"{}"),
        ("POST", "/api/draw", b'{"caption": "of the and"}'),
        ("POST", "/api/draw", b'{"caption": "a house", "threshold": 2}'),
        ("GET", "/api/bank?word=%00", b""),
        ("GET", "/api/bank", b""),
        ("POST", "/api/segment", b"x"),
        ("GET", "/api/workspaces/x?after=y", b""),
    ],
)
def test_bad_requests_get_one_line(served: Any, method: str, path: str, body: bytes) -> None:
    status, said, _ = ask(served, path, method, body, content_type="application/json")
    detail = json.loads(said)["detail"]
    assert (
        status in (400, 404) and isinstance(detail, str) and "\n" not in detail and "Traceback" not in detail
    )
