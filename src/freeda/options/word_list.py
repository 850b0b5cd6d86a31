"""Class names as people write them, and common words that stand for "everything else"."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import InputError, shortened

OTHER_WORDS: tuple[str, ...] = (
    # outdoors
    *("sky", "cloud", "sun", "grass", "tree", "bush", "flower", "leaf", "ground", "sand", "snow", "water"),
    *("sea", "river", "mountain", "rock", "road", "pavement", "building", "house", "bridge", "fence", "pole"),
    *("sign", "traffic light"),
    # vehicles
    *("car", "bus", "truck", "train", "airplane", "boat", "bicycle", "motorcycle"),
    # people and animals
    *("person", "face", "hand", "hair", "clothing", "shoe", "hat", "dog", "cat", "bird", "horse", "cow"),
    *("sheep", "fish", "insect"),
    # indoors
    *("wall", "ceiling", "floor", "carpet", "window", "door", "curtain", "stairs", "table", "chair", "sofa"),
    *("bed", "pillow", "blanket", "cabinet", "shelf", "lamp", "mirror", "picture frame", "screen"),
    *("keyboard", "telephone", "book", "paper", "clock", "vase", "sink", "toilet", "oven", "refrigerator"),
    # small things
    *("bottle", "cup", "bowl", "plate", "knife", "food", "fruit", "vegetable", "bread", "bag", "box"),
    *("umbrella", "ball", "toy", "tool", "rope"),
)
"""Things and stuff that photographs commonly show; our choice, and an option (`other_words`)."""


def without_kin(words: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """Those `words` that share no single word with `own`, case and plural s aside.

    "floor" would otherwise take what a user calls "wooden floor". Kinds are not known here: who asks for
    "animal" has to take "dog" off the list by hand.
    """
    taken = {part for name in own for part in _parts(name)}
    return tuple(word for word in dict.fromkeys(words) if not taken & _parts(word))


# An entry and the separator after it. What follows a closing quote must be a separator: no backtracking.
_ENTRY = re.compile(r'\s*+("(?:[^"]|"")*+"|[^",;\n][^,;\n]*+|)[^\S\n]*+(?:[,;\n]|\Z)')
_FILE = re.compile(r".*\.(txt|names|json|jsonl|csv|tsv|ya?ml|npz|xlsx?)", re.IGNORECASE | re.DOTALL)


def split_words(text: str) -> list[str]:
    """The entries of a list of words, on the command line, in a file, on the page and in Python.

    Commas, semicolons and line breaks separate; double quotes keep an entry together, as in CSV; lines that
    begin with `#` are remarks. What is in an entry says `words_of`. Raises InputError for quotes that are not
    closed, and for JSON.
    """
    bare = text.strip()
    if bare[:1] + bare[-1:] in ("{}", "[]"):
        raise InputError(
            f"{shortened(bare)} is no list of words: write cat, sofa=couch (a .json file is read by "
            "--classes-file, and Python takes a list)"
        )
    text, out, at = "\n".join(line for line in text.splitlines() if line.lstrip()[:1] != "#"), [], 0
    while at < len(text):
        found = _ENTRY.match(text, at)
        if found is None:
            raise InputError(
                f"{shortened(text[at:].strip())}: double quotes go around a whole class, commas and synonyms "
                'included: "bread, sliced=toast"'
            )
        entry, at = found[1].strip(), found.end()
        out.append(entry[1:-1].replace('""', '"') if entry.startswith('"') else entry)
    return [entry for entry in out if entry.strip()]


def written(entries: Iterable[str]) -> str:
    """Entries as one text that `split_words` reads back."""
    quoted = ('"' + one.replace('"', '""') + '"' if re.search(r'[,;"#\n]', one) else one for one in entries)
    return ", ".join(quoted)


def every_word(text: str) -> list[str]:
    """The words of a list, synonyms among them."""
    return [word for entry in split_words(text) for word in words_of(entry)]


def words_of(entry: str) -> list[str]:
    """ "sofa=couch=settee" as a class's name and its synonyms. Raises InputError for the name of a file."""
    if _FILE.fullmatch(entry):
        raise InputError(
            f"{shortened(entry)} is the name of a file, not a word: give what it holds, or, on the command "
            "line, --classes-file FILE (collect: --words FILE)"
        )
    return [part.strip() for part in entry.split("=")]


def _parts(name: str) -> set[str]:
    """Its single words, with what they may be the plural of."""
    parts = name.casefold().split()
    plurals = [part for part in parts if len(part) >= 4]
    return {*parts, *(p.removesuffix("s") for p in plurals), *(p.removesuffix("es") for p in plurals)}
