"""What the page asks of the models, without a word of HTML: open, label, explain."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from ..errors import InputError
from ..images import RGB, of_world, read_image
from ..miniature.scenes import HELD_OUT, render
from ..model import FreeDA
from ..options import Changes
from ..options.word_list import split_words
from ..presets import DRAWN
from ..segment.result import Segmentation
from ..segment.scene import Scene
from ..segment.vocabulary import Names, Vocabulary, parse_names
from ..show.tiles import enlarge
from ..source_file import SourceFile, source_file
from .limits import Limits, Shelf

Picture = str | Path | RGB | Image.Image
EVERYTHING_ELSE = "everything else"
"""What the page calls all that is none of the words."""
_VOCABULARIES = 64
"""Lists of words whose vectors are kept: going back to one costs nothing."""
_CHOSEN = (25, 11, 38, 28, 22, 16)  # of both kinds: in the last two, something small is missed
_LARGER = 4  # scenes are 128 pixels wide, which is little for a page


@dataclass(frozen=True)
class Knobs:
    """What the sliders say; None is the preset's own value."""

    local_weight: float | None = None
    k: int | None = None
    scale: float | None = None
    others: bool = False
    """Whether all that is none of the words is a label of its own."""


@dataclass
class Open:
    """A visitor's photograph."""

    scene: Scene
    name: str
    """What its files are called."""
    result: Segmentation | None = None
    """How it was labelled last."""
    asked: tuple[str, Knobs] | None = None
    """The words and sliders that `result` answers."""
    wish: int = 0
    """How many photographs the visitor had asked for when asking for this one."""
    turn: int = 0
    """Counts the results: what was said of one does not hold for the next."""
    picks: int = 0
    """The visitor's last click by number: it ends what an earlier one began."""
    number: int = 0
    """Counts the photographs of this page: a picture is sent to the browser once."""
    lock: Lock = field(default_factory=Lock)
    """Held while it is labelled, and to read what belongs together: `result`, `asked` and `turn`."""


