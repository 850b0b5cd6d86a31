"""Which errors are of memory, which of a device that is lost, and the one line about either."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from commands import refused, run
from freeda.engines import answering, error_of
from freeda.errors import InputError, MachineError, ModelError, device_lost, out_of_memory, told_by

NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.36 GB, other allocations: 613.56 MB, max"),
    RuntimeError("Invalid buffer size: 19.45 GB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("unable to mmap 3438167540 bytes from file <unet.safetensors>: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "no room"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nSearch for `cudaError"),
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, ...)`"),
    RuntimeError("HIP error: an illegal memory access was encountered"),
    RuntimeError("cuda runtime error (710) : device-side assert triggered at Exceptions.cpp:91"),
]
NEITHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (memory layout differs)"),
    RuntimeError("pin memory thread exited unexpectedly"),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("memory"),
    InputError("a caption that says: CUDA out of memory, std::bad_alloc, CUDA error: 7"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda e: str(e)[:40])
def test_memory_that_ran_out(error: Exception) -> None:
    assert out_of_memory(error) and device_lost(error) is None
    told = told_by(error)
    assert isinstance(told, MachineError) and "memory ran out" in str(told) and "\n" not in str(told)
    wrapped = ModelError("CLIP: a/b cannot be loaded")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


@pytest.mark.parametrize("error", LOST, ids=lambda e: str(e)[:40])
def test_a_device_that_is_lost(error: Exception) -> None:
    assert not out_of_memory(error)
    told = told_by(error)
    assert isinstance(told, MachineError) and "does nothing more for this process" in str(told)
    assert str(error).splitlines()[0] in str(told) and "\\n" not in str(told)


@pytest.mark.parametrize("error", NEITHER, ids=lambda e: str(e)[:40])
def test_what_only_speaks_of_memory(error: Exception) -> None:
    assert not out_of_memory(error) and device_lost(error) is None
    assert told_by(error) is (error if isinstance(error, InputError) else None)


def test_true_allocations() -> None:
    for ask in (lambda: torch.empty(10**15), lambda: np.empty(10**16)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            ask()
        assert out_of_memory(caught.value)


def test_another_machine_tells_of_itself() -> None:
    """It was not for want of a file there, as where models cannot be had."""

    @answering
    def fail() -> dict[str, Any]:
        raise MachineError("memory ran out")

    told = error_of({**fail(), "host": "node-7"}, "a worker")
    assert type(told) is MachineError and str(told) == "memory ran out (on node-7)"


def test_nothing_heavy_is_loaded_to_tell() -> None:
    script = (
        "import sys; from freeda.errors import *; assert out_of_memory(MemoryError()); "
        "assert not out_of_memory(ValueError()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LOST[0], "CUDA error: an illegal memory access was encountered: the device does nothing more"),
        (NO_MEMORY[1], "memory ran out (CUDA out of memory. Tried to allocate"),
    ],
)
def test_the_command_line_tells_in_one_line(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes: here as models are loaded."""

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("freeda.encoders.load_encoders", fail)
    refused(run("bank", "coverage", "--classes", "cat, tree", "--device", "cpu"), says)
