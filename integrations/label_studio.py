"""A machine learning backend of Label Studio: `python integrations/label_studio.py --model miniature`.

Labels tasks by the words of their labelling config, smart clicks and boxes by the regions under them, and
learns from annotations. The requests are those of labelstud.io/guide/ml_create and /guide/webhook_reference.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from label_studio_format import Config, Studio, let_in, part
from label_studio_masks import from_value, to_values, under
from PIL import Image
from typer import Option, Typer

import freeda
from freeda.cli.base import OneLineErrors
from freeda.cli.options import BankOrOwn, Model
from freeda.errors import InputError, one_line
from freeda.lock import only_writer


def create_app(model: Any, studio: Studio, others: str | None = None, login: str = "") -> FastAPI:
    """The backend of a model with lessons (`FreeDA.with_taught`).

    `others`: what to call all that is none of a config's labels, and is left out; None: every pixel gets one.
    `login`: "name:password", which every request must bring (HTTP Basic); "" asks for none.
    """
    busy = Lock()
    lessons: dict[int, list[Any]] = {}  # of each annotation, by its id

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(let_in(login))])

    @app.exception_handler(freeda.FreedaError)
    @app.exception_handler(RequestValidationError)
    def refuse(request: Any, error: Exception) -> JSONResponse:
        unread = isinstance(error, RequestValidationError)
        told = "expected a JSON object" if unread else str(error)
        return JSONResponse({"detail": told}, 400 if unread or isinstance(error, ValueError) else 500)

    @lru_cache(maxsize=8)
    def encoded(picture: bytes) -> Any:
        decoded = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # by Pillow itself, not by another program
        return model.encode(Image.open(BytesIO(picture), formats=decoded))

    def scene(task: Any, config: Config) -> Any:
        url = part(task, str, "data", config.key)
        try:
            return encoded(studio.picture(url))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{url}: {one_line(error)}") from error

    def version() -> str:
        return f"freeda {freeda.__version__}, {model.preset.name}, {model.taught.version}"

    @app.get("/health")
    @app.post("/setup")
    def state() -> dict[str, str]:
        return {"status": "UP", "model_class": "FreeDA", "model_version": version()}

    @app.post("/predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        config, results = Config.read(part(body, str, "label_config")), []
        marks = part(body, (list, type(None)), "params", "context", "result")
        with busy:
            for task in part(body, list, "tasks"):
                here, score = scene(task, config), 1.0
                if marks:
                    found = [(config.words(marks[-1])[0], under(marks, here))]
                else:
                    known = model.vocabulary({word: [] for word in config.labels}, others=others)
                    result = model.segment(here, known)
                    found = [(word, result.labels == i) for i, word in enumerate(config.labels)]
                    score = 1 - result.uncertainty
                shown = [
                    config.region(word, value, here.size)
                    for word, mask in found
                    for value in to_values(mask, config.kind)
                ]
                results.append({"result": shown, "score": score, "model_version": version()})
        return {"results": results}

    @app.post("/webhook", status_code=201)
    def webhook(body: dict[str, Any]) -> Any:
        action = part(body, str, "action")
        if action not in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"):
            return JSONResponse({"status": "Unknown event"}, 200)
        gone = action == "ANNOTATIONS_DELETED"
        changed = part(body, list, "annotations") if gone else [part(body, dict, "annotation")]
        with busy:
            new = [] if gone or changed[0].get("was_cancelled") else learn(body, changed[0])
            for one in changed:
                for lesson in lessons.pop(part(one, int, "id"), []):
                    model.taught.undo(lesson.id)
            if new:
                lessons[changed[0]["id"]] = new
        return {"status": "ok", "lessons": len(new)}

    def learn(body: dict[str, Any], annotation: dict[str, Any]) -> list[Any]:
        config = Config.read(part(body, str, "project", "label_config"))
        task = body.get("task") or studio.record(f"/api/tasks/{part(annotation, int, 'task')}/")
        here = scene(task, config)
        drawn = [(from_value(one, config.kind, here.size), word) for one, word in config.drawn(annotation)]
        return [model.teach(here, mask, word) for mask, word in drawn if mask.any()]

    return app


command = Typer(cls=OneLineErrors, add_completion=False, invoke_without_command=True)


@command.callback()
def main(
    model: Model = "miniature",
    bank: BankOrOwn = None,
    host: Annotated[str, Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Port to listen at.")] = 9090,
    studio: Annotated[str, Option(help="Label Studio.", envvar="LABEL_STUDIO_URL")] = "http://localhost:8080",
    files: Annotated[Path | None, Option(help="Folder of Label Studio's local files.")] = None,
    taught: Annotated[Path | None, Option(help="File that keeps the lessons.")] = None,
    others: Annotated[str | None, Option(help="What to call, and leave out, the rest.")] = None,
) -> None:
    """Label Studio's machine learning backend; LABEL_STUDIO_API_KEY has its token (docs/integrations.md)."""
    login = [os.environ.get(name, "") for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS")]
    if host not in ("127.0.0.1", "localhost", "::1") and not all(login):
        raise InputError(f"--host {host} lets others in: set BASIC_AUTH_USER and BASIC_AUTH_PASS")
    place = Studio(studio.rstrip("/"), os.environ.get("LABEL_STUDIO_API_KEY", ""), files)
    with nullcontext() if taught is None else only_writer(taught.absolute().parent, "folder of lessons"):
        loaded = freeda.load(model, bank, taught=taught)
        app = create_app(loaded, place, others, ":".join(login) if all(login) else "")
        uvicorn.run(app, host=host, port=port)


if __name__ == "__main__":
    command()
