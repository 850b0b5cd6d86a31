"""The JSON API: what is asked, of whom, and how errors are told. docs/app.md describes it with examples."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, File, Form, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from .. import __version__
from ..errors import InputError
from ..segment.upsample import enlarged
from ..show.export import png
from . import answers, correcting
from .correcting import Correction
from .exporting import KINDS, Exporter
from .limits import Refused
from .photographs import samples
from .state import Settings
from .studio import SHARED, Studio
from .workspace import Picture, Workspace, check_text, parsed

ASSETS = Path(__file__).parent / "assets"
_LONGEST_WAIT = 25.0
_LOOK = 0.02
"""Seconds between two looks whether a workspace has changed."""
_HEX = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
routes = APIRouter(prefix="/api")


async def _studio(request: Request) -> Studio:
    return request.app.state.studio


async def _exporter(request: Request) -> Exporter:
    return request.app.state.exporter


Here = Annotated[Studio, Depends(_studio)]
Exports = Annotated[Exporter, Depends(_exporter)]


async def _workspace(w: str, studio: Here) -> Workspace:
    return studio.workspace(w)


Ws = Annotated[Workspace, Depends(_workspace)]


async def _picture(p: str, ws: Ws) -> Picture:
    return ws.picture(p)


Pic = Annotated[Picture, Depends(_picture)]


class New(BaseModel):
    """A new workspace."""

    sample: int | None = Field(None, ge=0)
    """Which sample it opens with."""


class Words(BaseModel):
    """What to look for, and how."""

    words: str
    settings: Settings | None = None
    colours: dict[str, str] | None = None
    """#rrggbb by class; null leaves them as they are."""


class Accepted(BaseModel):
    """Whether a picture's labels are right as they are."""

    accepted: bool
    version: int | None = None
    """The version that was seen: another one by now is told instead of accepted."""


class Place(BaseModel):
    """A pixel of the photograph."""

    x: int
    y: int
    pictures: bool = False
    """Whether references that kept no picture are drawn again, which takes seconds."""


class Export(BaseModel):
    """What to write."""

    kind: str
    accepted_only: bool = False
    picture: str | None = None


class Caption(BaseModel):
    """What to draw."""

    caption: str
    seed: int = Field(0, ge=0, lt=2**31)
    threshold: float | None = Field(None, ge=0.05, le=0.95)


@routes.get("/info")
def info(studio: Here) -> Any:
    """What this studio is, grants and can write."""
    preset, bank = studio.model.preset, studio.model.bank
    nouns = getattr(bank, "nouns", None)
    options, shared = preset.segment, studio.shared
    known = f"This is the {preset.name} model: it knows {preset.world}." if preset.world else ""
    return {
        "version": __version__,
        "preset": preset.name,
        "notice": known,
        "bank": None if nouns is None else {"rows": len(nouns), "words": len(set(nouns))},
        "limits": vars(studio.limits),
        "folder": None if shared is None else {"id": SHARED, "name": shared.folder},
        "samples": [
            {"name": one.name, "words": one.words, "url": f"/api/samples/{i}"}
            for i, one in enumerate(samples())
        ],
        "exports": KINDS,
        "can_draw": studio.drawing.possible,
        "defaults": {
            "local_weight": options.local_weight,
            "k": options.k,
            "scale": options.superpixels.scale,
            "words": samples()[0].words,
        },
    }


@routes.get("/samples/{n}")
def sample(n: int) -> Response:
    """A bundled scene (PNG)."""
    if not 0 <= n < len(samples()):
        raise Refused(404, "there is no such sample")
    return Response(png(samples()[n].picture), media_type="image/png")


@routes.post("/workspaces")
def new_workspace(studio: Here, asked: Annotated[New | None, Body()] = None) -> Any:
    """A new workspace: its state."""
    return _told(studio.new(None if asked is None else asked.sample))


@routes.get("/workspaces/{w}")
async def state(studio: Here, ws: Ws, after: int | None = None, wait: float = 0) -> Any:
    """Its state; with `after` once its revision is a later one, or `wait` seconds are over."""
    if after is not None:
        began = time.monotonic()
        least = min(2.0, len(ws.pictures) / 5000)  # to tell of thousands takes a while
        end = began + min(wait, _LONGEST_WAIT)
        while (now := time.monotonic()) < end and (ws.revision <= after or now < began + least):
            if studio.turns.over:
                break
            await asyncio.sleep(_LOOK)
    return await run_in_threadpool(_told, ws)


