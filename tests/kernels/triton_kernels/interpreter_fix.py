"""Triton's interpreter multiplies the raw bits of bfloat16 and cuts float32 off instead of rounding it.

A GPU does neither. This patches the interpreter of the running process (Triton 3.6 to 3.9).
"""

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def round_bfloat16_correctly() -> None:
    """Patches dot products and conversions."""
    dot, cast, convert = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl, InterpreterBuilder.create_fp_to_fp

    def widened(handle):
        is_bfloat16 = handle.dtype.scalar == tl.bfloat16
        return TensorHandle(_to_float32(handle.data), tl.float32) if is_bfloat16 else handle

    def is_narrowing(source, target):
        return source.dtype.scalar == tl.float32 and target.scalar == tl.bfloat16

    def create_dot(self, a, b, *others):
        return dot(self, widened(a), widened(b), *others)

    def cast_impl(self, source, target):
        if is_narrowing(source, target):
            return TensorHandle(_to_bfloat16(source.data), tl.bfloat16)
        return cast(self, source, target)

    def create_fp_to_fp(self, source, target, rounding):
        if is_narrowing(source, target):
            return TensorHandle(_to_bfloat16(source.data), tl.bfloat16)
        return convert(self, source, target, rounding)

    InterpreterBuilder.create_dot = create_dot
    InterpreterBuilder.cast_impl = cast_impl
    InterpreterBuilder.create_fp_to_fp = create_fp_to_fp


def _to_float32(bits: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
