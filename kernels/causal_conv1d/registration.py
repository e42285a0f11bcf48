"""`torch.ops.satn_fast.causal_conv1d` and its backward pass, as PyTorch's compiler and exporter know them.

What the backward pass keeps, with as little memory as it can. The output alone tells where gradient passes when there
is no residual: it is above zero exactly where the ReLU let through and dropout kept. With a residual the output tells
only about the final ReLU; the inner one is kept as a bit per element (a sixteenth of keeping its float16 output).
Dropout is never kept but drawn again from the seed.

The ops compute on any device: with the kernels where they can run, with PyTorch elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.causal_conv1d import torch_backend, triton_backend
from satn_fast.kernels.causal_conv1d.settings import Settings
from satn_fast.kernels.registration import implementation_for, register_gradients


@torch.library.custom_op("satn_fast::causal_conv1d", mutates_args=())
def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    dilation: int,
    relu: bool,
    dropout_p: float,
    keep_active: bool,
) -> tuple[Tensor, Tensor]:
    """The convolution, and (with `keep_active`) the bits of its inner ReLU, which a residual's gradient needs.

    Args:
        x: (B, T, Cin).
        weight: (Cout, Cin, K); stored as (K, Cin, Cout) it is not copied.
        bias: (Cout,) or `None`.
        residual: (B, T, Cout) or `None`.
        lengths: (B,) integers or `None`.
        seed: (1,) int64 for dropout, or `None` where `dropout_p` is 0.
        dilation: Frames between taps.
        relu: Whether the activation is a ReLU.
        dropout_p: Probability of dropping a channel of an utterance.
        keep_active: Needed for gradients where there are both a residual and a ReLU.
    """
    if (seed is None) != (dropout_p == 0.0):
        raise ValueError(f"dropout_p is {dropout_p}, and seed is {seed}; dropout needs both, and no dropout neither")
    y, active = implementation_for(x, triton_backend, torch_backend).forward(
        x, weight, bias, residual, lengths, seed, Settings(dilation, relu, dropout_p), keep_active
    )
    return y, active


@causal_conv1d.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    dilation: int,
    relu: bool,
    dropout_p: float,
    keep_active: bool,
) -> tuple[Tensor, Tensor]:
    batch, n_frames, _ = x.shape
    n_out = weight.shape[0]
    shape = (batch, n_frames, (n_out + 7) // 8) if keep_active else (0,)
    return x.new_empty(batch, n_frames, n_out), x.new_empty(shape, dtype=torch.uint8)


@torch.library.custom_op("satn_fast::causal_conv1d_backward", mutates_args=())
def causal_conv1d_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    active: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    has_residual: bool,
    dilation: int,
    relu: bool,
    dropout_p: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and residual; empty where `wanted` says no.

    Args:
        dy: (B, T, Cout) gradient of the result.
        x: (B, T, Cin).
        weight: (Cout, Cin, K).
        y: (B, T, Cout) the result, where there is a ReLU, inner or final.
        active: (B, T, ceil(Cout / 8)) bits of the inner ReLU, where there are both.
        lengths: (B,) integers or `None`.
        seed: (1,) int64 or `None`.
        has_residual: Whether a residual was added, and the final ReLU applied.
        dilation: Frames between taps.
        relu: Whether there is an inner ReLU.
        dropout_p: Probability of dropping a channel of an utterance.
        wanted: Which of the four gradients to compute.
    """
    dx, dweight, dbias, dresidual = implementation_for(x, triton_backend, torch_backend).backward(
        dy, x, weight, y, active, lengths, seed, has_residual, Settings(dilation, relu, dropout_p), wanted
    )
    return dx, dweight, dbias, dresidual


@causal_conv1d_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    active: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    has_residual: bool,
    dilation: int,
    relu: bool,
    dropout_p: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n_out, n_in, taps = weight.shape
    return (
        x.new_empty(x.shape if wanted[0] else (0,)),
        weight.new_empty(taps, n_in, n_out).permute(2, 1, 0) if wanted[1] else weight.new_empty(0),
        weight.new_empty(n_out if wanted[2] else 0),
        x.new_empty(*x.shape[:2], n_out) if wanted[3] else x.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, residual, lengths, seed, dilation, relu, dropout_p, keep_active = inputs
    y, active = output
    ctx.mark_non_differentiable(active)
    ctx.has_residual = residual is not None
    ctx.numbers = dilation, relu, dropout_p
    ctx.has_active = keep_active
    ctx.save_for_backward(
        x,
        weight,
        y if relu or ctx.has_residual else None,
        active if relu and ctx.has_residual else None,
        lengths,
        seed,
    )


def _backward(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, y, active, lengths, seed = ctx.saved_tensors
    dilation, relu, dropout_p = ctx.numbers
    if relu and ctx.has_residual and not ctx.has_active:
        raise RuntimeError("satn_fast::causal_conv1d was called without keep_active; gradients need it here")
    wanted = [bool(needed) for needed in ctx.needs_input_grad[:4]]
    gradients = torch.ops.satn_fast.causal_conv1d_backward(
        dy, x, weight, y, active, lengths, seed, ctx.has_residual, dilation, relu, dropout_p, wanted
    )
    return *(g if want else None for g, want in zip(gradients, wanted, strict=True)), *([None] * 6)


register_gradients(
    "causal_conv1d", causal_conv1d, causal_conv1d_backward, backward=_backward, setup_context=_setup_context
)