@routes.put("/workspaces/{w}/words")
def put_words(studio: Here, ws: Ws, asked: Words) -> Any:
    """Other words, settings or colours."""
    colours = ws.state.colours if asked.colours is None else asked.colours
    for name, colour in colours.items():
        if not _HEX.fullmatch(colour):
            raise InputError(f"colour of {name[:40]!r} is {colour[:40]!r}: expected #rrggbb")
    studio.set_words(ws, asked.words, asked.settings or ws.state.settings, colours)
    return _told(ws)


@routes.post("/workspaces/{w}/pictures")
def post_pictures(studio: Here, ws: Ws, files: list[UploadFile]) -> Any:
    """Put photographs into a visitor's workspace."""
    studio.add(ws, [(file.filename, file.file) for file in files])
    return _told(ws)


@routes.delete("/workspaces/{w}/pictures/{p}")
def delete_picture(studio: Here, ws: Ws, picture: Pic) -> Any:
    """Take a picture out of a visitor's workspace."""
    studio.remove(ws, picture.id)
    return _told(ws)


@routes.get("/workspaces/{w}/pictures/{p}/image")
def image(studio: Here, ws: Ws, picture: Pic, side: int = 2048) -> Response:
    """The photograph as JPEG, upright, at most `side` pixels long."""
    if not 16 <= side <= 4096:
        raise InputError(f"side is {side}: it must be a number from 16 to 4096")
    return Response(studio.shown(ws, picture, side), media_type="image/jpeg")


@routes.get("/workspaces/{w}/pictures/{p}/labels")
def labels(studio: Here, ws: Ws, picture: Pic) -> Any:
    """Its labels as things stand: classes, regions, uncertainty."""
    ws.look(picture.id)
    return JSONResponse(answers.labels_told(ws, studio.labels(ws, picture)))


@routes.get("/workspaces/{w}/pictures/{p}/map.png")
def map_png(studio: Here, ws: Ws, picture: Pic, version: int | None = None) -> Response:
    """Regions and labels as a picture: red + 256 green = region + 1, blue = number; 0 is none."""
    return Response(answers.map_png(studio.version(ws, picture, version)), media_type="image/png")


@routes.post("/workspaces/{w}/pictures/{p}/corrections")
def post_correction(studio: Here, ws: Ws, picture: Pic, asked: Correction) -> Any:
    """Correct labels or regions; a word that is given is a lesson, too, unless `teach` is false."""
    ws.look(picture.id)
    final = correcting.correct(studio, ws, picture, asked)
    return JSONResponse({"state": ws.told(), "labels": answers.labels_told(ws, final)})


@routes.post("/workspaces/{w}/pictures/{p}/accept")
def accept(studio: Here, ws: Ws, picture: Pic, asked: Accepted) -> Any:
    """Take a picture's labels for the truth, or no longer."""
    correcting.accept(studio, ws, picture, asked.accepted, asked.version)
    return _told(ws)


@routes.post("/workspaces/{w}/undo")
def undo(studio: Here, ws: Ws) -> Any:
    """Undo the last correction, lesson or acceptance."""
    correcting.undo(studio, ws)
    return _told(ws)


@routes.post("/workspaces/{w}/redo")
def redo(studio: Here, ws: Ws) -> Any:
    """Do again what was undone last."""
    correcting.redo(studio, ws)
    return _told(ws)


@routes.post("/workspaces/{w}/pictures/{p}/explain")
def explain(studio: Here, ws: Ws, picture: Pic, asked: Place) -> Any:
    """Why the models gave a pixel its word."""
    result, _ = studio.result(ws, picture)
    return _why(studio, result, picture.size, asked, ws.colours()[: len(result.names)])


def _why(studio: Studio, result: Any, size: tuple[int, int], at: Place, colours: Any) -> JSONResponse:
    """Why a pixel of a photograph of this (height, width) got its word."""
    x, y = at.x * result.size[1] // size[1], at.y * result.size[0] // size[0]
    with studio.quick:
        told = result.explain(x, y, classes=answers.CLASSES, references=answers.REFERENCES)
    return JSONResponse(answers.explained(studio, told, colours, at.pictures))


@routes.post("/workspaces/{w}/exports", status_code=202)
def post_export(exporter: Exports, ws: Ws, asked: Export) -> Any:
    """Begin to write files of one picture, or of all."""
    return {"job": exporter.begin(ws, asked.kind, asked.accepted_only, asked.picture).id}


@routes.get("/workspaces/{w}/exports/{job}")
def get_export(exporter: Exports, ws: Ws, job: str) -> Response:
    """The file, or 202 with how far it is."""
    found = exporter.job(ws, job)
    if found.error is not None:
        raise InputError(found.error)
    if found.path is None:
        return JSONResponse({"done": found.done, "of": found.of}, 202)
    return FileResponse(found.path, filename=found.path.name)


