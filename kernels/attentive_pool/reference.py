"""Attentive pooling in plain PyTorch: the specification."""

from collections.abc import Sequence

import torch
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask, zero_padded

# Added to a variance before its square root, whose slope at zero is infinite.
DEVIATION_FLOOR = 1e-5


def attentive_pool(
    h: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    *,
    lengths: Tensor | None = None,
    deviation: bool = False,
) -> tuple[Tensor, Tensor]:
    """See `satn_fast.functional.attentive_pool`."""
    h = zero_padded(h if isinstance(h, Tensor) else torch.cat(tuple(h), -1), lengths)
    scores = torch.tanh(h @ weight.T + bias) @ context
    if lengths is not None:
        padded = ~frame_mask(lengths, h.shape[1])
        # The second fill turns rows without any frame (softmax gives NaN there) into zeros.
        weights = scores.masked_fill(padded, -torch.inf).softmax(-1).masked_fill(padded, 0.0)
    else:
        weights = scores.softmax(-1)
    mean = torch.einsum("bt,btc->bc", weights, h)
    if not deviation:
        return mean, weights
    variance = torch.einsum("bt,btc->bc", weights, (h - mean[:, None]).square())
    spread = (variance + DEVIATION_FLOOR).sqrt()
    if lengths is not None:
        # Without frames there is no deviation, the floor's root included.
        spread = torch.where((lengths > 0)[:, None], spread, 0.0)
    return torch.cat([mean, spread], -1), weights
