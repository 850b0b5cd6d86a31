"""Vocabularies and segmentations as files: one .npz each, readable with numpy alone, never a pickle.

A file holds plain arrays and one entry "header": JSON text in UTF-8, as bytes (uint8). The header says what
the file is ("format", "version") and holds everything that is no array; docs/python.md lists the entries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import DAMAGED_NPZ, atomic_path
from ..options import SegmentOptions, to_dict
from .mosaic import Mosaic
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .result import Segmentation
    from .scene import Scene

Arrays = Mapping[str, npt.NDArray[Any]]
WORDS, RESULT, VERSION = "freeda-vocabulary", "freeda-segmentation", 1
_KINDS = {WORDS: "vocabulary", RESULT: "segmentation"}
KEEP = ("scene", "image", "labels")
_MATRICES = ("local", "context")
T = TypeVar("T")


def save_vocabulary(vocabulary: Vocabulary, path: str | Path) -> Path:
    """Write a vocabulary; the path is returned. Raises InputError where writing fails."""
    header, arrays = _vocabulary_parts(vocabulary)
    return _write(path, WORDS, header, arrays)


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary. Raises InputError for a file that is missing, damaged or something else."""
    header, arrays = _read(path, WORDS)
    return _made(path, lambda: _vocabulary(header, arrays))


def digest(vocabulary: Vocabulary) -> str:
    """SHA-256 (hex) of what a vocabulary holds: the same numbers and names give the same digest."""
    header, arrays = _vocabulary_parts(vocabulary)
    total = sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def save_segmentation(result: Segmentation, path: str | Path, keep: str = "scene") -> Path:
    """Write a segmentation; the path is returned. Raises InputError as `Segmentation.save_npz` says."""
    if keep not in KEEP:
        raise InputError(f"keep is {keep!r}: use one of {', '.join(map(repr, KEEP))}")
    header: dict[str, Any] = {
        "names": list(result.names),
        "options": to_dict(result.options),
        "source": result.source,
        "models": result.models,
        "vocabulary": None,
        "scene": None,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "labels": _narrow(result.labels),
        "palette": result.palette,
        "regions": _narrow(result.working_regions()),
    }
    if keep != "labels":
        arrays["image"] = result.image
    if keep == "scene":
        scene, vocabulary = result.need_scene()
        header["vocabulary"], own = _vocabulary_parts(vocabulary)
        arrays.update({f"vocabulary.{name}": array for name, array in own.items()})
        header["scene"] = {"options": to_dict(scene.options)}
        arrays.update(_mosaic_parts(scene.mosaic))
    return _write(path, RESULT, header, arrays)


def load_segmentation(path: str | Path) -> Segmentation:
    """Read a segmentation. Raises InputError for a file that is missing, damaged or something else."""
    header, arrays = _read(path, RESULT)
    return _made(path, lambda: _segmentation(header, arrays))


def _segmentation(header: dict[str, Any], arrays: Arrays) -> Segmentation:
    from .result import Segmentation

    names, labels = tuple(header["names"]), _array(arrays["labels"], 2, np.int32)
    _check(all(isinstance(n, str) for n in names), "its names are no strings")
    _check(labels.size > 0 and labels.min() >= 0 and labels.max() < len(names), "its labels have no names")
    regions, image = _array(arrays["regions"], 2, np.int64), arrays.get("image")
    if image is not None:
        _check(image.dtype == np.uint8 and image.shape == (*labels.shape, 3), "its picture has another size")
    scene, vocabulary = None, None
    if header["scene"] is not None:
        own = {n.removeprefix("vocabulary."): a for n, a in arrays.items() if n.startswith("vocabulary.")}
        vocabulary = _vocabulary(header["vocabulary"], own)
        _check(image is not None, "its picture is missing")
        scene = _scene(header, arrays)
    return Segmentation(
        labels=labels,
        names=names,
        options=_options(SegmentOptions, header["options"]),
        source=header["source"],
        models=dict(header["models"]),
        scene=scene,
        vocabulary=vocabulary,
        photo=image,
        cut=regions,
    )


def _scene(header: dict[str, Any], arrays: Arrays) -> Scene:
    from .scene import Scene

    return Scene(
        image=arrays["image"],
        mosaic=_mosaic(arrays),
        options=_options(SegmentOptions, header["scene"]["options"]),
        source=header["source"],
        models=dict(header["models"]),
    )


def _mosaic_parts(mosaic: Mosaic) -> dict[str, npt.NDArray[Any]]:
    parts = {"atoms": _narrow(mosaic.atoms), "features": mosaic.features, "embeddings": mosaic.embeddings}
    for name in _MATRICES:
        matrix = getattr(mosaic, name)
        parts |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
    return parts


