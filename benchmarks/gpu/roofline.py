"""The fastest that a device could be: ceilings that are measured on it, not read from a data sheet."""

import functools
from dataclasses import dataclass

import torch

from benchmarks.gpu.timing import measure_in_turn


@dataclass(frozen=True)
class Work:
    """What an operation cannot avoid.

    Attributes:
        operations: Floating-point operations on the matrix units, a multiplication and an addition counted as two.
        bytes: Each input read once, each output written once.
    """

    operations: float
    bytes: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def floor(self, device: torch.device, dtype: torch.dtype) -> float:
        """Seconds below which no implementation can stay."""
        return max(self.operations / operations_per_second(device, dtype), self.bytes / bytes_per_second(device))


@functools.cache
def bytes_per_second(device: torch.device) -> float:
    """A large copy, bytes read and bytes written."""
    n_bytes = 2**30 if device.type == "cuda" else 2**24
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = measure_in_turn({"copy": lambda: target.copy_(source)}, device)["copy"].seconds
    return 2 * n_bytes / seconds


@functools.cache
def operations_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """A large matrix product of random numbers, in the precision that PyTorch gives this dtype now."""
    size = 8192 if device.type == "cuda" else 256
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    seconds = measure_in_turn({"product": lambda: a @ b}, device)["product"].seconds
    return 2 * size**3 / seconds
