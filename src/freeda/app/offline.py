"""The offline stage of one caption as HTML: its picture, where each word went, and the masks."""

from __future__ import annotations

from dataclasses import replace

from ..collection.masks import WordMask
from ..collection.nouns import Noun
from ..options import CollectOptions
from ..show.tiles import heat_map, mask_picture
from . import html
from .kept import Drawn

NONE = html.empty("Write a caption and press Draw.")
EXAMPLES = (
    "a red house on the grass under a blue sky",
    "a boat on the water before a sunset",
    "a butterfly and a flower in front of a wall",
)


def story(drawn: Drawn, caption: str, options: CollectOptions, threshold: float) -> str:
    """Picture, word maps and masks of a caption; masks are cut anew at `threshold`, 0 to 1."""
    picture = html.cards([html.card(html.image(drawn.image, caption), "", caption)])
    maps, masks = [], []
    for noun, word in drawn.words:
        cut = recut(word, threshold)
        fate = _fate(noun, cut, drawn, options, threshold)
        spoken = dict.fromkeys(caption[a:b] for a, b in noun.spans)
        written = "" if list(spoken) == [noun.lemma] else f"written {', '.join(spoken)}"
        maps.append(
            html.card(
                html.image(heat_map(drawn.image, word.map), f"where {noun.lemma} is"),
                noun.lemma,
                *([written] if written else []),
            )
        )
        masks.append(
            html.card(
                html.image(mask_picture(drawn.image, cut.mask), f"mask of {noun.lemma}"),
                noun.lemma,
                f"{100 * cut.area:.1f} % of the picture",
                fate,
            )
        )
    return (
        f'<div class="story">{html.section("Picture", "as drawn", picture)}<div>'
        + html.section("Word maps", "where the generator's attention went for each noun", html.cards(maps))
        + html.section("Masks", f"map above {threshold:g}: what the bank learns from", html.cards(masks))
        + "</div></div>"
    )


def recut(word: WordMask, threshold: float) -> WordMask:
    """The same map, cut elsewhere."""
    mask = word.map > threshold
    return replace(word, mask=mask, area=float(mask.mean()))


def _fate(noun: Noun, cut: WordMask, drawn: Drawn, options: CollectOptions, threshold: float) -> str:
    if word_too := _too(cut, options):
        return word_too
    if threshold == options.threshold and noun.lemma not in drawn.kept:
        return "rejected: no key, or no patch inside"
    return "becomes a reference"


def _too(cut: WordMask, options: CollectOptions) -> str:
    if cut.flat:
        return "rejected: flat map"
    if not cut.mask.any() or cut.area < options.min_area:
        return "rejected: too small"
    return "rejected: too large" if cut.area > options.max_area else ""
