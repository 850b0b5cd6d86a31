"""What is told of labels, explanations, the bank and drawings, as plain JSON values with pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..bank.inspect import nearest_nouns
from ..collection.masks import WordMask
from ..collection.nouns import Noun
from ..errors import InputError
from ..images import RGB
from ..options import CollectOptions
from ..segment.result import Segmentation
from ..segment.upsample import enlarged
from ..show.explanation import Explanation
from ..show.export import area_shares
from ..show.overlay import label_map_image
from ..show.palette import to_hex
from ..show.tiles import heat_map, mask_picture
from .kept import Drawn, Picture
from .state import Settings
from .studio import Studio
from .workspace import Final, Workspace

CLASSES, REFERENCES = 2, 4
"""Words whose references are told, and how many of each."""
NOUNS, LEAST = 4, 2
"""Nouns told of a search at most, and those told even where they answer nothing."""
MAP_SIDE = 1600
"""Longer side of the map of regions and labels, at most; in pixels."""


def data_url(picture: NDArray[np.uint8] | Image.Image, kind: str = "JPEG") -> str:
    """A picture (a PIL image, or uint8 (H, W) or (H, W, 3)) as a data URL; `kind` is "PNG" or "JPEG"."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded(image, kind)).decode('ascii')}"


def encoded(image: Image.Image, kind: str) -> bytes:
    """A picture as bytes, quickly."""
    out = io.BytesIO()
    settings: dict[str, Any] = {"quality": 88} if kind == "JPEG" else {"compress_level": 1}
    image.save(out, kind, **settings)
    return out.getvalue()


def labels_told(ws: Workspace, final: Final) -> dict[str, Any]:
    """A picture's labels: classes with their shares, regions with their numbers, shares and margins."""
    made = final.composed
    shown = reduced(made.regions)
    shares = area_shares(made.labels, len(final.names))
    n, k = int(made.regions.max(initial=-1)) + 1, len(final.names) + 1
    inside = made.regions >= 0
    counts = np.bincount(
        made.regions[inside] * k + made.labels[inside] + 1,
        minlength=n * k,  # in each region of each label
    ).reshape(n, k)
    area = counts.sum(axis=1)
    painted = np.bincount(made.regions[inside & made.corrected], minlength=n)
    winner = counts.argmax(axis=1)
    return {
        "version": final.version,
        "width": shown.shape[1],
        "height": shown.shape[0],
        "classes": [
            {"number": i + 1, "name": name, "share": float(shares[i]), "caveat": ws.caveats.of_class(name)}
            for i, name in enumerate(final.names)
        ],
        "regions": [
            {
                "region": i,
                "number": int(winner[i]),
                "share": float(area[i] / made.regions.size),
                "margin": final.margins.get(i) if i < made.own else None,
                "corrected": bool(2 * painted[i] > area[i]),
            }
            for i in np.flatnonzero(area).tolist()
        ],
        "uncertainty": final.uncertainty,
    }


