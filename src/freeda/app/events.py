"""How the page's events run, and how errors reach the visitor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ..errors import InputError, shortened, told_by

LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that take milliseconds: straight to the server, no waiting in line."""
HEAVY: dict[str, Any] = {
    "concurrency_id": "models",
    "concurrency_limit": 1,
    "show_progress": "minimal",
    "api_visibility": "private",
}
"""Events that take a while: one at a time for all visitors, the others wait in line."""
DRAWING: dict[str, Any] = {
    **HEAVY,
    **{"concurrency_id": "drawing", "concurrency_limit": 4, "show_progress": "hidden"},
}
"""Events that show pictures as they are drawn: they let others at the models in between."""


def within(value: Any, what: str, least: float, most: float) -> float:
    """The number in a slider's box. Raises InputError for an empty one, and outside the slider's range."""
    if isinstance(value, (int, float)) and least <= value <= most:
        return value
    given = "empty" if value is None else shortened(value)
    raise InputError(f"{what} is {given}: it must be a number from {least:g} to {most:g}")


def unchecked(slider: gr.Slider) -> gr.Slider:
    """A slider whose event is handed what its box holds: Gradio's own check ends in an HTTP 500."""
    slider.preprocess = lambda payload: payload  # type: ignore[method-assign, unused-ignore]
    return slider


def friendly(call: Callable[..., Any]) -> Callable[..., Any]:
    """What `told_by` knows becomes one line on the page; all else is a fault, told in the log only."""
    if not inspect.isgeneratorfunction(call):
        return _told()(call)

    @functools.wraps(call)
    def steps(*args: Any, **kwargs: Any) -> Any:
        with _told():
            yield from call(*args, **kwargs)

    return steps


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = told_by(error)
        if told is None:
            raise
        raise gr.Error(str(told), duration=8, print_exception=False, title="Not possible") from error
