"""A stand-in for a graphics processor: torch's device "standin", which this processor computes.

torch leaves one of its devices to others, and lets Python give it. Every operation is held to the rules of a
true device, then runs on the processor, to the same bits. Refused is what a GPU refuses (numpy, operands on
two devices) and what Apple's does besides (float64). Nothing under test needs to be wrapped or to know:
tensors, models and pipelines come here by the ordinary `.to(device)`, in any thread.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, partial
from importlib import resources
from typing import Any

import pytest
import torch
from torch.utils import backend_registration

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip(f"torch {torch.__version__} takes no device made in Python", allow_module_level=True)
_aten = torch.ops.aten
_MAY_BE_ELSEWHERE = {_aten.copy_.default, _aten._to_copy.default}
_TAKES_INDICES = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
_RESIZES = (_aten.arange.default, _aten.arange.start, _aten.arange.start_step, _aten.eye.default, _aten.eye.m)
operations = Counter[str]()
"""How often each operation ran here."""


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a device's module beside what it has by itself."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class OnDevice(torch.Tensor):
    """A tensor of the stand-in; `held` has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        if held.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"the stand-in has no {held.dtype}, as MPS has none")
        with torch.inference_mode(False):  # else a view of a weight could not be one
            made = torch.Tensor._make_wrapper_subclass(
                cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, *args, **(kwargs or {}))

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # tells torch that a moved weight becomes one
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, torch.Tensor], *_: Any) -> OnDevice:
        return OnDevice(parts["held"])

    def tolist(self) -> Any:  # a true device's does what torch refuses of a subclass
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.held})"


def compute(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation of which the stand-in, or a tensor of it, is part."""
    operations[func.name()] += 1
    mine: dict[int, OnDevice] = {}
    others: list[torch.Tensor] = []

    def held(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return [held(one) for one in x]
        if isinstance(x, OnDevice):
            return mine.setdefault(id(x.held), x).held
        if isinstance(x, torch.Tensor):
            others.append(x)
        return torch.device("cpu") if isinstance(x, torch.device) else x

    def shown(x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(map(shown, x))
        if not isinstance(x, torch.Tensor) or moved_to.type != DEVICE.type:
            return x
        return mine[id(x)] if id(x) in mine else OnDevice(x)  # in place: what was given is given back

    inner, named = held(args), {name: held(x) for name, x in kwargs.items()}
    if mine and others and func not in _MAY_BE_ELSEWHERE:
        _refuse_two_devices(func, args, others)
    moved_to = kwargs.get("device") or (args[0].device if func is _aten.copy_.default else DEVICE)
    found = func(*inner, **named)
    for x in mine.values():
        assert x.shape == x.held.shape, f"{func} resizes: the stand-in would have to be taught it"
    return shown(found)


def _refuse_two_devices(func: Any, args: Any, others: list[torch.Tensor]) -> None:
    """A single number, and an index of what is here, may lie elsewhere: no other operand."""
    if func in _TAKES_INDICES and isinstance(args[0], OnDevice):
        others = [x for x in others if x.dtype not in (torch.int64, torch.int32, torch.uint8, torch.bool)]
    if func is not _aten.cat.default and func is not _aten.stack.default:
        others = [x for x in others if x.dim()]
    if others:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and "
            f"{others[0].device} ({func})"
        )


@cache
def _listed() -> dict[str, str]:
    """What torch's own list says of every operation: among others, which devices have a kernel for it."""
    text = resources.files("torchgen").joinpath("packaged/ATen/native/native_functions.yaml").read_text()
    return {"aten::" + entry.split("(")[0]: entry for entry in text.split("\n- func: ")[1:]}


def apple_has(name: str) -> bool:
    """Whether Apple's device can do that operation ("aten::add.Tensor")."""
    if other := re.search(r"structured_delegate: (\S+)", _listed()[name]):
        return apple_has(f"aten::{other[1]}")
    return "dispatch:" not in _listed()[name] or bool(re.search("MPS|Composite", _listed()[name]))


backend_registration._setup_privateuseone_for_python_backend("standin", _Module())
DEVICE = torch.device("standin:0")
_anything, _named = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_anything.fallback(compute, "PrivateUse1")
for _op in (*_RESIZES, _aten.copy_.default):  # what resizes a tensor it has just made; torch.tensor's own way
    _named.impl(_op.name(), partial(compute, _op), "PrivateUse1")
