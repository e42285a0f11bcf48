"""Attentive pooling in PyTorch, with the arguments of the kernels.

For `torch.ops.satn_fast.attentive_pool` where the kernels cannot run.
"""

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import reference
from satn_fast.kernels.lengths import zero_padded


def forward(h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `triton_backend.forward`."""
    if not h.numel():
        return h.new_zeros(h.shape[0], h.shape[2], dtype=torch.float32), h.new_zeros(h.shape[:2], dtype=torch.float32)
    with torch.autocast(h.device.type, enabled=False):
        pooled, weights = reference.attentive_pool(h, weight, bias, context, lengths=lengths)
    return pooled.float(), weights.float()


def backward(
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
    """See `triton_backend.backward`."""
    h = zero_padded(h, lengths)
    dpooled, weights = dpooled.to(h.dtype), weights.to(h.dtype)
    slope = torch.einsum("btc,bc->bt", h, dpooled)
    if dweights is not None:
        slope = slope + zero_padded(dweights, lengths).to(h.dtype)
    dscores = (weights * (slope - (weights * slope).sum(1, keepdim=True)))[..., None]
    activation = torch.tanh(h @ weight.T + bias)
    dprojected = dscores * context * (1 - activation.square())
    return (
        weights[..., None] * dpooled[:, None] + dprojected @ weight,
        torch.einsum("bta,btc->ac", dprojected, h).contiguous(),
        dprojected.sum((0, 1)),
        (dscores * activation).sum((0, 1)),
    )
