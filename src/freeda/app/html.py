"""Small pieces of HTML. Every text that comes from a person or a file goes through `say`."""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image

from ..errors import printable
from ..images import RGB
from .view import data_url


def say(text: object) -> str:
    """A text as HTML that shows it and does nothing else."""
    return escape(printable(str(text)), quote=True)


def image(picture: RGB, words: str, side: int = 256) -> str:
    """A picture (H, W, 3) at most `side` pixels long, with `words` for who cannot see it."""
    small = Image.fromarray(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return f'<img src="{data_url(np.asarray(small), "JPEG")}" alt="{say(words)}">'


def card(picture: str, title: str, *lines: str, kind: str = "") -> str:
    """A picture (HTML) above a title, if any, and lines of text (plain)."""
    head = f"<b>{say(title)}</b>" if title else ""
    told = "".join(f"<span>{say(line)}</span>" for line in lines)
    return f'<figure class="card {kind}">{picture}<figcaption>{head}{told}</figcaption></figure>'


def blank(words: str) -> str:
    """Where a picture is still to come, or is not kept."""
    return f'<div class="blank">{say(words)}</div>'


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
