"""What a reader of a result must know, worded once for the screen, JSON, legends, cards and the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_NAMED = 4


@dataclass(frozen=True)
class Caveats:
    """Why labels may not mean what they say."""

    outside: str = ""
    """What the models know, "drawn scenes, not photographs", where nothing says that the picture is such."""
    answered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The classes that are not in the bank, each with the nouns that answered for it."""

    def of_picture(self) -> str:
        """What is to be said of the picture, or ""."""
        known = f"This model knows {self.outside}: its labels of anything else mean little"
        return known if self.outside else ""

    def of_class(self, name: str) -> str:
        """What is to be said of a class, or ""."""
        by = self.answered.get(name)
        return f"not in this bank; answered by {', '.join(by)}" if by else ""

    def lines(self, names: Iterable[str] | None = None) -> list[str]:
        """A line about the picture, and one for every class, or those of `names`, that there is anything to
        say of."""
        told = self.answered if names is None else [name for name in names if name in self.answered]
        return [*self._picture(), *(f"{name}: {self.of_class(name)}" for name in told)]

    def brief(self) -> list[str]:
        """The same in at most two lines: of many classes the first are named, the others counted."""
        if len(self.answered) < 2:
            return self.lines()
        named = [f"{name} (answered by {', '.join(by)})" for name, by in self.answered.items()]
        more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        told = f"{len(named):,} words not in this bank: {', '.join(named[:_NAMED])}{more}"
        return [*self._picture(), told]

    def _picture(self) -> list[str]:
        return [line] if (line := self.of_picture()) else []


def alone(names: Sequence[str]) -> str:
    """What is to be said where a single word has the picture for itself, or ""."""
    return f"{names[0]} is the only word, so it gets every pixel" if len(names) == 1 else ""


NONE = Caveats()
