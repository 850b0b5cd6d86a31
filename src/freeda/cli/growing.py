"""Growing as the commands do it: what it will cost is told, then asked, then done.

Loads torch: commands import it when they run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import typer
from rich.table import Table
from rich.text import Text

from ..bank import Bank
from ..collection.job import generator_of
from ..collection.shard import with_generator as models_with
from ..encoders import Encoders
from ..errors import BankError, InputError, counted, printable
from ..grow import (
    Grown,
    Plan,
    draw_plan,
    growth_options,
    layer_beside,
    layers_with,
    personal_layer,
    plan_growth,
    related_layers,
    seconds_a_picture,
    settle,
    tidy,
    with_layer,
)
from ..identity import first_difference
from ..model import FreeDA
from ..options import OTHER_WORDS, to_dict
from ..presets import DRAWING, PRESETS, RECIPES, Preset
from ..profile import peak_memory
from ..progress import duration
from ..segment.coverage import Coverage
from ..segment.support import resolve, weights_of
from ..segment.vocabulary import Names, Vocabulary, other_words, parse_names
from .base import say
from .options import fetch_first, listed, open_bank

LONG = 300.0
"""Seconds of drawing from which people are told what is faster."""
_NAMED = 8


@dataclass(frozen=True)
class Growing:
    """How words that a bank lacks are to be dealt with."""

    preset: Preset
    """Draws as the user says."""
    bank: Path | None
    """The bank directory that was named."""
    grow: bool = False
    """Whether to draw what is poorly covered, or all where there is no bank."""
    yes: bool = False
    images: int | None = None
    prompts: Path | None = None
    index: str = "exact"
    """How the bank is searched, see `Bank.open`."""
    dtype: str | None = None
    """What the user said that models compute in."""
    usual: Preset | None = None
    """The preset as it draws unless told."""

    @property
    def layer(self) -> Path:
        """Where what is grown lies."""

        return personal_layer(self.preset) if self.bank is None else layer_beside(self.bank)

    def layers(self, words: Sequence[str]) -> list[Bank]:
        """What the layer holds of these words and, unless the user says how to draw, what others hold."""

        told = self.usual is not None and personal_layer(self.usual) != personal_layer(self.preset)
        related = [] if told or self.bank is not None else related_layers(self.preset)
        return layers_with(words, self.layer, related, self.images)

    def plan(self, words: Sequence[str]) -> Plan | None:
        """What is to be drawn for these words; None for none."""
        options = growth_options(self.preset)
        return plan_growth(words, self.layer, options, self.images, self.prompts) if words else None

    def open_base(self) -> Bank | None:
        """The bank that was named, or the preset's own."""
        place = self.preset.bank if self.bank is None else self.bank
        return None if place is None else open_bank(place, self.index)


def ready_model(model: FreeDA, base: Bank | None, names: Names, how: Growing) -> FreeDA:
    """The model with a bank that knows the names, as far as it may grow them.

    Without one, and unless it is to be grown or was before, the model labels by what its encoders know.
    Raises InputError where the user does not want what is to be drawn.
    """
    if model.preset.detector is not None or not weights_of(model.options, True).freeda:
        return model.with_bank(base)
    classes = parse_names(names)
    words = [*classes, *other_words(classes, model.options)]
    layers = how.layers(words)
    if base is None:
        plan = _plan_alone(words, layers, how)
        if plan is not None and plan.pictures and not how.grow:
            say(
                "no bank: labelled by what the encoders themselves see in a region (method no-bank); a bank "
                f"adds what each word looks like: --grow draws one for these ({_drawn(plan)})"
            )
            return model.with_bank(None)
    else:
        known = model.with_bank(with_layer(base, *layers))
        plan = how.plan([c.word for c in known.coverage(names) if c.poor] if how.grow else [])
    if plan is not None:
        if plan.pictures and base is None:
            say(f"no bank: one is grown for exactly these words: {_drawn(plan)}, once, into {how.layer}")
        tell_poor(perform(plan, how, model.encoders), base is None)
        layers = how.layers(words)
    _tell_layers(layers, how)
    return model.with_bank(with_layer(base, *layers))


def needed_models(base: Bank | None, names: Names, how: Growing) -> tuple[str, ...]:
    """The models that labelling with these names will load, as far as it can be told before any is there."""
    plan, options = None, how.preset.segment
    if base is None and how.preset.detector is None and weights_of(options, True).freeda:
        classes = parse_names(names)
        words = [*classes, *other_words(classes, how.preset.segment)]
        plan = _plan_alone(words, how.layers(words), how)
        if plan is not None and plan.pictures and not how.grow:
            resolve(options, False, False)  # which tells a method that wants a bank all the same
            plan = None
    return (*how.preset.labelling, *(DRAWING if plan is not None and plan.pictures else ()))


