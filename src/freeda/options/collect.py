"""What the offline stage can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import check_types, require
from .templates import TEMPLATES


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
        check_types(self)
        require(self.size >= 8 and self.size % 8 == 0, f"picture size {self.size} must be a multiple of 8")
        require(self.steps >= 1, "at least 1 denoising step is needed")
        require(0.0 < self.threshold < 1.0, f"threshold is {self.threshold}: it must lie between 0 and 1")
        require(0.0 <= self.min_area < self.max_area <= 1.0, "mask areas need 0 <= min_area < max_area <= 1")
        require(self.key in ("template",), f"key {self.key!r} is unknown: use 'template'")
        require(self.batch_size >= 1 and self.shard_size >= 1, "batch_size and shard_size must be at least 1")
