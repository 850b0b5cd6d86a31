"""Words of a caption with their part-of-speech tags and character spans."""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import SimpleNamespace
from typing import Any

from ..errors import InputError, ModelError, extra, first_line

_FILE = tomllib.loads(resources.files(__package__).joinpath("word_lists.toml").read_text(encoding="utf-8"))
LISTS = SimpleNamespace(**{name: frozenset(words.split()) for name, words in _FILE["sets"].items()})
"""What mends the tagger, and which nouns can be drawn: the sets of `word_lists.toml`."""
FIXED = frozenset(" ".join(group.split()) for group in _FILE["groups"]["FIXED"].split(","))
IRREGULAR: dict[str, str] = dict(pair.split(":") for pair in _FILE["pairs"]["IRREGULAR"].split())

# Letters with inner hyphens ("t-shirt"), the possessive ('s), numbers, or one punctuation mark.
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|['’]s\b|\d+(?:[.,:]\d+)*|[^\w\s]|_")
_PLAIN = ("a", "dog", "sits", "on", "a", "chair")


@dataclass(frozen=True)
class Word:
    """A lower-cased word, its Penn tag ("NN", "JJ", ...; "" for none), and its half-open character span."""

    text: str
    tag: str
    start: int
    end: int

    @property
    def is_noun(self) -> bool:
        return self.tag.startswith("NN")


def choose_tagger(name: str = "auto") -> str:
    """ "spacy" where spaCy and its `en_core_web_sm` are installed, else "pattern" (TextBlob, no download).

    Naming one asks for just that one. Raises InputError for an unknown or missing tagger.
    """
    if name not in ("auto", "spacy", "pattern"):
        raise InputError(f"tagger {name!r} is unknown: use 'auto', 'spacy' or 'pattern'")
    if name != "pattern" and _spacy() is not None:
        return "spacy"
    if name == "spacy":
        then = "python -m spacy download en_core_web_sm"
        raise InputError(f"tagger 'spacy' needs spaCy and its model: {extra('nlp')}; then {then}")
    return "pattern"


@lru_cache
def prove_tagger(tagger: str) -> None:
    """Raise ModelError where a tagger fails on a plain sentence, which is no caption's fault."""
    try:
        tags = _tags(list(_PLAIN), tagger)
    except Exception as error:  # libraries raise all kinds
        raise _broken(tagger, error) from error
    if [word for word, tag in zip(_PLAIN, tags, strict=True) if tag.startswith("NN")] != ["dog", "chair"]:
        raise ModelError(f"tagger {tagger!r} does not work here: in {' '.join(_PLAIN)!r} it finds {tags}")


def tag_words(text: str, tagger: str = "auto") -> list[Word]:
    """The words of `text` in order, tagged; errors as `choose_tagger` and `prove_tagger` raise them."""
    tagger = choose_tagger(tagger)
    prove_tagger(tagger)
    found = list(_WORD.finditer(text))
    words = [match[0].lower().replace("’", "'") for match in found]
    if not words:
        return []
    if tagger == "spacy":
        tags = _tags([match[0] for match in found], tagger)
    else:
        tags = _mend(words, _tags(words, tagger))
    tags = _join_fixed(words, tags)
    return [Word(word, tag, *match.span()) for word, tag, match in zip(words, tags, found, strict=True)]


@lru_cache(maxsize=1)
def _spacy() -> Any | None:
    try:
        import spacy  # type: ignore[import-not-found,unused-ignore]

        return spacy.load("en_core_web_sm", disable=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError):
        return None
    except Exception as error:
        raise _broken("spacy", error) from error


@lru_cache(maxsize=1)
def _pattern() -> Any:
    """TextBlob's tagger, its lexicon read.

    It leaves files open, and NLTK, which it imports, wants a home folder as if it were to download: a
    user whom the system does not know has none.
    """
    homeless = "HOME" not in os.environ
    if homeless:
        os.environ["HOME"] = os.devnull
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from textblob.en import parser

            parser.find_tags(["a"])
    finally:
        if homeless:
            del os.environ["HOME"]
    return parser


def _tags(words: list[str], tagger: str) -> list[str]:
    """A tag a word, as the tagger gives it."""
    if tagger == "pattern":
        return [str(tag) for _, tag in _pattern().find_tags(words)]
    from spacy.tokens import Doc  # type: ignore[import-not-found,unused-ignore]

    nlp = _spacy()
    assert nlp is not None
    return [token.tag_ for token in nlp(Doc(nlp.vocab, words=words))]


def _broken(tagger: str, error: Exception) -> ModelError:
    return ModelError(f"tagger {tagger!r} does not work here ({type(error).__name__}: {first_line(error)})")


def _mend(words: list[str], tags: list[str]) -> list[str]:
    """The pattern tagger's tags with its systematic mistakes on captions put right."""
    # What a word is by itself comes first, so that its neighbours are judged by the right tags.
    out = ["", *(_mend_alone(word, tag) for word, tag in zip(words, tags, strict=True)), ""]
    for i, word in enumerate(words, 1):
        out[i] = _mend_among(word, out[i], out[i - 1], out[i + 1])
    return out[1:-1]


def _mend_alone(word: str, tag: str) -> str:
    if not word[0].isalpha():
        return "CD" if word[0].isdigit() else "POS" if word == "'s" else "."
    if word in LISTS.COLOURS or word in LISTS.ADJECTIVES:
        return "JJ"
    if word in LISTS.ALWAYS_NOUNS or word in LISTS.ING_NOUNS or tag.startswith("NNP"):
        return _noun(word)
    return "VBG" if word.endswith("ing") and tag.startswith("NN") else tag


def _mend_among(word: str, tag: str, before: str, after: str) -> str:
    noun_before, noun_after = before.startswith("NN"), after.startswith("NN")
    object_after = after in ("DT", "PRP$")
    if (
        word in LISTS.S_VERBS
        and noun_before
        and (object_after or (word not in LISTS.MOSTLY_NOUNS and not noun_after))
    ):
        return "VBZ"
    if word in LISTS.FINAL_NOUNS:
        return "NN" if not after.startswith(("NN", "JJ")) and before != "CC" else "JJ"
    if word in LISTS.AFTER_DETERMINER and not tag.startswith("NN"):
        near = before in ("DT", "JJ", "CD", "PRP$", "VBG", "VBN", "POS", "IN")
        return _noun(word) if near and not object_after else tag
    if "-" in word and tag.startswith("NN"):
        # "two-story house", "multi-colored kite": adjectives before a noun, and by their last part elsewhere.
        return "JJ" if noun_after or word.endswith(("ed", "ing")) else _noun(word)
    return tag


def _noun(word: str) -> str:
    return "NNS" if word.endswith("s") and not word.endswith("ss") else "NN"


def _join_fixed(words: list[str], tags: list[str]) -> list[str]:
    """Tags every word of a group in FIXED as a noun: "hot dog" is one, whatever "hot" is alone."""
    out = list(tags)
    for size in (2, 3):
        for i in range(len(words) - size + 1):
            if " ".join(words[i : i + size]) in FIXED:
                out[i : i + size - 1] = ["NN"] * (size - 1)
                out[i + size - 1] = _noun(words[i + size - 1])
    return out
