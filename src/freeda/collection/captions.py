"""Captions, from a file, given directly or made of words, each with the id that makes its picture's seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..options import CollectOptions
from ..options.word_list import words_of
from .names import word_list
from .readers import caption_rows, check_text

_MOST = 6  # words of one entry of a list of words; more is a sentence


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the id that its picture's seed is made from."""

    id: str
    text: str
    word: str | None = None
    """The one noun that is wanted of this caption; None finds all of its nouns (see `nouns.nouns_of`)."""


class Captions(list[Caption]):
    """Captions in their order, and how many were left out because their text had been there before."""

    repeated: int = 0


def to_captions(
    captions: str | Path | Iterable[str | Caption],
    limit: int | None = None,
    *,
    column: str | None = None,
    id_column: str | None = None,
    duplicates: str = "keep",
) -> Captions:
    """Return the captions of a file (its forms: `readers`), or texts given directly; ids must differ.

    White space is collapsed to single blanks; rows of a file without text are skipped.

    Args:
        limit: take only the first so many, and read no further.
        column: a file's column (or JSON key) of the text; None takes one of `readers.TEXT_COLUMNS`.
        id_column: the column (or JSON key) of the id; None takes the number of the row, from 1, and "id" in
            COCO's JSON. Texts given directly have their places, from 1.
        duplicates: "keep", or "skip" captions whose text was there before (letter by letter).

    Raises:
        InputError: in one line, naming the file and the place in it, for a file that is missing, damaged,
            of another kind, without such a column, or without a caption; for a caption given that is empty,
            or does not hold the `word` wanted of it.
    """
    if isinstance(captions, (str, Path)):
        rows = caption_rows(Path(captions), column, id_column)
        found = ((f"{captions}: {place}: ", Caption(name, text)) for place, name, text in rows)
        none = f"{captions}: holds no caption: one caption a line, or COCO captions JSON, is needed"
    else:
        if column is not None or id_column is not None:
            raise InputError("column and id_column are for caption files: these captions were given directly")
        found, none = (("", caption) for caption in _given(captions)), "no captions were given"
    _check_limit(limit)
    out, ids, texts = Captions(), set[str](), set[str]()
    for place, caption in found:
        if caption.id in ids:
            raise InputError(
                f"{place}caption id {caption.id} occurs twice: ids must differ, seeds are made from them"
            )
        ids.add(caption.id)
        if duplicates == "skip":
            if caption.text in texts:
                out.repeated += 1
                continue
            texts.add(caption.text)
        out.append(caption)
        if len(out) == limit:
            break
    if not out:
        raise InputError(none)
    return out


def word_spans(text: str, word: str) -> tuple[tuple[int, int], ...]:
    """Where `word` stands in `text` as a word by itself, in any case: half-open character spans."""
    return tuple(m.span() for m in _alone([word]).finditer(text)) if word.strip() else ()


def word_captions(
    words: str | Path | Iterable[str], options: CollectOptions, limit: int | None = None
) -> Captions:
    """Return `options.prompts_per_word` captions a word, each wanting that word alone (`Caption.word`).

    A file is a list of words as `names.word_list` reads it, of which synonyms are words like others; a word
    (or group of words: "stop sign") that was there before is counted in `repeated`. The first prompts of all
    words come first, then all the second ones, and so on, so that the first so many captions (`limit`) cover
    every word evenly. An id is the word and the number of its prompt: the picture that a word gets does not
    depend on the other words. Where there are fewer prompts in `options.word_prompts`, they come again, with
    other ids and so other pictures.

    Raises InputError for a file that cannot be read, no words, and an entry that is no word.
    """
    _check_limit(limit)
    out, seen = Captions(), dict[str, str]()
    for place, text in _words(words):
        word = " ".join(text.split())
        if not any(c.isalnum() for c in word):
            raise InputError(f"{place}: {word!r} is no word")
        if len(word.split()) > _MOST:
            raise InputError(f"{place}: {word!r} is no word but a sentence: give it as a caption")
        out.repeated += word.lower() in seen
        seen.setdefault(word.lower(), word)
    if not seen:
        file = isinstance(words, (str, Path))
        raise InputError(f"{words}: holds no word" if file else "no words were given")
    for number in range(options.prompts_per_word):
        prompt = options.word_prompts[number % len(options.word_prompts)]
        for word in seen.values():
            out.append(Caption(f"{word}/{number + 1}", prompt.replace("{}", word), word))
            if len(out) == limit:
                return out
    return out


def prompts_for(
    words: Sequence[str],
    images: int,
    used: Mapping[str, Collection[str]],
    options: CollectOptions,
    file: str | Path | None = None,
) -> dict[str, list[Caption]]:
    """Return `images` captions for every word that are not `used` yet (word -> ids).

    First the captions of `file` that hold the word by itself, in file order, each text once; then
    `options.word_prompts` with the word, as `word_captions` numbers them. A caption's id is made of its word
    and text, so that the same caption in another file is the same picture.

    Raises InputError for what is no word, and a file that cannot be read.
    """
    found: dict[str, dict[str, Caption]] = {word: {} for word in words}
    lacking = set(found)
    # One look at every caption; of "fire engine" and "fire" the longer one counts.
    any_word = _alone(sorted(found, key=len, reverse=True))
    for _, _, text in caption_rows(Path(file)) if file is not None and words else ():
        for word in {" ".join(m.group().split()).lower() for m in any_word.finditer(text)} & lacking:
            name = f"{word}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"
            if name not in used.get(word, ()) and word_spans(text, word):
                found[word][name] = Caption(name, text, word)
                if len(found[word]) >= images:
                    lacking.discard(word)
        if not lacking:
            break
    for word, captions in found.items():
        more = images + len(used.get(word, ()))  # even if all that was used are prompts
        for caption in word_captions([word], replace(options, prompts_per_word=more)):
            if len(captions) < images and caption.id not in used.get(word, ()):
                captions[caption.id] = caption
    return {word: list(captions.values()) for word, captions in found.items()}


def _alone(words: Iterable[str]) -> re.Pattern[str]:
    """Any of these words, or groups of words, standing by itself."""
    parts = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE)


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: at least 1 caption must be taken")


def _given(captions: Iterable[str | Caption]) -> Iterator[Caption]:
    for place, given in enumerate(captions, 1):
        if not isinstance(given, (str, Caption)):
            raise InputError(f"caption {place} is {given!r}: it must be text or a Caption")
        caption = given if isinstance(given, Caption) else Caption(str(place), " ".join(given.split()))
        for part in (caption.id, caption.text):
            check_text(f"caption {caption.id}", part)
        if not caption.text.strip():
            raise InputError(f"caption {caption.id} is empty")
        if caption.word is not None and not word_spans(caption.text, caption.word):
            raise InputError(f"caption {caption.id} does not hold the word {caption.word!r} wanted of it")
        yield caption


def _words(words: str | Path | Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each word with what an error calls its place."""
    if isinstance(words, (str, Path)):
        yield from ((str(words), word) for entry in word_list(Path(words)) for word in words_of(entry))
        return
    for number, text in enumerate(words, 1):
        if not isinstance(text, str):
            raise InputError(f"word {number} is {text!r}: it must be text")
        check_text(f"word {number}", text)
        yield f"word {number}", text
