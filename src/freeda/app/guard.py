"""What stands before the studio: who may ask, from where, so often and so large."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import warnings
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from limits import RateLimitItemPerMinute
from slowapi import Limiter
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from .limits import Limits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY = 8_000_000
"""Bytes that a request without photographs may have: a mask, at most."""
_STILL = ("/static/", "/static-offline-docs/")
_COOKIE = "freeda_token"
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)
# The page that tells of the API has its few lines inline.
_DOCS_POLICY = f"{_POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """ASGI middleware. Answers 401, 403, 408, 413 and 429 by itself; everything else goes on.

    No other site may ask for anything but the page itself. With a `token` nobody may who does not bring it:
    as `Authorization: Bearer TOKEN`, or as a cookie, which /?token=TOKEN sets.
    """

    def __init__(self, app: Any, limits: Limits, token: str | None = None) -> None:
        self._app, self._limits, self._token = app, limits, token
        with warnings.catch_warnings():  # of the file of settings, which we have none of
            warnings.simplefilter("ignore")
            limiter = Limiter(lambda: "", config_filename=os.devnull, strategy="moving-window")
        self._allows = limiter.limiter.hit
        self._all = RateLimitItemPerMinute(limits.requests_per_minute)
        self._uploads = RateLimitItemPerMinute(limits.uploads_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets here
        try:
            most, cookie = self._admitted(scope)
        except HTTPException as refusal:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code)
            await answer(scope, receive, _headed(send, scope["path"]))
            return
        more = [] if cookie is None else [(b"set-cookie", cookie)]
        counted = _counted(receive, most, self._limits.seconds)
        await self._app(scope, counted, _headed(send, scope["path"], more))

    def _admitted(self, scope: Scope) -> tuple[int, bytes | None]:
        """The most bytes that a request may have, and the cookie that its answer sets."""
        path, who = scope["path"], (scope.get("client") or ("", 0))[0]
        headers = dict(scope["headers"])
        if path != "/" and _from_another_site(headers):
            raise HTTPException(403, "another site's page may not use this one")
        if not path.startswith(_STILL) and not self._allows(self._all, "all", who):
            raise HTTPException(429, "too many requests: wait a minute")
        cookie = self._known(scope, headers)
        upload = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        if upload and not self._allows(self._uploads, "uploads", who):
            raise HTTPException(429, "too many photographs: wait a minute")
        most = self._limits.request_megabytes * 1_000_000 + 100_000 if upload else _BODY
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise HTTPException(413, f"too large: at most {most:,} bytes")
        return most, cookie

    def _known(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> bytes | None:
        """Refuse whoever does not bring the token; the cookie of who brings it in the address."""
        if self._token is None:
            return None
        bearer = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if bearer[0].lower() == "bearer" and self._same(bearer[2].strip()):
            return None
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            cookies = SimpleCookie()
        if _COOKIE in cookies and self._same(cookies[_COOKIE].value):
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._same(given):
            return f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict".encode()
        raise HTTPException(
            401, "this studio needs its token: open /?token=TOKEN, or send Authorization: Bearer TOKEN"
        )

    def _same(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), (self._token or "").encode())


def _from_another_site(headers: MutableMapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page sent this; programs say nothing of the kind."""
    told = headers.get(b"sec-fetch-site")
    if told is not None:
        return told not in (b"same-origin", b"none")
    origin = headers.get(b"origin")  # browsers say no more than this over plain http
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


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
            raise HTTPException(408, "this request took too long to arrive") from error
        over = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > most:  # it said less than it sends
            raise HTTPException(413, f"too large: at most {most:,} bytes")
        return message

    return counted


def _headed(send: Send, path: str, more: Sequence[tuple[bytes, bytes]] = ()) -> Send:
    policy = _DOCS_POLICY if path in ("/docs", "/redoc") else _POLICY

    async def headed(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = b"no-store" if path.startswith("/api/") else b"no-cache"
            own = [(b"content-security-policy", policy.encode()), (b"cache-control", kept), *_HEADERS, *more]
            message["headers"] = [*message.get("headers", []), *own]
        await send(message)

    return headed
