"""How regions are named where nobody gave words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .checks import Range, check_types


@dataclass(frozen=True)
class Naming:
    """How names are found in a bank (`FreeDA.name`). Raises InputError for values out of range."""

    neighbours: Annotated[int, Range(1)] = 20
    """Rows of the bank with the most similar prototypes, whose nouns vote on a region by their cosine. [ours]
    """
    votes: Annotated[float, Range(0, 1)] = 0.2
    """Share of one region's votes from which a name takes part in the labelling, 0 to 1. [ours]"""
    merge: Annotated[float, Range(-1, 1)] = 0.75
    """Two nouns are one name where the cosines of both their mean keys and their mean prototypes, the bank's
    own mean taken off, reach this; -1 to 1. [ours]
    """
    far: Annotated[float, Range(0, 1)] = 0.05
    """How near is near: so that this share of the bank's own rows, 0 to 1, is not near the nearest of their
    noun. Regions that no row is near are background. [ours]
    """

    def __post_init__(self) -> None:
        check_types(self)