def _plan_alone(words: Sequence[str], layers: Sequence[Bank], how: Growing) -> Plan | None:
    """What is to be drawn where there is no bank but layers; None where these hold every word."""
    there = {noun for layer in layers if layer.path != how.layer for noun in layer.nouns}
    return how.plan([word for word in words if tidy(word) not in there])


def perform(plan: Plan, how: Growing, encoders: Encoders) -> Grown:
    """Draw what a plan says, after telling what it takes."""
    if not plan.pictures:
        return settle(plan)
    options = growth_options(how.preset)
    fetch_first(how.preset, DRAWING, how.yes)
    models = models_with(encoders, how.preset, options, how.dtype)
    each = seconds_a_picture(models, options)
    took = f"about {duration(each * plan.pictures)} on {encoders.device} ({duration(each)} a picture"
    say(f"drawing {_drawn(plan)}: {took}, {_peak(encoders.device)})")
    if each * plan.pictures > LONG and not how.yes and (ways := _faster(plan, how.preset)):
        say(f"faster: {', or '.join(ways)}")
    if not how.yes and sys.stdin.isatty() and not typer.confirm("go on?", default=True):
        raise InputError("nothing was drawn")
    return draw_plan(plan, how.preset, models, options, progress=True)


def _peak(device: torch.device) -> str:
    """ "5.1 GB of memory at most", of which the trial picture tells."""
    on_gpu = device.type == "cuda"
    most = torch.cuda.max_memory_reserved(device) if on_gpu else peak_memory()
    return f"{most / 1e9:.1f} GB of {'GPU ' * on_gpu}memory at most"


def _faster(plan: Plan, preset: Preset) -> list[str]:
    """What takes less time than this plan, as options of the command."""
    usual, ways = PRESETS["vit-l"].generator, []
    lora, steps = RECIPES["lcm"][0], preset.collect.steps
    if preset.lora is None and preset.generator.id == usual.id and steps > 8:
        lacks = "" if find_spec("peft") else "; pip install peft"
        ways.append(f"--draw lcm (4 steps instead of {steps}, with {lora.id}, {lora.licence}{lacks})")
    most = max(map(len, plan.captions.values()))
    return [*ways, f"--images-per-word {most // 3}"] if most >= 6 else ways


def tell_poor(grown: Grown, alone: bool) -> None:
    """Name the words that no picture gave a reference of; an error where there is no other bank."""
    lost = [word for word, count in grown.references.items() if not count]
    if not lost:
        return
    reasons = {
        word: ", ".join(f"{n:,} {reason}" for reason, n in sorted(grown.rejected[word].items()))
        for word in lost[:_NAMED]
    }
    why = "; ".join(f"{word}: {said or 'not found'}" for word, said in reasons.items())
    told = f"no picture gave a reference of {listed(lost)} ({why})"
    if alone:
        raise BankError(
            f"{told}: use another word for it, captions that contain it (--prompts), or more pictures "
            "(--images-per-word)"
        )
    say(told, "yellow")


def tell_prompts(ready: Vocabulary, names: Names, bank: Bank) -> None:
    """Say what a bank's pictures made of the words that a detector is asked for."""
    words = [word for own in parse_names(names).values() for word in own]
    other = [prompt for prompt in ready.prompts if not {prompt} & {*words, *OTHER_WORDS}]
    nouns = {noun.casefold() for noun in bank.nouns.different}
    lacking = [word for word in words if word.casefold() not in nouns]
    told = f"; it has none of {listed(lacking)}" if lacking else ""
    say(f"by the bank's pictures words are asked for as {listed(other) or 'they are'}{told}")


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


def _tell_layers(layers: Sequence[Bank], how: Growing) -> None:
    """Say which layers take part, with what was grown for which words."""
    now = {"generator": generator_of(how.preset), "options": to_dict(growth_options(how.preset))}
    for layer in layers:
        mine = listed(sorted(layer.nouns.different))
        if layer.path == how.layer:
            say(f"with references grown for {mine} ({layer.path})")
            continue
        then = {"generator": layer.meta["models"].get("generator"), "options": layer.meta["options"]}
        shared = {**now, "options": {n: now["options"].get(n) for n in then["options"]}}
        other = first_difference(then, shared) or "other models"
        say(f"with references drawn before for {mine} ({other}; {layer.path})")


def _drawn(plan: Plan) -> str:
    """ "24 pictures (cat 12, sofa 12)"."""
    each = [f"{word} {len(captions)}" for word, captions in plan.captions.items() if captions]
    more = " words" if len(each) > _NAMED else ""
    return f"{counted(plan.pictures, 'picture')} ({listed(each, _NAMED)}{more})"
