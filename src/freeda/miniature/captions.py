"""English for the small world: words, their synonyms, and captions of a scene."""

from __future__ import annotations

import numpy as np

from .scenes import CLASSES, DrawnScene, Thing

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "sunset": ("sundown",),
    "wall": ("brick wall",),
    "grass": ("meadow",),
    "sand": ("beach",),
    "water": ("sea",),
    "road": ("street",),
    "ball": ("beach ball",),
    "house": ("home",),
    "flower": ("blossom",),
    "boat": ("sailboat",),
}
WORDS: dict[str, tuple[str, ...]] = {c: (c, *_SYNONYMS.get(c, ())) for c in CLASSES}
"""The words of each class; the first is its benchmark name."""
UNSEEN: dict[str, str] = {
    "grass": "lawn",
    "water": "lake",
    "road": "highway",
    "house": "cottage",
    "mushroom": "toadstool",
    "car": "automobile",
    "umbrella": "parasol",
    "butterfly": "moth",
}
"""Word forms that CLIP reads in training but that no caption of a bank ever uses."""

_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "sky": ("blue", "clear", "cloudy", "bright"),
    "night": ("dark", "starry", "clear"),
    "sunset": ("red", "orange", "glowing"),
    "wall": ("old", "red", "tall"),
    "grass": ("green", "tall", "fresh"),
    "sand": ("yellow", "warm", "dry"),
    "water": ("blue", "calm", "deep"),
    "snow": ("white", "fresh", "deep"),
    "road": ("grey", "long", "empty"),
}
_FRAMES = (
    "{things} on {ground} {back}",
    "{things} on {ground} {back}",
    "there is {things} on {ground} {back}",
    "{back}, {things} on {ground}",
    "a picture of {things} on {ground} {back}",
    "{ground} with {things} {back}",
)
_BACK = {
    "sky": ("under a {} sky", "under the {} sky", "below a {} sky"),
    "night": ("on a {} night", "in the {} night", "during a {} night"),
    "wall": ("in front of a {}", "in front of an old {}", "before a tall {}", "by a {}"),
    "sunset": ("under a {}", "before a {}", "in front of a glowing {}"),
}


def word(kind: str, rng: np.random.Generator, unseen: bool) -> str:
    """One of the words for a class; with `unseen`, sometimes the form that banks never use."""
    if unseen and kind in UNSEEN and rng.random() < 0.25:
        return UNSEEN[kind]
    return str(rng.choice(WORDS[kind]))


def article(phrase: str) -> str:
    """The phrase with its indefinite article."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _thing(thing: Thing, rng: np.random.Generator, unseen: bool, near: bool) -> str:
    phrase = word(thing.kind, rng, unseen)
    if rng.random() < 0.6:
        phrase = f"{thing.colour} {phrase}"
    if near or rng.random() < 0.35:
        sizes = ("big", "large") if thing.radius >= 26 else ("small", "little") if thing.radius <= 19 else ()
        if sizes:
            phrase = f"{rng.choice(sizes)} {phrase}"
    return article(phrase)


def _backdrop(kind: str, rng: np.random.Generator) -> str:
    adjective = str(rng.choice(_ADJECTIVES[kind]))
    phrase = str(rng.choice(_BACK[kind]))
    if kind in ("sky", "night"):
        return phrase.format(adjective).replace("a orange", "an orange")
    return phrase.format(word(kind, rng, False))


def caption(
    scene: DrawnScene, rng: np.random.Generator, *, complete: bool = False, unseen: bool = True
) -> str:
    """One English caption of the scene.

    Like people, a caption sometimes leaves the ground or the backdrop out, unless `complete`. `unseen`
    lets in the word forms of UNSEEN (never for a bank's captions).
    """
    order = rng.permutation(len(scene.things))
    phrases = [_thing(scene.things[i], rng, unseen, scene.near) for i in order]
    things = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    ground = word(scene.ground, rng, unseen)
    adjective = f"{rng.choice(_ADJECTIVES[scene.ground])} " if rng.random() < 0.4 else ""
    ground = f"the {adjective}{ground}"
    back = _backdrop(scene.backdrop, rng)
    drop = 1.0 if complete else rng.random()
    if drop < 0.08:
        return f"{things} on {ground}"
    if drop < 0.16:
        return f"{things} {back}"
    return str(rng.choice(_FRAMES)).format(things=things, ground=ground, back=back)
