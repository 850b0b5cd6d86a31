"""What a workspace remembers, as the fold of its events: no model, no disk, no HTTP.

An event is a JSON object with a name under "event":

- words: words (as typed), settings, colours (#rrggbb by class); given (where the command line gave them)
- correct: picture, mask (RLE), word (null: the correction there is taken away), how, lesson (its id, or null)
- shape: picture, masks (RLE), how: each mask becomes a region of its own
- accept: picture, file (the label map that was accepted; null: no longer), names (what its labels mean)
- teach: picture (a name), word, lesson
- undo, redo: of the last of those above, words excepted
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import InputError, shortened

Event = dict[str, Any]
_FIELDS = {
    "words": ("words", "settings", "colours"),
    "correct": ("picture", "mask", "word", "how", "lesson"),
    "shape": ("picture", "masks", "how"),
    "accept": ("picture", "file", "names"),
    "teach": ("picture", "word", "lesson"),
    "undo": (),
    "redo": (),
}
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("words", "picture", "how"), (str,)),
    **dict.fromkeys(("word", "lesson", "file"), (str, type(None))),
    **dict.fromkeys(("settings", "colours", "mask"), (dict,)),
    **dict.fromkeys(("masks", "names"), (list,)),
}
"""Of an event's fields."""
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_RANGES = {"local_weight": (0.0, 1.0), "k": (1, 500), "scale": (1.0, 1000.0)}


@dataclass(frozen=True)
class Settings:
    """How to label; None is the preset's own value. Raises InputError for one out of its range."""

    others: bool = False
    """Whether all that is none of the words is a label of its own."""
    local_weight: float | None = None
    k: int | None = None
    scale: float | None = None
    """Of the superpixels."""
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a name that is none is told

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
            if value is not None and not (good and (name != "k" or value == int(value))):
                raise InputError(
                    f"{name} is {shortened(value)}: it must be a number from {least:g} to {most:g}"
                )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Edits:
    """What people did to one picture, undone things left out."""

    accepted: Event | None
    """The acceptance that holds."""
    paint: tuple[Event, ...]
    """Corrections in their order; where the picture is accepted, those since then."""
    shapes: tuple[Event, ...]
    """Regions that were merged or split."""
    count: int
    """Corrections in all."""


@dataclass
class State:
    """The fold of a workspace's events so far."""

    words: str = ""
    settings: Settings = field(default_factory=Settings)
    colours: dict[str, str] = field(default_factory=dict)
    given: str | None = None
    """The words that the command line gave last: given again they change nothing."""
    wording: int = 0
    """Counts the changes of words and settings."""
    done: list[Event] = field(default_factory=list)
    """What holds and can be undone, in its order."""
    undone: list[Event] = field(default_factory=list)
    """What can be done again, the next one last."""
    touched: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Counts the changes of each picture."""

    def apply(self, event: Event) -> None:
        """Go on by one event. Raises InputError for what is none; then nothing has changed."""
        kind = event.get("event") if isinstance(event, dict) else None
        if (
            not isinstance(kind, str)
            or kind not in _FIELDS
            or not all(_good(event, n) for n in _FIELDS[kind])
        ):
            raise InputError(f"{shortened(event)} is no event")
        if kind == "words":
            if unknown := set(event["settings"]) - {one.name for one in fields(Settings)}:
                raise InputError(f"{shortened(min(map(str, unknown)))} is no setting")
            settings = Settings(**event["settings"])
            self.wording += (event["words"], settings) != (self.words, self.settings)
            self.words, self.settings, self.colours = event["words"], settings, event["colours"]
            self.given = event.get("given", self.given)
            return
        if kind in ("undo", "redo"):
            source, target = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
            if not source:
                raise InputError(f"there is nothing to {kind}")
            event = source.pop()
            target.append(event)
        else:
            self.done.append(event)
            self.undone.clear()
        self.touched[event["picture"]] += 1

    def edits(self, picture: str) -> Edits:
        """What holds of one picture."""
        own = [event for event in self.done if event["picture"] == picture]
        paint = [event for event in own if event["event"] == "correct"]
        accepts = [i for i, event in enumerate(own) if event["event"] == "accept"]
        accepted = own[accepts[-1]] if accepts and own[accepts[-1]]["file"] is not None else None
        since = [e for e in own[accepts[-1] + 1 :] if e["event"] == "correct"] if accepted else paint
        shapes = tuple(event for event in own if event["event"] == "shape")
        return Edits(accepted, tuple(since), shapes, len(paint))

    def accepted(self) -> dict[str, Event]:
        """The acceptances that hold, by picture."""
        found: dict[str, Event] = {}
        for event in self.done:
            if event["event"] == "accept":
                found[event["picture"]] = event
        return {picture: event for picture, event in found.items() if event["file"] is not None}

    def photos(self) -> dict[str, set[str]]:
        """By picture, the digests of the files that people worked on."""
        found: dict[str, set[str]] = {}
        for event in self.done:
            if "photo" in event:
                found.setdefault(event["picture"], set()).add(str(event["photo"]))
        return found

    def named(self) -> list[str]:
        """Every word that a correction or an acceptance uses, in the order of their first use."""
        found: dict[str, None] = {}
        for event in self.done:
            if event["event"] == "correct" and event["word"] is not None:
                found[event["word"]] = None
            elif event["event"] == "accept":
                found.update(dict.fromkeys(event["names"]))
        return list(found)

    def lessons(self) -> list[str]:
        """The ids of the lessons that hold."""
        return [event["lesson"] for event in self.done if event.get("lesson") is not None]


def _good(event: Event, name: str) -> bool:
    """Whether an event has this field, and it is of its kind."""
    if name not in event or not isinstance(event[name], _KINDS[name]):
        return False
    value: Any = event[name]
    if name == "colours":
        return all(isinstance(v, str) and _COLOUR.fullmatch(v) for v in value.values())
    if name == "lesson":
        return value is None or value.isdecimal()
    each: dict[str, type] = {"masks": dict, "names": str}
    return name not in each or all(isinstance(v, each[name]) for v in value)
