"""A workspace: pictures, words, corrections, lessons, and what is told of them; no model works here."""

from __future__ import annotations

import io
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..bank.taught import Taught
from ..errors import InputError, printable
from ..files import digest_of
from ..images import reading_mask
from ..options import SegmentOptions
from ..options.word_list import split_words, written
from ..segment.background import label_names, rest_labels
from ..segment.vocabulary import parse_names, tidy
from ..show.caveats import NONE
from ..show.palette import REST, palette, to_hex
from .limits import Limits, Refused
from .masks import Composed
from .photographs import stat_of
from .state import Event, Settings, State
from .store import Memory

EVERYTHING_ELSE = "everything else"
"""What the page calls all that is none of the words."""
_MOST_CLASSES = 255
VISIBLE = 8
"""Pictures whose labels were asked for last: these follow a lesson first."""
Stamp = tuple[int, int, int]
"""Wording, version of the lessons, changes of the picture: what labels are of."""


@dataclass
class Picture:
    """A photograph, and how far it is."""

    id: str
    name: str
    path: Path
    size: tuple[int, int]
    """(height, width) of the photograph."""
    error: str | None = None
    uncertainty: float | None = None
    stamp: Stamp | None = None
    """What its labels were last made of."""
    version: int = 0
    """Counts the changes of its labels."""
    working: bool = False
    stat: tuple[int, int] | None = None
    """Bytes and time of the file when it was opened, in folder mode."""
    digest: str | None = None
    """SHA-256 of the file, once it was asked for."""


@dataclass(frozen=True, eq=False)
class Final:
    """A picture's labels as they are to be shown and written."""

    stamp: Stamp
    composed: Composed
    names: tuple[str, ...]
    margins: Mapping[int, float]
    """Of the model's regions: best score less the second."""
    uncertainty: float | None
    version: int = 0


