"""Which word does a region show? Learnt from captions alone, as the teacher of the dense encoder.

Pictures are cut into superpixels. A small convolutional network sees one region at a time, everything around
it blanked out, and names it. It is trained on bags: a picture's regions, and the words its captions say.
- *agreement*: each region must be explained by a word that was said. Since nothing around the region is seen,
  only what the region itself looks like can tell which (the marginal likelihood is expectation-maximisation
  in its gradient form);
- *presence*: each word that was said must be found in some region.
Afterwards every training region gets its words: what the network sees, restricted to what was said. No mask
that anyone drew is used anywhere.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from freeda.files import atomic_path
from freeda.presets import PRESETS
from freeda.segment.regions import superpixels

from .common import Draws, Recipe, fit, kept
from .data import FORMS, Pairs, Run, present

RECIPE = Recipe(steps=1200, batch=16, rate=2e-3, decay=0.01, warmup=50, average=0.99)
SIDE = 32
MOST = 24
"""Regions a picture: the largest ones; crumbs teach nothing."""
SCENES = 10_000


@dataclass(frozen=True)
class Regions:
    """Superpixels of the first training pictures."""

    maps: NDArray[np.uint8]
    """(N, 128, 128): the region of every pixel; MOST = in none of the kept ones."""
    crops: NDArray[np.uint8]
    """(M, 32, 32, 4): colours, black outside the region, and the region's mask."""
    extent: NDArray[np.float32]
    """(M,): log2 of the crop's side over 32, the scale that resizing hides."""
    first: NDArray[np.int64]
    """(N + 1,): crops first[i] to first[i + 1] are picture i's."""


def _cut(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    regions = superpixels(image, PRESETS["miniature"].segment.superpixels)
    sizes = np.bincount(regions.ravel())
    kept = np.argsort(-sizes, kind="stable")[:MOST]
    number = np.full(len(sizes), MOST, np.uint8)
    number[kept] = np.arange(len(kept))
    crops, extent = [], []
    for region in kept:
        mask = regions == region
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        side = max(np.ptp(ys), np.ptp(xs)) + 3
        y0, x0 = (ys[0] + ys[-1] - side) // 2 + 1, (xs[0] + xs[-1] - side) // 2 + 1
        canvas = np.zeros((side, side, 4), np.uint8)
        inside_y, inside_x = ys - y0, xs - x0
        part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        window = canvas[inside_y[0] : inside_y[-1] + 1, inside_x[0] : inside_x[-1] + 1]
        window[part, :3] = image[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1][part]
        window[part, 3] = 255
        crops.append(np.asarray(Image.fromarray(canvas, "RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)))
        extent.append(np.log2(side / SIDE))
    return number[regions], np.stack(crops), np.array(extent, np.float32)


def cut_pictures(pairs: Pairs, path: Path) -> Regions:
    """Superpixels of the first SCENES training pictures, made once (kept as `path`, an .npz)."""
    if not path.exists():
        n = min(SCENES, len(pairs))
        maps, crops, extent, first = [], [], [], [0]
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for m, c, e in pool.map(_cut, (np.array(pairs.images[i]) for i in range(n)), chunksize=50):
                maps.append(m)
                crops.append(c)
                extent.append(e)
                first.append(first[-1] + len(c))
                if len(maps) % 1000 == 0:
                    print(f"regions: cut {len(maps)}/{n} pictures", flush=True)
        whole: dict[str, Any] = {
            "maps": np.stack(maps),
            "crops": np.concatenate(crops),
            "extent": np.concatenate(extent),
        }
        with atomic_path(path) as temp, temp.open("wb") as file:
            np.savez(file, first=np.array(first), **whole)
    with np.load(path, allow_pickle=False) as found:
        return Regions(found["maps"], found["crops"], found["extent"], found["first"])


class Namer(nn.Module):
    """Names a region: log-probabilities over FORMS."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(
            nn.Conv2d(5, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, 128, 3, stride=2, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(128 * (SIDE // 8) ** 2, 160), nn.ReLU(), nn.Linear(160, len(FORMS))
        )

    def forward(self, crops: Tensor, extent: Tensor) -> Tensor:
        x = crops.permute(0, 3, 1, 2).float() / 127.5 - 1
        scale = extent.view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)
        logits: Tensor = self.head(
            self.body(torch.cat([x, scale], 1).contiguous(memory_format=torch.channels_last))
        )
        return logits.log_softmax(-1)


def _bag_loss(log: Tensor, bag: Tensor, said: Tensor) -> Tensor:
    """`log` (M, words) log-probabilities, `bag` (M,) picture of each region, `said` (B, words) 0 or 1."""
    agreement = -log.masked_fill(said[bag] == 0, -1e4).logsumexp(-1).mean()
    # 1 - product over regions of (1 - p): the chance that at least one region shows the word.
    none = torch.zeros_like(said).index_add(0, bag, torch.log1p(-log.exp().clamp(max=1 - 1e-5)))
    presence = -(torch.log(-torch.expm1(none.clamp(max=-1e-6))) * said).sum() / said.sum()
    return agreement + 0.5 * presence


def name_regions(run: Run) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Trains the teacher and lets it speak.

    Returns region maps (N, 128, 128) uint8 and, per picture and region, the probabilities of the words
    (N, MOST + 1, words) float32; the last row, "no region", is all zero.
    """
    device, recipe = run.device, RECIPE.paced(run.pace)
    cut = cut_pictures(run.pairs, run.state / "regions.npz")
    words = torch.from_numpy(present(run.pairs.captions[: len(cut.maps)])).float().to(device)
    crops, extent = torch.from_numpy(cut.crops), torch.from_numpy(cut.extent)
    namer = Namer().to(device)

    def bags(chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        rows = [np.arange(cut.first[i], cut.first[i + 1]) for i in chosen]
        bag = np.repeat(np.arange(len(chosen)), [len(r) for r in rows])
        return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(bag).to(device)

    def loss(draws: Draws) -> Tensor:
        chosen = draws.numpy.choice(len(cut.maps), recipe.batch, replace=False)
        rows, bag = bags(chosen)
        x = crops[rows].to(device)
        x = x.flip(2) if draws.numpy.random() < 0.5 else x
        return _bag_loss(namer(x, extent[rows].to(device)), bag, words[torch.from_numpy(chosen)])

    fit("regions", namer, recipe, loss, run.state)

    @torch.no_grad()
    def speak() -> NDArray[np.float32]:
        out = np.zeros((len(cut.maps), MOST + 1, len(FORMS)), np.float32)
        for start in range(0, len(cut.maps), 200):
            chosen = np.arange(start, min(start + 200, len(cut.maps)))
            rows, bag = bags(chosen)
            log = namer(crops[rows].to(device), extent[rows].to(device))
            unsaid = words[torch.from_numpy(chosen)][bag] == 0
            of = chosen[bag.cpu().numpy()]
            inside = rows.numpy() - cut.first[of]
            out[of, inside] = log.masked_fill(unsaid, -torch.inf).softmax(-1).cpu().numpy()
        return out

    return cut.maps, np.array(kept(run.state / "regions-named.npy", speak))
