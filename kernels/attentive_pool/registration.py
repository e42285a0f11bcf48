"""`torch.ops.satn_fast.attentive_pool` and its backward pass, as PyTorch's compiler and exporter know them.

The backward pass keeps the results alone and computes the projection again. The ops compute on any device: with the
kernels where they can run, with PyTorch elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import torch_backend, triton_backend
from satn_fast.kernels.registration import implementation_for, register_gradients


@torch.library.custom_op("satn_fast::attentive_pool", mutates_args=())
def attentive_pool(
    h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The pooled (B, C) and the weights (B, T), in float32 whatever the dtype of the inputs.

    Args:
        h: (B, T, C).
        weight: (A, C).
        bias: (A,).
        context: (A,).
        lengths: (B,) integers or `None`.
    """
    pooled, weights = implementation_for(h, triton_backend, torch_backend).forward(h, weight, bias, context, lengths)
    return pooled, weights


@attentive_pool.register_fake
def _(h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, n_frames, channels = h.shape
    return h.new_empty(batch, channels, dtype=torch.float32), h.new_empty(batch, n_frames, dtype=torch.float32)


@torch.library.custom_op("satn_fast::attentive_pool_backward", mutates_args=())
def attentive_pool_backward(
    dpooled: Tensor,
    dweights: Tensor | None,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of h, weight, bias and context.

    Args:
        dpooled: (B, C) float32 gradient of the pooled vectors.
        dweights: (B, T) float32 gradient of the weights, or `None`: zero.
        h: (B, T, C).
        weight: (A, C).
        bias: (A,).
        context: (A,).
        lengths: (B,) integers or `None`.
        pooled: (B, C) float32 result.
        weights: (B, T) float32 result.
    """
    dh, dweight, dbias, dcontext = implementation_for(h, triton_backend, torch_backend).backward(
        dpooled, dweights, h, weight, bias, context, lengths, pooled, weights
    )
    return dh, dweight, dbias, dcontext


@attentive_pool_backward.register_fake
def _(
    dpooled: Tensor,
    dweights: Tensor | None,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return h.new_empty(h.shape), weight.new_empty(weight.shape), torch.empty_like(bias), torch.empty_like(context)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    # Most models use the pooled vector alone: no gradient of the weights then, instead of zeros.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, dpooled: Tensor | None, dweights: Tensor | None) -> tuple[Tensor | None, ...]:
    *inputs, pooled, weights = ctx.saved_tensors
    if dpooled is None:
        dpooled = torch.zeros_like(pooled)
    gradients = torch.ops.satn_fast.attentive_pool_backward(dpooled, dweights, *inputs, pooled, weights)
    return *gradients, None


register_gradients(
    "attentive_pool", attentive_pool, attentive_pool_backward, backward=_backward, setup_context=_setup_context
)
