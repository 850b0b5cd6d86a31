"""Images beside their truth, what was predicted, and where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...errors import InputError
from ...segment.background import BACKGROUND
from ...show import Row, Section, Tile, lay_page, palette, text, tint
from ...show.overlay import widest_place
from ...show.palette import REST, ink, rgb
from ..metric import IGNORE
from ..result import ImageRow

if TYPE_CHECKING:
    from ..dataset import DataSet

RGB = NDArray[np.uint8]

_SIDE, _LETTER = 340, 13
_WRONG = palette(2)[::-1]  # right, wrong: blue and orange, which everyone can tell apart


def draw_examples(
    title: str,
    rows: Sequence[ImageRow],
    names: Sequence[str],
    dataset: DataSet,
    relabel: Callable[[int], NDArray[Any]],
) -> RGB:
    """uint8 (H, W, 3): each image, its truth, what `relabel(index)` predicts, and where the two differ.

    `relabel` gives (H, W) integer labels. What the truth ignores is dark. Raises InputError for labels of
    another size than the truth, and what reading the images raises.
    """
    colours = palette(len(names))
    if names[-1] == BACKGROUND:
        colours[-1] = REST["background"]
    out = []
    for row in rows:
        image, truth = dataset.read_image(row.index), dataset.read_truth(row.index)
        labels = np.asarray(relabel(row.index))
        if labels.shape != truth.shape:
            raise InputError(
                f"{row.name}: labelled again it has shape {labels.shape}, its truth {truth.shape}"
            )
        told = f"{row.name}: mIoU {row.miou:.3f}, pixel accuracy {row.pixel_accuracy:.3f}"
        out.append(Section(told, [Row(_tiles(image, truth, labels, names, colours))]))
    note = "Image, truth, prediction, and where that is right (blue) or wrong (orange). Ignored: dark."
    return lay_page(title, out, note, tile=_SIDE)


def _tiles(
    image: RGB, truth: NDArray[Any], labels: NDArray[Any], names: Sequence[str], colours: RGB
) -> list[Tile]:
    scale = _SIDE / max(truth.shape)
    size = (max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale)))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    photo, grey = np.array(small), np.array(small.convert("L").convert("RGB"))
    true, said = (
        np.array(Image.fromarray(plane.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        for plane in (truth, labels)
    )
    hidden = true == IGNORE
    # Over grey, or the photograph's own colours would mislead.
    wrong = tint(grey, (true != said).astype(np.int32), _WRONG, 0.6)
    named = (_named(photo, np.where(hidden, -1, plane), names, colours) for plane in (true, said))
    return [Tile(picture) for picture in (photo, *named, np.where(hidden[..., None], grey // 4, wrong))]


def _named(photo: RGB, labels: NDArray[np.int32], names: Sequence[str], colours: RGB) -> RGB:
    """The photograph tinted by labels (-1: dark), the name of every sizeable one in its widest place."""
    tinted = tint(photo, labels, colours, 0.6)
    picture = Image.fromarray(np.where((labels < 0)[..., None], tinted // 4, tinted))
    draw = ImageDraw.Draw(picture)
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    taken: list[tuple[float, float, float, float]] = []
    for label in np.argsort(-counts, kind="stable")[:12].tolist():
        if counts[label] < 0.004 * labels.size:
            break
        x, y, _ = widest_place(labels == label)
        name = text.shorten(text.label(names[label], label), _LETTER, 130)
        half_w, half_h = text.width(name, _LETTER) / 2 + 5, _LETTER * 0.75
        cx = min(max(x + 0.5, half_w), picture.width - half_w)
        cy = min(max(y + 0.5, half_h), picture.height - half_h)
        box = (cx - half_w, cy - half_h, cx + half_w, cy + half_h)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue  # a larger area's name is there
        taken.append(box)
        draw.rounded_rectangle(box, 4, fill=rgb(colours[label]), outline=text.PAPER)
        text.write(draw, (cx, cy), name, _LETTER, ink(colours[label]), "mm")
    return np.array(picture)
