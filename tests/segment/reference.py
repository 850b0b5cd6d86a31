"""The online stage written out from its definition: dense masks, dense planes, loops, torch's resize."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from freeda.options import SegmentOptions
from freeda.segment.regions import superpixels

Rows = Sequence[np.ndarray]
"""Per text row its prototypes, (n, D)."""


def prototypes_by_row(vocabulary: Any) -> list[np.ndarray]:
    groups = defaultdict(list)
    for i, prototype in enumerate(vocabulary.prototypes):
        groups[i if vocabulary.owner is None else int(vocabulary.owner[i])].append(prototype)
    return [np.stack(groups[t]) for t in range(len(vocabulary.text_embeddings))]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)


def local_scores(feature: np.ndarray, rows: Rows, options: SegmentOptions) -> list[float]:
    """One feature's local score for every text row."""
    cosines = [[cosine(feature, p) for p in prototypes] for prototypes in rows]
    if options.prototypes == "knn-vote":
        everyone = sorted(((c, t) for t, near in enumerate(cosines) for c in near), reverse=True)
        voters = everyone[: options.neighbours]
        return [sum(sigmoid(c) for c, owner in voters if owner == t) / len(voters) for t in range(len(rows))]
    w = options.max_share
    return [sigmoid(w * max(near) + (1 - w) * sum(near) / len(near)) for near in cosines]


def window_planes(
    encoders: Any, window: np.ndarray, text: np.ndarray, rows: Rows, options: SegmentOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, h, w) ensemble scores of one window, and its (T, h, w) local scores."""
    x = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 255
    context = torch.from_numpy(text) @ encoders.clip.encode_image(x)[0]
    patches = encoders.dense.encode(x)[0]
    h, w = window.shape[:2]
    planes = torch.tensor([[local_scores(p.numpy(), rows, options) for p in line] for line in patches])
    local = F.interpolate(planes.permute(2, 0, 1)[None].float(), (h, w), mode="bilinear", align_corners=True)[
        0
    ]
    regions = superpixels(window, options.superpixels)
    for r in range(regions.max() + 1):
        mask = torch.from_numpy(regions == r)
        weight = F.interpolate(
            mask[None, None].double(), patches.shape[:2], mode="bilinear", align_corners=True
        )[0, 0].float()
        if weight.sum() < 1e-5:
            continue
        feature = (weight[..., None] * patches).sum((0, 1)) / weight.sum()
        local[:, mask] = torch.tensor(local_scores(feature.numpy(), rows, options))[:, None].float()
    return options.local_weight * local + (1 - options.local_weight) * context[:, None, None], local


def merged(
    encoders: Any, image: np.ndarray, text: np.ndarray, rows: Rows, options: SegmentOptions
) -> torch.Tensor:
    """(2, T, h, w): the windows' ensemble and local scores averaged over a working image."""
    h, w = image.shape[:2]
    side = options.window or max(h, w)
    total, count = torch.zeros(2, len(text), h, w), torch.zeros(h, w)
    seen = set()
    for top in range(0, h + options.stride, options.stride):
        for left in range(0, w + options.stride, options.stride):
            y1, x1 = max(min(top, h - side), 0), max(min(left, w - side), 0)
            if (y1, x1) in seen:
                continue
            seen.add((y1, x1))
            crop = image[y1 : y1 + side, x1 : x1 + side]
            planes = torch.stack(window_planes(encoders, crop, text, rows, options))
            total[:, :, y1 : y1 + side, x1 : x1 + side] += planes
            count[y1 : y1 + side, x1 : x1 + side] += 1
    return total / count


def pamr(image: np.ndarray, plane: np.ndarray, dilations: Sequence[int], iterations: int) -> np.ndarray:
    """One plane (h, w) refined along the edges of an image (h, w, 3), pixel by pixel."""
    h, w = plane.shape
    pixels = image.astype(float)

    def at(y: int, x: int) -> tuple[int, int]:
        return min(max(y, 0), h - 1), min(max(x, 0), w - 1)

    listens: dict[tuple[int, int], list[tuple[tuple[int, int], float]]] = {}
    for y in range(h):
        for x in range(w):
            steps = [(d, i, j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)]
            around = [at(y + d * i, x + d * j) for d, i, j in steps]
            spread = [float(np.std([pixels[p][c] for p in around], ddof=1)) for c in range(3)]
            others = [p for p, (_, i, j) in zip(around, steps, strict=True) if (i, j) != (0, 0)]
            likeness = [
                sum(-abs(pixels[p][c] - pixels[y, x][c]) / (0.1 * spread[c] + 1e-8) for c in range(3)) / 3
                for p in others
            ]
            weights = [math.exp(v - max(likeness)) for v in likeness]
            listens[y, x] = [(p, v / sum(weights)) for p, v in zip(others, weights, strict=True)]
    for _ in range(iterations):
        plane = np.array([[sum(v * plane[p] for p, v in listens[y, x]) for x in range(w)] for y in range(h)])
    return plane


def refined(planes: torch.Tensor, image: np.ndarray, options: SegmentOptions) -> torch.Tensor:
    """Planes (..., h, w) after PAMR, where the options ask for it."""
    if options.refine == "none":
        return planes
    flat = planes.reshape(-1, *planes.shape[-2:]).numpy().astype(float)
    out = [pamr(image, plane, options.refine_dilations, options.refine_iterations) for plane in flat]
    return torch.tensor(np.stack(out), dtype=torch.float32).reshape(planes.shape)


def resized(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    flat = scores.reshape(1, -1, *scores.shape[-2:])
    out = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return out.reshape(*scores.shape[:-2], *size)


def assert_alike(result: Any, labels: np.ndarray, scores: np.ndarray) -> None:
    """A result is these labels (H, W) and scores (n, H, W); worked out in another order, scores round
    otherwise, and where two are as good the label may be either's."""
    np.testing.assert_allclose(result.scores(), scores, atol=1e-5)
    best = np.sort(scores, axis=0)
    assert (best[-1] - best[-2] < 2e-5)[result.labels != labels].all()


def decided(
    planes: np.ndarray, row_labels: Sequence[int], options: SegmentOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) by the rules in words from planes (2, T, H, W), and how near each call was (H, W)."""
    total, local = planes
    background = max(row_labels) + 1
    labels, margin = np.empty(total.shape[1:], dtype=int), np.empty(total.shape[1:])
    for y, x in np.ndindex(*labels.shape):
        scores = {
            label: max(total[t, y, x] for t in range(len(total)) if row_labels[t] == label)
            for label in set(row_labels)
        }
        label = max(scores, key=lambda one: (scores[one], -one))
        winner = int(total[:, y, x].argmax())
        behind = {
            "none": math.inf,
            "constant": scores[label],
            "local": local[:, y, x].max(),
            "local-of-winner": local[winner, y, x],
        }[options.background]
        ordered = sorted(total[:, y, x])
        margin[y, x] = min(
            abs(behind - options.background_threshold),
            ordered[-1] - ordered[-2] if len(ordered) > 1 else math.inf,
        )
        labels[y, x] = background if behind < options.background_threshold else label
    return labels, margin
