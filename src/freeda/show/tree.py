"""Names that were found for a photograph, as a tree: name, its words, their regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import counted, printable
from .text import percent


@dataclass(frozen=True)
class NamedRegion:
    """The part of a region that has one name."""

    region: int
    """Its number in `Segmentation.regions`."""
    share: float
    """Of the photograph, 0 to 1."""
    nearest: float
    """Cosine of the region and the nearest row of the bank that has a noun; -1 where there is none."""
    votes: Mapping[str, float]
    """What each noun got of the region's votes, most first; they sum to 1, unless nothing voted."""


@dataclass(frozen=True)
class Word:
    """One of a name's nouns, with the regions where it has the most votes of these nouns."""

    word: str
    share: float
    """Of the photograph, 0 to 1."""
    regions: tuple[NamedRegion, ...]
    """Largest first."""


@dataclass(frozen=True)
class Area:
    """What one label covers."""

    name: str
    share: float
    """Of the photograph, 0 to 1, with pixels that are in no region."""
    words: tuple[Word, ...]
    """Largest first; a background has a single one, without text."""


@dataclass(frozen=True)
class AreaTree:
    """All that was found, largest first. Prints itself."""

    areas: tuple[Area, ...]
    near: float
    """Cosine from which a row of the bank counts as near a region; 2 where none can."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        rows = []
        for area in self.areas:
            words = [word for word in area.words if word.word]
            regions = [one for word in area.words for one in word.regions]
            told = "" if words else f"; nothing in the bank is near ({self.near:.2f})"
            rows.append((area.name, area.share, counted(len(regions), "region") + told))
            if [word.word for word in words] != [area.name]:
                rows += [(f"  {one.word}", one.share, counted(len(one.regions), "region")) for one in words]
        wide = max(len(printable(name)) for name, *_ in rows)
        lines = (f"{printable(name):{wide}} {percent(share):>7}  {more}" for name, share, more in rows)
        return "\n".join(lines)
