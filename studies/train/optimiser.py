"""One optimiser made of two: Muon for matrices (where a recipe asks for it), AdamW for all else."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
