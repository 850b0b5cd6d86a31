"""Errors that a user can cause and mend; the command line prints them as one line and exits with 2."""

from __future__ import annotations

import errno
import re
import sys

# What would break a line, steer a terminal, turn the reading direction or have no UTF-8 form.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 600
# Allocations that failed, where no type says so: torch's on a processor and on Apple's GPUs, those of drivers
# and their libraries, and the system's words.
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|MPS backend out of memory|"
    r"Invalid buffer size: |\b(CUDA|HIP|XPU)( error:)? out of memory|"
    r"_STATUS_\w*ALLOC(ATION)?_FAILED|std::bad_alloc|Cannot allocate memory"
)
# What leaves an accelerator useless to this process: whatever it is asked afterwards fails as well.
_LOST = re.compile(
    r"\b(CUDA|HIP) error: |device-side assert|illegal memory access|unspecified launch failure|"
    r"uncorrectable ECC"
)
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+:)//?", re.IGNORECASE)
"""How an address of the web begins, one slash short as a path; "C:/" begins none."""


def no_such_file(path: object, missing: str = "no such file") -> str:
    """The message that a file (or folder: `missing`) is not there, and what is right for an address."""
    if found := ADDRESS.match(str(path)):
        address = f"{found[1]}//{str(path)[found.end() :]}"
        return f"{address}: an address, nothing of this machine: download it and give what lies here"
    return f"{path}: {missing}"


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


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocation failed, in `error` or in what it was raised from.

    Not every error that speaks of memory: an illegal access is the end of a device (`device_lost`).
    """
    torch = sys.modules.get("torch")
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.cuda.OutOfMemoryError)
    while error is not None:
        refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
        said = not isinstance(error, FreedaError) and _NO_MEMORY.search(str(error))
        if refused or said or isinstance(error, kinds):
            return True
        error = error.__cause__
    return False


def device_lost(error: BaseException) -> MachineError | None:
    """What to raise where an accelerator does nothing more for this process; None for any other error."""
    if isinstance(error, FreedaError) or out_of_memory(error) or not _LOST.search(str(error)):
        return None
    return MachineError(
        f"{first_line(error)}: the device does nothing more for this process; what was finished is kept, so "
        "run the same again"
    )


def told_by(error: Exception) -> FreedaError | None:
    """The one line about an error that a user, or the machine, caused; None for a mistake of ours."""
    if isinstance(error, FreedaError):
        return error
    if out_of_memory(error):
        return MachineError(f"memory ran out ({first_line(error)})")
    return device_lost(error)


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


class MachineError(ModelError):
    """Memory that is too small for models, or an accelerator that is lost: no input's fault."""


class BankError(FreedaError, RuntimeError):
    """A bank directory that is missing, half-written, damaged or built with other models."""


class WorkerError(FreedaError, RuntimeError):
    """A worker process that died or failed in a way nobody foresaw."""
