"""Class names as people write them, and common words that stand for "everything else"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError

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


def with_synonyms(given: Sequence[str]) -> Sequence[str] | Mapping[str, Sequence[str]]:
    """Texts "name" or "name=synonym=synonym" as a list of names, or as name -> synonyms where one has any.

    Raises InputError for a class that is given twice.
    """
    if not any("=" in text for text in given):
        return given
    out: dict[str, list[str]] = {}
    for text in given:
        name, *synonyms = (part.strip() for part in text.split("="))
        if name in out:
            raise InputError(f"class name {name!r} is given twice")
        out[name] = synonyms
    return out


def _parts(name: str) -> set[str]:
    """Its single words, with what they may be the plural of."""
    parts = name.casefold().split()
    plurals = [part for part in parts if len(part) >= 4]
    return {*parts, *(p.removesuffix("s") for p in plurals), *(p.removesuffix("es") for p in plurals)}
