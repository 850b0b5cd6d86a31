"""Which models make up a preset: one frozen dataclass, one table. A preset is data, never code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import InputError
from .options import CollectOptions, SegmentOptions, Superpixels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ModelSource:
    """Where weights come from: a hub id or a local folder, read by the same `from_pretrained`."""

    id: str
    revision: str | None = None
    licence: str = "unknown"


@dataclass(frozen=True)
class Preset:
    """Everything that distinguishes one family of models from another."""

    name: str
    clip: ModelSource
    dense: ModelSource
    generator: ModelSource
    clip_size: int
    """Side of CLIP's square input, in pixels."""
    dense_size: int
    """Side of the dense encoder's square input, in pixels (a multiple of its patch)."""
    clip_mean: tuple[float, float, float] = CLIP_MEAN
    clip_std: tuple[float, float, float] = CLIP_STD
    dense_mean: tuple[float, float, float] = IMAGENET_MEAN
    dense_std: tuple[float, float, float] = IMAGENET_STD
    bank: str | None = None
    """A bank directory used when the user names none (only the bundled miniature has one)."""
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    collect: CollectOptions = field(default_factory=CollectOptions)


_SD = ModelSource("stable-diffusion-v1-5/stable-diffusion-v1-5", licence="CreativeML OpenRAIL-M")
_MINI = str(resources.files("freeda").joinpath("miniature", "weights"))

PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            name="vit-l",
            clip=ModelSource("openai/clip-vit-large-patch14", licence="MIT"),
            dense=ModelSource("facebook/dinov2-large", licence="Apache-2.0"),
            generator=_SD,
            clip_size=224,
            dense_size=518,
        ),
        Preset(
            name="vit-b",
            clip=ModelSource("openai/clip-vit-base-patch16", licence="MIT"),
            dense=ModelSource("facebook/dinov2-base", licence="Apache-2.0"),
            generator=_SD,
            clip_size=224,
            dense_size=518,
        ),
        Preset(
            name="miniature",
            clip=ModelSource(f"{_MINI}/clip", licence="Apache-2.0"),
            dense=ModelSource(f"{_MINI}/dense", licence="Apache-2.0"),
            generator=ModelSource(f"{_MINI}/generator", licence="Apache-2.0"),
            bank=f"{_MINI}/bank",
            clip_size=128,
            dense_size=128,
            segment=SegmentOptions(
                # Measured on the small world (docs/miniature.md): its CLIP knows things too poorly for 0.8.
                k=16,
                local_weight=0.95,
                short_side=128,
                window=128,
                stride=64,
                superpixels=Superpixels(scale=100.0, sigma=0.7, min_size=20),
            ),
            collect=CollectOptions(size=128, steps=20, guidance=6.0, batch_size=16, shard_size=64),
        ),
    )
}


DEFAULT = "miniature"
"""The preset taken when none is named: the only one that needs no download."""


def find_preset(name: str | Path | Preset) -> Preset:
    """The preset of that name, or the one described by a JSON file (`*.json`).

    A JSON preset has the fields of `Preset`; `base` names a preset to start from; relative model
    folders are read from the file's own folder. Raises InputError for an unknown name or field.
    """
    if isinstance(name, Preset):
        return name
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    path = Path(name)
    if path.suffix != ".json":
        raise InputError(
            f"unknown model preset '{name}': use one of {', '.join(PRESETS)}, or a preset .json file"
        )
    return _read_preset(path)


def _read_preset(path: Path) -> Preset:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        base = PRESETS[data.pop("base", "vit-b")]
    except OSError as error:
        raise InputError(f"{path}: preset file cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a preset file: {error}") from error
    unknown = set(data) - {f.name for f in fields(Preset)}
    if unknown:
        raise InputError(f"{path}: unknown preset field {sorted(unknown)[0]!r}")
    changes: dict[str, Any] = {"name": path.stem}
    try:
        for key, value in data.items():
            if key in ("clip", "dense", "generator"):
                value = ModelSource(**value) if isinstance(value, dict) else ModelSource(value)
                folder = path.parent / value.id
                changes[key] = replace(value, id=str(folder)) if folder.is_dir() else value
            elif key == "segment":
                if "superpixels" in value:
                    value = {**value, "superpixels": Superpixels(**value["superpixels"])}
                changes[key] = replace(base.segment, **_tuples(value))
            elif key == "collect":
                changes[key] = replace(base.collect, **_tuples(value))
            else:
                changes[key] = tuple(value) if isinstance(value, list) else value
        return replace(base, **changes)
    except TypeError as error:
        raise InputError(f"{path}: {error}") from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
