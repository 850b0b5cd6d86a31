"""The page's HTML: small pieces, and why a region got its word.

Every text that comes from a person or a file goes through `say`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import printable
from ..images import RGB
from ..show.explanation import ClassScore, Explanation
from ..show.palette import ink, to_hex
from ..show.text import percent
from ..show.tiles import mask_picture
from .kept import Picture

SHOWN = 5
"""Words whose scores are shown."""
CLASSES, REFERENCES = 2, 4
"""Words whose references are shown, and how many of each."""


def data_url(picture: npt.NDArray[np.uint8] | Image.Image, kind: str) -> str:
    """A picture (a PIL image, or uint8 (H, W) or (H, W, 3)) as a data URL; `kind` is "PNG" or "JPEG"."""
    out = io.BytesIO()
    settings: dict[str, Any] = {"quality": 88} if kind == "JPEG" else {"compress_level": 1}
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(out, kind, **settings)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(out.getvalue()).decode("ascii")


def say(text: object) -> str:
    """A text as HTML that shows it and does nothing else."""
    return escape(printable(str(text)), quote=True)


def image(picture: RGB, words: str, side: int = 256) -> str:
    """A picture (H, W, 3) at most `side` pixels long, with `words` for who cannot see it."""
    small = Image.fromarray(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return f'<img src="{data_url(np.asarray(small), "JPEG")}" alt="{say(words)}">'


def card(picture: str, title: str, *lines: str) -> str:
    """A picture (HTML) above a title, if any, and lines of text (plain)."""
    head = f"<b>{say(title)}</b>" if title else ""
    told = "".join(f"<span>{say(line)}</span>" for line in lines)
    return f'<figure class="card">{picture}<figcaption>{head}{told}</figcaption></figure>'


def masked(picture: Picture | None, words: str, wait: str) -> str:
    """A reference's picture, pale outside its mask; `wait` where it is still to come, or not kept."""
    if picture is None:
        return f'<div class="blank">{say(wait)}</div>'
    return image(mask_picture(*picture), words, 192)


def section(title: str, note: str, inside: str) -> str:
    """A heading (plain), a remark (plain) and HTML below them."""
    remark = f"<small>{say(note)}</small>" if note else ""
    return f'<section class="part"><h2>{say(title)}{remark}</h2>{inside}</section>'


def cards(made: list[str]) -> str:
    """Cards side by side."""
    return f'<div class="cards">{"".join(made)}</div>'


def empty(words: str) -> str:
    """What stands where nothing has been asked for yet."""
    return f'<p class="empty">{say(words)}</p>'


def verdict(told: Explanation) -> str:
    """The region, its word, the scores and what they come to."""
    share = say(percent(float(told.region.mean())))
    step = max(1, -(-max(told.region.shape) // 320))
    seen = np.ascontiguousarray(told.photo[::step, ::step]), told.region[::step, ::step]
    region = image(mask_picture(*seen), "the region in the photograph", 320)
    notes = "".join(f"<p><small>{say(note)}</small></p>" for note in told.notes)
    won = f'<p class="won">{_chip(told.scores[0], told)}{say(told.label)}</p>'
    return (
        f'<div class="verdict">{region}<div>{won}'
        f"<p>{say(_sentence(told))}</p>"
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
        made = []
        for one in group.nearest:
            own = (one.image, one.mask) if one.image is not None and one.mask is not None else None
            shown = masked(pictures.get(one.row, own), one.caption, wait)
            made.append(card(shown, f"{one.noun}  {one.cosine:.3f}", one.caption))
        note = f"the nearest of {group.retrieved} references, with their cosines to the region"
        parts.append(section(group.name, note, cards(made)))
    return f'<div class="near">{"".join(parts)}</div>'


def _sentence(told: Explanation) -> str:
    if len(told.scores) == 1:
        return "It is the only word, so every region gets it."
    second = told.scores[1].name
    lead = f"{told.margin:.3f} ahead of {second}."
    if not told.without_global:  # other scores count as well
        return lead
    if told.without_global == told.label == told.only_global:
        return f"{lead} Looks and scene agree."
    if told.without_global == told.label:
        return (
            f"{lead} Without the global term it would win as well; that term alone says {told.only_global}."
        )
    return f"{lead} Without the global term it would be {told.without_global}."


def _chip(one: ClassScore, told: Explanation) -> str:
    colour = told.colours[one.label]
    style = f"background:{to_hex(colour)};color:{to_hex(ink(colour))}"
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
            f'<tr><th scope="row">{_chip(one, told)}{say(one.name)}'
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
