"""What the stages of training share: a deterministic, resumable loop, its optimisers, augmentation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from freeda.files import atomic_path


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one stage trains."""

    steps: int
    batch: int
    rate: float
    decay: float = 0.05
    warmup: int = 200
    stop: int | None = None
    """Where the run ends if before `steps`, which then only shape the rate's fall."""
    muon: bool = False
    """Muon instead of AdamW for matrices."""
    average: float = 0.998
    """Decay of the exponential moving average of the weights; the average is what is kept."""

    def paced(self, pace: float) -> Recipe:
        """The recipe with that share of its steps, at least one."""
        stop = None if self.stop is None else max(1, round(self.stop * pace))
        return replace(self, steps=max(1, round(self.steps * pace)), stop=stop)

    def rate_at(self, step: int) -> float:
        """Warm-up, then a cosine's fall to a fiftieth."""
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.rate * min(1.0, (step + 1) / self.warmup) * max(0.02, fall)


class Draws:
    """All randomness of one step, a function of (stage, step) alone: resuming changes nothing."""

    def __init__(self, stage: str, step: int) -> None:
        self.step = step
        seed = [*stage.encode(), step]
        self.numpy = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**62)))

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.torch)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.torch)


def fit(
    stage: str,
    model: nn.Module,
    recipe: Recipe,
    loss: Callable[[Draws], Tensor],
    folder: Path,
    probe: Callable[[], str] | None = None,
    save_every: float = 120.0,
) -> nn.Module:
    """Trains `model` in place and leaves it with its averaged weights.

    `loss(draws)` returns one step's scalar. The state is written to `folder/STAGE.safetensors` every
    `save_every` seconds; a rerun goes on from there, and returns at once when all steps are done.
    """
    optimiser = Optimiser(model, recipe.decay, recipe.muon)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    path = folder / f"{stage}.safetensors"
    first = _restore(path, model, optimiser, average)
    model.train()
    mean, began, saved = 0.0, time.monotonic(), time.monotonic()
    last = recipe.steps if recipe.stop is None else recipe.stop
    for step in range(first, last):
        value = loss(Draws(stage, step))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(recipe.rate_at(step))
        keep = min(recipe.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                if v.is_floating_point():
                    average[k].lerp_(v, 1 - keep)
                else:
                    average[k].copy_(v)
        mean += (value.item() - mean) / min(step - first + 1, 50)
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - began) / (step + 1 - first)
            print(
                f"{stage}: step {step + 1}/{last}  loss {mean:.4f}  {pace:.3f} s/step  "
                f"{pace * (last - step - 1) / 60:.1f} min left",
                flush=True,
            )
        if probe is not None and (step + 1) % 250 == 0:
            model.eval()
            now = {k: v.detach().clone() for k, v in model.state_dict().items()}
            model.load_state_dict(average)
            with torch.no_grad():
                print(f"{stage}: step {step + 1}  {probe()}", flush=True)
            model.load_state_dict(now)
            model.train()
        if time.monotonic() - saved > save_every or step + 1 == last:
            _store(path, model, optimiser, average, step + 1)
            saved = time.monotonic()
    model.load_state_dict(average)
    return model.eval()


