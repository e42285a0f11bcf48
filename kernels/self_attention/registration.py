"""`torch.ops.satn_fast.self_attention` and its backward pass, as PyTorch's compiler and exporter know them.

The backward pass keeps q, k, v, the result and one number per row of the map, its log-sum-exp, never the map.

The ops compute on any device: with the kernels where they can run, with PyTorch elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.registration import implementation_for, register_gradients
from satn_fast.kernels.self_attention import torch_backend, triton_backend


@torch.library.custom_op("satn_fast::self_attention", mutates_args=())
def self_attention(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, window: int | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Self-attention, and the log-sum-exp of its scores (B, H, T) float32, to base 2, infinite at padding.

    Args:
        q: (B, T, H, D) queries.
        k: (B, T, H, D) keys.
        v: (B, T, H, D) values.
        lengths: (B,) integers or `None`.
        window: Frames that a query sees, itself the last, or `None` for all.
        scale: Factor of the scores, not below zero.
    """
    o, log_sum_exp = implementation_for(q, triton_backend, torch_backend).forward(q, k, v, lengths, window, scale)
    return o, log_sum_exp


@self_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, window: int | None, scale: float
) -> tuple[Tensor, Tensor]:
    batch, n_frames, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(batch, heads, n_frames, dtype=torch.float32)


@torch.library.custom_op("satn_fast::self_attention_backward", mutates_args=())
def self_attention_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    log_sum_exp: Tensor,
    lengths: Tensor | None,
    window: int | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v.

    Args:
        do: (B, T, H, D) gradient of the result.
        q: (B, T, H, D) queries.
        k: (B, T, H, D) keys.
        v: (B, T, H, D) values.
        o: (B, T, H, D) the result.
        log_sum_exp: (B, H, T), as the forward pass gave it.
        lengths: (B,) integers or `None`.
        window: Frames that a query sees, or `None`.
        scale: Factor of the scores.
    """
    dq, dk, dv = implementation_for(q, triton_backend, torch_backend).backward(
        do, q, k, v, o, log_sum_exp, lengths, window, scale
    )
    return dq, dk, dv


@self_attention_backward.register_fake
def _(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    log_sum_exp: Tensor,
    lengths: Tensor | None,
    window: int | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(q.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, lengths, window, scale = inputs
    o, log_sum_exp = output
    ctx.mark_non_differentiable(log_sum_exp)
    ctx.numbers = window, scale
    ctx.save_for_backward(q, k, v, o, log_sum_exp, lengths)


def _backward(ctx: Any, do: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, o, log_sum_exp, lengths = ctx.saved_tensors
    gradients = torch.ops.satn_fast.self_attention_backward(do, q, k, v, o, log_sum_exp, lengths, *ctx.numbers)
    return *gradients, None, None, None


register_gradients(
    "self_attention", self_attention, self_attention_backward, backward=_backward, setup_context=_setup_context
)
