"""What `Segmentation.explain` returns: why one pixel got its word, as values, text, JSON and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ..errors import InputError, counted
from ..files import atomic_write_json
from ..images import RGB
from ..options import Ensemble
from . import text
from .export import write_image
from .palette import rgb
from .tiles import PALE, Row, Section, Tile, border_mask, lay_page, mask_picture, pale

CLASSES = 3
"""Classes whose references are listed, unless told otherwise."""
REFERENCES = 5
"""References listed for each of them, unless told otherwise."""
_LINES = 10
_NAME, _REFERENCE = 24, 80
_PHOTO = 460  # pixels of the photograph's longer side
_PANEL = 560
_GAP = 24
_TILE = 190
_BARS = 9
_SIZE, _SMALL = 15, 13
_LINE = 32
_PLAIN = ("row", "noun", "caption", "cosine", "similarity")  # pictures are in the bank, by the row
_YELLOW, _DARK = (255, 214, 64), (20, 22, 28)
_TRACK: text.Colour = (236, 238, 243)


@dataclass(frozen=True)
class ClassScore:
    """How one label did at the pixel."""

    name: str
    label: int
    """Its number in `Segmentation.names`."""
    score: float
    """What decides: equal to `Segmentation.scores` at the pixel."""
    local_score: float | None = None
    """What the looks of the region say, 0 to 1: sigmoid(cosine with the prototypes), averaged over the
    windows (see `local_scores` in matching.py). None for the background, which has no words."""
    global_score: float | None = None
    """What the windows as wholes say, -1 to 1: cosine of image and text, averaged. None as above."""
    cosine: float | None = None
    """Cosine of the region's feature and the prototypes, -1 to 1, averaged over windows; None as above."""
    word: str | None = None
    """The word that speaks for the label: of several, the best. None as above."""
    own_score: float | None = None
    """Cosine of the region's own image-text feature and the text, -1 to 1; None where it does not count."""
    support_score: float | None = None
    """Cosine of the mean value that its region retrieved and the text; None where it does not count."""
    taught_score: float | None = None
    """How much its region looks like the word's lessons (`likeness`; 1: just like one); None: no lessons."""


@dataclass(frozen=True)
class Reference:
    """A row of the bank that stands behind a class."""

    row: int
    noun: str
    caption: str
    cosine: float
    """Of the region's feature and this prototype, -1 to 1: what the ranking goes by."""
    similarity: float
    """Cosine of the class's text and this row's key, -1 to 1: what it was retrieved by."""
    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """(h, w, 3) uint8 RGB, the generated picture; None where the bank kept none."""
    mask: npt.NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)
    """(h, w) bool: where the noun is in it."""

    @property
    def distance(self) -> float:
        """1 - cosine: 0 to 2."""
        return 1.0 - self.cosine


