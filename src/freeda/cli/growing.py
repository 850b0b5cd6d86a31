"""Growing as the commands do it: what it will cost is told, then asked, then done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import BankError, InputError, counted, printable
from ..options import CollectOptions
from ..presets import Preset
from .base import open_bank, say

if TYPE_CHECKING:
    from ..bank import Bank
    from ..bank.layers import GrownBank
    from ..encoders import Encoders
    from ..grow import Grown, Plan
    from ..model import FreeDA
    from ..segment.coverage import Coverage
    from ..segment.vocabulary import Names

Images = Annotated[
    int | None,
    typer.Option("--images-per-word", help="Pictures drawn for a word; default: the preset's."),
]
Prompts = Annotated[
    Path | None,
    typer.Option("--prompts", help="Caption file: captions that contain a word are drawn for it first."),
]
_NAMED = 8


@dataclass(frozen=True)
class Growing:
    """How words that a bank lacks are to be dealt with."""

    preset: Preset
    bank: Path | None
    """The bank directory that was named."""
    grow: bool | None = None
    """True: grow what is poorly covered; False: draw nothing; None: draw only where there is no bank."""
    yes: bool = False
    images: int | None = None
    prompts: Path | None = None
    index: str = "exact"
    """How the bank is searched, see `Bank.open`."""

    @property
    def layer(self) -> Path:
        """Where what is grown lies."""
        from ..grow import layer_beside, personal_layer

        return personal_layer(self.preset) if self.bank is None else layer_beside(self.bank)

    def open_base(self) -> Bank | None:
        """The bank that was named, or the preset's own."""
        place = self.preset.bank if self.bank is None else self.bank
        return None if place is None else open_bank(place, self.index)


def ready_model(model: FreeDA, base: Bank | None, names: Names, how: Growing) -> FreeDA:
    """The model with a bank that knows the names, as far as it may grow them.

    Raises InputError where there is no bank and none may be grown, or the user does not want to.
    """
    from ..grow import open_layer, plan_growth
    from ..segment.vocabulary import other_words, parse_names

    classes = parse_names(names)
    words = [*classes, *other_words(classes, model.options)]
    if base is None:
        wanted: Sequence[str] = words
    else:
        model = _with(model, base, open_layer(how.layer), words)
        wanted = [c.word for c in model.coverage(names) if c.poor] if how.grow else []
        if not wanted:
            return model
    plan = plan_growth(wanted, how.layer, _options(how.preset), how.images, how.prompts)
    if plan.pictures and how.grow is False:
        raise InputError(
            f"no bank, and --no-grow: {_drawn(plan)} would have to be drawn; give one (--bank DIR, made by "
            "`freeda collect`) or leave out --no-grow"
        )
    if plan.pictures and base is None:
        say(f"no bank: one is grown for exactly these words: {_drawn(plan)}, once, into {how.layer}")
    grown = perform(plan, how, model.encoders)
    tell_poor(grown, base is None)
    return _with(model, base, grown.layer, words)


def perform(plan: Plan, how: Growing, encoders: Encoders) -> Grown:
    """Draw what a plan says, after telling what it takes."""
    from ..grow import draw_plan, models_with, seconds_a_picture, settle
    from ..progress import duration

    if not plan.pictures:
        return settle(plan)
    options = _options(how.preset)
    models = models_with(encoders, how.preset, options)
    each = seconds_a_picture(models, options)
    took = f"about {duration(each * plan.pictures)} on {encoders.device} ({each:.2g} s a picture)"
    say(f"drawing {_drawn(plan)}: {took}")
    if not how.yes and sys.stdin.isatty() and not typer.confirm("go on?", default=True):
        raise InputError("nothing was drawn")
    return draw_plan(plan, how.preset, models, options, progress=True)


def tell_poor(grown: Grown, alone: bool) -> None:
    """Name the words that no picture gave a reference of; an error where there is no other bank."""
    lost = [word for word, count in grown.references.items() if not count]
    if not lost:
        return
    why = "; ".join(f"{w}: {_reasons(grown.rejected[w])}" for w in lost[:_NAMED])
    told = f"no picture gave a reference of {_listed(lost)} ({why})"
    if alone:
        raise BankError(
            f"{told}: use another word for it, captions that contain it (--prompts), or more pictures "
            "(--images-per-word)"
        )
    say(told, "yellow")


def coverage_table(found: Sequence[Coverage]) -> Table:
    """One row a word."""
    table = Table("word", "nearest", "mean", "near", "nouns", "most frequent", "agreement", "")
    for c in found:
        table.add_row(
            Text(printable(c.word)),
            f"{c.nearest:.3f}",
            f"{c.mean:.3f}",
            f"{c.near:,} of {c.retrieved:,}",
            f"{c.nouns:,}",
            Text(printable(", ".join(f"{noun} {n:,}" for noun, n in c.most))),
            f"{c.agreement:.2f}",
            Text("poor" if c.poor else "", style="yellow"),
        )
    return table


def _with(model: FreeDA, base: Bank | None, layer: Bank | None, words: Sequence[str]) -> FreeDA:
    """The model with a bank and its layer, which takes part only where it was grown for one of the words."""
    from ..grow import with_layer
    from ..model import FreeDA

    told = {" ".join(word.split()).lower() for word in words}
    mine = sorted(told & set(layer.nouns)) if layer is not None else []
    bank: Bank | GrownBank | None = with_layer(base, layer if mine else None)
    if layer is not None and mine and base is not None:
        say(f"with references grown for {_listed(mine)} ({layer.path})")
    return FreeDA(model.preset, model.encoders, bank, model.clock)


def _options(preset: Preset) -> CollectOptions:
    from ..grow import growth_options

    return growth_options(preset)


def _drawn(plan: Plan) -> str:
    """ "24 pictures (cat 12, sofa 12)"."""
    each = [f"{word} {len(captions)}" for word, captions in plan.captions.items() if captions]
    more = f" and {len(each) - _NAMED:,} more words" if len(each) > _NAMED else ""
    return f"{counted(plan.pictures, 'picture')} ({', '.join(each[:_NAMED])}{more})"


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


def _reasons(rejected: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(rejected.items())) or "not found"