@dataclass
class Engine:
    """A model and the photographs that are open in browsers. Its methods may be called from any thread.

    All work with the models is done by one thread at a time. Methods raise FreedaError, one friendly line.
    """

    model: FreeDA
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        seconds = 60.0 * self.limits.minutes
        self._open: Shelf[Open] = Shelf(self.limits.scenes, seconds)
        self._words: Shelf[Vocabulary] = Shelf(_VOCABULARIES, seconds)
        self.busy = Lock()
        """Held while the models work."""
        self._opened = 0

    def open(self, session: str, image: Picture, name: str, scale: float | None = None) -> Open:
        """Encode a photograph for a visitor; the one that was open is put away.

        Raises InputError for what is no image, and for one that is too large.
        """
        scene = self._encode(image, name, scale)
        self._opened += 1
        opened = Open(scene, name, number=self._opened)
        self._open.put(session, opened)
        return opened

    def opened(self, session: str) -> Open:
        """The visitor's photograph. Raises InputError where there is none (any more)."""
        found = self._open.get(session)
        if found is None:
            raise InputError(
                f"your photograph was put away (the last {self.limits.scenes} of all visitors are kept, for "
                f"{self.limits.minutes} minutes): open it again"
            )
        return found

    def close(self, session: str) -> None:
        """Forget a visitor's photograph."""
        self._open.drop(session)

    def label(self, session: str, words: str, knobs: Knobs) -> Open:
        """Label the visitor's photograph, unless this is how it is labelled already.

        It is encoded anew only where the superpixels' scale changed.
        """
        here = self.opened(session)
        names = self.names(words)
        scale = self._scale(knobs.scale)
        with here.lock:
            if here.asked == (words, knobs):
                return here
            if scale != here.scene.options.superpixels.scale:
                here.scene = self._encode(here.scene.image, here.name, scale, here.scene)
            here.result = self._labelled(here.scene, names, knobs)
            here.asked, here.turn = (words, knobs), here.turn + 1
        return here

    def segment(self, image: Picture, words: str, knobs: Knobs) -> Segmentation:
        """Label a photograph of nobody's: nothing is kept."""
        names = self.names(words)  # first: a wrong list should not cost an encoded image
        return self._labelled(self._encode(image, "image", knobs.scale), names, knobs)

    def result(self, session: str) -> tuple[Open, Segmentation, int]:
        """The visitor's photograph, its result and its `turn`. Raises InputError where there is none."""
        here = self.opened(session)
        with here.lock:
            if here.result is None:
                raise InputError("the photograph has no labels yet: type a word")
            return here, here.result, here.turn

    def names(self, words: str) -> Names:
        """Class names as typed (see `split_words`)."""
        names = split_words(check_text(words, "the list of words", self.limits))
        if not names:
            raise InputError("type at least one word, such as: sky, house, tree")
        rows = sum(len(row) for row in parse_names(names).values())
        if rows > self.limits.words:
            raise InputError(f"{rows} words: at most {self.limits.words} at a time")
        return names

    def _encode(self, image: Picture, name: str, scale: float | None, like: Scene | None = None) -> Scene:
        """`like` is the picture as it was encoded before."""
        superpixels = replace(self.model.options.superpixels, scale=self._scale(scale))
        pixels: RGB | Image.Image
        known: dict[str, Any] = {} if like is None else {"outside": like.outside, "file": like.file}
        if isinstance(image, (str, Path)):
            pixels = self._read(image, name)
            known["outside"] = self.model.outside(image, pixels)
            # Its place on a map is remembered, but no visitor need know our folders.
            place = source_file(image, pixels.shape[:2]).place
            if place is not None:
                place = replace(place, problem=place.problem.replace(str(Path(image).absolute()), name))
            known["file"] = SourceFile(name, None, place)
        else:
            pixels = image
        with self.busy:
            scene = self.model.encode(pixels, superpixels=superpixels)
        return replace(scene, **known)

    def _read(self, path: str | Path, name: str) -> RGB:
        try:
            with Image.open(path) as header:
                millions = header.width * header.height / 1e6
        except Image.DecompressionBombError:
            millions = float("inf")
        except Exception:  # what is no image is told below
            millions = 0.0
        if millions > self.limits.megapixels:  # told before it is decoded
            much = "far too many" if millions == float("inf") else f"{millions:.1f}"
            raise InputError(
                f"{name} has {much} megapixels: at most {self.limits.megapixels}, so reduce it first"
            )
        try:
            return read_image(path)
        except InputError as error:  # no visitor need know our folders
            raise InputError(str(error).replace(str(path), name)) from error

    def _scale(self, scale: float | None) -> float:
        return self.model.options.superpixels.scale if scale is None else float(scale)

    def _labelled(self, scene: Scene, names: Names, knobs: Knobs) -> Segmentation:
        changes: dict[str, Any] = {}
        if knobs.local_weight is not None:
            changes["local_weight"] = float(knobs.local_weight)
        k = self.model.options.k if knobs.k is None else int(knobs.k)
        rest: Changes = {"k": k}
        if knobs.others:
            rest["others"] = EVERYTHING_ELSE
        key = (k, repr(names), knobs.others)
        with self.busy:
            vocabulary = self._words.get(key)
            if vocabulary is None:
                vocabulary = self.model.vocabulary(names, **rest)
                self._words.put(key, vocabulary)
            return self.model.segment(scene, vocabulary, **changes)


def check_text(text: str, what: str, limits: Limits) -> str:
    """`text` without blanks at its ends. Raises InputError for one that is too long."""
    if len(text) > limits.letters:
        raise InputError(f"{what} has {len(text):,} characters: at most {limits.letters:,}")
    return text.strip()


def safe_stem(name: str) -> str:
    """A plain file name made of whatever a visitor's file was called: letters, digits, - and _."""
    stem = re.sub(r"[^\w-]+", "-", Path(name).stem, flags=re.ASCII).strip("-_")
    return stem[:60] or "photograph"


@dataclass(frozen=True)
class SampleScene:
    """A scene and what is in it."""

    name: str
    image: RGB
    words: str

    @property
    def picture(self) -> Image.Image:
        """The image with the record of the world that it is of."""
        return of_world(self.image, DRAWN)


@lru_cache(maxsize=1)
def samples() -> tuple[SampleScene, ...]:
    """The bundled scenes, the one shown first in front. No model has seen them in training."""
    found = []
    for number, index in enumerate(_CHOSEN, start=1):
        scene = render(HELD_OUT, index)
        words = ", ".join((scene.backdrop, scene.ground, *(thing.kind for thing in scene.things)))
        found.append(SampleScene(f"scene-{number}", enlarge(scene.image, _LARGER), words))
    return tuple(found)
