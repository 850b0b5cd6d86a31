"""Options where a detector labels (SAM 3): what they are, and which of all mean something there."""

from __future__ import annotations

from dataclasses import fields

from .checks import require
from .ensemble import METHODS
from .segment import SegmentOptions

DETECTOR_OPTIONS = SegmentOptions(
    method="freeda",
    ensemble=METHODS["freeda"],
    templates=("{}",),
    synonyms="max",
    local_weight=1.0,
    background_threshold=0.5,
)
DETECTING = (
    *("others", "other_words", "background", "background_threshold", "background_scale"),
    *("region_vote", "superpixels", "refine", "refine_iterations", "refine_dilations"),
)
"""Options that mean something where a detector labels."""


def check_detecting(options: SegmentOptions) -> None:
    """Raise InputError for an option that was set and means nothing to a detector."""
    for one in fields(options):
        told = f"option {one.name!r} means nothing to SAM 3, whose options are {', '.join(DETECTING)}"
        require(
            one.name in DETECTING or getattr(options, one.name) == getattr(DETECTOR_OPTIONS, one.name), told
        )
