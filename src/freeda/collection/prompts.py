"""Captions made from a list of words, for a bank without captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import InputError
from ..options import CollectOptions
from ..options.word_list import words_of
from .captions import Caption, Captions
from .names import word_list
from .readers import check_text

_MOST = 6  # words of one entry; more is a sentence


def word_captions(
    words: str | Path | Iterable[str], options: CollectOptions, limit: int | None = None
) -> Captions:
    """`options.prompts_per_word` captions a word, each of which wants that word alone (`Caption.word`).

    A file is a list of words as `names.word_list` reads it, of which synonyms are words like others; a word
    (or group of words: "stop sign") that was there before is counted in `repeated`. The first prompts of all
    words come first, then all the second ones, and so on, so that the first so many captions (`limit`) cover
    every word evenly. An id is the word and the number of its prompt: the picture that a word gets does not
    depend on the other words. Where there are fewer prompts in `options.word_prompts`, they come again, with
    other ids and so other pictures.

    Raises InputError for a file that cannot be read, no words, and an entry that is no word.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: at least 1 caption must be taken")
    out, seen = Captions(), dict[str, str]()
    for place, text in _entries(words):
        word = " ".join(text.split())
        if not any(c.isalnum() for c in word):
            raise InputError(f"{place}: {word!r} is no word")
        if len(word.split()) > _MOST:
            raise InputError(f"{place}: {word!r} is no word but a sentence: give it as a caption")
        if word.lower() in seen:
            out.repeated += 1
        seen.setdefault(word.lower(), word)
    if not seen:
        raise InputError(
            f"{words}: holds no word" if isinstance(words, (str, Path)) else "no words were given"
        )
    for number in range(options.prompts_per_word):
        prompt = options.word_prompts[number % len(options.word_prompts)]
        for word in seen.values():
            out.append(Caption(f"{word}/{number + 1}", prompt.replace("{}", word), word))
            if len(out) == limit:
                return out
    return out


def _entries(words: str | Path | Iterable[str]) -> Iterator[tuple[str, str]]:
    if isinstance(words, (str, Path)):
        yield from ((str(words), word) for entry in word_list(Path(words)) for word in words_of(entry))
        return
    for number, text in enumerate(words, 1):
        if not isinstance(text, str):
            raise InputError(f"word {number} is {text!r}: it must be text")
        check_text(f"word {number}", text)
        yield f"word {number}", text
