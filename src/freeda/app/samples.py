"""Bundled scenes to start from: rendered, so that the page is never empty and downloads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from ..images import RGB, of_world
from ..miniature.scenes import HELD_OUT, render
from ..presets import DRAWN
from ..show.tiles import enlarge

_CHOSEN = (25, 11, 38, 28, 22, 16)  # of both kinds: in the last two, something small is missed
_LARGER = 4  # scenes are 128 pixels wide, which is little for a page


@dataclass(frozen=True)
class Sample:
    """A scene and what is in it."""

    name: str
    image: RGB
    words: str

    @property
    def picture(self) -> Image.Image:
        """The image with the record of the world that it is of."""
        return of_world(self.image, DRAWN)


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    """The bundled scenes, the one shown first in front. No model has seen them in training."""
    found = []
    for number, index in enumerate(_CHOSEN, start=1):
        scene = render(HELD_OUT, index)
        words = ", ".join((scene.backdrop, scene.ground, *(thing.kind for thing in scene.things)))
        found.append(Sample(f"scene-{number}", enlarge(scene.image, _LARGER), words))
    return tuple(found)
