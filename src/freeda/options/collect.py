"""What the offline stage can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from .attribution import Attribution
from .checks import Range, check_types, require, require_slots
from .superpixels import Superpixels
from .templates import TEMPLATES, WORD_PROMPTS, template_set

PACE = ("batch_size", "compile", "vae_slicing", "offload", "region_values")
"""Fields of CollectOptions that change what a run takes or writes besides, and pairs by rounding only."""


@dataclass(frozen=True)
class CollectOptions:
    """The offline stage. Defaults are DAAM's and diffusers' usual values where the paper is silent."""

    size: int = 512
    """Height of the generated picture in pixels, a multiple of 8; its width too, unless `width` says
    otherwise. [DAAM; Stable Diffusion 1.x]
    """
    width: int | None = None
    """Width of the generated picture in pixels, a multiple of 8; none = as `size`. [diffusers]"""
    steps: Annotated[int, Range(1)] = 30
    """Denoising steps. [DAAM]"""
    guidance: Annotated[float, Range(0)] = 7.5
    """Classifier-free guidance scale; 1 and below switch guidance off, which halves the time: for models
    distilled to go without. [DAAM, diffusers]
    """
    scheduler: Literal["default", "ddim", "dpm++", "euler", "euler-a", "lcm", "turbo", "lightning"] = (
        "default"
    )
    """How noise is taken away; "default" is the generator's own. "dpm++" does with 20 to 25 steps; models
    distilled to 1 to 8 steps want their own: "lcm", "turbo" (Euler ancestral, trailing steps) or "lightning"
    (Euler, trailing steps). [diffusers' schedulers]
    """
    attribution: Attribution = field(default_factory=Attribution)
    """Which attention makes a word's map, and how it is added up. [DAAM]"""
    map_range: Literal["min-max", "percentiles", "max"] = "min-max"
    """What becomes 0 and 1 of a word's map at picture size: its least and greatest value; its percentiles
    `map_tail` and 1 - `map_tail`, so that a few extreme pixels decide nothing; zero and its greatest value.
    Values outside are clipped. [ours; DAAM: min-max]
    """
    map_tail: Annotated[float, Range(0, 0.5, open=True)] = 0.01
    """percentiles: share of the pixels beyond either end, above 0 and below 0.5. [ours]"""
    threshold_rule: Literal["fixed", "otsu", "percentile"] = "fixed"
    """Where the map is cut, above is inside: at `threshold`; where Otsu's two classes differ most (Otsu,
    1979); so that the share `keep_share` of the picture is kept. [ours; DAAM: fixed]
    """
    threshold: Annotated[float, Range(0, 1, open=True)] = 0.4
    """fixed: the map, scaled to [0, 1] as `map_range` says, is cut here, above 0 and below 1. [DAAM's
    published optimum]
    """
    keep_share: Annotated[float, Range(0, 1, open=True)] = 0.25
    """percentile: share of the picture inside the mask, above 0 and below 1. [ours]"""
    refine: Literal["none", "vote", "mean"] = "none"
    """Whether the picture's superpixels decide about the mask, each as a whole: "vote", inside if more than
    half of it is; "mean", inside if the mean of the map over it is above the cut. [ours]
    """
    superpixels: Superpixels = field(default_factory=Superpixels)
    """vote, mean: how the picture is cut into superpixels; the options of the online stage. [paper, online]
    """
    min_area: float = 0.005
    """Masks that cover less of the picture than this are rejected: a share, 0 to 1. [ours]"""
    max_area: float = 0.95
    """Masks that cover more of the picture than this are rejected: a share, 0 to 1. [ours]"""
    min_contrast: Annotated[float | None, Range(-1, 1)] = None
    """Nouns located less sharply are rejected: mean of the map inside the mask minus outside, -1 to 1; none
    keeps all. [ours]
    """
    min_agreement: Annotated[float | None, Range(-1, 1)] = None
    """Nouns that CLIP sees less of in the picture are rejected: cosine of the picture and the noun under
    `templates`, -1 to 1; none keeps all. [ours]
    """
    key: Literal["template", "caption", "token"] = "template"
    """Textual key of a noun: "template", its embedding under `templates`; "caption", that blended with the
    caption's own embedding; "token", the states of its own tokens inside the caption, projected. [ours: the
    paper embeds the noun in its textual context and gives no formula]
    """
    key_weight: Annotated[float, Range(0, 1)] = 0.5
    """caption: weight of the caption's embedding, 0 to 1; the noun's has the rest; both are normalised
    before. [ours]
    """
    templates: tuple[str, ...] = TEMPLATES["sub-imagenet-7"]
    """Prompt templates that the noun is put into, each with one `{}`; also the name of a set: "simple",
    "sub-imagenet-7" or "imagenet-80". [authors' code]
    """
    duplicates: Literal["keep", "skip"] = "keep"
    """Captions whose text was there before, letter by letter: "keep" draws another picture of it, "skip"
    leaves them out. [ours]
    """
    prompts_per_word: Annotated[int, Range(1)] = len(WORD_PROMPTS)
    """Captions made of each word where words are given instead of captions; beyond the number of
    `word_prompts` these come again, with other pictures. [ours]
    """
    word_prompts: tuple[str, ...] = WORD_PROMPTS
    """What captions are made of words with, in this order; `{}` takes the word. [ours]"""
    batch_size: Annotated[int, Range(1)] = 4
    """Captions drawn together; the result does not depend on it beyond float rounding. [ours]"""
    shard_size: Annotated[int, Range(1)] = 256
    """Captions a shard; a shard is the unit of work and of resuming. [ours]"""
    keep_images: bool = False
    """Store a small JPEG of each picture and its masks beside the pairs. [ours]"""
    region_values: bool = False
    """Also keep a row of every region of a picture, in the bank's `regions`: what it looks like to the dense
    encoder, and its value in the space of words (docs/bank.md). Takes disk: a row as large as a pair's, and a
    picture of 512 pixels has some hundred superpixels. [CorrCLIP v2]
    """
    compile: bool = False
    """Compile the generator's parts with torch.compile; pays off over hours, on an accelerator. Changes rows
    by rounding only. [ours]
    """
    vae_slicing: bool = False
    """Decode the pictures of a batch one by one: less memory, the same rows but for rounding. [diffusers]"""
    vae_tiling: bool = False
    """Decode large pictures in tiles: less memory, slightly other pictures. [diffusers]"""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep the generator in main memory and have on the accelerator what is at work: "model", one of text
    encoder, UNet and VAE, which costs little time; "sequential", one layer, which costs much. Nothing on a
    CPU. Needs the package accelerate. [diffusers]
    """

    def __post_init__(self) -> None:
        given: Any = self.templates
        if isinstance(given, str):
            object.__setattr__(self, "templates", template_set(given))
        check_types(self)
        require_slots(self.templates, "prompt template", "noun")
        require_slots(self.word_prompts, "word prompt", "word")
        for side in self.picture:
            require(side >= 8 and side % 8 == 0, f"picture size {side} must be a multiple of 8")
        require(
            self.refine == "none" or self.superpixels.algorithm != "none",
            f"refine is '{self.refine}', but superpixels.algorithm is 'none': there is nothing to vote",
        )
        require(
            not self.compile or self.attribution.propagation == "none",
            "compile is on, but attribution.propagation is 'self': compiled self-attention cannot be watched",
        )
        require(0.0 <= self.min_area < self.max_area <= 1.0, "mask areas need 0 <= min_area < max_area <= 1")

    @property
    def picture(self) -> tuple[int, int]:
        """(height, width) of the generated picture, in pixels."""
        return self.size, self.size if self.width is None else self.width