@dataclass
class Workspace:
    """Its methods may be called from any thread. `lock` is held for moments only, never while models work."""

    limits: Limits
    options: SegmentOptions
    store: Memory
    taught: Taught
    model: Any
    """The model, with the lessons of this workspace."""
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    folder: str | None = None
    """The folder's name, in folder mode."""
    own: Path | None = None
    """Where what was sent lies."""

    def __post_init__(self) -> None:
        self.lock, self.state, self.revision = RLock(), State(), 0
        self.pictures: dict[str, Picture] = {}
        self.visible: list[str] = []
        self.stopped = False
        self.caveats = NONE
        """What is to be said of the words, and of the pictures where the models do not know such."""
        self.pace: float | None = None
        """Seconds that a picture takes in the background."""
        self.job: Callable[[], dict[str, Any] | None] = lambda: None
        """What tells of an export that is being written."""
        self.bytes = 0
        for number, event in enumerate(self.store.events, start=1):
            try:
                self.state.apply(event)
            except InputError as error:
                raise InputError(f"{self.store.log}: line {number} is damaged: {error}") from error
        # A server that was killed between two files: what the events say is what was answered.
        wanted, held = set(self.state.lessons()), {lesson.id for lesson in self.taught.lessons}
        for id in held - wanted:
            self.taught.undo(id)
        gone = [id for id in wanted - held if self.taught.redo(id) is None]
        self.taught.reserve(max((int(id) for id in wanted | set(gone)), default=0))
        if gone:
            told = f"taught.jsonl: {len(gone)} of {len(wanted)} lessons are gone: corrections hold, but these"
            self.store.warnings.append(f"{told} have to be taught again")

    def changed(self) -> None:
        """Tell everybody who waits that there is something new."""
        with self.lock:
            self.revision += 1

    def record(self, *events: Event) -> None:
        """Remember events; they are on the disk when this returns. None counts unless all do."""
        with self.lock:
            self.store.append(events)
            for event in events:
                self.state.apply(event)
            self.changed()

    def picture(self, id: str) -> Picture:
        """Raises Refused (404) where there is none."""
        found = self.pictures.get(id)
        if found is None:
            raise Refused(404, "there is no such picture here")
        return found

    def photo(self, picture: Picture) -> str:
        """SHA-256 (hex) of a picture's file, for events to remember. Raises InputError as `check`."""
        self.check(picture)
        if picture.digest is None:
            picture.digest = digest_of(picture.path)
        return picture.digest or ""

    def check(self, picture: Picture) -> None:
        """Raise InputError for a picture that cannot be used, and one whose file is another one by now."""
        if picture.size == (0, 0):
            raise InputError(picture.error or f"{picture.name}: this picture cannot be read")
        if picture.stat is not None and picture.stat != stat_of(picture.path):
            raise InputError(
                f"{picture.name}: the file has changed since it was opened: start the server again"
            )

    def refuse_others(self) -> None:
        """Mark pictures whose files are other ones than people worked on: nothing of that is theirs."""
        for id, photos in self.state.photos().items():
            one = self.pictures.get(id)
            if one is not None and one.size != (0, 0) and photos != {self.photo(one)}:
                one.size = (0, 0)
                told = "another photograph than what was corrected or accepted here: put that one back, or"
                one.error = f"{one.name}: {told} give this one another name"

    def words(self) -> dict[str, tuple[str, ...]]:
        """The classes that were typed, each with its words; none at all where none was."""
        with self.lock:
            return parsed(self.state.words, self.limits)

    def base_names(self) -> tuple[str, ...]:
        """What the model's labels mean."""
        words = self.words()
        if not words:
            return ()
        options = self.options
        if self.state.settings.others:
            options = options.with_changes(others=EVERYTHING_ELSE)
            return label_names((*words, EVERYTHING_ELSE), options)
        return label_names(tuple(words), options)

    def names(self) -> tuple[str, ...]:
        """What labels mean: the model's, then words that only corrections and accepted pictures still use."""
        with self.lock:
            return tuple(dict.fromkeys((*self.base_names(), *self.state.named())))

    def accepted_labels(self, event: Event, names: Sequence[str]) -> NDArray[np.int16]:
        """(H, W): the label map that was accepted, in labels that index `names`; -1 where it has none."""
        data = io.BytesIO(self.store.load(event["file"]))
        file = f".freeda/accepted/{event['file']}"
        with reading_mask(file), Image.open(data, formats=("PNG",)) as picture:
            picture.load()
            mode, values = picture.mode, np.asarray(picture)
        table = np.array([-1, *(names.index(name) for name in event["names"])], np.int16)
        if mode != "L" or int(values.max(initial=0)) >= len(table):
            raise InputError(f"{file}: this is not the label map that was accepted: accept the picture again")
        return table[values]

    def colours(self) -> NDArray[np.uint8]:
        """(names, 3)."""
        names = self.names()
        out = palette(len(names))
        others = self.options.with_changes(others=EVERYTHING_ELSE)
        for kind, label in rest_labels(names, others).items():
            out[label] = REST[kind]
        for i, name in enumerate(names):
            if name in self.state.colours:
                out[i] = bytearray.fromhex(self.state.colours[name][1:])
        return out

    def known_word(self, word: str) -> tuple[str, list[Event]]:
        """The class that a word means, and the events that make it one where it is new.

        Raises InputError for what is no word, Refused (400) where there are too many.
        """
        told = tidy(word)
        if "=" in told:
            raise InputError(
                f"{told[:60]}: a word has no '=', which stands before synonyms in the list of words"
            )
        folded = told.casefold()
        for name, words in self.words().items():
            if folded in (one.casefold() for one in words):
                return name, []
        for name in self.base_names():  # "everything else" and the like
            if folded == name.casefold():
                return name, []
        told = next((name for name in self.names() if folded == name.casefold()), told)
        if len(self.names()) >= _MOST_CLASSES:
            raise Refused(400, f"there are {_MOST_CLASSES} words: no more can be told apart")
        text = written([*split_words(self.state.words), told])
        parsed(text, self.limits)
        return told, [wording(text, self.state.settings, self.state.colours)]

    def stamp(self, picture: Picture) -> Stamp:
        """What its labels have to be of."""
        with self.lock:
            return self.state.wording, self.taught.version, self.state.touched[picture.id]

    def settle(self, picture: Picture, final: Final) -> int:
        """Remember what was found of a picture. Returns its version; 0 where more is known by now."""
        with self.lock:
            if final.stamp != self.stamp(picture):
                return 0
            if picture.stamp != final.stamp:
                picture.stamp, picture.uncertainty = final.stamp, final.uncertainty
                picture.version += 1
                picture.error = None
                if final.uncertainty is not None and self.own is None:
                    with suppress(OSError):  # the photograph has gone meanwhile
                        self.store.doubt(picture.id, self._labelled_by(picture), final.uncertainty)
                self.changed()
            return picture.version

    def remembered(self, picture: Picture) -> None:
        """Take a picture's uncertainty from the last time, where nothing has changed since."""
        by, uncertainty = self.store.doubts.get(picture.id, ("", 0.0))
        if by == self._labelled_by(picture):
            picture.stamp, picture.uncertainty, picture.version = self.stamp(picture), uncertainty, 1

    def _labelled_by(self, picture: Picture) -> str:
        """A digest of all that its labels depend on."""
        lessons = [(one.id, one.word, one.area) for one in self.taught.lessons]
        file = picture.path.stat()
        about = repr(self.model), self.state.words, self.state.settings, lessons
        told = repr((about, self.state.touched[picture.id], file.st_size, file.st_mtime_ns))
        return sha256(told.encode()).hexdigest()[:16]

    def stale(self) -> list[Picture]:
        """Pictures to be labelled: those seen last, those never labelled, then the most uncertain first."""
        with self.lock:
            done = self.state.accepted()
            now = self.state.wording, self.taught.version
            waiting = [
                one
                for one in self.pictures.values()
                if one.error is None and one.id not in done and (one.stamp or ())[:2] != now
            ]
            seen = {id: i for i, id in enumerate(self.visible)}
            last = len(seen)
            return sorted(waiting, key=lambda one: (seen.get(one.id, last), -_known(one.uncertainty, 2.0)))

    def try_again(self) -> None:
        """Go on in the background, also with what failed, but for files that cannot be read at all."""
        with self.lock:
            for one in self.pictures.values():
                one.error = one.error if one.size == (0, 0) else None
            self.stopped = False
            self.changed()

    def look(self, id: str) -> None:
        """Somebody sees this picture."""
        with self.lock:
            self.visible = [id, *(one for one in self.visible if one != id)][:VISIBLE]

    def told(self) -> dict[str, Any]:
        """All of it as JSON; see docs/app.md."""
        with self.lock:
            accepted, names = self.state.accepted(), self.names()
            counts = Counter(e["picture"] for e in self.state.done if e["event"] == "correct")
            rows = [self._row(one, one.id in accepted, counts[one.id]) for one in self.pictures.values()]
            order = {"labelled": 0, "working": 0, "waiting": 1, "failed": 2, "accepted": 3}
            rows.sort(key=lambda row: (order[row["state"]], -_known(row["uncertainty"], -1.0)))
            lessons = [
                {"id": one.id, "word": one.word, "picture": printable(one.picture), "area": one.area}
                for one in self.taught.lessons
            ]
            return {
                "id": self.id,
                "folder": self.folder,
                "revision": self.revision,
                "words": self.state.words,
                "settings": self.state.settings.to_dict(),
                "classes": [
                    {
                        "number": i,
                        "name": name,
                        "colour": to_hex(colour),
                        "caveat": self.caveats.of_class(name),
                    }
                    for i, (name, colour) in enumerate(zip(names, self.colours(), strict=True), start=1)
                ],
                "pictures": rows,
                "lessons": lessons,
                "undo": self._named(self.state.done),
                "redo": self._named(self.state.undone),
                "work": self._work(),
                "warnings": [*self.store.warnings, *filter(None, [self.caveats.of_picture()])],
            }

    def _row(self, one: Picture, accepted: bool, corrections: int) -> dict[str, Any]:
        fresh = one.stamp is not None and one.stamp[0] == self.state.wording
        state = "working" if one.working else "labelled" if fresh else "waiting"
        return {
            "id": one.id,
            "name": printable(one.name),
            "width": one.size[1],
            "height": one.size[0],
            "state": "accepted" if accepted else "failed" if one.error else state,
            "uncertainty": one.uncertainty if fresh and not accepted else None,
            "error": one.error,
            "version": one.version,
            "corrections": corrections,
        }

    def _named(self, events: Sequence[Event]) -> str | None:
        if not events:
            return None
        event = events[-1]
        picture = self.pictures.get(event["picture"])
        name = event["picture"] if picture is None else printable(picture.name)
        kind = event["event"]
        if kind == "correct":
            what = "a correction taken away" if event["word"] is None else event["word"]
        else:
            what = {"shape": event.get("how"), "accept": "accepted", "teach": event.get("word")}[kind]
            what = "no longer accepted" if kind == "accept" and event["file"] is None else what
        return f"{what} in {name}"

    def _work(self) -> dict[str, Any] | None:
        if (job := self.job()) is not None:
            return job
        left = len(self.stale())
        if not left:
            return None
        of = sum(one.error is None for one in self.pictures.values()) - len(self.state.accepted())
        seconds = None if self.stopped or self.pace is None else round(left * self.pace, 1)
        what = "stopped" if self.stopped else "labelling"
        return {"what": what, "done": max(of - left, 0), "of": of, "seconds_left": seconds, "job": None}


def _known(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def wording(text: str, settings: Settings, colours: Mapping[str, str]) -> Event:
    """The event of other words, settings or colours."""
    return {"event": "words", "words": text, "settings": settings.to_dict(), "colours": dict(colours)}


def parsed(text: str, limits: Limits) -> dict[str, tuple[str, ...]]:
    """Class names as typed, each with its words; {} of none. Raises InputError."""
    names = split_words(check_text(text, "the list of words", limits))
    found = parse_names(names) if names else {}
    rows = sum(map(len, found.values()))
    if rows > limits.words:
        raise InputError(f"{rows} words: at most {limits.words} at a time")
    return found


def check_text(text: str, what: str, limits: Limits) -> str:
    """`text` without blanks at its ends. Raises InputError for one that is too long."""
    if len(text) > limits.letters:
        raise InputError(f"{what} has {len(text):,} characters: at most {limits.letters:,}")
    return text.strip()
