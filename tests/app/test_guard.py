"""What stands before Gradio, by itself: addresses, sizes, rates."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from freeda.app.guard import Guard
from freeda.app.limits import Limits, Rate


async def reached(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads all that comes and says how much it was."""
    seen, more = 0, True
    while more:
        message = await receive()
        seen += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(seen).encode()})


def ask(
    guard: Guard,
    path: str,
    method: str = "GET",
    parts: tuple[bytes, ...] = (b"",),
    said: int | None = None,
    **told: str,
) -> tuple[int, bytes, dict[bytes, bytes]]:
    """`told` are more headers, with _ for -."""
    sent: list[Any] = []
    waiting = list(parts)

    async def receive() -> Any:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    told = {"host": "127.0.0.1:7860", **told}
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()]
    headers += [] if said is None else [(b"content-length", str(said).encode())]
    scope = {"type": "http", "path": path, "method": method, "headers": headers, "client": ("1.2.3.4", 5)}
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])


def test_only_the_pages_own_addresses() -> None:
    guard = Guard(reached, Limits())
    for path in ("/", "/config", "/assets/index.js", "/gradio_api/queue/join", "/gradio_api/file=/tmp/x"):
        assert ask(guard, path)[0] == 200, path
    for path in (
        *("/gradio_api/proxy=http://example.org/", "/gradio_api/file=http://example.org/", "/docs"),
        *("/gradio_api/component_server", "/login", "/monitoring", "/gradio_api/vibe-edit", "/dev/reload"),
        *("/gradio_api/process_recording", "/gradio_api/file/etc/passwd", "/../etc/passwd", "//example.org"),
    ):
        assert ask(guard, path)[0] == 404, path


def test_only_under_this_machines_name() -> None:
    local, open_to_all = Guard(reached, Limits()), Guard(reached, Limits(), local=False)
    for host in ("127.0.0.1:7860", "localhost", "localhost:1", "127.0.0.2", "[::1]:7860"):
        assert ask(local, "/", host=host)[0] == 200, host
    for host in (
        "evil.example:7860",
        "10.0.0.1",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "[",
        "::1",
    ):
        assert ask(local, "/", host=host)[0] == 403, host  # a name that was made to mean 127.0.0.1
        assert ask(open_to_all, "/", host=host)[0] == 200


@pytest.mark.parametrize("local", [True, False])
def test_other_sites_may_show_a_link_and_no_more(local: bool) -> None:
    guard, path = Guard(reached, Limits(), local), "/gradio_api/queue/join"
    for told in (
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": "http://127.0.0.1:7860"},
        {"sec_fetch_site": "same-origin", "origin": "https://behind.a.proxy"},
        {},
    ):
        assert ask(guard, path, "POST", **told)[0] == 200, told
    for told in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},  # another port of this machine
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:7861"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:7860"},
    ):
        for method in ("GET", "POST", "OPTIONS"):
            assert ask(guard, path, method, **told)[0] == 403, told
        assert ask(guard, "/", **told)[0] == 200


def test_a_visitor_who_never_finishes() -> None:
    async def slow() -> Any:
        await asyncio.sleep(1000)

    async def send(message: Any) -> None:
        sent.append(message)

    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        sent: list[Any] = []
        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "path": path, "method": "POST", "headers": headers, "client": ("1.2.3.4", 5)}
        asyncio.run(asyncio.wait_for(Guard(reached, Limits(seconds=1))(scope, slow, send), 100))
        assert sent[0]["status"] == 408


def test_an_answer_may_take_longer_than_its_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"  # as one waits while an answer is streamed
        await reached(scope, lambda: asyncio.sleep(0, {"type": "http.request"}), send)

    messages = [{"type": "http.request", "body": b"{}"}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.sleep(3.2)
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/",
        "method": "GET",
        "headers": [(b"host", b"localhost")],
        "client": None,
    }
    asyncio.run(Guard(app, Limits(seconds=3))(scope, receive, send))
    assert sent[0]["status"] == 200


