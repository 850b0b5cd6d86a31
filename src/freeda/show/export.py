"""One result on disk: palette PNG, overlay with legend, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import InputError
from ..files import atomic_path, atomic_paths, to_json
from ..images import WORLD
from .caveats import NONE, Caveats
from .overlay import label_map_image, overlay
from .palette import palette, to_hex
from .tiles import RGB, check_sizes, label_counts

JPEG: dict[str, Any] = {"quality": 92, "subsampling": 0}


def area_shares(labels: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Share of the pixels that each label 0 to n - 1 covers: float64 (n,) in [0, 1]."""
    return label_counts(labels, n) / max(labels.size, 1)


def write_image(path: str | Path, image: RGB | Image.Image) -> Path:
    """Write a picture (uint8 (H, W, 3) or a PIL image), whole or not at all.

    The suffix names the format: .png or .jpg (quality 92, full colour resolution). A PNG keeps the record of
    `images.of_world`. Raises InputError.
    """
    path = Path(path)
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        ".png": ("PNG", {"pnginfo": _record(image)}),
        ".jpg": ("JPEG", JPEG),
        ".jpeg": ("JPEG", JPEG),
    }
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path}: pictures are written as .png or .jpg, not '{path.suffix}'")
    kind, settings = kinds[path.suffix.lower()]
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with atomic_path(path) as temp:
        picture.save(temp, format=kind, **settings)
    return path


def _record(image: RGB | Image.Image) -> PngInfo | None:
    told = image.info.get(WORLD) if isinstance(image, Image.Image) else None
    if not isinstance(told, str):
        return None
    info = PngInfo()
    info.add_text(WORLD, told)
    return info


def write_result(
    image: RGB,
    labels: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None,
    out_dir: str | Path,
    stem: str,
    source: str | None = None,
    options: Mapping[str, Any] | None = None,
    colours: RGB | None = None,
    about: Mapping[str, Any] | None = None,
    caveats: Caveats = NONE,
) -> dict[str, Path]:
    """Write STEM.labels.png, STEM.overlay.jpg and STEM.json into `out_dir`; each appears whole or not at all.

    `image` uint8 (H, W, 3), `labels` integer (H, W), indices into `names`; `scores`, if given, float (n, H,
    W): its mean over a class's own pixels goes into the JSON. `source` names the picture, `options` is
    whatever belongs to the record (JSON values), `about` more entries of the JSON beside the usual ones;
    `caveats` go into legend and JSON.
    Returns the paths by kind: "labels", "overlay", "json"; the JSON appears last.

    Raises InputError for sizes that differ and where writing fails; then none of the three files is new.
    """
    check_sizes(image, labels)
    if Path(stem).name != stem:
        raise InputError(f"stem {stem!r} is not a file name: folders belong into out_dir")
    colours = palette(len(names)) if colours is None else colours
    folder = Path(out_dir)
    paths = {
        "labels": folder / f"{stem}.labels.png",
        "overlay": folder / f"{stem}.overlay.jpg",
        "json": folder / f"{stem}.json",
    }
    record = {
        "image": source,
        "width": int(labels.shape[1]),
        "height": int(labels.shape[0]),
        "labels": paths["labels"].name,
        "overlay": paths["overlay"].name,
        "warnings": caveats.lines(),
        "classes": _classes(labels, names, scores, colours, caveats),
        "options": dict(options or {}),
        **(about or {}),
    }
    picture, plane = overlay(image, labels, names, colours, caveats=caveats), label_map_image(labels, colours)
    with atomic_paths(*paths.values()) as (a, b, c):
        plane.save(a, format="PNG")
        Image.fromarray(picture).save(b, format="JPEG", **JPEG)
        c.write_text(to_json(record), encoding="utf-8")
    return paths


def _classes(
    labels: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None,
    colours: RGB,
    caveats: Caveats,
) -> list[dict[str, Any]]:
    shares = area_shares(labels, len(names))
    if scores is not None and scores.shape != (len(names), *labels.shape):
        raise InputError(f"scores have shape {scores.shape}, expected {(len(names), *labels.shape)}")
    out = []
    for i, name in enumerate(names):
        entry: dict[str, Any] = {
            "label": i,
            "name": name,
            "colour": to_hex(colours[i]),
            "pixels": round(float(shares[i]) * labels.size),
            "share": float(shares[i]),
        }
        if name in caveats.answered:
            entry["answered_by"] = list(caveats.answered[name])
        if scores is not None:
            entry["score"] = float(scores[i][labels == i].mean()) if shares[i] > 0 else None
        out.append(entry)
    return out
