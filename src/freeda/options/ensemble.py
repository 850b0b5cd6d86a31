"""How patches meet words without a bank, and what each score weighs in the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .checks import Range, check_types


@dataclass(frozen=True)
class DenseClip:
    """Patches of the image-text model in the space of words: its last block, attended anew.

    Raises InputError for a value out of range.
    """

    attention: Literal["own", "proxy", "regions"] = "regions"
    """Whose attention the last block has: its own, as trained; ProxyCLIP's, by the dense encoder's similarity
    less `beta` times its mean, times `gamma`, what is below 0 left out; CorrCLIP's, by `sharpness` times that
    similarity, inside a region only. [ProxyCLIP, ECCV 2024; CorrCLIP, ICCV 2025]
    """
    sharpness: Annotated[float, Range(0)] = 4.0
    """regions: what the similarity is multiplied by. [CorrCLIP]"""
    within: bool = True
    """regions: whether patches attend inside their own region only. [CorrCLIP]"""
    beta: Annotated[float, Range(0)] = 1.2
    """proxy: share of the mean similarity that is taken off. [ProxyCLIP]"""
    gamma: Annotated[float, Range(0)] = 3.0
    """proxy: what the rest is multiplied by. [ProxyCLIP]"""
    spatial: Annotated[float, Range(0)] = 1.0
    """Weight of the middle layers' tokens through the same values and projection; not with "own". The blocks
    from a quarter to three quarters of the depth are meant. [CorrCLIP; which blocks: ours]
    """
    class_token: Annotated[float, Range(0)] = 0.5
    """Weight of the class token of each region, made of its patches alone; not with "own", nor for SigLIP,
    which has no such token. [CorrCLIP]
    """

    def __post_init__(self) -> None:
        check_types(self, "dense_clip.")


@dataclass(frozen=True)
class Ensemble:
    """What is added up at every place, and by which weights. Raises InputError for a value out of range."""

    freeda: Annotated[float, Range(0)] = 1.0
    """Of FreeDA's score: `local_weight` times the prototypes' and the rest times the window's. [paper]"""
    own: Annotated[float, Range(0)] = 0.0
    """Of the cosine of a region's own image-text feature and the text (`dense_clip`). [CorrCLIP]"""
    support: Annotated[float, Range(0)] = 0.0
    """Of the cosine of the mean value of the region's `neighbours` in a bank of region values and the text.
    [CorrCLIP v2]
    """
    neighbours: Annotated[int, Range(1)] = 20
    """Rows of that bank that a region retrieves. [CorrCLIP v2]"""
    taught: Annotated[float, Range(0)] = 0.3
    """What a lesson of a word (`FreeDA.teach`) adds where a region is just like it; 0: lessons do not count.
    [ours, on the miniature, seed 7]
    """
    nearness: Annotated[float, Range(0)] = 10.0
    """How fast a lesson counts less for what is less like it: exp(-nearness * (1 - cosine)). [ours, as above;
    Tip-Adapter has 5.5]
    """

    def __post_init__(self) -> None:
        check_types(self, "ensemble.")

    @property
    def dense(self) -> bool:
        """Whether it needs image-text features of regions."""
        return self.own > 0 or self.support > 0


METHODS: dict[str, Ensemble] = {
    "freeda": Ensemble(),
    "no-bank": Ensemble(freeda=0.0, own=1.0),
    "values": Ensemble(freeda=0.0, own=0.5, support=0.5),
    "all": Ensemble(freeda=1.0, own=0.1, support=0.1),
}
"""The weights that go by a name. Those of "all" are ours, and not measured with hub models."""
