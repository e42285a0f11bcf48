"""Checks the arguments of attentive pooling and runs it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import registration, torch_backend
from satn_fast.kernels.attentive_pool.tiles import LARGEST_HIDDEN
from satn_fast.kernels.backend import autocast_tensors, runs_on_triton
from satn_fast.kernels.lengths import check_lengths


def attentive_pool(
    h: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    *,
    lengths: Tensor | None = None,
    deviation: bool = False,
) -> tuple[Tensor, Tensor]:
    """Weighted mean over time with learned weights, and the weighted standard deviation if asked for.

    `e_t = context . tanh(weight h_t + bias)`, a softmax over the real frames, then the weighted sum
    (additive self-attentive pooling, Yang et al. 2016, equations 5 to 7). With `deviation` also
    `sqrt(sum_t w_t (h_t - mean)^2 + DEVIATION_FLOOR)` of every channel (attentive statistics pooling, Okabe et al.
    2018, equations 2, 3, 5, 6).

    Args:
        h: (B, T, C) floating point; or several layers (B, T, C_l), pooled side by side with one softmax: what stands
            for `h_t` is all of them, C = sum C_l.
        weight: (A, C) projection.
        bias: (A,) of the projection.
        context: (A,) vector that scores a frame.
        lengths: (B,) integers, the real frames of each row; `None` means all. Padded frames change nothing.
        deviation: Whether the deviations of all channels follow their means.

    Returns:
        The pooled (B, C), or (B, 2C) with `deviation`, zero for a row without frames, and the weights (B, T), zero at
        padded frames.

    Raises:
        ValueError: A shape does not fit, or layers are of several dtypes or devices.

    Example:
        >>> import torch
        >>> layers = [torch.randn(2, 7, 4), torch.randn(2, 7, 4)]
        >>> parameters = torch.zeros(3, 8), torch.zeros(3), torch.zeros(3)
        >>> pooled, weights = attentive_pool(layers, *parameters, deviation=True)
        >>> mean, deviation = pooled.chunk(2, -1)
        >>> torch.allclose(mean, torch.cat(layers, -1).mean(1))  # nothing learned yet: the plain mean
        True
    """
    layers = [h] if isinstance(h, Tensor) else list(h)
    _check_layers(layers)
    channels = sum(layer.shape[2] for layer in layers)
    if weight.dim() != 2 or weight.shape[1] != channels:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; give (hidden, {channels})")
    for name, vector in (("bias", bias), ("context", context)):
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{name} has shape {tuple(vector.shape)}; give ({weight.shape[0]},)")
    first = layers[0]
    check_lengths(lengths, first, "h")
    size = weight.shape[0]
    unless = f"the hidden size is {size}, and the kernels compute up to {LARGEST_HIDDEN}"
    if runs_on_triton(first, unless if size > LARGEST_HIDDEN else None):
        return _on_triton(layers, weight, bias, context, lengths, deviation)
    if first.shape[1] == 0:
        return first.new_zeros(first.shape[0], (1 + deviation) * channels), first.new_zeros(first.shape[0], 0)
    return torch_backend.attentive_pool(layers, weight, bias, context, lengths, deviation)


def _check_layers(layers: list[Tensor]) -> None:
    if not layers:
        raise ValueError("h has no layer; give a tensor (batch, frames, channels) or several of them")
    first = layers[0]
    # Autocast brings them to one dtype.
    mixes = torch.is_autocast_enabled(first.device.type)
    for number, layer in enumerate(layers):
        name = f"h[{number}]" if len(layers) > 1 else "h"
        if layer.dim() != 3:
            raise ValueError(f"{name} has shape {tuple(layer.shape)}; give (batch, frames, channels)")
        if layer.shape[:2] != first.shape[:2]:
            expected = ", ".join(map(str, first.shape[:2]))
            raise ValueError(f"{name} has shape {tuple(layer.shape)}; give ({expected}, channels), as h[0] has")
        if layer.device != first.device:
            raise ValueError(f"{name} is on {layer.device}, but h[0] is on {first.device}; move one of them")
        if layer.dtype != first.dtype and not mixes:
            raise ValueError(f"{name} is {layer.dtype}, but h[0] is {first.dtype}; convert one of them or use autocast")


def _on_triton(
    layers: list[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    weight, bias, context, *layers = autocast_tensors(weight, bias, context, *layers)
    dtype = layers[0].dtype
    for name, tensor in (("weight", weight), ("bias", bias), ("context", context)):
        if tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but h is {dtype}; convert one of them or use autocast")
    pooled, weights = registration.attentive_pool(layers, weight, bias, context, lengths, deviation)
    return pooled.to(dtype), weights.to(dtype)
