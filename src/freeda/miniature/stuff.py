"""The nine kinds of stuff of the small world: textures made from numpy noise, never two alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

F32 = NDArray[np.float32]
RNG = np.random.Generator


def _noise(rng: RNG, h: int, w: int, sy: float, sx: float) -> F32:
    """Smooth noise of unit spread with correlation lengths sy, sx in pixels."""
    ch, cw = max(2, round(h / max(sy, 1.0))), max(2, round(w / max(sx, 1.0)))
    coarse = rng.normal(size=(ch + 2, cw + 2)).astype(np.float32)
    fine = zoom(coarse, (h / ch, w / cw), order=1 if max(sy, sx) < 3 else 2, mode="nearest")[:h, :w]
    return (fine / max(float(fine.std()), 1e-3)).astype(np.float32)


def _colour(base: tuple[float, float, float], rng: RNG, spread: float = 0.03) -> F32:
    return (np.array(base, np.float32) * rng.uniform(0.9, 1.08) + rng.normal(0, spread, 3)).astype(np.float32)


def _blend(a: F32, b: F32, t: F32) -> F32:
    return a + (b - a) * t[..., None]


def _ramp(h: int, w: int) -> F32:
    return np.repeat(np.linspace(0, 1, h, dtype=np.float32)[:, None], w, 1)


def _sky(rng: RNG, h: int, w: int) -> F32:
    out = _blend(_colour((0.36, 0.62, 0.93), rng), _colour((0.70, 0.86, 0.98), rng), _ramp(h, w))
    cloud = _noise(rng, h, w, 10, 26) + 0.5 * _noise(rng, h, w, 5, 10)
    cover = np.asarray(np.clip(cloud - rng.uniform(0.3, 1.5), 0, 1) * 0.9, np.float32)
    return _blend(out, np.array((0.98, 0.98, 0.99), np.float32), cover)


def _night(rng: RNG, h: int, w: int) -> F32:
    out = _blend(_colour((0.05, 0.05, 0.17), rng, 0.012), _colour((0.14, 0.13, 0.34), rng, 0.02), _ramp(h, w))
    out = out + 0.012 * _noise(rng, h, w, 20, 30)[..., None]
    n = int(rng.integers(70, 130) * h / 128)
    ys, xs = rng.integers(0, h, n), rng.integers(0, w, n)
    out[ys, xs] = rng.uniform(0.55, 1.0, (n, 1)) * np.array((1.0, 0.98, 0.88), np.float32)
    return out.astype(np.float32)


def _sunset(rng: RNG, h: int, w: int) -> F32:
    t = _ramp(h, w) + 0.05 * _noise(rng, h, w, 5, 50)
    top, low = _colour((0.62, 0.28, 0.52), rng), _colour((0.99, 0.66, 0.28), rng)
    middle = _colour((0.95, 0.42, 0.36), rng)
    upper, lower = _blend(top, middle, np.clip(t * 2, 0, 1)), _blend(middle, low, np.clip(t * 2 - 1, 0, 1))
    out = np.where(t[..., None] < 0.5, upper, lower)
    streak = np.clip(_noise(rng, h, w, 3, 40) - 0.9, 0, 1)
    return _blend(out.astype(np.float32), np.array((1.0, 0.84, 0.62), np.float32), streak * 0.6)


def _wall(rng: RNG, h: int, w: int) -> F32:
    bh, bw = int(rng.integers(6, 10)), int(rng.integers(14, 21))
    y, x = np.mgrid[0:h, 0:w]
    row = y // bh
    shifted = x + (row % 2) * (bw // 2) + int(rng.integers(0, bw))
    col = shifted // bw
    tint = rng.normal(0, 0.055, (h // bh + 2, w // bw + 4)).astype(np.float32)[row, col]
    base = _colour((0.66, 0.33, 0.26), rng, 0.035)
    out = base * (1 + tint[..., None] * 2) + 0.018 * rng.normal(size=(h, w, 1))
    mortar = (y % bh == 0) | (shifted % bw == 0)
    out[mortar] = _colour((0.78, 0.72, 0.66), rng, 0.02)
    return out.astype(np.float32)


def _grass(rng: RNG, h: int, w: int) -> F32:
    blades = _noise(rng, h, w, 5, 1)
    share = np.clip(0.5 + 0.32 * blades, 0, 1)
    out = _blend(_colour((0.16, 0.46, 0.12), rng), _colour((0.44, 0.70, 0.22), rng), share)
    return out * (1 + 0.07 * _noise(rng, h, w, 18, 26))[..., None]


def _sand(rng: RNG, h: int, w: int) -> F32:
    y = np.mgrid[0:h, 0:w][0]
    ripple = np.sin((y + 3 * _noise(rng, h, w, 14, 26)) * rng.uniform(0.6, 0.9))
    out = _colour((0.87, 0.74, 0.49), rng) * (1 + 0.055 * ripple + 0.05 * rng.normal(size=(h, w)))[..., None]
    return out.astype(np.float32)


def _water(rng: RNG, h: int, w: int) -> F32:
    y, x = np.mgrid[0:h, 0:w]
    phase = y * rng.uniform(0.75, 1.05) + 1.6 * np.sin(x * rng.uniform(0.12, 0.2) + rng.uniform(0, 6))
    crest = np.clip(np.sin(phase + 1.3 * _noise(rng, h, w, 12, 20)), 0, 1).astype(np.float32) * 0.8
    return _blend(_colour((0.08, 0.33, 0.56), rng), _colour((0.36, 0.70, 0.82), rng), crest)


def _snow(rng: RNG, h: int, w: int) -> F32:
    drift = np.clip(0.5 + 0.4 * _noise(rng, h, w, 12, 44), 0, 1)
    out = _blend(_colour((0.80, 0.86, 0.95), rng, 0.012), np.array((0.97, 0.98, 1.0), np.float32), drift)
    sparkle = rng.random((h, w)) > 0.985
    out[sparkle] = 1.0
    return out


def _road(rng: RNG, h: int, w: int) -> F32:
    grain = gaussian_filter(rng.normal(size=(h, w)), 0.6)
    out = _colour((0.37, 0.37, 0.39), rng, 0.012) * (1 + 0.17 * grain)[..., None]
    x = np.arange(w)
    level = int(h * rng.uniform(0.3, 0.62))
    dash, period = int(rng.integers(12, 20)), int(rng.integers(24, 34))
    on = ((x + int(rng.integers(0, period))) % period) < dash
    out[level : level + 4, on] = _colour((0.93, 0.90, 0.74), rng, 0.02)
    return out.astype(np.float32)


Texture = Callable[[RNG, int, int], F32]
BACKDROPS: dict[str, Texture] = {"sky": _sky, "night": _night, "sunset": _sunset, "wall": _wall}
GROUNDS: dict[str, Texture] = {"grass": _grass, "sand": _sand, "water": _water, "snow": _snow, "road": _road}
STUFF = (*BACKDROPS, *GROUNDS)


def texture(kind: str, height: int, width: int, rng: RNG) -> F32:
    """A patch of stuff: (height, width, 3) float32 in [0, 1]."""
    make = BACKDROPS.get(kind) or GROUNDS[kind]
    return np.clip(make(rng, height, width), 0, 1).astype(np.float32)
