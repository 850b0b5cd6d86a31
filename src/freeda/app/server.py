"""Serving the page: on this machine only unless told, from its own folder only, with nothing from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, extra
from ..model import FreeDA
from ..presets import Preset
from .engine import Engine
from .files import OwnFolder
from .limits import HOST, PORT, Limits

if TYPE_CHECKING:
    import gradio as gr

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class Served:
    """A running page."""

    url: str
    public: str | None
    """Its address on the internet, where `share` asked for one."""
    engine: Engine
    blocks: gr.Blocks
    folder: OwnFolder

    def wait(self) -> None:
        """Until Ctrl-C."""
        self.blocks.block_thread()

    def close(self) -> None:
        """Stop serving; whatever visitors sent is removed."""
        with suppress(Exception):  # it may be half closed already
            self.blocks.close(verbose=False)
        self.folder.remove()


def refuse_no_bank(preset: Preset, bank: Any) -> None:
    """Raise InputError where there is no bank: the page draws none; and for a preset that needs none."""
    if preset.detector is not None:
        raise InputError(f"the page does not take preset '{preset.name}': use freeda segment")
    if bank is None:
        raise InputError(f"preset '{preset.name}' has no bank of its own: give one (--bank DIR)")


def serve(
    model: FreeDA,
    host: str = HOST,
    port: int | None = PORT,
    share: bool = False,
    limits: Limits | None = None,
) -> Served:
    """Serve the page in the background; `close` it, or `wait`.

    Args:
        host: the address to listen at; anything but the loopback lets others in.
        port: 1 to 65535; None takes a free one.
        share: also ask Gradio's tunnel for a public address: everyone who knows it is let in.

    Raises InputError where Gradio is not installed, for a model without a bank, and where the address cannot
    be had.
    """
    refuse_no_bank(model.preset, model.bank)
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"port is {port}: it must lie between 1 and 65535")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    limits = limits or Limits()
    folder = OwnFolder(limits)
    try:
        with _directly(host, False):
            from starlette.middleware import Middleware

            from .guard import Guard
            from .page import asset, build, theme
    except ImportError as error:
        folder.remove()
        raise InputError(f"the web page needs Gradio 6: {extra('app')} ({error.name} is missing)") from error
    engine = Engine(model, limits)
    blocks = build(engine, folder)
    local = host in LOOPBACK and not share
    called = [fn for fn in blocks.fns.values() if fn.fn is not None]  # others are the browser's own
    takes = {key: len(fn.inputs) for fn in called for key in (fn._id, fn.api_name)}
    guard = Middleware(Guard, limits=limits, local=local, functions=takes)
    settings: dict[str, Any] = {
        "server_name": host,
        "server_port": port,
        "share": share,
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "allowed_paths": [],
        "blocked_paths": [],
        "max_file_size": limits.upload_megabytes * 1_000_000,
        "max_threads": 8,
        "state_session_capacity": 1000,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "theme": theme(),
        "css": asset("page.css"),
        "app_kwargs": {"middleware": [guard], "docs_url": None},
    }
    try:
        with _directly(host, share):
            _, url, public = blocks.launch(**settings)
    except (OSError, ImportError) as error:  # ImportError: a kind of proxy that needs a library
        folder.remove()
        raise InputError(f"{host}:{port or 'any port'}: the page cannot be served there ({error})") from error
    config = blocks.server.config
    config.http_protocol_class = _patient(config.http_protocol_class, limits.silent_seconds)
    return Served(url, public, engine, blocks, folder)


@contextmanager
def _directly(host: str, share: bool) -> Iterator[None]:
    """Have Gradio ask no proxy for the page itself, which it asks for at first; with `share` only that."""
    before = os.environ.get("no_proxy")
    own = ",".join([before or os.environ.get("NO_PROXY", ""), *LOOPBACK, host])
    os.environ["no_proxy"] = own if share else "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


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
