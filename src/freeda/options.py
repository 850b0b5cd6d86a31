"""Every default of the method, once: what the online and the offline stage can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from .errors import InputError

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    # The seven that CLIP's authors found to carry most of the gain of all eighty.
    "sub-imagenet-7": (
        "itap of a {}.",
        "a bad photo of a {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    # All eighty of CLIP's ImageNet prompts.
    "imagenet-80": (
        "a bad photo of a {}.",
        "a photo of many {}.",
        "a sculpture of a {}.",
        "a photo of the hard to see {}.",
        "a low resolution photo of the {}.",
        "a rendering of a {}.",
        "graffiti of a {}.",
        "a bad photo of the {}.",
        "a cropped photo of the {}.",
        "a tattoo of a {}.",
        "the embroidered {}.",
        "a photo of a hard to see {}.",
        "a bright photo of a {}.",
        "a photo of a clean {}.",
        "a photo of a dirty {}.",
        "a dark photo of the {}.",
        "a drawing of a {}.",
        "a photo of my {}.",
        "the plastic {}.",
        "a photo of the cool {}.",
        "a close-up photo of a {}.",
        "a black and white photo of the {}.",
        "a painting of the {}.",
        "a painting of a {}.",
        "a pixelated photo of the {}.",
        "a sculpture of the {}.",
        "a bright photo of the {}.",
        "a cropped photo of a {}.",
        "a plastic {}.",
        "a photo of the dirty {}.",
        "a jpeg corrupted photo of a {}.",
        "a blurry photo of the {}.",
        "a photo of the {}.",
        "a good photo of the {}.",
        "a rendering of the {}.",
        "a {} in a video game.",
        "a photo of one {}.",
        "a doodle of a {}.",
        "a close-up photo of the {}.",
        "a photo of a {}.",
        "the origami {}.",
        "the {} in a video game.",
        "a sketch of a {}.",
        "a doodle of the {}.",
        "a origami {}.",
        "a low resolution photo of a {}.",
        "the toy {}.",
        "a rendition of the {}.",
        "a photo of the clean {}.",
        "a photo of a large {}.",
        "a rendition of a {}.",
        "a photo of a nice {}.",
        "a photo of a weird {}.",
        "a blurry photo of a {}.",
        "a cartoon {}.",
        "art of a {}.",
        "a sketch of the {}.",
        "a embroidered {}.",
        "a pixelated photo of a {}.",
        "itap of the {}.",
        "a jpeg corrupted photo of the {}.",
        "a good photo of a {}.",
        "a plushie {}.",
        "a photo of the nice {}.",
        "a photo of the small {}.",
        "a photo of the weird {}.",
        "the cartoon {}.",
        "art of the {}.",
        "a drawing of the {}.",
        "a photo of the large {}.",
        "a black and white photo of a {}.",
        "the plushie {}.",
        "a dark photo of a {}.",
        "itap of a {}.",
        "graffiti of the {}.",
        "a toy {}.",
        "itap of my {}.",
        "a photo of a cool {}.",
        "a photo of a small {}.",
        "a tattoo of the {}.",
    ),
}
"""Named prompt template sets; `{}` takes the class name or noun (method: CLIP, Radford et al. 2021)."""


def _require(good: bool, message: str) -> None:
    if not good:
        raise InputError(message)


@dataclass(frozen=True)
class Superpixels:
    """How a window is cut into regions (scikit-image's names and units).

    `algorithm` "felzenszwalb" is the published choice; `scale`, `sigma`, `min_size` are its parameters
    (per data set in the paper; these defaults are Pascal Context's). "slic" reads `n_segments`,
    `compactness`, `sigma` and `start_label`. "none" gives no regions: patches decide.
    """

    algorithm: str = "felzenszwalb"
    scale: float = 100.0
    sigma: float = 1.0
    min_size: int = 20
    n_segments: int = 100
    """slic: about how many regions a window gets (scikit-image's default, as the next one)."""
    compactness: float = 10.0
    """slic: weight of nearness against likeness of colour."""
    start_label: int = 1
    """slic: number of its first region, 0 or 1; kept for exactness, regions are renumbered from 0 anyway."""

    def __post_init__(self) -> None:
        _require(
            self.algorithm in ("felzenszwalb", "slic", "none"),
            f"superpixel algorithm {self.algorithm!r} is unknown: use 'felzenszwalb', 'slic' or 'none'",
        )
        _require(
            self.scale > 0 and self.sigma >= 0 and self.min_size >= 1,
            "superpixels need scale > 0, sigma >= 0 and min_size >= 1",
        )
        _require(
            self.n_segments >= 1 and self.compactness > 0 and self.start_label in (0, 1),
            "superpixels need n_segments >= 1, compactness > 0 and start_label 0 or 1",
        )


@dataclass(frozen=True)
class SegmentOptions:
    """The online stage. Defaults are the authors' released ones unless a field says otherwise."""

    templates: tuple[str, ...] = TEMPLATES["sub-imagenet-7"]
    """Prompt templates a class name is put into; each holds one `{}`."""
    k: int = 350
    """Nearest keys whose prototypes are averaged into a class prototype (paper, section 3.2)."""
    local_weight: float = 0.8
    """Weight of sigmoid(local similarity); the global cosine gets 1 - local_weight. In [0, 1]."""
    superpixels: Superpixels = field(default_factory=Superpixels)
    short_side: int | None = 448
    """The image is resized so that its short side is this many pixels; None keeps its size."""
    long_side: int = 2048
    """Upper bound of the long side after that resize, in pixels."""
    window: int | None = 448
    """Side of the square sliding window, in pixels; None takes the whole image as one window."""
    stride: int = 224
    """Step between windows, in pixels; the last window is flush with the border."""
    background: str = "none"
    """"none", or "constant": an extra last label where no class reaches `background_threshold`."""
    background_threshold: float = 0.55

    def __post_init__(self) -> None:
        _require(
            len(self.templates) > 0 and all(t.count("{}") == 1 for t in self.templates),
            "every prompt template needs exactly one {} for the class name",
        )
        _require(self.k >= 1, f"k is {self.k}: at least 1 prototype must be retrieved")
        _require(
            0.0 <= self.local_weight <= 1.0, f"local_weight is {self.local_weight}: it must lie in [0, 1]"
        )
        _require(self.short_side is None or self.short_side >= 1, "short_side must be at least 1 pixel")
        _require(
            self.window is None or 1 <= self.stride <= self.window,
            f"stride is {self.stride}: it must lie between 1 and the window side {self.window}",
        )
        _require(
            self.background in ("none", "constant"),
            f"background {self.background!r} is unknown: use 'none' or 'constant'",
        )

    def with_changes(self, **changes: Any) -> SegmentOptions:
        """A copy with some fields changed; InputError for an unknown field or a value out of range."""
        unknown = [name for name in changes if name not in {f.name for f in fields(self)}]
        _require(
            not unknown,
            f"unknown option {unknown[0]!r}: the options are {', '.join(f.name for f in fields(self))}"
            if unknown
            else "",
        )
        return replace(self, **changes)


@dataclass(frozen=True)
class CollectOptions:
    """The offline stage. Defaults are DAAM's and diffusers' usual values where the paper is silent."""

    size: int = 512
    """Side of the generated picture, in pixels."""
    steps: int = 30
    """Denoising steps."""
    guidance: float = 7.5
    """Classifier-free guidance scale; 1 switches guidance off."""
    threshold: float = 0.4
    """A word's map, min-max normalised to [0, 1], is cut here (DAAM's published optimum)."""
    min_area: float = 0.005
    """Masks that cover less of the picture than this are rejected (share, 0 to 1)."""
    max_area: float = 0.95
    """Masks that cover more than this are rejected."""
    key: str = "template"
    """Textual key: "template" (mean over the prompt templates filled with the noun)."""
    templates: tuple[str, ...] = TEMPLATES["sub-imagenet-7"]
    batch_size: int = 4
    """Captions drawn together; the result does not depend on it beyond float rounding."""
    shard_size: int = 256
    """Captions a shard; a shard is the unit of work and of resuming."""
    keep_images: bool = False
    """Store a small JPEG of each picture and its masks beside the pairs."""

    def __post_init__(self) -> None:
        _require(self.size >= 8 and self.size % 8 == 0, f"picture size {self.size} must be a multiple of 8")
        _require(self.steps >= 1, "at least 1 denoising step is needed")
        _require(0.0 < self.threshold < 1.0, f"threshold is {self.threshold}: it must lie between 0 and 1")
        _require(0.0 <= self.min_area < self.max_area <= 1.0, "mask areas need 0 <= min_area < max_area <= 1")
        _require(self.key in ("template",), f"key {self.key!r} is unknown: use 'template'")
        _require(
            self.batch_size >= 1 and self.shard_size >= 1, "batch_size and shard_size must be at least 1"
        )


def to_dict(options: SegmentOptions | CollectOptions | Superpixels) -> dict[str, object]:
    """The options as JSON-ready plain values (nested dataclasses become dicts, tuples lists)."""
    out: dict[str, object] = {}
    for f in fields(options):
        value = getattr(options, f.name)
        out[f.name] = (
            to_dict(value)
            if isinstance(value, Superpixels)
            else (list(value) if isinstance(value, tuple) else value)
        )
    return out