def map_png(final: Final) -> bytes:
    """Regions and labels as an RGB PNG: red + 256 green = region + 1, blue = number; 0 is none."""
    regions = reduced(final.composed.regions) + 1
    regions = np.where(regions < 1 << 16, regions, 0)  # two bytes tell no more apart
    labels = reduced(final.composed.labels) + 1
    plane = np.stack([regions % 256, regions // 256, labels], axis=-1).astype(np.uint8)
    return encoded(Image.fromarray(plane), "PNG")


def reduced(plane: NDArray[Any], side: int = MAP_SIDE) -> NDArray[Any]:
    """A plane (H, W) at most `side` long: each pixel is the one that its centre falls into."""
    scale = min(1.0, side / max(plane.shape))
    height, width = (max(1, round(n * scale)) for n in plane.shape)
    return enlarged(plane, (height, width))


def segmented(result: Segmentation, labels: NDArray[Any]) -> dict[str, Any]:
    """What /api/segment answers; `labels` are those of the result at the photograph's own size."""
    shares = area_shares(labels, len(result.names))
    return {
        "width": labels.shape[1],
        "height": labels.shape[0],
        "classes": [
            {
                "name": name,
                "number": i + 1,
                "colour": to_hex(colour),
                "share": float(shares[i]),
                "caveat": result.caveats.of_class(name),
            }
            for i, (name, colour) in enumerate(zip(result.names, result.palette, strict=True))
        ],
        "labels": data_url(label_map_image(labels, result.palette), "PNG"),
        "warnings": result.caveats.lines(),
    }


def explained(
    studio: Studio, told: Explanation, colours: NDArray[np.uint8], draw: bool = False
) -> dict[str, Any]:
    """Why a pixel got its word; with `draw` pictures that the bank did not keep are drawn again."""
    rows = [one.row for group in told.references for one in group.nearest if one.image is None]
    pictures = _pictures(studio, rows, draw)
    plain = replace(told, colours=colours, source=None).to_dict()
    scores = [
        {
            **asdict(one),
            "number": one.label + 1,
            "colour": to_hex(colours[one.label]),
            "local": one.local_score,
            "global": one.global_score,
        }
        for one in told.scores
    ]
    references = []
    for group in told.references:
        nearest = []
        for one in group.nearest:
            own = (one.image, one.mask) if one.image is not None and one.mask is not None else None
            picture = _tile(pictures.get(one.row) or own)
            nearest.append(
                {"noun": one.noun, "caption": one.caption, "cosine": one.cosine, "picture": picture}
            )
        references.append({"name": group.name, "retrieved": group.retrieved, "nearest": nearest})
    return {
        **plain,
        "region": data_url(Image.fromarray(reduced(told.region)), "PNG"),
        "share": float(told.region.mean()),
        "margin": None if len(told.scores) == 1 else told.margin,
        "sentence": sentence(told),
        "scores": scores,
        "references": references,
    }


def sentence(told: Explanation) -> str:
    """What the numbers come to."""
    if len(told.scores) == 1:
        return "It is the only word, so every region gets it."
    lead = f"{told.margin:.3f} ahead of {told.scores[1].name}."
    if not told.without_global:  # other scores count as well
        return lead
    if told.without_global == told.label == told.only_global:
        return f"{lead} Looks and scene agree."
    if told.without_global == told.label:
        only = told.only_global
        return f"{lead} Without the global term it would win as well; that term alone says {only}."
    return f"{lead} Without the global term it would be {told.without_global}."


def searched(studio: Studio, word: str, draw: bool = False) -> dict[str, Any]:
    """The bank's nouns nearest to a word. Raises InputError without a searchable bank, and for a bad word."""
    model, bank = studio.model, studio.model.bank
    if bank is None or not hasattr(bank, "nouns") or not hasattr(bank, "row"):
        raise InputError("there is no bank to search: start with --bank DIR")
    searchable: Any = bank
    text = studio.vocabulary({word: (word,)}, Settings()).text_embeddings[0]
    k = min(model.options.k, len(searchable))
    near = [one for i, one in enumerate(nearest_nouns(searchable, text, k, NOUNS)) if one.within or i < LEAST]
    pictures = _pictures(studio, [row for one in near for row in one.rows[:REFERENCES]], draw)
    return {
        "nouns": [
            {
                "noun": one.noun,
                "similarity": one.similarity,
                "within": one.within,
                "of": k,
                "rows": [
                    {"caption": searchable.row(row)["caption"], "picture": _tile(pictures.get(row))}
                    for row in one.rows[:REFERENCES]
                ],
            }
            for one in near
        ]
    }


def drawn(
    found: Drawn, caption: str, options: CollectOptions, threshold: float | None = None
) -> dict[str, Any]:
    """A caption's picture, and where each of its nouns is; masks are cut at `threshold`, 0 to 1."""
    at = options.threshold if threshold is None else threshold
    words = []
    for noun, word in found.words:
        mask = word.map > at
        cut = replace(word, mask=mask, area=float(mask.mean()))
        fate = _fate(noun, cut, found, options, at)
        words.append(
            {
                "noun": noun.lemma,
                "written": list(dict.fromkeys(caption[a:b] for a, b in noun.spans)),
                "kept": fate == "becomes a reference",
                "fate": fate,
                "area": cut.area,
                "map": _small(heat_map(found.image, word.map)),
                "mask": _small(mask_picture(found.image, cut.mask)),
            }
        )
    return {"picture": _small(found.image), "threshold": at, "words": words}


def _fate(noun: Noun, cut: WordMask, found: Drawn, options: CollectOptions, threshold: float) -> str:
    if cut.flat:
        return "rejected: flat map"
    if not cut.mask.any() or cut.area < options.min_area:
        return "rejected: too small"
    if cut.area > options.max_area:
        return "rejected: too large"
    if threshold == options.threshold and noun.lemma not in found.kept:
        return "rejected: no key, or no patch inside"
    return "becomes a reference"


def _pictures(studio: Studio, rows: Sequence[int], draw: bool) -> Mapping[int, Picture]:
    """Pictures of rows of the bank: those at hand, with `draw` also those that can be drawn again."""
    found: Mapping[int, Picture] = {}
    for step, more in studio.drawing.stepwise(rows):
        found = step
        if not draw or not more:
            break
    return found


def _tile(picture: Picture | None) -> str | None:
    return None if picture is None else _small(mask_picture(*picture), 192)


def _small(picture: RGB, side: int = 256) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_url(image)
