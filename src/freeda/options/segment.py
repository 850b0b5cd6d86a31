"""What the online stage can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, TypedDict, Unpack

from .checks import Range, check_types, require, require_slots, unknown_option
from .ensemble import METHODS, DenseClip, Ensemble
from .naming import Naming
from .superpixels import Superpixels
from .templates import TEMPLATES, template_set
from .word_list import OTHER_WORDS

ENCODING = ("superpixels", "short_side", "long_side", "window", "stride", "dense_clip")
"""Fields that act when an image is encoded."""
VOCABULARY = (
    *(
        "templates",
        "synonyms",
        "k",
        "min_similarity",
        "prototypes",
        "clusters",
        "spherical",
        "others",
        "other_words",
    ),
)
"""Fields that act when a vocabulary is made. All others act when an image and a vocabulary are joined."""


@dataclass(frozen=True)
class SegmentOptions:
    """The online stage, every field with its source. Raises InputError for a value out of range."""

    method: Literal["auto", "freeda", "no-bank", "values", "all"] = "auto"
    """Which scores are added up: "freeda", the published ones; "no-bank", regions' own image-text features;
    "values", these and what a bank of region values supports; "all", every one that there is something for;
    "auto", "freeda" with a bank and "no-bank" without. [paper; CorrCLIP; the sum of all: ours]
    """
    ensemble: Ensemble | None = None
    """The weights, one by one; none takes those of the method. [ours]"""
    dense_clip: DenseClip = field(default_factory=DenseClip)
    """How regions get image-text features of their own; not computed for "freeda". [CorrCLIP]"""
    templates: tuple[str, ...] = TEMPLATES["sub-imagenet-7"]
    """Prompt templates a class name is put into, each with one `{}`; also the name of a set: "simple",
    "sub-imagenet-7" or "imagenet-80". [authors' code]
    """
    synonyms: Literal["mean", "max"] = "mean"
    """What a class's words become: one embedding, their mean; or a row each, of which the best counts. [ours;
    max: CorrCLIP]
    """
    k: Annotated[int, Range(1)] = 350
    """Nearest keys whose prototypes are taken for a class; a smaller bank gives all it has. [paper]"""
    min_similarity: Annotated[float | None, Range(-1, 1)] = None
    """Retrieval threshold: keys with a smaller cosine are dropped, but the nearest stays; -1 to 1, none keeps
    all. [authors' code has one; the rule for the nearest is ours]
    """
    prototypes: Literal["mean", "k-means", "all", "knn-vote"] = "mean"
    """What the retrieved prototypes become: their mean; `clusters` centroids; all of them, kept; or all of
    them, voting. [paper: mean; the others: authors' code, formulas ours]
    """
    clusters: Annotated[int, Range(1)] = 8
    """k-means: centroids a class. [ours]"""
    spherical: bool = True
    """k-means: cluster directions (rows and centroids normalised) rather than the raw vectors. [authors' code
    has both; the default is ours]
    """
    neighbours: Annotated[int, Range(1)] = 32
    """knn-vote: how many of the nearest prototypes, of all classes together, vote on a region. [ours]"""
    max_share: Annotated[float, Range(0, 1)] = 1.0
    """k-means and all: a class's cosine is max_share * best + (1 - max_share) * mean over its prototypes,
    0 to 1. [authors' code has the mix; the default is ours]
    """
    others: str | None = None
    """Name of an extra label for all that is none of the classes, such as "everything else"; it wins where
    one of `other_words` scores best. [ours]
    """
    other_words: tuple[str, ...] = field(default=OTHER_WORDS, repr=False)
    """Words behind `others`; those that share a word with a class are left out by themselves. [ours]"""
    local_weight: Annotated[float, Range(0, 1)] = 0.8
    """Weight of sigmoid(local similarity); the global cosine gets 1 - local_weight; 0 to 1. [paper]"""
    superpixels: Superpixels = field(default_factory=Superpixels)
    """How windows are cut into regions. [paper]"""
    short_side: Annotated[int | None, Range(1)] = 448
    """The image is resized so that its short side is this many pixels; none keeps its size. [authors' code]
    """
    long_side: Annotated[int, Range(1)] = 2048
    """Upper bound of the long side after that resize, in pixels. [authors' code]"""
    window: Annotated[int | None, Range(1)] = 448
    """Side of the square sliding window, in pixels; none takes the whole image as one window. [authors' code]
    """
    stride: int = 224
    """Step between windows, in pixels; the last window is flush with the border. [authors' code]"""
    background: Literal["none", "constant", "local", "local-of-winner", "probability"] = "none"
    """An extra last label "background": where no class's score reaches `background_threshold` (constant),
    where no class's local score does (local), where the winning class's local score does not
    (local-of-winner), or where no class is so probable (probability). With others="background" the words of
    `other_words` are background too. [authors' code; probability: CorrCLIP]
    """
    background_threshold: Annotated[float, Range(-1, 1)] = 0.55
    """Score under which the background wins; -1 to 1, and local scores and probabilities lie in 0 to 1.
    [ours; CorrCLIP takes probabilities of 0.2 for VOC, 0.15 for Context, 0.25 for COCO-Object]
    """
    background_scale: Annotated[float, Range(0)] = 40.0
    """probability: what scores are multiplied by before the softmax over all names. [CorrCLIP]"""
    region_vote: bool = False
    """Whether every region of the whole photograph takes the label that most of its pixels have; pixels in
    none keep theirs. [CorrCLIP, ReME]
    """
    refine: Literal["none", "pamr"] = "none"
    """Refinement of the merged scores along the image's edges. [authors' code; Araslanov & Roth, CVPR 2020]
    """
    refine_iterations: Annotated[int, Range(1)] = 10
    """pamr: iterations. [Araslanov & Roth, CVPR 2020]"""
    refine_dilations: Annotated[tuple[int, ...], Range(1)] = (1, 2, 4, 8, 12, 24)
    """pamr: distances of the eight neighbours that a pixel looks at, in working pixels. [authors' code]"""
    naming: Naming = field(default_factory=Naming)
    """How names are found where nobody gives any (`freeda name`). [ours]"""

    def __post_init__(self) -> None:
        given: Any = self.templates
        if isinstance(given, str):
            object.__setattr__(self, "templates", template_set(given))
        check_types(self)
        require_slots(self.templates, "prompt template", "class name")
        require(
            self.window is None or 1 <= self.stride <= self.window,
            f"stride is {self.stride}: it must lie between 1 and the window side {self.window}",
        )
        require(len(self.refine_dilations) > 0, "refine_dilations is (): at least one distance is needed")
        require(self.others is None or bool(self.others.strip()), "others is blank: name the extra label")
        require(
            self.others is None or any(word.strip() for word in self.other_words),
            "other_words is empty: name at least one word for all that is none of the classes",
        )

    @property
    def weights(self) -> Ensemble:
        """The weights as they stand; "auto" counts as "freeda" (`segment.support.resolve` knows better)."""
        return self.ensemble or METHODS["freeda" if self.method == "auto" else self.method]

    def with_changes(self, **changes: Unpack[Changes]) -> SegmentOptions:
        """A copy with some fields changed; InputError for an unknown field or a value out of range.

        Another method comes with its own weights, unless some are given.
        """
        known = [f.name for f in fields(self)]
        for name in changes:
            require(name in known, unknown_option(name, known))
        given: dict[str, Any] = {"ensemble": None, **changes} if "method" in changes else dict(changes)
        return replace(self, **given)


class Changes(TypedDict, total=False):
    """The fields of SegmentOptions as keyword arguments, so that editors complete them."""

    method: Literal["auto", "freeda", "no-bank", "values", "all"]
    ensemble: Ensemble | None
    dense_clip: DenseClip
    templates: tuple[str, ...] | str
    synonyms: Literal["mean", "max"]
    k: int
    min_similarity: float | None
    prototypes: Literal["mean", "k-means", "all", "knn-vote"]
    clusters: int
    spherical: bool
    neighbours: int
    max_share: float
    others: str | None
    other_words: tuple[str, ...]
    local_weight: float
    superpixels: Superpixels
    short_side: int | None
    long_side: int
    window: int | None
    stride: int
    background: Literal["none", "constant", "local", "local-of-winner", "probability"]
    background_threshold: float
    background_scale: float
    region_vote: bool
    refine: Literal["none", "pamr"]
    refine_iterations: int
    refine_dilations: tuple[int, ...]
    naming: Naming
