"""How a window is cut into regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from .checks import Range, check_types, require

PARAMETERS: dict[str, tuple[str, ...]] = {
    "felzenszwalb": ("scale", "sigma", "min_size"),
    "slic": (
        *("n_segments", "compactness", "sigma", "max_num_iter", "enforce_connectivity"),
        *("min_size_factor", "max_size_factor", "slic_zero", "start_label"),
    ),
    "quickshift": ("ratio", "kernel_size", "max_dist", "sigma", "rng"),
    "watershed": ("markers", "compactness", "connectivity"),
    "seeds": (
        *("num_superpixels", "num_levels", "prior", "histogram_bins", "double_step", "num_iterations"),
    ),
    "none": (),
}
"""Which fields an algorithm reads."""
_OWN = {"felzenszwalb sigma": 1.0, "slic compactness": 10.0}


@dataclass(frozen=True)
class Superpixels:
    """How a window is cut into regions. Fields keep their library's names, units and defaults.

    Only the fields of the chosen algorithm are read (`PARAMETERS`). InputError for values out of range.
    """

    algorithm: Literal["felzenszwalb", "slic", "quickshift", "watershed", "seeds", "none"] = "felzenszwalb"
    """How windows are cut; "none" makes no regions: patches decide. "seeds" needs the extra `seeds`. [paper,
    section 3.3]
    """
    scale: Annotated[float, Range(0, open=True)] = 100.0
    """felzenszwalb: higher means larger regions. [paper: Pascal Context]"""
    sigma: Annotated[float | None, Range(0, 100)] = None
    """felzenszwalb, slic, quickshift: width of the Gaussian blur beforehand, in pixels; none = 1.0 for
    felzenszwalb, 0 for the others. [paper: Pascal Context; scikit-image]
    """
    min_size: Annotated[int, Range(1)] = 20
    """felzenszwalb: smallest region, in pixels. [paper; scikit-image]"""
    n_segments: Annotated[int, Range(1)] = 100
    """slic: about how many regions a window gets. [scikit-image]"""
    compactness: Annotated[float | None, Range(0, 1e6)] = None
    """slic, watershed: weight of nearness against likeness; none = 10.0 for slic, 0 for watershed.
    [scikit-image]
    """
    max_num_iter: Annotated[int, Range(1)] = 10
    """slic: iterations of k-means. [scikit-image]"""
    enforce_connectivity: bool = True
    """slic: whether a region is in one piece. [scikit-image]"""
    min_size_factor: Annotated[float, Range(0, open=True)] = 0.5
    """slic: smallest region as a share of the mean size, when in one piece. [scikit-image]"""
    max_size_factor: Annotated[float, Range(0, open=True)] = 3.0
    """slic: largest region as a share of the mean size, when in one piece. [scikit-image]"""
    slic_zero: bool = False
    """slic: the parameter-free variant SLICO. [scikit-image]"""
    start_label: Annotated[int, Range(0, 1)] = 1
    """slic: number of its first region, 0 or 1; regions are renumbered from 0 anyway. [scikit-image]"""
    ratio: Annotated[float, Range(0, 1)] = 1.0
    """quickshift: weight of colour against nearness, 0 to 1. [scikit-image]"""
    kernel_size: Annotated[float, Range(0, open=True)] = 5.0
    """quickshift: width of the Gaussian of the density, in pixels; larger means fewer regions. [scikit-image]
    """
    max_dist: Annotated[float, Range(0, open=True)] = 10.0
    """quickshift: longest step of the tree, in pixels; larger means fewer regions. [scikit-image]"""
    rng: Annotated[int, Range(0, 2**32 - 1)] = 42
    """quickshift: seed that breaks ties. [scikit-image]"""
    markers: Annotated[int | None, Range(1, 1e9)] = None
    """watershed (of the Sobel gradient of the grey image): how many basins; none = every local minimum.
    [scikit-image]
    """
    connectivity: Annotated[int, Range(1, 2)] = 1
    """watershed: neighbours of a pixel, 1 = four, 2 = eight. [scikit-image]"""
    num_superpixels: Annotated[int, Range(1)] = 400
    """seeds: about how many regions a window gets, at most. [OpenCV's sample]"""
    num_levels: Annotated[int, Range(1)] = 4
    """seeds: levels of blocks; fewer are used where the window is too small. [OpenCV's sample]"""
    prior: Annotated[int, Range(0, 5)] = 2
    """seeds: smoothing of shapes, 0 to 5. [OpenCV]"""
    histogram_bins: Annotated[int, Range(1, 15)] = 5
    """seeds: bins of the colour histogram, per channel. [OpenCV]"""
    double_step: bool = False
    """seeds: whether each level is gone through twice. [OpenCV]"""
    num_iterations: Annotated[int, Range(0, 1000)] = 4
    """seeds: iterations at pixel level. [OpenCV]"""

    def __post_init__(self) -> None:
        check_types(self, "superpixels.")
        require(
            self.algorithm != "slic" or self.compactness != 0,
            "superpixels.compactness is 0.0: it must be above 0 for slic",
        )

    def parameters(self) -> dict[str, Any]:
        """The chosen algorithm's parameters by its library's names, its own defaults filled in."""
        found = {name: getattr(self, name) for name in PARAMETERS[self.algorithm]}
        for name in ("sigma", "compactness"):
            if name in found and found[name] is None:
                found[name] = _OWN.get(f"{self.algorithm} {name}", 0.0)
        return found