def test_answers_say_what_a_browser_may_load() -> None:
    headers = ask(Guard(reached, Limits()), "/")[2]
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"frame-ancestors 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_sizes() -> None:
    guard = Guard(reached, Limits(upload_megabytes=1))
    body = b"x" * 600_000
    assert ask(guard, "/gradio_api/upload", "POST", (body,), len(body))[:2] == (200, b"600000")
    assert ask(guard, "/gradio_api/upload", "POST", (b"",), 2_000_000)[0] == 413
    # Told less than is sent, or nothing at all: counted as it comes.
    assert ask(guard, "/gradio_api/upload", "POST", (body, body), 10)[0] == 413
    assert ask(guard, "/gradio_api/queue/join", "POST", (body, body))[0] == 413
    assert ask(guard, "/gradio_api/queue/join", "POST", (b"",), 1_000_001)[0] == 413
    scope_said = Guard(reached, Limits())
    assert ask(scope_said, "/", said=-1)[0] == 413


def test_files_by_address_are_refused() -> None:
    guard, path = Guard(reached, Limits()), "/gradio_api/queue/join"
    assert ask(guard, path, "POST", (b'{"data": ["http://a/"', b', {"path": "x"}]}'))[:2] == (200, b"38")
    for body in (
        b'{"data": [{"path": "x", "meta": {"_type": "gradio.FileData"}}]}',
        b' {"a": [[{"b": {"m\\u0065ta": 1}}]]}',  # written otherwise, but the same
        b'{"data": ',
        b"[" * 100_000,
    ):
        assert ask(guard, path, "POST", (body[:5], body[5:]))[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("call/segment", {"data": [1, 2, 3]}, 200),
        ("call/segment/", {"data": "no list"}, 200),  # Gradio itself refuses what it does not understand
        ("run/predict", {"data": [1], "fn_index": 7}, 200),
        ("queue/join", {"data": [1], "fn_index": 7}, 200),
        ("call/segment", {"data": [1, 2]}, 400),
        ("run/predict", {"data": [], "fn_index": 7}, 400),
        ("call/nothing", {"data": [1], "fn_index": 7}, 404),
        ("call/v2/segment", {"data": [1, 2, 3]}, 404),
        ("run/nothing", {"data": []}, 404),
        ("run/nothing", [], 404),
        ("queue/join", {"data": [1], "fn_index": 8}, 404),
        ("queue/join", {"data": [1], "fn_index": [7]}, 404),
        ("queue/join", {"data": [1], "fn_index": "7"}, 404),
    ],
)
def test_only_functions_that_are_there(path: str, body: Any, status: int) -> None:
    guard = Guard(reached, Limits(), functions={"segment": 3, 7: 1})
    assert ask(guard, f"/gradio_api/{path}", "POST", (json.dumps(body).encode(),))[0] == status


def test_rates() -> None:
    guard = Guard(reached, Limits(requests_per_minute=5, uploads_per_minute=2), clock=lambda: 0.0)
    assert [ask(guard, "/gradio_api/upload", "POST")[0] for _ in range(3)] == [200, 200, 429]
    assert [ask(guard, "/")[0] for _ in range(3)] == [200, 200, 429]
    assert ask(guard, "/assets/index.js")[0] == 200  # the page's own files cost nothing


@pytest.mark.parametrize("seed", range(20))
def test_rate_against_the_definition(seed: int) -> None:
    rng, now = np.random.default_rng(seed), [0.0]
    rate = Rate(4, clock=lambda: now[0])
    granted: dict[str, list[float]] = {"a": [], "b": []}
    for _ in range(300):
        now[0] += float(rng.integers(0, 15))
        who = "ab"[rng.integers(2)]
        lately = [t for t in granted[who] if t > now[0] - 60]
        assert rate.allows(who) == (len(lately) < 4)
        if len(lately) < 4:
            granted[who].append(now[0])
