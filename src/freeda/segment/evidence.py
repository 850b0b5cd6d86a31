"""What one pixel's scores are made of: shares of atoms, the features and windows behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..options import SegmentOptions
from .matching import AtomScores, LocalScore, likeness, local_scores
from .mosaic import Mosaic
from .prototypes import ReferenceBank
from .refine import affinity, influence
from .regions import nearest
from .scene import Scene
from .support import Support
from .upsample import pixel_taps
from .vocabulary import Vocabulary
from .window_encoding import Floats

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What a pixel's scores are made of, before refinement."""

    features: Floats
    """(n, D) unit features it averages."""
    weights: Shares
    """(n,) their shares, which sum to 1."""
    region: npt.NDArray[np.bool_]
    """(h, w) working pixels of the same atom."""
    reach: npt.NDArray[np.bool_]
    """(h, w) working pixels of the superpixels that were pooled."""
    windows: int
    blended: int
    """Atoms that the resize blends here: 1 but near a region's border."""
    own: float
    """Share of the scores that `region` has, 0 to 1."""


def atom_shares(scene: Scene, options: SegmentOptions, x: int, y: int) -> Shares:
    """(A,) what each atom's scores count for at the pixel: they sum to 1, and nearly all are 0 unless scores
    are refined."""
    atoms = scene.mosaic.atoms
    pixels = np.zeros(atoms.shape)
    for row, column, share in pixel_taps((atoms.shape[0], atoms.shape[1]), scene.size, y, x):
        pixels[row, column] = share
    if options.refine != "none":
        weights = affinity(scene.working_image(), options.refine_dilations)
        pixels = influence(pixels, weights, options.refine_dilations, options.refine_iterations)
    out: Shares = np.bincount(atoms.ravel(), pixels.ravel(), minlength=scene.mosaic.local.shape[0]).astype(
        float
    )
    return out


def score_parts(
    mosaic: Mosaic,
    shares: Shares,
    vocabulary: Vocabulary,
    options: SegmentOptions,
    score: LocalScore | None = None,
    bank: ReferenceBank | None = None,
    support: Support | None = None,
) -> dict[str, Floats]:
    """(T,) "local", "global", "own", "support" and "taught" scores of the rows, as so much of each atom:
    those that `options.weights` count."""
    weights, text = mosaic.local.T @ shares, vocabulary.text_embeddings.T
    used, out = np.flatnonzero(weights), {}
    if options.weights.freeda:
        out["local"] = weights[used] @ local_scores(mosaic.features[used], vocabulary, options, score, bank)
        out["global"] = (mosaic.context.T @ shares) @ (mosaic.embeddings @ text)
    if options.weights.dense and mosaic.joint is not None:
        out["own"] = weights[used] @ (mosaic.joint[used] @ text)
    if options.weights.support and support is not None:
        alone = replace(
            options, method="values", ensemble=replace(options.weights, freeda=0, own=0, support=1, taught=0)
        )
        atoms = np.flatnonzero(shares)
        planes = AtomScores(mosaic, vocabulary, replace(alone, background="none"), support=support).of(atoms)
        out["support"] = shares[atoms] @ planes
    if options.weights.taught and vocabulary.lessons is not None:
        out["taught"] = (
            weights[used] @ likeness(mosaic.features[used], vocabulary, options.weights.nearness)[:, :-1]
        )
    return {name: part.astype(np.float32) for name, part in out.items()}


def gather_evidence(mosaic: Mosaic, shares: Shares, size: tuple[int, int], x: int, y: int) -> Evidence:
    """The evidence of pixel (x, y) of a photograph of `size` = (H, W); `shares` are its `atom_shares`."""
    height, width = mosaic.atoms.shape
    main = mosaic.atoms[nearest(height, size[0])[y], nearest(width, size[1])[x]]
    taps = pixel_taps((height, width), size, y, x)
    blended = np.bincount(
        [mosaic.atoms[row, column] for row, column, _ in taps], [share for *_, share in taps], len(shares)
    )
    weights = mosaic.local.T @ blended
    used = np.flatnonzero(weights)
    pooled = mosaic.local[:, mosaic.local[main].indices].getnnz(axis=1) > 0
    return Evidence(
        mosaic.features[used],
        weights[used],
        mosaic.atoms == main,
        pooled[mosaic.atoms],
        int(mosaic.context[main].nnz),
        int((blended > 0).sum()),
        float(shares[main]),
    )
