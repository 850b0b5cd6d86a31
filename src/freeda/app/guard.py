"""What stands before Gradio: only its page's own addresses, asked by its page, so often and so large."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from .limits import Limits, Rate

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_STILL = ("/static/", "/assets/", "/svelte/")
"""Files of Gradio's own page, a hundred of them at a time: not counted."""
_PLACES = (
    *_STILL,
    *("/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"),
    *("/config", "/pwa_icon", "/gradio_api/info", "/gradio_api/config", "/gradio_api/app_id"),
    *("/gradio_api/file=/", "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/queue/"),
    *("/gradio_api/call/", "/gradio_api/run/", "/gradio_api/heartbeat/", "/gradio_api/startup-events"),
    *("/gradio_api/cancel", "/gradio_api/reset"),
)
_UPLOAD = "/gradio_api/upload"
_BODY = 1_000_000
"""Bytes that any other request may have."""
_CALLS = ("/gradio_api/call/", "/gradio_api/run/", "/gradio_api/queue/join")
# The page's own scripts and styles are inline; everything else must come from this server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware. Answers 400, 403, 404, 408, 413 and 429 by itself; everything else goes on to Gradio.

    `local` says that the page is for this machine only: then it is never served under another one's name,
    behind which a web site may hide (DNS rebinding). No other site may ask for anything but the page itself.
    `functions` are those that may be called, by number and by name, each with how many values it takes:
    Gradio fails on any other.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        local: bool = True,
        clock: Callable[[], float] = time.monotonic,
        functions: Mapping[Any, int] | None = None,
    ) -> None:
        self._app, self._limits, self._local, self._functions = app, limits, local, functions
        self._all = Rate(limits.requests_per_minute, clock)
        self._uploads = Rate(limits.uploads_per_minute, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets here
        try:
            most = self._admitted(scope)
            if most == _BODY:
                receive = await self._checked(scope, receive)
            await self._app(scope, _counted(receive, most, self._limits.seconds), _headed(send))
        except _Refused as refusal:
            answer = PlainTextResponse(str(refusal), refusal.status)
            await answer(scope, receive, _headed(send))
        except RuntimeError as error:
            if not isinstance(error.__cause__, HTTPException):
                raise
            # A stream of events of nobody's: its answer, which had begun, has told so.
            await send({"type": "http.response.body", "body": b""})

    def _admitted(self, scope: Scope) -> int:
        """The most bytes that a request may have. Refuses it by what stands in its head."""
        path, who = scope["path"], (scope.get("client") or ("", 0))[0]
        if path != "/" and not path.startswith(_PLACES):
            raise _Refused(404, "not found")
        headers = dict(scope["headers"])
        if self._local and not _is_local(headers.get(b"host", b"")):
            raise _Refused(403, "this page is for its own machine: ask for it at 127.0.0.1 or localhost")
        if path != "/" and _from_another_site(headers):
            raise _Refused(403, "another site's page may not use this one")
        upload = path == _UPLOAD and scope["method"] == "POST"
        granted = path.startswith(_STILL) or self._all.allows(who)
        if not granted or (upload and not self._uploads.allows(who)):
            raise _Refused(429, "too many requests: wait a minute")
        most = self._limits.upload_megabytes * 1_000_000 + 10_000 if upload else _BODY
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise _Refused(413, f"too large: at most {most:,} bytes")
        return most

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """The same request, read and found to name no file of Gradio's own kind, and only what may be called.

        In such a file Gradio takes an address for a path and fetches it. The page never sends any.
        """
        counted, body = _counted(receive, _BODY, self._limits.seconds), b""
        messages: list[MutableMapping[str, Any]] = []
        while not messages or messages[-1].get("more_body", False):
            messages.append(await counted())
            body += messages[-1].get("body", b"")
        value = None
        if body.lstrip()[:1] in (b"{", b"["):
            try:
                value = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise _Refused(400, "this is no JSON") from error
            if _names_files(value):
                raise _Refused(400, "photographs go to /gradio_api/upload, and their paths are sent as text")
        if scope["method"] == "POST" and self._functions is not None:
            _check_call(scope["path"], value if isinstance(value, dict) else {}, self._functions)

        async def again() -> MutableMapping[str, Any]:
            return messages.pop(0) if messages else await receive()

        return again


def _check_call(path: str, body: Mapping[str, Any], functions: Mapping[Any, int]) -> None:
    """Refuse a call of a function that is not there, or with more or fewer values than it takes."""
    call = next((c for c in _CALLS if path.startswith(c)), None)
    if call is None:
        return
    index = None if call == _CALLS[0] else body.get("fn_index")
    name = path.removeprefix(call).strip("/") if index is None else index
    takes = functions.get(name) if isinstance(name, (str, int, float)) else None
    if takes is None:
        raise _Refused(404, "no such function")
    given = body.get("data")
    if isinstance(given, list) and len(given) != takes:
        raise _Refused(400, f"this function takes {takes} values, not {len(given)}")


def _is_local(host: bytes) -> bool:
    """Whether a Host header names this machine by a loopback address, or as localhost."""
    try:
        name = urlsplit("//" + host.decode("latin-1")).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _from_another_site(headers: MutableMapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page sent this; programs say nothing of the kind."""
    told = headers.get(b"sec-fetch-site")
    if told is not None:
        return told not in (b"same-origin", b"none")
    origin = headers.get(b"origin")  # browsers say no more than this over plain http
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


def _names_files(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict) and "meta" in one:
            return True
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return False


def _counted(receive: Receive, most: int, seconds: float) -> Receive:
    """The same request, refused once more than `most` bytes or `seconds` went into sending it."""
    seen, over, end = 0, False, time.monotonic() + seconds

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen, over
        if over:  # only the end of the connection is still to come, which may take as long as the answer
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), end - time.monotonic())
        except TimeoutError as error:
            raise _Refused(408, "this request took too long to arrive") from error
        over = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > most:  # it said less than it sends
            raise _Refused(413, f"too large: at most {most:,} bytes")
        return message

    return counted


def _headed(send: Send) -> Send:
    async def headed(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return headed


class _Refused(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
