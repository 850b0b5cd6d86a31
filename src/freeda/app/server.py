"""Serving the studio: on this machine only unless told, with nothing from outside."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, extra
from ..files import make_folder
from ..lock import only_writer
from ..model import FreeDA
from ..presets import Preset
from ..sources import find_images
from .limits import HOST, PORT, Limits

_BEGIN = 60.0
"""Seconds that a server may take to begin."""
_END = 10.0
"""Seconds that the models have, when it ends, for what they are at."""


@dataclass
class Served:
    """A running studio."""

    url: str
    token: str | None
    """What visitors have to bring, unless the studio is for this machine only."""
    studio: Any
    _server: Any
    _thread: threading.Thread
    _stack: ExitStack

    def wait(self) -> None:
        """Until Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        """Stop serving; whatever visitors sent is removed, a folder's state stays."""
        self.studio.turns.end(_END)
        self._server.should_exit = True
        self._thread.join(10.0)
        self._server.force_exit = True
        self._stack.close()


def refuse_detectors(preset: Preset) -> None:
    """Raise InputError for a preset whose regions and scores are planes of a detector."""
    if preset.detector is not None:
        raise InputError(f"the page does not take preset '{preset.name}': use freeda segment")


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, out of reach for all others."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    model: FreeDA,
    host: str = HOST,
    port: int | None = PORT,
    limits: Limits | None = None,
    folder: str | Path | None = None,
    words: str | None = None,
    token: str | None = None,
) -> Served:
    """Serve the studio in the background; `close` it, or `wait`.

    Args:
        host: the address to listen at; anything but the loopback lets others in, who then need the token.
        port: 1 to 65535; None takes a free one.
        folder: photographs that all visitors work on together; what they do is kept in FOLDER/.freeda/.
        words: what to look for in them; None: as before.
        token: what visitors have to bring; None: made where `host` lets others in, else not needed.

    Raises InputError where FastAPI is not installed, for a folder that another server has or that cannot be
    used, and where the address cannot be had.
    """
    refuse_detectors(model.preset)
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"port is {port}: it must lie between 1 and 65535")
    if token is not None and not (len(token) >= 8 and token.isascii() and token.isalnum()):
        raise InputError("a token is 8 letters and digits or more")
    try:
        import uvicorn
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from uvicorn.protocols.http.h11_impl import H11Protocol

        from .background import Background
        from .exporting import Exporter
        from .guard import Guard
        from .studio import Studio
        from .web import build
    except ImportError as error:
        raise InputError(f"the web page needs FastAPI: {extra('app')} ({error.name} is missing)") from error
    limits, local = limits or Limits(), is_loopback(host)
    if not local and token is None:
        token = secrets.token_hex(16)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(host, port))
        studio = Studio(model, limits)
        stack.callback(studio.close)
        if folder is not None:
            place = photographs(folder)
            stack.enter_context(only_writer(make_folder(place / ".freeda"), "folder's labels", InputError))
            studio.open_folder(place, words)
        exporter = Exporter(studio)
        stack.callback(exporter.close)
        app: Any = Guard(build(studio, exporter), limits, token)  # before threads: it silences warnings
        stack.callback(Background(studio).close)
        if local:
            app = TrustedHostMiddleware(app, ["127.0.0.1", "localhost", "::1", "[::1]", host])
        config = uvicorn.Config(
            app,
            http=_patient(H11Protocol, limits.silent_seconds),
            ws="none",
            log_level="warning",
            server_header=False,
            timeout_keep_alive=limits.silent_seconds,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="freeda-server", daemon=True)
        thread.start()
        end = time.monotonic() + _BEGIN
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        if not server.started:
            raise InputError(f"{host}:{port or 'any port'}: the page cannot be served there")
        named = f"[{host}]" if ":" in host else host
        url = f"http://{named}:{listening.getsockname()[1]}/"
        return Served(url, token, studio, server, thread, stack.pop_all())
    raise AssertionError("not reached")


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket at that address. Raises InputError where it cannot be had."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(128)
            return listening
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise InputError(f"{host}:{port or 'any port'}: the page cannot be served there ({error})") from error


def photographs(folder: str | Path) -> Path:
    """A folder that can be shared. Raises InputError for what is none, and for one without photographs."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    find_images(path)
    return path


def _patient(protocol: Any, seconds: float) -> Any:
    """A server's protocol that hangs up on who sends no whole head of a request for so long.

    Uvicorn itself waits for ever for a first request, and for one that has begun.
    """

    class Patient(protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def _wait(self) -> None:
            self.loop.call_later(seconds, self._hang_up, self.cycle)

        def _hang_up(self, last: Any) -> None:
            if self.cycle is last:  # no other request since
                self.transport.close()

    return Patient
