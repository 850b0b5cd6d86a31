"""What a bank of region values knows of a photograph's regions, and which scores can be added up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import METHODS, Ensemble, SegmentOptions
from .scene import Scene
from .window_encoding import Floats, unit_rows


@dataclass(frozen=True)
class Support:
    """The mean values of what regions retrieved (CorrCLIP v2)."""

    values: Floats
    """(R, K) float32, L2-normalised, in the joint space: of the photograph's regions, or of its features."""
    region: npt.NDArray[np.int64] | None
    """(A,) the region of every atom, -1 in none; None where the values are of the mosaic's features."""


def retrieve_support(scene: Scene, bank: Any, neighbours: int) -> Support:
    """The support of a scene's regions by a bank of region values (see docs/bank.md).

    Regions of the whole photograph retrieve once each, by their mean feature; superpixels, which every window
    has of its own, window by window. Each takes the `neighbours` rows of the nearest keys, and the mean of
    their values.
    """
    _, rows = bank.search(queries(scene), neighbours, "prototype")
    return supported(scene, unit_rows(np.asarray(bank.keys[rows]).astype(np.float32).mean(axis=1)))


def values_of(bank: Any) -> Any:
    """The bank of region values that belongs to a bank, if there is one with rows."""
    found = getattr(bank, "regions", None)
    return found if found is not None and len(found) else None


def identity_of(values: Any) -> str:
    """What a record remembers a bank of region values by: a digest of what it holds, where it has one."""
    parts = getattr(values, "banks", (values,))
    return " ".join(str(getattr(one, "identity", type(one).__name__)) for one in parts)


def queries(scene: Scene) -> Floats:
    """(R, D) the features that retrieve."""
    return scene.mosaic.features if scene.cut is None else scene.region_features()


def supported(scene: Scene, values: Floats) -> Support:
    """The support of these values (R, K), one for each of `queries`."""
    if scene.cut is None:
        return Support(values, None)
    region = np.full(scene.mosaic.local.shape[0], -1)
    region[scene.mosaic.atoms.ravel()] = scene.cut.ravel()
    return Support(values, region)


def _method(options: SegmentOptions, prototypes: bool) -> str:
    return options.method if options.method != "auto" else "freeda" if prototypes else "no-bank"


def weights_of(options: SegmentOptions, prototypes: bool) -> Ensemble:
    """The weights that options ask for, where class names have `prototypes` or have none."""
    return replace(options, method=_method(options, prototypes)).weights  # type: ignore[arg-type]


def resolve(options: SegmentOptions, prototypes: bool, values: bool) -> SegmentOptions:
    """The options with the method that "auto" means, and the weights of each score.

    `prototypes` says whether class names have any, `values` whether there is a bank of region values. Raises
    InputError where a score that the method or its weights name has nothing to go by.
    """
    method = _method(options, prototypes)
    weights = weights_of(options, prototypes)
    if method == "all":
        weights = _possible(weights, prototypes, values)
    if weights.freeda and not prototypes:
        raise InputError(
            "FreeDA's score needs a bank: give one (bank=DIR or --bank DIR), made by `freeda collect`, grow "
            "one (--grow, freeda.grow.grow), or label without (method=no-bank)"
        )
    if weights.support and not values:
        raise InputError(
            "support needs a bank of region values: `freeda collect` makes one beside its pairs, "
            "`freeda bank add-images` of photographs (docs/bank.md)"
        )
    if not (weights.freeda or weights.dense):
        raise InputError("every weight of the ensemble is 0: at least one score must count")
    if options.background in ("local", "local-of-winner") and not weights.freeda:
        raise InputError(
            f"background={options.background} looks at prototypes, which method {method!r} has none of: "
            "use background=probability"
        )
    return replace(options, method=method, ensemble=weights)  # type: ignore[arg-type]


def _possible(weights: Ensemble, prototypes: bool, values: bool) -> Ensemble:
    """What is left of the weights of "all"; regions' own features where nothing else is there."""
    if not prototypes:
        return METHODS["values" if values else "no-bank"]
    return weights if values else replace(weights, support=0.0)
