"""Attentive pooling in plain PyTorch: the specification."""

import torch
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask, zero_padded


def attentive_pool(
    h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, *, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `satn_fast.functional.attentive_pool`."""
    h = zero_padded(h, lengths)
    scores = torch.tanh(h @ weight.T + bias) @ context
    if lengths is not None:
        padded = ~frame_mask(lengths, h.shape[1])
        # The second fill turns rows without any frame (softmax gives NaN there) into zeros.
        weights = scores.masked_fill(padded, -torch.inf).softmax(-1).masked_fill(padded, 0.0)
    else:
        weights = scores.softmax(-1)
    return torch.einsum("bt,btc->bc", weights, h), weights
