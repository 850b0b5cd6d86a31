"""Which models make up a preset: one frozen dataclass, one table. A preset is data, never code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from .errors import InputError
from .options import (
    TEMPLATES,
    CollectOptions,
    DenseClip,
    Ensemble,
    SegmentOptions,
    Superpixels,
    parse_settings,
)
from .options.checks import Range, check_types, kinds, optional, require
from .options.detector import DETECTOR_OPTIONS, check_detecting

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ModelSource:
    """Where weights come from: a hub id or a local folder, read by the same `from_pretrained`."""

    id: str
    revision: str | None = None
    """A branch, tag or commit, and no other; None takes `known`, or else the default branch."""
    licence: str = "unknown"
    weight_name: str | None = None
    """Which of its .safetensors files, where a LoRA's folder or repository has several."""
    known: str | None = None
    """The commit of the default branch that a preset was written for: taken where the hub has it."""

    def __post_init__(self) -> None:
        check_types(self)
        require(bool(self.id.strip()), "a model's id is blank: give a hub id or a local folder")


@dataclass(frozen=True)
class Preset:
    """Everything that distinguishes one family of models from another."""

    name: str
    clip: ModelSource
    dense: ModelSource
    generator: ModelSource
    clip_size: Annotated[int | None, Range(1)] = None
    """Side of CLIP's square input, in pixels; None is the size that it was trained with."""
    dense_size: Annotated[int | None, Range(1)] = None
    """Side of the dense encoder's square input, in pixels (a multiple of its patch); None is the size that a
    DINOv2 was trained with, and as many patches (37) of models that know no fixed size."""
    clip_mean: tuple[float, float, float] | None = None
    clip_std: tuple[float, float, float] | None = None
    dense_mean: tuple[float, float, float] | None = None
    dense_std: tuple[float, float, float] | None = None
    """Mean and standard deviation of colours; None are those that such a model was trained with."""
    regions: ModelSource | None = None
    """The region model that cuts photographs (one of `REGIONS`, or another); None: superpixels."""
    detector: ModelSource | None = None
    """A SAM 3 that labels by itself: no encoder is read then, and a bank for its pictures alone."""
    lora: ModelSource | None = None
    """A LoRA merged into the generator when it is loaded."""
    bank: str | None = None
    """A bank directory used when the user names none (only the bundled miniature has one)."""
    world: str = ""
    """What its models know, where that is not photographs at large: told to people before they wonder."""
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    collect: CollectOptions = field(default_factory=CollectOptions)

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("clip_mean", "clip_std", "dense_mean", "dense_std"):
            values = getattr(self, name)
            if values is None:
                continue
            require(len(values) == 3, f"{name} has {len(values)} numbers: it must have three, one per colour")
            require("std" not in name or min(values) > 0, f"{name} is {values}: each must be above 0")
        if self.detector is not None:
            require(self.regions is None, f"regions mean nothing to preset '{self.name}': leave them out")
            check_detecting(self.segment)
        for name in ("clip", "dense", "regions", "detector", "generator"):
            one = getattr(self, name)
            require(
                one is None or one.weight_name is None, f"{name} has a weight_name: only a LoRA takes one"
            )

    @property
    def labelling(self) -> tuple[str, ...]:
        """The models that labelling needs."""
        return LABELLING if self.detector is None else ("detector",)

    def check_draws(self) -> None:
        """Raise InputError for a preset that only labels with given words: it makes and searches no bank."""
        told = f"preset '{self.name}' only labels with given words: take another here (--model vit-l)"
        require(self.detector is None, told)


ENCODERS, DRAWING = ("clip", "dense"), ("generator", "lora")
"""The encoders of a preset, and the models that drawing needs beside them."""
LABELLING = (*ENCODERS, "regions")
"""The models of a preset that labelling needs, where it has no detector."""
REGIONS: dict[str, ModelSource] = {
    "sam2": ModelSource("facebook/sam2.1-hiera-large", licence="Apache-2.0"),
    "eomt": ModelSource("tue-mps/coco_panoptic_eomt_large_640", licence="MIT"),
    "mask2former": ModelSource(
        "facebook/mask2former-swin-large-coco-panoptic", licence="other (its card names none)"
    ),
    "oneformer": ModelSource("shi-labs/oneformer_coco_swin_large", licence="MIT"),
}
"""Known region models; all were trained on masks."""
SUPERPIXELS = "superpixels"
"""What results call the package's own regions, and what asks for them where a preset has a region model."""
_SD = ModelSource(
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    licence="CreativeML OpenRAIL-M",
    known="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
)
_PLUS = SegmentOptions(
    method="all", templates=TEMPLATES["imagenet-80"], region_vote=True, short_side=336, window=336, stride=112
)
DRAWN = "drawn scenes, not photographs"
"""The miniature's world; its pictures carry it as their record (`images.of_world`)."""
_MINI = str(resources.files("freeda").joinpath("miniature", "weights"))

