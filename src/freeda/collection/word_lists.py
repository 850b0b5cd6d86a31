"""The word lists of `word_lists.toml`: what mends the tagger, and which nouns can be drawn."""

from __future__ import annotations

import tomllib
from importlib import resources

_LISTS = tomllib.loads(resources.files(__package__).joinpath("word_lists.toml").read_text(encoding="utf-8"))

_sets = {name: frozenset(words.split()) for name, words in _LISTS["sets"].items()}
COLOURS = _sets["COLOURS"]
NOT_OBJECTS = _sets["NOT_OBJECTS"]
GAMES = _sets["GAMES"]
CONTESTS = _sets["CONTESTS"]
SHOWN_GAMES = _sets["SHOWN_GAMES"]
ALWAYS_NOUNS = _sets["ALWAYS_NOUNS"]
ADJECTIVES = _sets["ADJECTIVES"]
AFTER_DETERMINER = _sets["AFTER_DETERMINER"]
FINAL_NOUNS = _sets["FINAL_NOUNS"]
ING_NOUNS = _sets["ING_NOUNS"]
S_VERBS = _sets["S_VERBS"]
MOSTLY_NOUNS = _sets["MOSTLY_NOUNS"]
PERSONS = _sets["PERSONS"]
PLURAL_MODIFIERS = _sets["PLURAL_MODIFIERS"]
PLURAL_ONLY = _sets["PLURAL_ONLY"]
FIXED = frozenset(" ".join(group.split()) for group in _LISTS["groups"]["FIXED"].split(","))
IRREGULAR: dict[str, str] = dict(pair.split(":") for pair in _LISTS["pairs"]["IRREGULAR"].split())