@routes.delete("/workspaces/{w}/exports/{job}")
def delete_export(exporter: Exports, ws: Ws, job: str) -> Any:
    """Cancel an export, or forget its file."""
    exporter.cancel(ws, job)
    return _told(ws)


@routes.delete("/workspaces/{w}/work")
def stop_work(exporter: Exports, ws: Ws) -> Any:
    """Stop what runs in the background, exports included."""
    ws.stopped = True
    exporter.cancel_all(ws)
    ws.changed()
    return _told(ws)


@routes.post("/workspaces/{w}/work")
def go_on(studio: Here, ws: Ws) -> Any:
    """Let the background go on, and try again what failed."""
    ws.try_again()
    studio.wake()
    return _told(ws)


@routes.post("/segment")
def segment(
    studio: Here,
    image: UploadFile,
    words: Annotated[str, Form()],
    local_weight: Annotated[float | None, Form()] = None,
    k: Annotated[int | None, Form()] = None,
    others: Annotated[bool, Form()] = False,
) -> Any:
    """Label a photograph; nothing is kept."""
    result, size = _labelled(studio, image, words, Settings(others, local_weight, k))
    return JSONResponse(answers.segmented(result, enlarged(result.labels, size)))


@routes.post("/explain")
def explain_once(
    studio: Here,
    image: UploadFile,
    words: Annotated[str, Form()],
    x: Annotated[int, Form()],
    y: Annotated[int, Form()],
    pictures: Annotated[bool, Form()] = False,
) -> Any:
    """Why a pixel of a photograph gets its word; nothing is kept."""
    result, size = _labelled(studio, image, words, Settings())
    return _why(studio, result, size, Place(x=x, y=y, pictures=pictures), result.palette)


def _labelled(studio: Studio, image: UploadFile, words: str, settings: Settings) -> Any:
    """A result of a photograph of nobody's, and the photograph's (height, width)."""
    names = parsed(words, studio.limits)
    if not names:
        raise InputError("type at least one word, such as: sky, house, tree")
    known = studio.vocabulary(names, settings)  # first: a wrong list should not cost an encoded image
    with studio.received(image.filename, image.file) as picture:
        with studio.turns:
            scene = studio.encode(picture.path, picture.name, settings.scale)
        return studio.segment(studio.model, scene, known, settings), picture.size


@routes.post("/teach")
def teach(
    studio: Here,
    image: UploadFile,
    word: Annotated[str, Form()],
    workspace: Annotated[str, Form()],
    box: Annotated[str | None, Form()] = None,
    point: Annotated[str | None, Form()] = None,
    mask: Annotated[UploadFile | None, File()] = None,
) -> Any:
    """Teach a workspace what a word looks like: a box [x0, y0, x1, y1], a point [x, y] or a mask (PNG)."""
    given = [one for one in (box, point, mask) if one is not None]
    if len(given) != 1:
        raise InputError("say where the word is: by one of box, point and mask")
    where: Any = mask.file.read() if mask is not None else _numbers(box or point, 4 if box else 2)
    ws = studio.workspace(workspace)
    with studio.received(image.filename, image.file) as picture:
        lesson, n = correcting.lesson_of(studio, ws, picture, where, word)
    return {"lesson": lesson, "lessons": n}


def _numbers(text: Any, n: int) -> tuple[float, ...]:
    try:
        found = tuple(map(float, json.loads(text)))
        if len(found) != n or not all(abs(v) < 1e6 for v in found):  # also of NaN
            raise ValueError
        return found
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{str(text)[:60]!r}: expected {n} numbers, such as {[10, 20, 30, 40][:n]}"
        ) from error


@routes.get("/bank")
def bank(studio: Here, word: str, pictures: bool = False) -> Any:
    """The bank's nouns nearest to a word, with captions and pictures."""
    text = check_text(word, "the search", studio.limits)
    return JSONResponse(answers.searched(studio, text, pictures))


@routes.post("/draw")
def draw(studio: Here, asked: Caption) -> Any:
    """Draw a caption, and see where each of its nouns went."""
    text = " ".join(check_text(asked.caption, "the caption", studio.limits).split())
    options = studio.drawing.options
    return JSONResponse(answers.drawn(studio.drawing.draw(text, asked.seed), text, options, asked.threshold))


def _told(ws: Workspace) -> JSONResponse:
    return JSONResponse(ws.told())