_MINIATURE = Preset(
    name="miniature",
    clip=ModelSource(f"{_MINI}/clip", licence="Apache-2.0"),
    dense=ModelSource(f"{_MINI}/dense", licence="Apache-2.0"),
    generator=ModelSource(f"{_MINI}/generator", licence="Apache-2.0"),
    bank=f"{_MINI}/bank",
    world=DRAWN,
    clip_size=128,
    dense_size=128,
    segment=SegmentOptions(
        # Measured on the small world (docs/miniature.md): a window's few things share one embedding.
        k=24,
        local_weight=0.95,
        short_side=128,
        window=128,
        stride=64,
        superpixels=Superpixels(scale=100.0, sigma=0.7, min_size=20),
        # Its CLIP was trained with patches that meet words: other attention undoes that (docs/beyond.md).
        dense_clip=DenseClip(attention="own"),
    ),
    collect=CollectOptions(size=128, steps=20, guidance=6.0, batch_size=16, shard_size=64),
)
_MINI_PLUS: dict[str, Any] = {
    "method": "all",
    "ensemble": Ensemble(own=0.05),  # values of its CLIP know less than its prototypes (docs/beyond.md)
    "short_side": 192,  # things are small in it: windows look closer
}
PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            name="vit-l",
            clip=ModelSource(
                "openai/clip-vit-large-patch14",
                licence="MIT",
                known="32bd64288804d66eefd0ccbe215aa642df71cc41",
            ),
            dense=ModelSource(
                "facebook/dinov2-large",
                licence="Apache-2.0",
                known="47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
            ),
            generator=_SD,
            clip_size=224,
            dense_size=518,
        ),
        Preset(
            name="vit-b",
            clip=ModelSource(
                "openai/clip-vit-base-patch16",
                licence="MIT",
                known="57c216476eefef5ab752ec549e440a49ae4ae5f3",
            ),
            dense=ModelSource(
                "facebook/dinov2-base", licence="Apache-2.0", known="f9e44c814b77203eaa57a6bdbbd535f21ede1415"
            ),
            generator=_SD,
            clip_size=224,
            dense_size=518,
        ),
        Preset(
            name="plus-l",
            clip=ModelSource("openai/clip-vit-large-patch14-336", licence="MIT"),
            dense=ModelSource("nvidia/C-RADIOv4-H", licence="NVIDIA Open Model License"),
            regions=REGIONS["eomt"],
            generator=_SD,
            clip_size=336,
            dense_size=512,
            segment=_PLUS,
            collect=CollectOptions(region_values=True),
        ),
        Preset(
            name="plus-b",
            clip=ModelSource(
                "openai/clip-vit-base-patch16",
                licence="MIT",
                known="57c216476eefef5ab752ec549e440a49ae4ae5f3",
            ),
            dense=ModelSource("facebook/dinov2-with-registers-base", licence="Apache-2.0"),
            regions=ModelSource("tue-mps/coco_panoptic_eomt_base_640_2x", licence="MIT"),
            generator=_SD,
            clip_size=336,
            dense_size=518,
            segment=_PLUS,
            collect=CollectOptions(region_values=True),
        ),
        _MINIATURE,
        replace(
            _MINIATURE,
            name="miniature-plus",
            regions=ModelSource(f"{_MINI}/regions", licence="Apache-2.0"),
            segment=replace(_MINIATURE.segment, **_MINI_PLUS),
        ),
    )
}

PRESETS["sam3"] = replace(
    PRESETS["vit-l"],
    name="sam3",
    detector=ModelSource("facebook/sam3", licence="SAM License (gated)"),
    segment=DETECTOR_OPTIONS,
)


DEFAULT, STUDIO = "miniature", "miniature-plus"
"""The presets taken when none is named, without a download; by the studio one whose regions suit clicks."""

RECIPES: dict[str, tuple[ModelSource, tuple[str, ...]]] = {
    "lcm": (
        ModelSource("latent-consistency/lcm-lora-sdv1-5", licence="CreativeML OpenRAIL++-M"),
        ("scheduler=lcm", "steps=4", "guidance=1"),
    )
}
"""Ways to draw fast with Stable Diffusion 1.5: a LoRA, and the options that it was distilled for."""


def drawing_with(preset: Preset, settings: Sequence[str]) -> Preset:
    """The preset, drawing as told: "steps=20", or one of `RECIPES`. InputError for what is neither."""
    for setting in settings:
        if setting in RECIPES:
            lora, own = RECIPES[setting]
            preset = replace(preset, lora=lora, collect=parse_settings(own, preset.collect))
            continue
        require("=" in setting, f"{setting!r} is neither NAME=VALUE (steps=20) nor {' or '.join(RECIPES)}")
    given = [setting for setting in settings if setting not in RECIPES]
    return replace(preset, collect=parse_settings(given, preset.collect))


