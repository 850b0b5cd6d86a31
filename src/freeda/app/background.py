"""One thread that labels what nobody waits for: what was seen last, then the most uncertain first."""

from __future__ import annotations

import time
import traceback
from threading import Event, Thread

from ..errors import told_by
from .studio import Cancelled, Studio
from .workspace import Picture, Workspace

_PAUSE = 5.0
"""Seconds after which it looks by itself, and old workspaces go."""
_PACE = 0.3
"""How much the last picture counts in the pace."""


class Background:
    """Labels the pictures of all workspaces until it is closed."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._over, self._awake = studio, False, Event()
        studio.wake = self._awake.set
        self._thread = Thread(target=self._run, name="freeda-labels", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the picture at hand."""
        self._over = True
        self._awake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            found = self._next()
            if found is None:
                self._awake.wait(_PAUSE)
                self._awake.clear()
            else:
                self._label(*found)

    def _next(self) -> tuple[Workspace, Picture] | None:
        first: tuple[Workspace, Picture] | None = None
        for ws in self._studio.everybody():
            if not ws.stopped and (waiting := ws.stale()):
                if waiting[0].id in ws.visible:
                    return ws, waiting[0]
                first = first or (ws, waiting[0])
        return first

    def _label(self, ws: Workspace, picture: Picture) -> None:
        began = time.monotonic()
        picture.working = True
        if picture.id in ws.visible:
            ws.changed()
        try:
            self._studio.labels(ws, picture, behind=True)
            took = time.monotonic() - began
            ws.pace = took if ws.pace is None else _PACE * took + (1 - _PACE) * ws.pace
        except Cancelled:
            pass
        except Exception as error:  # one picture's fault must not end the others' labels
            told = told_by(error)
            if told is None:
                traceback.print_exception(error)
            picture.error = self._studio.without_places(str(told or "this picture could not be labelled"))
        finally:
            picture.working = False
            ws.changed()
