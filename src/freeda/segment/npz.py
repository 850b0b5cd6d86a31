"""One .npz file as vocabularies and segmentations are kept in: plain arrays and a header, never a pickle.

The entry "header" is JSON text in UTF-8, as bytes (uint8). It says what the file is ("format", "version") and
holds everything that is no array; docs/python.md lists the entries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError, no_such_file, one_line, shortened
from ..files import DAMAGED_NPZ, atomic_path

Arrays = Mapping[str, npt.NDArray[Any]]
WORDS, RESULT, VERSION = "freeda-vocabulary", "freeda-segmentation", 1
_KINDS = {WORDS: "vocabulary", RESULT: "segmentation"}
_MODELS = {str: (str, int, None, {str: (str, int, float, None, list)})}
_SHAPES: dict[str, dict[str, Any]] = {
    WORDS: {
        "names": [str],
        "words": [[str]],
        "options": (None, dict),
        "models": (None, _MODELS),
        "answered": (None, {str: [str]}),
    },
    RESULT: {
        "names": [str],
        "options": dict,
        "models": _MODELS,
        "outside": (None, str),
        "answered": (None, {str: [str]}),
        "vocabulary": (None, dict),
        "scene": (None, {str: dict}),
    },
}
"""What fields of a header are: a type; [items]; {field: value} or {str: values}; alternatives in a tuple."""
LONGEST = 5000
"""Characters of a class name, at most: far more than CLIP reads."""
T = TypeVar("T")


def write_npz(path: str | Path, kind: str, header: Mapping[str, Any], arrays: Arrays) -> Path:
    """Write a file, whole or not at all; the path is returned. Raises InputError where writing fails."""
    with atomic_path(path) as temp:
        dump_npz(temp, kind, header, arrays)
    return Path(path)


def dump_npz(temp: Path, kind: str, header: Mapping[str, Any], arrays: Arrays) -> None:
    """`write_npz` into a file that is still to be given its name."""
    text = json.dumps({"format": kind, "version": VERSION, **header}, allow_nan=False)
    entries: dict[str, Any] = {"header": np.frombuffer(text.encode("utf-8"), np.uint8), **arrays}
    with open(temp, "wb") as file:  # a file, or numpy would add a suffix
        np.savez_compressed(file, **entries)


def read_npz(path: str | Path, kind: str, make: Callable[[dict[str, Any], dict[str, Any]], T]) -> T:
    """What `make(header, arrays)` makes of a file; whatever goes wrong in it is the file's fault.

    Raises InputError for a file that is missing, damaged or something else.
    """
    header, arrays = _read(path, kind)
    try:
        check_header(header, kind)
        return make(header, arrays)
    except KeyError as error:
        raise InputError(f"{path}: damaged: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:  # InputError is a ValueError
        raise InputError(f"{path}: damaged: {one_line(error)}") from error


def _read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    what = _KINDS[kind]
    try:
        with open(path, "rb") as raw:
            if raw.read(4) != b"PK\x03\x04":
                raise InputError(f"{path}: this is not a saved {what} (an .npz file of freeda's)")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes().decode("utf-8"))
    except InputError:  # told already; it is a ValueError too
        raise
    except FileNotFoundError as error:
        raise InputError(no_such_file(path)) from error
    except DAMAGED_NPZ as error:
        raise _broken(path, what, error) from error
    found = header.pop("format", None) if isinstance(header, dict) else None
    if found != kind:
        told = f"a saved {_KINDS[found]}" if isinstance(found, str) and found in _KINDS else "some other file"
        raise InputError(f"{path}: this is {told}, expected a saved {what}")
    version = header.pop("version", None)
    if version != VERSION:
        raise InputError(f"{path}: a saved {what} of version {version!r}: this freeda reads {VERSION}")
    return header, arrays


def shaped(value: Any, shape: Any) -> bool:
    """Whether a JSON value has a shape such as those of `_SHAPES`."""
    if isinstance(shape, tuple):
        return any(shaped(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(shaped(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        asked = dict.fromkeys(value, shape[str]) if str in shape and isinstance(value, dict) else shape
        return isinstance(value, dict) and all(shaped(value.get(name), one) for name, one in asked.items())
    if shape is str:
        return isinstance(value, str) and len(value) <= LONGEST
    return value is None if shape is None else isinstance(value, shape) and value not in (inf, -inf)


def _broken(path: str | Path, what: str, error: Exception) -> InputError:
    if isinstance(error, KeyError):
        return InputError(f"{path}: this is some other .npz file, expected a saved {what}")
    reason = getattr(error, "strerror", None) or one_line(error)
    return InputError(f"{path}: this saved {what} cannot be read ({reason})")


def tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def lists_of_words(value: Mapping[str, list[str]] | None) -> dict[str, tuple[str, ...]]:
    """JSON's object of lists of strings, as tuples; ValueError for an empty list."""
    check(all((value or {}).values()), "a class is answered for by no words")
    return {name: tuple(words) for name, words in (value or {}).items()}


def check_header(header: Mapping[str, Any], kind: str) -> None:
    """ValueError unless each field of a header is of its kind."""
    for field, shape in _SHAPES[kind].items():
        check(shaped(header.get(field), shape), f"{field!r} is {shortened(header.get(field))}")


def check(good: bool | np.bool_, message: str) -> None:
    """ValueError with the message where a file does not hold what it should."""
    if not good:
        raise ValueError(message)


def checked(value: npt.NDArray[Any], ndim: int, dtype: Any) -> npt.NDArray[Any]:
    """`value` as an array of that dtype; ValueError for another number of dimensions or another kind."""
    check(value.ndim == ndim, f"an array has {value.ndim} dimensions, not {ndim}")
    check(
        (value.dtype.kind in "iu") == (np.dtype(dtype).kind in "iu"), f"an array holds {value.dtype} numbers"
    )
    return value.astype(dtype, copy=False)


def narrow(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers in the smallest type that holds them."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    for kind in (np.uint8, np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return labels.astype(kind)
    return labels
