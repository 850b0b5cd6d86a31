"""Errors that a user can cause and mend; the command line prints them as one line and exits with 2."""

from __future__ import annotations

import re

# What would break a line, steer a terminal, turn the reading direction or have no UTF-8 form.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 600


def printable(text: str) -> str:
    """`text` in one line that any terminal takes: control characters become `\\n`, `\\x1b` and the like.

    File names and class names may hold anything; whatever shows them should show this.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def counted(n: int, thing: str) -> str:
    """ "1 picture", "2,000 pictures"."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def one_line(error: BaseException) -> str:
    """All that a library says, in one line, or the kind of its error where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what a library says, or the kind of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch has no type of its own for that on the CPU."""
    return isinstance(error, MemoryError) or "memory" in str(error).lower()


def extra(name: str) -> str:
    """How to install one of freeda's extras, for messages; docs/install.md says more. No index has freeda, so
    that its name alone would not be found.
    """
    return f"pip install '.[{name}]' in freeda's checkout, or 'freeda[{name}] @ git+URL' of its repository"


def shortened(value: object, most: int = 60) -> str:
    """`repr` of a value somebody gave, cut to about so many characters."""
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 3] + "...")
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


class FreedaError(Exception):
    """Base of every error freeda raises on purpose; the message is one clear line, whatever it quotes."""

    def __init__(self, message: str = "") -> None:
        line = printable(message)
        if len(line) > _LONGEST:  # a path or a name gone wild; both ends are worth seeing
            line = f"{line[: _LONGEST // 2]}...{line[3 - _LONGEST // 2 :]}"
        super().__init__(line)


class FreedaWarning(UserWarning):
    """What a user should know and may ignore; the command line prints it as one line on stderr."""


class InputError(FreedaError, ValueError):
    """A file, image, caption or class list that cannot be used."""


class ModelError(FreedaError, RuntimeError):
    """Model weights that are missing or do not fit together."""


class BankError(FreedaError, RuntimeError):
    """A bank directory that is missing, half-written, damaged or built with other models."""


class WorkerError(FreedaError, RuntimeError):
    """A worker process that died or failed in a way nobody foresaw."""