def _mosaic(arrays: Arrays) -> Mosaic:
    from scipy import sparse

    atoms = _array(arrays["atoms"], 2, np.int32)
    features, embeddings = (_array(arrays[n], 2, np.float32) for n in ("features", "embeddings"))
    matrices = []
    for name, columns in zip(_MATRICES, (len(features), len(embeddings)), strict=True):
        parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
        matrix = sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, columns))
        matrix.check_format(full_check=True)
        _check(int(atoms.max()) < matrix.shape[0], "its parts do not fit together")
        matrices.append(matrix)
    return Mosaic(atoms, matrices[0], matrices[1], features, embeddings)


def _vocabulary_parts(vocabulary: Vocabulary) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Its fields, whichever there are: arrays apart, everything else as JSON values."""
    header: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for f in fields(vocabulary):
        value = getattr(vocabulary, f.name)
        if isinstance(value, np.ndarray):
            arrays[f.name] = value
        else:
            header[f.name] = to_dict(value) if isinstance(value, SegmentOptions) else value
    return header, arrays


def _vocabulary(header: dict[str, Any], arrays: Arrays) -> Vocabulary:
    values: dict[str, Any] = {**{name: _tuples(value) for name, value in header.items()}, **arrays}
    if values.get("options") is not None:
        values["options"] = _options(SegmentOptions, header["options"])
    found = Vocabulary(**values)
    _check(len(found.names) > 0 and all(isinstance(n, str) for n in found.names), "its names are no strings")
    for array in (found.text_embeddings, found.prototypes):
        _check(bool(np.isfinite(_array(array, 2, np.float32)).all()), "it holds NaN or infinity")
    return found


def _options(cls: type[T], values: Mapping[str, Any]) -> T:
    """Options back from `to_dict`; a field that this version lacks is told as damage."""
    defaults: Any = cls()
    made = {
        name: _options(type(getattr(defaults, name)), value)
        if is_dataclass(getattr(defaults, name, None))
        else _tuples(value)
        for name, value in values.items()
    }
    return cls(**made)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _write(path: str | Path, kind: str, header: Mapping[str, Any], arrays: Arrays) -> Path:
    text = json.dumps({"format": kind, "version": VERSION, **header}, allow_nan=False)
    entries: dict[str, Any] = {"header": np.frombuffer(text.encode("utf-8"), np.uint8), **arrays}
    with atomic_path(path) as temp, open(temp, "wb") as file:  # a file, or numpy would add a suffix
        np.savez_compressed(file, **entries)
    return Path(path)


def _read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    what = _KINDS[kind]
    try:
        with open(path, "rb") as raw:
            if raw.read(4) != b"PK\x03\x04":
                raise InputError(f"{path}: this is not a saved {what} (an .npz file of freeda's)")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except DAMAGED_NPZ as error:
        raise _broken(path, what, error) from error
    found = header.pop("format", None) if isinstance(header, dict) else None
    if found != kind:
        told = f"a saved {_KINDS[found]}" if found in _KINDS else "some other file"
        raise InputError(f"{path}: this is {told}, expected a saved {what}")
    version = header.pop("version", None)
    if version != VERSION:
        raise InputError(f"{path}: a saved {what} of version {version!r}: this freeda reads {VERSION}")
    return header, arrays


def _made(path: str | Path, make: Any) -> Any:
    """What `make()` returns; whatever goes wrong in it is the file's fault."""
    try:
        return make()
    except KeyError as error:
        raise InputError(f"{path}: damaged: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:  # InputError is a ValueError
        raise InputError(f"{path}: damaged: {' '.join(str(error).split())}") from error


def _broken(path: str | Path, what: str, error: Exception) -> InputError:
    if isinstance(error, KeyError):
        return InputError(f"{path}: this is some other .npz file, expected a saved {what}")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: this saved {what} cannot be read ({reason})")


def _check(good: bool | np.bool_, message: str) -> None:
    if not good:
        raise ValueError(message)


def _array(value: npt.NDArray[Any], ndim: int, dtype: Any) -> npt.NDArray[Any]:
    """`value` as an array of that dtype; ValueError for another number of dimensions or another kind."""
    _check(value.ndim == ndim, f"an array has {value.ndim} dimensions, not {ndim}")
    _check(
        (value.dtype.kind in "iu") == (np.dtype(dtype).kind in "iu"), f"an array holds {value.dtype} numbers"
    )
    return value.astype(dtype, copy=False)


def _narrow(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers in the smallest type that holds them."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    for kind in (np.uint8, np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return labels.astype(kind)
    return labels
