"""Which attention makes a word's map, and how it is added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .checks import Range, check_types, require


@dataclass(frozen=True)
class Attribution:
    """Which attention makes a word's map, and how it is added up. The defaults are DAAM's, exactly."""

    blocks: Literal["down-up", "down", "up", "all"] = "down-up"
    """Whose cross-attention counts: the down and the up blocks', one kind of them, or the middle block's as
    well. [DAAM; others ours]
    """
    left_out: Annotated[tuple[int, ...], Range(0)] = (3,)
    """Maps of these levels are left out; a level is how often the latent's side was halved for a layer, so 3
    means maps at 1/8 of it. [DAAM]
    """
    from_step: float = 0.0
    """The first part of the denoising that counts, as a share of all steps, 0 to 1: a step counts if its
    middle lies between `from_step` and `to_step`. [DAAM: all steps]
    """
    to_step: float = 1.0
    """The last part of the denoising that counts, as a share of all steps, 0 to 1. [DAAM: all steps]"""
    heads: Literal["mean", "max"] = "mean"
    """How a layer's heads become one map: their mean, or at each place the greatest. [DAAM: mean]"""
    normalisation: Literal["sum", "step", "head", "words"] = "sum"
    """What is added up: "sum", attention as it is; "step", each step's map of each head divided by its
    greatest value, so that steps weigh the same; "head", each head's sum divided by its greatest value, so
    that heads weigh the same; "words", attention among the caption's words only, start, end and padding left
    out of the softmax. [DAAM: sum; others ours]
    """
    propagation: Literal["none", "self"] = "none"
    """Whether places that attend to each other share a word: "self" scales each level's map to [0, 1], takes
    their mean weighted 0.1, 0.1, 0.5 and 0.3 for the levels 0 to 3 (64, 32, 16 and 8 of Stable Diffusion
    at 512 pixels; of those that the generator has and `left_out` leaves), and multiplies it by the
    self-attention of the finest level of at most 4096 places, averaged over heads, layers and steps.
    [DiffSegmenter, with `blocks` all and nothing in `left_out`; DAAM: none]
    """

    def __post_init__(self) -> None:
        check_types(self, "attribution.")
        low, high = self.from_step, self.to_step
        require(
            0.0 <= low < high <= 1.0,
            f"attribution.from_step is {low} and to_step {high}: 0 <= from_step < to_step <= 1 is needed",
        )

    def counted(self, steps: int) -> list[bool]:
        """Whether each of so many steps counts. Raises InputError where none does."""
        chosen = [self.from_step <= (i + 0.5) / steps <= self.to_step for i in range(steps)]
        require(
            any(chosen),
            f"none of {steps} steps has its middle between from_step {self.from_step} and to_step "
            f"{self.to_step}: widen the range, or take more steps",
        )
        return chosen
