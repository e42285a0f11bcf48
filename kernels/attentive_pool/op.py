"""Checks the arguments of attentive pooling and runs it."""

from torch import Tensor

from satn_fast.kernels.attentive_pool import reference, registration
from satn_fast.kernels.attentive_pool.tiles import LARGEST_HIDDEN
from satn_fast.kernels.backend import autocast_tensors, runs_on_triton
from satn_fast.kernels.lengths import check_lengths


def attentive_pool(
    h, weight: Tensor, bias: Tensor, context: Tensor, *, lengths: Tensor | None = None, deviation=False
) -> tuple[Tensor, Tensor]:
    """Weighted mean over time with learned weights.

    `e_t = context . tanh(weight h_t + bias)`, a softmax over the real frames, then the weighted sum
    (additive self-attentive pooling, Yang et al. 2016, equations 5 to 7).

    Args:
        h: (B, T, C) floating point.
        weight: (A, C) projection.
        bias: (A,) of the projection.
        context: (A,) vector that scores a frame.
        lengths: (B,) integers, the real frames of each row; `None` means all. Padded frames change nothing.

    Returns:
        The pooled (B, C), zero for a row without frames, and the weights (B, T), zero at padded frames.

    Raises:
        ValueError: A shape does not fit.

    Example:
        >>> import torch
        >>> h = torch.randn(2, 7, 4)
        >>> pooled, weights = attentive_pool(h, torch.zeros(3, 4), torch.zeros(3), torch.zeros(3))
        >>> torch.allclose(pooled, h.mean(1))  # nothing learned yet: the plain mean
        True
    """
    if not isinstance(h, Tensor) or deviation:
        return reference.attentive_pool(h, weight, bias, context, lengths=lengths, deviation=deviation)
    if h.dim() != 3:
        raise ValueError(f"h has shape {tuple(h.shape)}; give (batch, frames, channels)")
    if weight.dim() != 2 or weight.shape[1] != h.shape[2]:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; give (hidden, {h.shape[2]})")
    for name, vector in (("bias", bias), ("context", context)):
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{name} has shape {tuple(vector.shape)}; give ({weight.shape[0]},)")
    check_lengths(lengths, h, "h")
    size = weight.shape[0]
    unless = f"the hidden size is {size}, and the kernels compute up to {LARGEST_HIDDEN}"
    if runs_on_triton(h, unless if size > LARGEST_HIDDEN else None):
        return _on_triton(h, weight, bias, context, lengths)
    if h.shape[1] == 0:
        return h.new_zeros(h.shape[0], h.shape[2]), h.new_zeros(h.shape[0], 0)
    return reference.attentive_pool(h, weight, bias, context, lengths=lengths)


def _on_triton(
    h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    h, weight, bias, context = autocast_tensors(h, weight, bias, context)
    for name, tensor in (("weight", weight), ("bias", bias), ("context", context)):
        if tensor.dtype != h.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but h is {h.dtype}; convert one of them or use autocast")
    pooled, weights = registration.attentive_pool(h, weight, bias, context, lengths)
    return pooled.to(h.dtype), weights.to(h.dtype)