def _store(path: Path, model: nn.Module, optimiser: Optimiser, average: dict[str, Tensor], step: int) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()} | {
        f"average.{k}": v for k, v in average.items()
    }
    tensors |= {f"optimiser.{k}": v for k, v in optimiser.tensors().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(
        {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, temporary, {"step": str(step)}
    )
    temporary.replace(path)


def _restore(path: Path, model: nn.Module, optimiser: Optimiser, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name, mean in average.items():
        mean.copy_(tensors[f"average.{name}"])  # read to main memory, wherever the model trains
    optimiser.restore({k[10:]: v for k, v in tensors.items() if k.startswith("optimiser.")})
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def kept(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array in `path`, memory-mapped; made on first use."""
    if not path.exists():
        with atomic_path(path) as temp, temp.open("wb") as file:
            np.save(file, make(), allow_pickle=False)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def batch_of(images: NDArray[np.uint8], chosen: NDArray[np.int64], device: torch.device) -> Tensor:
    """Pictures (B, 3, H, W) float32 in [0, 1]."""
    picked = images[np.sort(chosen)][np.argsort(np.argsort(chosen))]
    return torch.from_numpy(picked).to(device).permute(0, 3, 1, 2).float() / 255


def random_view(draws: Draws, b: int, crop: float = 0.25) -> Tensor:
    """Random flips and crops as sampling grids' affine maps, (B, 2, 3)."""
    flip = draws.rand(b, 1) < 0.5
    scale = 1 - crop * draws.rand(b, 1)
    shift = (draws.rand(b, 2) * 2 - 1) * (1 - scale)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = (scale * torch.where(flip, -1.0, 1.0))[:, 0]
    theta[:, 1, 1] = scale[:, 0]
    theta[:, :, 2] = shift
    return theta


def view(x: Tensor, theta: Tensor, mode: str = "bilinear") -> Tensor:
    """(B, C, H, W) seen through `random_view`'s maps; the size stays."""
    grid = F.affine_grid(theta, [len(x), 1, *x.shape[-2:]], align_corners=False).to(x.device)
    return F.grid_sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)


def augment(
    x: Tensor,
    draws: Draws,
    *,
    colour: float = 0.25,
    blur: float = 0.4,
    crop: float = 0.25,
    theta: Tensor | None = None,
) -> Tensor:
    """Random flips, crops, gains, blur and noise on (B, 3, H, W) in [0, 1]; the size stays.

    Blur and noise matter twice: generated pictures are softer than rendered ones. `theta` gives the view.
    """
    b, _, h, w = x.shape
    x = view(x, random_view(draws, b, crop) if theta is None else theta)
    gain = (1 + colour * (draws.rand(b, 3, 1, 1) - 0.5) + colour * (draws.rand(b, 1, 1, 1) - 0.5)).to(
        x.device
    )
    contrast = (1 + colour * (draws.rand(b, 1, 1, 1) - 0.5)).to(x.device)
    centre = x.mean((1, 2, 3), keepdim=True)
    x = (x - centre) * contrast + centre * gain
    if blur > 0:
        n = int(b * blur)
        side = int(h * (0.4 + 0.4 * draws.rand(1).item()))
        soft = F.interpolate(
            F.interpolate(x[:n], size=(side, side), mode="bilinear", antialias=True),
            size=(h, w),
            mode="bicubic",
        )
        x = torch.cat([soft, x[n:]])
    return (x + 0.02 * draws.rand(1).item() * draws.randn(b, 3, h, w).to(x.device)).clamp(0, 1)


class Optimiser:
    """AdamW, or Muon for weights of two and more dimensions beside AdamW for vectors.

    Muon makes every matrix's update orthogonal (Jordan, 2024); a convolution counts as the matrix of its
    output channels against all the rest. Its step is scaled so that AdamW's learning rates fit both.
    """

    def __init__(self, model: nn.Module, decay: float, muon: bool) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        # A table's rows are vectors of their own, not one matrix.
        tables = {m.weight for m in model.modules() if muon and isinstance(m, nn.Embedding)}
        self._matrices = [p for p in parameters if p.ndim > 1 and p not in tables]
        vectors = {"params": [p for p in parameters if p.ndim <= 1 or p in tables], "weight_decay": 0.0}
        if muon:
            self._flat = [nn.Parameter(_flat(p.data)) for p in self._matrices]
            self._parts: list[torch.optim.Optimizer] = [
                _Muon(self._flat, decay),
                torch.optim.AdamW([vectors], betas=(0.9, 0.98)),
            ]
        else:
            self._flat = []
            matrices = {"params": self._matrices, "weight_decay": decay}
            self._parts = [torch.optim.AdamW([matrices, vectors], betas=(0.9, 0.98))]

    def step(self, rate: float) -> None:
        """One step at a learning rate; gradients are cleared."""
        for flat, p in zip(self._flat, self._matrices, strict=bool(self._flat)):
            if p.grad is not None:
                same = p.grad.stride() == p.stride()
                flat.grad = _flat(p.grad if same else torch.empty_like(p).copy_(p.grad))
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)
        for p in self._matrices:
            p.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors."""
        return {
            f"{self._prefix(n)}{i}.{k}": torch.as_tensor(v)
            for n, part in enumerate(self._parts)
            for i, state in part.state_dict()["state"].items()
            for k, v in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up the state that `tensors` gave."""
        for n, part in enumerate(self._parts):
            state: dict[int, dict[str, Tensor]] = {}
            for name, v in tensors.items():
                if name.startswith(self._prefix(n)):
                    i, k = name.removeprefix(self._prefix(n)).split(".")
                    state.setdefault(int(i), {})[k] = v
            whole = part.state_dict()
            part.load_state_dict({**whole, "state": state})

    def _prefix(self, n: int) -> str:
        return f"{n}." if len(self._parts) > 1 else ""


class _Muon(torch.optim.Optimizer):
    """Muon (Jordan, 2024) in float32; torch's own works in bfloat16, which costs CPUs many times more."""

    def __init__(self, matrices: list[nn.Parameter], decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": 0.0, "decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                mean = state.setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """U V' of the singular value decomposition of x (m, n), roughly: singular values end in about 0.7 to 1.2.

    Newton and Schulz's iteration with Jordan's quintic.
    """
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def _flat(x: Tensor) -> Tensor:
    """A view (out, all the rest), whatever the order in memory."""
    if x.ndim == 4 and not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)
    return x.view(len(x), -1)
