"""Why a region got its word: the explanation as HTML."""

from __future__ import annotations

from collections.abc import Mapping

from ..show.explanation import ClassScore, Explanation, Reference
from ..show.palette import ink, to_hex
from ..show.text import percent
from ..show.tiles import mask_picture
from . import html
from .kept import Picture
from .view import outline

SHOWN = 5
"""Words whose scores are shown."""
CLASSES, REFERENCES = 2, 4
"""Words whose references are shown, and how many of each."""


def verdict(told: Explanation) -> str:
    """The region, its word, the scores and what they come to."""
    share = html.say(percent(float(told.region.mean())))
    seen = html.image(outline(told.photo, told.region, 320), "the region in the photograph", 320)
    notes = "".join(f"<p><small>{html.say(note)}</small></p>" for note in told.notes)
    won = f'<p class="won">{_chip(told.scores[0], told)}{html.say(told.label)}</p>'
    return (
        f'<div class="verdict">{seen}<div>{won}'
        f"<p>{html.say(_sentence(told))}</p>"
        f"<small>{share} of the photograph, at {told.x}, {told.y}</small></div></div>"
        f"{_scores(told)}{notes}"
    )


def references(told: Explanation, pictures: Mapping[int, Picture], coming: bool = False) -> str:
    """What the region resembles most; `pictures` are those of the bank's rows that are at hand.

    With `coming` a missing picture is on its way; otherwise there is none.
    """
    wait = "drawing ..." if coming else "no picture kept"
    parts = []
    for group in told.references:
        made = [_reference(one, pictures.get(one.row), wait) for one in group.nearest]
        note = f"the nearest of {group.retrieved} references, with their cosines to the region"
        parts.append(html.section(group.name, note, html.cards(made)))
    return f'<div class="near">{"".join(parts)}</div>'


def _sentence(told: Explanation) -> str:
    if len(told.scores) == 1:
        return "It is the only word, so every region gets it."
    second = told.scores[1].name
    lead = f"{told.margin:.3f} ahead of {second}."
    if told.without_global == told.label == told.only_global:
        return f"{lead} Looks and scene agree."
    if told.without_global == told.label:
        return (
            f"{lead} Without the global term it would win as well; that term alone says {told.only_global}."
        )
    return f"{lead} Without the global term it would be {told.without_global}."


def _chip(one: ClassScore, told: Explanation) -> str:
    colour = told.colours[one.label]
    dark = "#{:02x}{:02x}{:02x}".format(*ink(colour))
    style = f"background:{to_hex(colour)};color:{dark}"
    return f'<span class="chip" data-label="{one.label}" style="{style}">{one.label + 1}</span>'


def _scores(told: Explanation) -> str:
    shown = told.scores[:SHOWN]
    lines = []
    for one in shown:
        parts = (one.local_score, one.global_score)
        numbers = "".join(f"<td>{'–' if v is None else f'{v:.3f}'}</td>" for v in parts)
        style = (
            f"width:{100 * min(max(one.score, 0.0), 1.0):.1f}%;background:{to_hex(told.colours[one.label])}"
        )
        lines.append(
            f'<tr><th scope="row">{_chip(one, told)}{html.say(one.name)}'
            f'<span class="bar" data-label="{one.label}" style="{style}"></span></th>'
            f"<td><b>{one.score:.3f}</b></td>{numbers}</tr>"
        )
    more = len(told.scores) - len(shown)
    rest = f"<caption>and {more} more</caption>" if more > 0 else ""
    return (
        f'<table class="scores">{rest}<thead><tr><th scope="col">word</th><th scope="col">score</th>'
        f'<th scope="col" title="how much the region looks like the word\'s references">local</th>'
        f'<th scope="col" title="how well the word fits the whole window">global</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _reference(one: Reference, picture: Picture | None, wait: str) -> str:
    kept = picture
    if kept is None and one.image is not None and one.mask is not None:
        kept = (one.image, one.mask)
    shown = html.blank(wait) if kept is None else html.image(mask_picture(*kept), one.caption, 192)
    return html.card(shown, f"{one.noun}  {one.cosine:.3f}", one.caption)