@dataclass(frozen=True)
class ClassReferences:
    """The references of one class that look most like the region."""

    name: str
    retrieved: int
    """How many rows of the bank were retrieved for the class; the nearest of them are listed."""
    nearest: tuple[Reference, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why one pixel got its word; `print` it, `draw` it, `save` it. A notebook shows its card."""

    x: int
    """Column in the photograph, from 0."""
    y: int
    """Row in the photograph, from 0."""
    source: str | None
    label: str
    """The word it got."""
    local_weight: float
    """Share of the local score in every score; the global one has the rest."""
    scores: tuple[ClassScore, ...]
    """All labels, best first."""
    without_global: str
    """The word it would get with `local_weight=1`; "" where FreeDA's score is not all that counts."""
    only_global: str
    """The word it would get with `local_weight=0`; "" as above."""
    windows: int
    """Windows that cover the pixel and are averaged."""
    references: tuple[ClassReferences, ...]
    """Of the best classes; empty without a bank."""
    notes: tuple[str, ...]
    """What else bears on the numbers, one sentence each."""
    region: npt.NDArray[np.bool_]
    """(H, W) bool: the pixels that share this one's evidence, in the photograph."""
    reach: npt.NDArray[np.bool_]
    """(H, W) bool: all that was pooled for it: the superpixels that it lies in, one in each window."""
    feature: npt.NDArray[np.float32]
    """(D,) float32: mean of the unit features that the pixel averages."""
    photo: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    colours: npt.NDArray[np.uint8]
    """(labels, 3) uint8 RGB, as `Segmentation.palette`."""
    weights: Ensemble = field(default_factory=Ensemble)
    """Of the scores in the sum."""
    values: tuple[Reference, ...] = ()
    """The rows of the bank of region values that its region is most like, where they count: cosine with their
    keys, similarity of their values with the word it got."""
    lessons: tuple[Reference, ...] = ()
    """The lessons that its region is most like, with the word and the picture that each was taught on."""
    warnings: tuple[str, ...] = ()
    """Why the picture or the best classes may not be what they seem (`Caveats`), one line each."""

    @property
    def margin(self) -> float:
        """How far the best score is ahead of the next; infinity for a single label."""
        return self.scores[0].score - self.scores[1].score if len(self.scores) > 1 else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """All but the pictures, as JSON-ready plain values."""
        kept = ("x", "y", "source", "label", "local_weight", "without_global", "only_global", "windows")
        pixels = int(self.region.sum())
        return {
            **{name: getattr(self, name) for name in kept},
            "region": {"pixels": pixels, "share": pixels / self.region.size},
            "scores": [asdict(score) for score in self.scores],
            "references": [
                {"name": group.name, "retrieved": group.retrieved, "nearest": [*map(_plain, group.nearest)]}
                for group in self.references
            ],
            "weights": asdict(self.weights),
            "values": [*map(_plain, self.values)],
            "lessons": [*map(_plain, self.lessons)],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def draw(self) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB: a card with the region, the scores and the nearest references."""
        return draw_card(_drawable(self))

    def save(self, path: str | Path) -> Path:
        """Write the card (.png, .jpg) or `to_dict` (.json), whole or not at all. Raises InputError."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            return atomic_write_json(path, self.to_dict())
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise InputError(f"{path}: an explanation is written as .png, .jpg or .json, not '{path.suffix}'")
        return write_image(path, self.draw())

    def sentences(self) -> list[str]:
        """What the numbers come to, a sentence each, notes and warnings last."""
        lead = f"{self.margin:.3f} ahead of {self.scores[1].name}, " if len(self.scores) > 1 else ""
        if lead and self.scores[0].name != self.label:  # its region's label, not its own
            lead = f"{self.scores[0].name} {lead}"
        more = [*self.notes, *(f"{line}." for line in self.warnings)]
        if all(one.word is None for one in self.scores):  # planes, which have no parts
            return [f"{lead.removesuffix(', ')}.", *more] if lead else more
        freeda, share = self.weights.freeda, self.local_weight
        parts = {"local": freeda * share, "global": freeda * (1 - share)} if freeda else {}
        parts |= {name: getattr(self.weights, name) for name in self._more}
        terms = " + ".join(f"{round(weight, 6):g} x {name}" for name, weight in parts.items())
        out = [
            f"score = {terms}; {lead}averaged over {self.windows} window{'s' if self.windows > 1 else ''}."
        ]
        if self.without_global:
            out.append(f"Without the global term: {self.without_global}; by it alone: {self.only_global}.")
        return [*out, *more]

    @property
    def _more(self) -> list[str]:
        """What counts beside FreeDA's score."""
        dense = [name for name in ("own", "support") if getattr(self.weights, name)]
        return [*dense, *(["taught"] if self.lessons else [])]

    @property
    def _title(self) -> str:
        of = f" of {Path(self.source).name}" if self.source else ""
        return f"pixel {self.x},{self.y}{of}: {self.label}"

    def __repr__(self) -> str:
        return f"<Explanation of {self._title}>"

    def _repr_html_(self) -> str:
        from .html import picture_html

        return picture_html(self.draw(), self._title)

    def __str__(self) -> str:
        out = [self._title, ""]
        head = f" {'local':>7} {'(cosine)':>9} {'global':>7}" if self.weights.freeda else ""
        dense = self._more
        head += "".join(f" {name:>7}" for name in dense)
        out.append(f"{'':3} {'':{_NAME}} {'score':>7}{head}")
        for place, one in enumerate(self.scores[:_LINES], start=1):
            numbers = f"{one.score:7.3f}"
            if one.local_score is not None and one.cosine is not None and one.global_score is not None:
                cosine = f"({one.cosine:.3f})"
                numbers += f" {one.local_score:7.3f} {cosine:>9} {one.global_score:7.3f}"
            for name in dense:
                numbers += f" {getattr(one, f'{name}_score') or 0:7.3f}"
            via = f"  by {one.word}" if one.word not in (None, one.name) else ""
            out.append(f"{place:3} {_fitted(one.name, _NAME)} {numbers}{via}")
        if len(self.scores) > _LINES:
            out.append(f"    and {len(self.scores) - _LINES} more")
        out += ["", *self.sentences()]
        for group in self.references:
            out += ["", f"{group.name}: nearest of {counted(group.retrieved, 'reference')}"]
            out.append(f"{'cosine':>11} {'key':>7}  noun: caption")
            for one_of in group.nearest:
                told = _fitted(f"{one_of.noun}: {one_of.caption}", _REFERENCE).rstrip()
                out.append(f"{one_of.cosine:11.3f} {one_of.similarity:7.3f}  {told}")
        for head, column, rows in (
            ("regions of the bank whose values support it", f"{'value':>7}  picture", self.values),
            ("nearest lessons", f"{'':7}  word: picture", self.lessons),
        ):
            out += ["", head, f"{'cosine':>11} {column}"] if rows else []
            for row in rows:
                told = _fitted(": ".join(filter(None, (row.noun, row.caption))), _REFERENCE).rstrip()
                out.append(f"{row.cosine:11.3f} {row.similarity:7.3f}  {told}")
        return "\n".join(out)


def _plain(one: Reference) -> dict[str, Any]:
    return {**{name: getattr(one, name) for name in _PLAIN}, "distance": one.distance}


def _drawable(told: Explanation) -> Explanation:
    """With names that the fonts at hand have: any other goes by its number, as in the overlay's legend."""
    names = {one.name: text.label(one.name, one.label) for one in told.scores}
    return replace(
        told,
        label=names[told.label],
        scores=tuple(replace(one, name=names[one.name]) for one in told.scores),
        without_global=names.get(told.without_global, ""),
        only_global=names.get(told.only_global, ""),
        references=tuple(replace(group, name=names[group.name]) for group in told.references),
    )


def _fitted(text: str, columns: int) -> str:
    """`text` in so many columns of a terminal, where letters may be two columns wide, or none."""
    from rich.cells import cell_len, set_cell_size

    text = " ".join(text.split())
    return (
        set_cell_size(text, columns) if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
    )


def draw_card(told: Explanation) -> RGB:
    """An explanation as a picture, uint8 (H, W, 3).

    On the left the photograph, pale but for the superpixels that were pooled: the region in yellow, a ring
    around the pixel. On the right a line a word, best first, at most nine: its score, the cosine of the
    region and its prototypes, the cosine of the windows and its text, all bars on one scale that ends at 1.
    Below, the nearest references of the best words, pale outside the noun's mask where pictures were kept,
    in words otherwise.
    """
    photo, panel = _outlined(told), _panel(told)
    height = max(photo.height, panel.height) + _GAP
    top = Image.new("RGB", (photo.width + _GAP + panel.width, height), PALE)
    top.paste(photo, (0, 0))
    top.paste(panel, (photo.width + _GAP, 0))
    title = f"{text.drawable(told.label) or 'this word'}, at {told.x},{told.y}"
    source = Path(told.source).name if told.source else ""
    retrieved = "the nearest of {:,} references retrieved, with their cosines"
    sections = [_section(one.name, retrieved.format(one.retrieved), one.nearest) for one in told.references]
    if told.values:
        note = "whose values support it, nearest first, with their cosines"
        sections.append(_section("regions of the bank", note, told.values))
    if told.lessons:
        sections.append(_section("lessons", "nearest first, with their cosines", told.lessons))
    return lay_page(title, sections, text.drawable(source), tile=_TILE, top=np.array(top))


def _section(name: str, note: str, nearest: Sequence[Reference]) -> Section:
    shown = [
        Tile(mask_picture(one.image, one.mask), f"{one.noun} {one.cosine:.3f}: {one.caption}")
        for one in nearest
        if one.image is not None and one.mask is not None
    ]
    if shown:
        return Section(name, [Row(shown)], note)
    told = [": ".join(filter(None, (one.noun, one.caption))) for one in nearest]
    lines = [Row((), f"{one.cosine:.3f}   {said}") for one, said in zip(nearest, told, strict=True)]
    return Section(name, lines, f"{note} (no pictures were kept)")


def _outlined(told: Explanation) -> Image.Image:
    """The photograph at the card's size, with the region, its reach and the pixel drawn in."""
    height, width = told.region.shape
    scale = _PHOTO / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    picture = np.array(Image.fromarray(told.photo).resize(size, smooth))
    region, reach = (
        np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (told.region, told.reach)
    )
    faint = np.rint(0.3 * picture + 0.7 * pale(picture, 0.35, 0.45))
    picture = np.where(reach[..., None], picture, faint).astype(np.uint8)
    picture[border_mask(reach, 1)] = (255, 255, 255)
    picture[border_mask(region, 5)] = _DARK
    picture[border_mask(region, 3)] = _YELLOW
    out = Image.fromarray(picture)
    draw = ImageDraw.Draw(out)
    x, y = (told.x + 0.5) * size[0] / width, (told.y + 0.5) * size[1] / height
    for radius, colour, thick in ((8, _DARK, 4), (7, _YELLOW, 2)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=thick)
    return out


def _panel(told: Explanation) -> Image.Image:
    lines = told.scores[:_BARS]
    said = [line for one in told.sentences() for line in text.wrap(one, _SMALL, _PANEL, lines=3)]
    more = len(told.scores) - len(lines)
    height = 30 + _LINE * (len(lines) + bool(more)) + 14 + 19 * len(said)
    panel = Image.new("RGB", (_PANEL, height), PALE)
    draw = ImageDraw.Draw(panel)
    name = 170
    columns: dict[str, list[float | None]] = {"score": [one.score for one in lines]}
    if told.weights.freeda:
        columns |= {
            "region, cosine": [one.cosine for one in lines],
            "window, cosine": [one.global_score for one in lines],
        }
    if told.weights.dense:
        columns["own, cosine"] = [one.own_score for one in lines]
    if told.weights.support:
        columns["support, cosine"] = [one.support_score for one in lines]
    if told.lessons:
        columns["taught"] = [one.taught_score for one in lines]
    wide = (_PANEL - name) // len(columns)
    low = min(0.0, *(value for column in columns.values() for value in column if value is not None))
    middles = [30 + _LINE * (i + 0.5) for i in range(len(lines) + 1)]
    for i, head in enumerate(columns):
        head = head if len(columns) < 4 else head.split(",")[0]
        text.write(draw, (name + i * wide, 12), head, _SMALL, text.FAINT)
    for y, one, values in zip(middles, lines, zip(*columns.values(), strict=True), strict=False):
        colour = rgb(told.colours[one.label])
        draw.rounded_rectangle((0, y - 8, 16, y + 8), 4, fill=colour)
        text.write(draw, (24, y), text.shorten(text.label(one.name, one.label), _SIZE, name - 32), _SIZE)
        for i, value in enumerate(values):
            if value is not None:
                _draw_bar(draw, (name + i * wide, y), wide - 12, low, value, colour)
    if more:
        text.write(draw, (24, middles[-1]), f"and {more} more", _SIZE, text.FAINT)
    for i, line in enumerate(said):
        text.write(draw, (0, height - 19 * (len(said) - i) + 9), line, _SMALL, text.FAINT)
    return panel


def _draw_bar(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    wide: int,
    low: float,
    value: float,
    colour: text.Colour,
) -> None:
    """A bar from 0 on a track of `wide` pixels from `low` to 1, its number above it; 0 is marked."""
    left, y = at
    zero, end = (left + wide * (min(v, 1.0) - low) / (1.0 - low) for v in (0.0, value))
    text.write(draw, (left, y - 6), f"{value:.3f}", _SMALL)
    draw.rectangle((left, y + 4, left + wide, y + 9), fill=_TRACK)
    draw.rectangle((min(zero, end), y + 4, max(zero, end), y + 9), fill=colour)
    if low < 0:
        draw.line((zero, y + 2, zero, y + 11), fill=text.FAINT)
