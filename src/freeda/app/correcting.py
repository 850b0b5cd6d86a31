"""What people do to pictures: correct, accept, teach, undo. Each is on the disk before it is answered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import count
from math import ceil, floor
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from ..bank.taught import Lesson
from ..errors import InputError
from ..segment.lessons import regions_in
from ..segment.scene import Scene
from ..segment.upsample import enlarged
from ..show.export import png
from . import masks
from .limits import Refused
from .masks import Mask
from .state import Event
from .studio import Studio
from .workspace import Final, Picture, Workspace, parsed

Number = Annotated[float, Field(ge=-1e6, le=1e6)]  # neither NaN nor infinity
Point = tuple[Number, Number]
_MOST_POINTS = 2_000


class Stroke(BaseModel):
    """A line that a round brush drew."""

    points: list[Point] = Field(min_length=1, max_length=_MOST_POINTS)
    radius: float = Field(ge=0, le=5_000)


class Correction(BaseModel):
    """One correction; coordinates are pixels of the photograph."""

    kind: Literal["region", "box", "brush", "mask", "merge", "split"]
    word: str | None = None
    """The right word; null takes the correction there away."""
    regions: list[int] = Field(default=[], max_length=10_000)
    box: tuple[Number, Number, Number, Number] | None = None
    exact: bool = False
    """Whether a box means its pixels; otherwise the regions that lie at least half in it."""
    strokes: list[Stroke] = Field(default=[], max_length=200)
    rle: dict[str, Any] | None = None
    region: int | None = None
    line: list[Point] = Field(default=[], max_length=_MOST_POINTS)
    teach: bool = True
    """Whether a word that is given is a lesson, too."""


def correct(studio: Studio, ws: Workspace, picture: Picture, asked: Correction) -> Final:
    """Apply a correction, and teach it where a word is given; the picture's labels afterwards.

    Raises InputError for one that means no place in the picture.
    """
    final = studio.labels(ws, picture)
    if asked.kind in ("merge", "split"):
        found = _shapes(final, asked, _scale(picture, final))
        shape = {"event": "shape", "picture": picture.id, "how": asked.kind, "photo": ws.photo(picture)}
        ws.record({**shape, "masks": [masks.to_rle(mask) for mask in found]})
        return studio.labels(ws, picture)
    place = _place(final, asked, picture)
    lesson = None
    if asked.word is not None:
        name, new = _class(studio, ws, asked.word)
        if asked.teach and (new or name in ws.words()):
            lesson = _teach(studio, ws, studio.encoded(ws, picture).scene, place, name)
    about = {"picture": picture.id, "photo": ws.photo(picture), "how": asked.kind}
    event = {"event": "correct", **about, "mask": masks.to_rle(place)}
    _record(ws, asked.word, lesson, event)
    studio.wake()
    return studio.labels(ws, picture)


def _class(studio: Studio, ws: Workspace, word: str) -> tuple[str, bool]:
    """The class that a word means, and whether it is new. Raises InputError for one that cannot be any."""
    with ws.lock:
        name, events = ws.known_word(word)
    for event in events:
        studio.vocabulary(parsed(event["words"], studio.limits), ws.state.settings)
    return name, bool(events)


def _record(ws: Workspace, word: str | None, lesson: Lesson | None, event: Event) -> None:
    """Remember an event and its word; a lesson whose event could not be written is taken back."""
    try:
        with ws.lock:  # the list of words may be another one by now
            name, events = (None, []) if word is None else ws.known_word(word)
            ws.record(*events, {**event, "word": name, "lesson": lesson and lesson.id})
    except InputError:
        if lesson is not None:
            ws.taught.undo(lesson.id)
        raise


def _teach(studio: Studio, ws: Workspace, scene: Scene, where: Any, word: str) -> Lesson:
    with studio.quick:
        lesson: Lesson = ws.model.teach(scene, where, word)
    return lesson


def _scale(picture: Picture, final: Final) -> tuple[float, float]:
    """What x and y of the photograph are to be multiplied with."""
    height, width = final.composed.labels.shape
    return width / picture.size[1], height / picture.size[0]


def _shapes(final: Final, asked: Correction, scale: tuple[float, float]) -> list[Mask]:
    regions = final.composed.regions
    if asked.kind == "merge":
        if len(set(asked.regions)) < 2:
            raise InputError("merging takes two regions or more")
        return [_regions(final, asked.regions)]
    if asked.region is None or len(asked.line) < 2:
        raise InputError("splitting takes a region and a line of two points or more")
    _regions(final, [asked.region])
    line = [(x * scale[0], y * scale[1]) for x, y in asked.line]
    return masks.split(regions == asked.region, line)[1:]


def _regions(final: Final, numbers: Sequence[int]) -> Mask:
    regions = final.composed.regions
    found: Mask = np.isin(regions, [number for number in numbers if number >= 0])
    missing = set(numbers) - set(np.unique(regions[found]).tolist())
    if missing or not numbers:
        told = f"region {min(missing)} is not in this picture (any more)" if missing else "no region is named"
        raise Refused(409, told)
    return found


def _place(final: Final, asked: Correction, picture: Picture) -> Mask:
    """(H, W) bool at the working size: where a correction is."""
    size = (final.composed.labels.shape[0], final.composed.labels.shape[1])
    across, down = _scale(picture, final)
    if asked.kind == "region":
        return _regions(final, asked.regions)
    if asked.kind == "box" and asked.box is not None:
        box = masks.box_mask([v * (across, down)[i % 2] for i, v in enumerate(asked.box)], size)
        return box if asked.exact else regions_in(box, final.composed.regions)
    if asked.kind == "brush" and asked.strokes:
        strokes = (
            ([(x * across, y * down) for x, y in one.points], one.radius * (across * down) ** 0.5)
            for one in asked.strokes
        )
        found = masks.stroke_mask(strokes, size)
    elif asked.kind == "mask" and asked.rle is not None:
        found = masks.from_rle(asked.rle, max(size[0] * size[1], picture.size[0] * picture.size[1]))
        if found.shape not in (size, picture.size):
            raise InputError(
                f"this mask is {found.shape[1]} x {found.shape[0]}: the photograph has "
                f"{picture.size[1]} x {picture.size[0]} pixels"
            )
        found = found if found.shape == size else enlarged(found, size)
    else:
        raise InputError(f"a correction of kind {asked.kind} says where: see /docs")
    if not found.any():
        raise InputError("this correction holds no pixel of the picture")
    return found


def accept(
    studio: Studio, ws: Workspace, picture: Picture, accepted: bool, version: int | None = None
) -> None:
    """Take a picture's labels, as they are now, for the truth; or no longer.

    Raises Refused (409) where they are of another `version` than was seen.
    """
    event: Event = {"event": "accept", "picture": picture.id, "file": None, "names": []}
    if accepted:
        final = studio.labels(ws, picture)
        if version is not None and version != final.version:
            raise Refused(409, "the labels have changed meanwhile: look at them again")
        labels = final.composed.labels
        used = np.unique(labels[labels >= 0])
        table = np.zeros(len(final.names) + 1, np.uint8)  # the last one is of -1
        table[used] = np.arange(1, len(used) + 1)
        with ws.lock:
            taken = {e.get("file") for e in (*ws.state.done, *ws.state.undone)}  # undo may want any of them
            names = (f"{picture.id}{'' if n == 1 else f'-{n}'}.png" for n in count(1))
            event["file"] = next(name for name in names if name not in taken)
            event["photo"] = ws.photo(picture)
            event["names"] = [final.names[i] for i in used.tolist()]
            ws.store.save(event["file"], png(Image.fromarray(table[labels])))
            ws.record(event)
    elif picture.id in ws.state.accepted():
        ws.record(event)
    studio.wake()


def undo(studio: Studio, ws: Workspace) -> None:
    """Undo the last correction, lesson or acceptance. Raises Refused (409) where there is none."""
    with ws.lock:
        if not ws.state.done:
            raise Refused(409, "there is nothing to undo")
        lesson = ws.state.done[-1].get("lesson")
        ws.record({"event": "undo"})
        if lesson is not None:
            ws.taught.undo(lesson)
            ws.changed()
    studio.wake()


def redo(studio: Studio, ws: Workspace) -> None:
    """Do again what was undone last. Raises Refused (409) where there is nothing."""
    with ws.lock:
        if not ws.state.undone:
            raise Refused(409, "there is nothing to redo")
        lesson = ws.state.undone[-1].get("lesson")
        if lesson is not None:
            ws.taught.redo(lesson)
        ws.record({"event": "redo"})
    studio.wake()


def lesson_of(
    studio: Studio, ws: Workspace, picture: Picture, where: Any, word: str
) -> tuple[dict[str, Any], int]:
    """Teach a workspace a place in a photograph of nobody's; the lesson, and how many there are.

    `where` is a box, a point, or the bytes of a mask's PNG, all in pixels of the photograph.
    """
    known, _ = _class(studio, ws, word)
    with studio.turns:
        scene = studio.encode(picture.path, picture.name, ws.state.settings.scale)
    full, (height, width) = picture.size, scene.size
    if isinstance(where, bytes):
        try:
            with Image.open(io.BytesIO(where), formats=("PNG",)) as file:
                mask = np.asarray(file.convert("L")) > 0
        except Exception as error:
            raise InputError("mask: this is no PNG that can be read") from error
        if mask.shape != full:
            raise InputError(f"mask is {mask.shape[1]} x {mask.shape[0]}, the image {full[1]} x {full[0]}")
        place: Any = enlarged(mask, scene.size)
    else:
        scaled = [v * (width / full[1], height / full[0])[i % 2] for i, v in enumerate(where)]
        place = [*map(floor, scaled[:2]), *map(ceil, scaled[2:])]
    lesson = _teach(studio, ws, scene, place, known)
    told = {"id": lesson.id, "word": lesson.word, "picture": picture.name, "area": lesson.area}
    _record(ws, known, lesson, {"event": "teach", "picture": picture.name})
    studio.wake()
    return told, len(ws.taught.lessons)
