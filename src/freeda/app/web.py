"""The application: the API, the page and its files, and how errors are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from .. import __version__
from ..errors import FreedaError, MachineError, printable
from .api import routes
from .exporting import Exporter
from .studio import Studio

ASSETS = Path(__file__).parent / "assets"


def build(studio: Studio, exporter: Exporter) -> FastAPI:
    """The application, not yet served and not guarded."""
    app: FastAPI = FastAPIOffline(
        title="freeda",
        version=__version__,
        description="Label by words, correct, teach and export. Errors: {detail: one line}.",
    )
    app.state.studio, app.state.exporter = studio, exporter
    app.include_router(routes)
    app.mount("/static", StaticFiles(directory=ASSETS), name="static")
    app.add_api_route("/", _page, include_in_schema=False)

    async def told(_: Request, error: Any) -> JSONResponse:
        status = 503 if isinstance(error, MachineError) else getattr(error, "status", 400)
        return JSONResponse({"detail": studio.without_places(str(error))}, status)

    app.add_exception_handler(FreedaError, told)
    app.add_exception_handler(RequestValidationError, _malformed)
    return app


async def _page() -> HTMLResponse:
    return HTMLResponse((ASSETS / "index.html").read_text("utf-8"))


async def _malformed(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    said = first["msg"].removeprefix("Value error, ")
    return JSONResponse({"detail": printable(f"{where}: {said}" if where else said)[:300]}, 400)
