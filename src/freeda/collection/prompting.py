"""What is drawn for single words: captions of a file that contain them, else prompts made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..options import CollectOptions
from .captions import Caption, word_spans
from .prompts import word_captions
from .readers import caption_rows


def prompts_for(
    words: Sequence[str],
    images: int,
    used: Mapping[str, Collection[str]],
    options: CollectOptions,
    file: str | Path | None = None,
) -> dict[str, list[Caption]]:
    """`images` captions for every word that are not `used` yet (word -> ids).

    First the captions of `file` that hold the word by itself, in file order, each text once; then
    `options.word_prompts` with the word, as `prompts.word_captions` numbers them. A caption's id is made of
    its word and text, so that the same caption in another file is the same picture.

    Raises InputError for what is no word, and a file that cannot be read.
    """
    found: dict[str, dict[str, Caption]] = {word: {} for word in words}
    if file is not None and words:
        _search(Path(file), images, used, found)
    for word, captions in found.items():
        more = images + len(used.get(word, ()))  # even if all that was used are prompts
        for caption in word_captions([word], replace(options, prompts_per_word=more)):
            if len(captions) < images and caption.id not in used.get(word, ()):
                captions[caption.id] = caption
    return {word: list(captions.values()) for word, captions in found.items()}


def _search(
    file: Path, images: int, used: Mapping[str, Collection[str]], found: dict[str, dict[str, Caption]]
) -> None:
    """Put the file's captions that hold a word into `found`, until every word has `images`."""
    lacking = set(found)
    # One look at every caption; of "fire engine" and "fire" the longer one counts.
    longest = sorted(found, key=len, reverse=True)
    parts = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest)
    any_word = re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE)
    for _, _, raw in caption_rows(file):
        text = " ".join(raw.split())
        for word in {" ".join(m.group().split()).lower() for m in any_word.finditer(text)} & lacking:
            name = f"{word}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"
            if name not in used.get(word, ()) and word_spans(text, word):
                found[word][name] = Caption(name, text, word)
                if len(found[word]) >= images:
                    lacking.discard(word)
        if not lacking:
            return
