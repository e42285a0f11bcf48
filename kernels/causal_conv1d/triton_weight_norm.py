# mypy: ignore-errors
"""Weight normalisation (Salimans & Kingma 2016) as kernels, forward and backward."""

import triton
import triton.language as tl


@triton.jit
def weight_norm_forward_kernel(
    v,  # (OUT, IN, TAPS) direction
    g,  # (OUT,) length
    weight,  # (TAPS, IN, OUT), the order that the convolution reads, in its dtype
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_FAN: tl.constexpr,
):
    """Each program normalises BLOCK_OUT output channels: weight = g * v / ||v||, the norm over inputs and taps."""
    FAN: tl.constexpr = IN * TAPS
    out = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    exists = out < OUT

    squares = tl.zeros((BLOCK_OUT, BLOCK_FAN), dtype=tl.float32)
    for first in range(0, FAN, BLOCK_FAN):
        fan = first + tl.arange(0, BLOCK_FAN)
        inside = exists[:, None] & (fan < FAN)[None, :]
        values = tl.load(v + out[:, None] * FAN + fan[None, :], mask=inside, other=0.0).to(tl.float32)
        squares += values * values
    # A channel beyond the last would divide by zero.
    norm = tl.where(exists, tl.sqrt(tl.sum(squares, axis=1)), 1.0)
    length = tl.load(g + out, mask=exists, other=0.0).to(tl.float32)

    for first in range(0, FAN, BLOCK_FAN):
        fan = first + tl.arange(0, BLOCK_FAN)
        inside = exists[:, None] & (fan < FAN)[None, :]
        values = tl.load(v + out[:, None] * FAN + fan[None, :], mask=inside, other=0.0).to(tl.float32)
        packed = (fan % TAPS * IN + fan // TAPS)[None, :] * OUT + out[:, None]
        scaled = length[:, None] * values / norm[:, None]
        tl.store(weight + packed, scaled.to(weight.dtype.element_ty), mask=inside)


@triton.jit
def weight_norm_backward_kernel(
    dweight,  # (TAPS, IN, OUT)
    v,  # (OUT, IN, TAPS)
    g,  # (OUT,)
    dv,  # (OUT, IN, TAPS)
    dg,  # (OUT,)
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_FAN: tl.constexpr,
):
    """Each program takes BLOCK_OUT output channels of dweight back to v and g.

    dg = (dweight . v) / ||v||; dv = g / ||v|| * (dweight - v * (dweight . v) / ||v||^2)
    """
    FAN: tl.constexpr = IN * TAPS
    out = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    exists = out < OUT

    squares = tl.zeros((BLOCK_OUT, BLOCK_FAN), dtype=tl.float32)
    products = tl.zeros((BLOCK_OUT, BLOCK_FAN), dtype=tl.float32)
    for first in range(0, FAN, BLOCK_FAN):
        fan = first + tl.arange(0, BLOCK_FAN)
        inside = exists[:, None] & (fan < FAN)[None, :]
        packed = (fan % TAPS * IN + fan // TAPS)[None, :] * OUT + out[:, None]
        values = tl.load(v + out[:, None] * FAN + fan[None, :], mask=inside, other=0.0).to(tl.float32)
        squares += values * values
        products += values * tl.load(dweight + packed, mask=inside, other=0.0).to(tl.float32)
    norm = tl.where(exists, tl.sqrt(tl.sum(squares, axis=1)), 1.0)
    along = tl.sum(products, axis=1) / norm
    length = tl.load(g + out, mask=exists, other=0.0).to(tl.float32)
    tl.store(dg + out, along.to(dg.dtype.element_ty), mask=exists)

    for first in range(0, FAN, BLOCK_FAN):
        fan = first + tl.arange(0, BLOCK_FAN)
        inside = exists[:, None] & (fan < FAN)[None, :]
        packed = (fan % TAPS * IN + fan // TAPS)[None, :] * OUT + out[:, None]
        values = tl.load(v + out[:, None] * FAN + fan[None, :], mask=inside, other=0.0).to(tl.float32)
        upstream = tl.load(dweight + packed, mask=inside, other=0.0).to(tl.float32)
        gradient = (length / norm)[:, None] * (upstream - values * (along / norm)[:, None])
        tl.store(dv + out[:, None] * FAN + fan[None, :], gradient.to(dv.dtype.element_ty), mask=inside)
