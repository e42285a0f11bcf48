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
    layers: list[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    """The pooled (B, C) or (B, 2C) and the weights (B, T), in float32 whatever the dtype of the inputs.

    Args:
        layers: (B, T, C_l) each, C = sum C_l.
        weight: (A, C).
        bias: (A,).
        context: (A,).
        lengths: (B,) integers or `None`.
        deviation: Whether the deviations follow the means.
    """
    pooled, weights = implementation_for(layers[0], triton_backend, torch_backend).forward(
        layers, weight, bias, context, lengths, deviation
    )
    return pooled, weights


@attentive_pool.register_fake
def _(
    layers: list[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    batch, n_frames, _ = layers[0].shape
    pooled = weight.new_empty(batch, (1 + deviation) * weight.shape[1], dtype=torch.float32)
    return pooled, weight.new_empty(batch, n_frames, dtype=torch.float32)


@torch.library.custom_op("satn_fast::attentive_pool_backward", mutates_args=())
def attentive_pool_backward(
    dpooled: Tensor,
    dweights: Tensor | None,
    layers: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Gradients of the layers, weight, bias and context.

    Args:
        dpooled: (B, C) or (B, 2C) float32 gradient of the pooled vectors.
        dweights: (B, T) float32 gradient of the weights, or `None`: zero.
        layers: (B, T, C_l) each.
        weight: (A, C).
        bias: (A,).
        context: (A,).
        lengths: (B,) integers or `None`.
        pooled: (B, C) or (B, 2C) float32 result.
        weights: (B, T) float32 result.
    """
    dlayers, dweight, dbias, dcontext = implementation_for(layers[0], triton_backend, torch_backend).backward(
        dpooled, dweights, layers, weight, bias, context, lengths, pooled, weights
    )
    return dlayers, dweight, dbias, dcontext


@attentive_pool_backward.register_fake
def _(
    dpooled: Tensor,
    dweights: Tensor | None,
    layers: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    dlayers = [layer.new_empty(layer.shape) for layer in layers]
    return dlayers, weight.new_empty(weight.shape), torch.empty_like(bias), torch.empty_like(context)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    layers, *others, _ = inputs
    # Most models use the pooled vector alone: no gradient of the weights then, instead of zeros.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*others, *output, *layers)


def _backward(ctx: Any, dpooled: Tensor | None, dweights: Tensor | None) -> tuple[Any, ...]:
    weight, bias, context, lengths, pooled, weights, *layers = ctx.saved_tensors
    if dpooled is None:
        dpooled = torch.zeros_like(pooled)
    dlayers, *dparameters = torch.ops.satn_fast.attentive_pool_backward(
        dpooled, dweights, layers, weight, bias, context, lengths, pooled, weights
    )
    return dlayers, *dparameters, None, None


register_gradients(
    "attentive_pool", attentive_pool, attentive_pool_backward, backward=_backward, setup_context=_setup_context
)
