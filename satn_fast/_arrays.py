"""Other people's arrays, for the compiled front end: it calls these where an argument is no plain numpy array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLE_TYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int16))
# What objects raise that cannot or will not be seen as an array in main memory.
_REFUSALS = (AssertionError, AttributeError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError)


def as_waveform(waveform: object, name: str, may_be_empty: bool) -> NDArray[Any]:
    """The waveform as an aligned, contiguous, 1-D array of a known type; copied only where it is none already.

    What offers ``__dlpack__`` (tensors) is read where it lies, through that protocol.

    Raises:
        ValueError: If it cannot be read, with its ``name`` and the remedy.
    """
    try:
        is_tensor = hasattr(waveform, "__dlpack__") and not isinstance(waveform, np.ndarray)
        array: NDArray[Any] = np.from_dlpack(waveform) if is_tensor else np.asarray(waveform)  # type: ignore[arg-type]
    except _REFUSALS as error:
        raise ValueError(
            f"{name} is a {_kind(waveform)} that numpy cannot read ({_first_line(error)}): give a 1-D array of "
            "float32, float64 or int16 in main memory (for a torch tensor: waveform.detach().cpu().float())"
        ) from error
    if array.ndim != 1:
        remedy = "average the channels or pick one" if array.ndim == 2 else "give one channel"
        raise ValueError(f"{name} has shape {array.shape}, but must be mono, with one dimension: {remedy}")
    if array.size == 0 and not may_be_empty:
        raise ValueError(f"{name} is empty: give at least one sample")
    native = array.dtype.newbyteorder("=")
    if native not in _SAMPLE_TYPES:
        if array.size == 0:
            return np.zeros(0, dtype=np.float32)
        raise ValueError(
            f"{name} has dtype {array.dtype}, but must be float32 or float64 (within +-1) or int16: convert it, and "
            "scale it where its range is another"
        )
    return np.require(array, dtype=native, requirements=["C", "A"])


def as_output(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The memory of ``out`` as an array to be written, at least ``shape`` large along the last axis but one.

    Raises:
        ValueError: If it cannot take the features, with the remedy.
    """
    remedy = f"give numpy.empty({shape}, numpy.{dtype}), or a CPU tensor like it"
    array = _memory_of(out)
    if array is None:
        raise ValueError(f"out is a {_kind(out)}, whose memory cannot be written: {remedy}")
    if array.dtype != dtype:
        raise ValueError(f"out has dtype {array.dtype}, but the features are {dtype}: {remedy}")
    fixed = [axis for axis in range(len(shape)) if axis != len(shape) - 2]
    fits = array.ndim == len(shape) and array.shape[-2] >= shape[-2]
    if not fits or any(array.shape[axis] != shape[axis] for axis in fixed):
        raise ValueError(f"out has shape {array.shape}, but the features {shape} (more frames are welcome): {remedy}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"out is not C-contiguous: {remedy}")
    if not array.flags.writeable:
        raise ValueError(f"out is read-only: {remedy}")
    return array


def _memory_of(out: Any) -> NDArray[Any] | None:
    """An array over the memory of ``out``, or None where numpy would only get a copy."""
    if isinstance(out, np.ndarray):
        return out
    if not hasattr(out, "__dlpack__"):
        return None
    try:
        # Not from_dlpack, whose arrays are read-only before numpy 2.1. Two copies would not overlap.
        once, twice = np.asarray(out), np.asarray(out)
    except _REFUSALS:
        return None
    return once if once.ctypes.data == twice.ctypes.data else None


def _kind(value: object) -> str:
    """Type, and for tensors what they hold and where."""
    details = [str(getattr(value, name)) for name in ("dtype", "device") if hasattr(value, name)]
    return f"{type(value).__name__}{f' ({chr(32).join(details)})' if details else ''}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
