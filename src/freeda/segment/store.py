"""A segmentation as a file: one .npz, readable with numpy alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions, from_dict, to_dict
from ..show.caveats import Caveats
from ..source_file import SourceFile
from .label_map import LabelMap
from .matching import BUILT_IN, ForgottenScore, LocalScore, PlaneScore
from .mosaic import Mosaic
from .npz import RESULT, Arrays, check, checked, lists_of_words, narrow, read_npz
from .scene import Scene
from .support import Support, supported
from .vocabulary import Vocabulary

KEEP = ("scene", "image", "labels")
_MATRICES = ("local", "context")


def parts_of(result: LabelMap, keep: str = "scene") -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What a file holds of a segmentation: header and arrays. Errors as `Segmentation.save_npz` says."""
    if keep not in KEEP:
        raise InputError(f"keep is {keep!r}: use one of {', '.join(map(repr, KEEP))}")
    header: dict[str, Any] = {
        "names": list(result.names),
        "options": to_dict(result.options),
        "file": None if result.file is None else result.file.header(),
        "models": result.models,
        "outside": result.caveats.outside,
        "answered": dict(result.caveats.answered),
        "vocabulary": None,
        "scene": None,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        "labels": narrow(result.labels),
        "palette": result.palette,
        "regions": narrow(result.working_regions()),
    }
    if keep != "labels":
        arrays["image"] = result.image
    if keep == "scene":
        scene, vocabulary = result.need_scene()
        header["vocabulary"], own = vocabulary.parts()
        arrays.update({f"vocabulary.{name}": array for name, array in own.items()})
        header["scene"] = {"options": to_dict(scene.options)}
        arrays.update(_mosaic_parts(scene.mosaic))
        if result.support is not None:
            arrays["support"] = result.support.values
    return header, arrays


def read_segmentation(path: str | Path) -> dict[str, Any]:
    """The fields of a saved `Segmentation`. Raises InputError as `Segmentation.load_npz` says."""
    return read_npz(path, RESULT, _fields)


def _fields(header: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    names, labels = tuple(header["names"]), checked(arrays["labels"], 2, np.int32)
    check(labels.size > 0 and labels.min() >= 0 and labels.max() < len(names), "its labels have no names")
    regions, image = checked(arrays["regions"], 2, np.int64), arrays.get("image")
    if image is not None:
        check(image.dtype == np.uint8 and image.shape == (*labels.shape, 3), "its picture has another size")
    scene, vocabulary = None, None
    if header["scene"] is not None:
        own = {n.removeprefix("vocabulary."): a for n, a in arrays.items() if n.startswith("vocabulary.")}
        vocabulary = Vocabulary.of_parts(header["vocabulary"], own)
        check(image is not None, "its picture is missing")
        planes = header["models"].get("score") == PlaneScore.name
        scene = replace(_scene(header, arrays), prompts=vocabulary.prompts if planes else None)
    return {
        "labels": labels,
        "names": names,
        "options": from_dict(SegmentOptions, header["options"]),
        "file": _file(header),
        "models": dict(header["models"]),
        "scene": scene,
        "vocabulary": vocabulary,
        "support": _support(scene, arrays),
        "score": _score(header["models"].get("score")),
        "photo": image,
        "cut": regions,
        "caveats": Caveats(header.get("outside") or "", lists_of_words(header.get("answered"))),
    }


def _scene(header: dict[str, Any], arrays: Arrays) -> Scene:
    return Scene(
        image=arrays["image"],
        mosaic=_mosaic(arrays),
        options=from_dict(SegmentOptions, header["scene"]["options"]),
        file=_file(header),
        models={
            part: of for part, of in header["models"].items() if part not in ("score", "values")
        },  # of the labels
        outside=header.get("outside") or "",
        cut=checked(arrays["regions"], 2, np.int64) if "regions" in header["models"] else None,
    )


def _support(scene: Scene | None, arrays: Arrays) -> Support | None:
    if scene is None or "support" not in arrays:
        return None
    values = checked(arrays["support"], 2, np.float32)
    asked = len(scene.mosaic.features) if scene.cut is None else int(scene.cut.max()) + 1
    good = values.shape == (asked, scene.mosaic.embeddings.shape[1]) and np.isfinite(values).all()
    check(good, "its support does not fit its regions")
    return supported(scene, values)


def _score(name: Any) -> LocalScore | None:
    check(name is None or isinstance(name, str), "its score has no name")
    if name is None:
        return None
    score: LocalScore = BUILT_IN[name] if name in BUILT_IN else ForgottenScore(name)
    return score


def _file(header: dict[str, Any]) -> SourceFile | None:
    return None if header["file"] is None else SourceFile.of_header(header["file"])


def _mosaic_parts(mosaic: Mosaic) -> dict[str, npt.NDArray[Any]]:
    parts = {"atoms": narrow(mosaic.atoms), "features": mosaic.features, "embeddings": mosaic.embeddings}
    if mosaic.joint is not None:
        parts["joint"] = mosaic.joint
    for name in _MATRICES:
        matrix = getattr(mosaic, name)
        parts |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
    return parts


def _mosaic(arrays: Arrays) -> Mosaic:
    from scipy import sparse

    atoms = checked(arrays["atoms"], 2, np.int32)
    features, embeddings = (checked(arrays[n], 2, np.float32) for n in ("features", "embeddings"))
    matrices = []
    for name, columns in zip(_MATRICES, (len(features), len(embeddings)), strict=True):
        parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
        matrix = sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, columns))
        matrix.check_format(full_check=True)
        check(int(atoms.max()) < matrix.shape[0], "its parts do not fit together")
        matrices.append(matrix)
    joint = checked(arrays["joint"], 2, np.float32) if "joint" in arrays else None
    check(
        joint is None or joint.shape == (len(features), embeddings.shape[1]),
        "its image-text features do not fit",
    )
    return Mosaic(atoms, matrices[0], matrices[1], features, embeddings, joint)
