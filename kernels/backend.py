"""Which implementation computes the operations: Triton kernels or plain PyTorch."""

import os
import warnings
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels import triton_runtime

BACKENDS = ("auto", "triton", "torch")
VARIABLE = "SATN_FAST_BACKEND"


def _valid(name: str, source: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{source} is {name!r}; choose one of {', '.join(BACKENDS)}")
    return name


_chosen = _valid(os.environ.get(VARIABLE) or "auto", VARIABLE)
_told: set[str] = set()


class set_backend:  # noqa: N801 - used like a function, in the manner of torch.set_grad_enabled
    """Chooses what computes the operations, from here on or within a `with` block.

    `"auto"` takes Triton on a GPU and PyTorch elsewhere; where Triton cannot run on a GPU it falls back to PyTorch
    and warns, once for each reason. `"triton"` raises where it cannot run. The environment variable
    SATN_FAST_BACKEND chooses at the start.

    Args:
        name: `"auto"`, `"triton"` or `"torch"`.

    Raises:
        ValueError: There is no such backend.

    Example:
        >>> with set_backend("torch"):
        ...     backend()
        'torch'
    """

    def __init__(self, name: str) -> None:
        global _chosen
        self._previous = _chosen
        _chosen = _valid(name, "backend")

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._previous


def backend() -> str:
    """The backend that is chosen: `"auto"`, `"triton"` or `"torch"`."""
    return _chosen


def runs_on_triton(x: Tensor, unless: str | None = None) -> bool:
    """Tells whether an operation on `x` shall run as Triton kernels.

    Args:
        x: A tensor that the operation computes on.
        unless: Why the operation has no kernel for its arguments; `None` where it has.

    Raises:
        RuntimeError: `"triton"` is chosen and cannot run here, or a transform of `torch.func` is at work, which would
            see no derivative of a kernel.
    """
    on_triton: bool = _decide(_chosen, x.device.type, x.dtype, unless)
    if on_triton and torch._C._are_functorch_transforms_active():
        raise RuntimeError('torch.func transforms do not know the Triton kernels; use satn_fast.set_backend("torch")')
    return on_triton


# While a model is traced this is asked once, and the answer is part of the trace.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _decide(chosen: str, device_type: str, dtype: torch.dtype, unless: str | None = None) -> bool:
    # On a CPU, "auto" means PyTorch, interpreter or not.
    if chosen == "torch" or (chosen == "auto" and device_type == "cpu"):
        return False
    reason = triton_runtime.why_not(device_type, dtype) or unless
    if reason is None:
        return True
    if chosen == "triton":
        raise RuntimeError(f"backend 'triton' cannot run: {reason}; choose 'auto' or 'torch' with set_backend")
    if reason not in _told:
        _told.add(reason)
        warnings.warn(f"satn_fast computes with PyTorch instead of Triton: {reason}", stacklevel=3)
    return False


def runs_at_once_on_cpu(*tensors: Tensor) -> bool:
    """Tells whether tensors are a CPU's in one of its own precisions, and nothing looks at what they go through.

    What is traced, transformed or cast on the way has to be made of PyTorch's operations, whose rules are known.
    """
    dtype = tensors[0].dtype
    return (
        dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" and tensor.dtype == dtype for tensor in tensors)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._get_tracing_state()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def autocast_tensors(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The tensors in the dtype that autocast would give to a matrix product; as they are where it is off."""
    device_type = next(tensor.device.type for tensor in tensors if tensor is not None)
    if not torch.is_autocast_enabled(device_type):
        return tensors
    dtype = torch.get_autocast_dtype(device_type)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)