def find_preset(name: str | Path | Preset) -> Preset:
    """The preset of that name, or the one described by a JSON file (`*.json`).

    A JSON preset has the fields of `Preset`; `base` names a preset to start from; relative folders are read
    from the file's own folder. Raises InputError for an unknown name or field, or a value that cannot be.
    """
    if isinstance(name, Preset):
        return name
    require(isinstance(name, (str, Path)), f"{name!r} is not a preset: give its name or a preset .json file")
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    path = Path(name)
    if path.suffix != ".json":
        near = get_close_matches(str(name).lower(), PRESETS, n=1)
        meant = f" (did you mean '{near[0]}'?)" if near else ""
        raise InputError(
            f"unknown model preset '{name}'{meant}: use one of {', '.join(PRESETS)}, or a preset .json file"
        )
    try:
        return _build(path, _read_json(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def local_folder(name: str | Path) -> Path | None:
    """The folder of that name (`~` is your home) if there is one; None also for what is no path."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError):  # longer than the system takes; the home of nobody
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("not a preset file: it is not UTF-8 text") from error
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise InputError(f"preset file cannot be read ({getattr(error, 'strerror', error)})") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a preset file: damaged JSON ({error})") from error
    if not isinstance(data, dict):
        raise InputError('not a preset file: expected a JSON object such as {"base": "vit-b", ...}')
    return data


def _build(path: Path, data: dict[str, Any]) -> Preset:
    name = data.pop("base", "vit-b")
    require(isinstance(name, str) and name in PRESETS, f"base is {name!r}: use one of {', '.join(PRESETS)}")
    base = PRESETS[name]
    _known("preset", data, Preset)
    if base.detector is not None:
        own = ("detector", "segment", "bank", "world")
        other = [key for key in data if key not in own]
        require(not other, f"{other[:1]} mean nothing on the base {name!r}: give {', '.join(own)}")
    changes: dict[str, Any] = {"name": path.stem}
    for key, value in data.items():
        if key in ("clip", "dense", "generator") or (
            key in ("regions", "detector", "lora") and value is not None
        ):
            source = _source(key, value, path.parent)
            changes[key] = _regions(source) if key == "regions" else source
        elif key in ("segment", "collect"):
            changes[key] = _changed(key, getattr(base, key), value)
        elif key == "bank" and isinstance(value, str):
            changes[key] = str(local_folder(path.parent / value) or value)
        else:
            changes[key] = value
    return replace(base, **{**_inputs(changes), **changes})


def with_models(preset: Preset, **ids: str | Path | None) -> Preset:
    """The preset with other models, hub ids or folders (clip, dense, regions, generator); None keeps its own.

    `regions` may also be one of `REGIONS`, or "superpixels" for no region model.
    """
    given: dict[str, ModelSource | None] = {
        part: _regions(ModelSource(str(place))) if part == "regions" else ModelSource(str(place))
        for part, place in ids.items()
        if place is not None
    }
    for part in given:
        told = f"{part} means nothing to preset '{preset.name}', which labels by itself: leave it out"
        require(preset.detector is None or given[part] is None, told)
    return replace(preset, **_inputs(given), **given)  # type: ignore[arg-type]


def _regions(source: ModelSource) -> ModelSource | None:
    """The region model of that short name, or with that id; None for "superpixels"."""
    name = source.id
    known = name in (*REGIONS, SUPERPIXELS) or "/" in name or local_folder(name) is not None
    near = "".join(f" (did you mean {one!r}?)" for one in get_close_matches(name, REGIONS, n=1))
    listed = ", ".join((SUPERPIXELS, *REGIONS))
    require(known, f"regions is {name!r}{near}: use one of {listed}, or a hub id or folder of such a model")
    return None if name == SUPERPIXELS else REGIONS.get(name, source)


def _inputs(parts: Iterable[str]) -> dict[str, None]:
    """What another encoder takes is its own: no size, mean or deviation of the one that it stands for."""
    return {f"{part}_{of}": None for part in parts if part in ENCODERS for of in ("size", "mean", "std")}


def _changed(what: str, base: Any, value: Any) -> Any:
    """Options with some fields changed; a nested dataclass is an object of its fields in turn."""
    _known(what, value, type(base))
    types = kinds(base.__class__)
    known = {n: optional(types[n]) or types[n] for n in value}
    given = [n for n in value if is_dataclass(known[n]) and value[n] is not None]
    inner = {n: getattr(base, n) or known[n]() for n in given}
    nested = {n: _changed(f"{what}.{n}", options, value[n]) for n, options in inner.items()}
    return replace(base, **{**value, **nested})


def _source(part: str, value: Any, beside: Path) -> ModelSource:
    """A model as a JSON preset gives it: its id, or an object of ModelSource's fields."""
    given = {"id": value} if isinstance(value, str) else value
    _known(part, given, ModelSource)
    require("id" in given, f"{part} has no id: give a hub id or a local folder")
    source = ModelSource(**given)
    return replace(source, id=str(local_folder(beside / source.id) or source.id))


def _known(what: str, value: Any, kind: type[Any]) -> None:
    """Raise InputError unless `value` is an object whose keys are fields of the dataclass `kind`."""
    require(isinstance(value, dict), f"{what} is {json.dumps(value)[:60]}: it must be an object of fields")
    known = [f.name for f in fields(kind)]
    for name in value:
        require(name in known, f"unknown {what} field {name!r}: the fields are {', '.join(known)}")
