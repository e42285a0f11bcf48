"""Attentive pooling in plain PyTorch: the specification."""

from collections.abc import Sequence

import torch
from torch import Tensor

from satn_fast.kernels.lengths import frame_mask, zero_padded

# Added to the variance before the square root, whose slope at zero is infinite.
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
    layers = [h] if isinstance(h, Tensor) else list(h)
    x = zero_padded(torch.cat(layers, -1), lengths)
    scores = torch.tanh(x @ weight.T + bias) @ context
    if lengths is not None:
        padded = ~frame_mask(lengths, x.shape[1])
        # The second fill turns rows without any frame (softmax gives NaN there) into zeros.
        weights = scores.masked_fill(padded, -torch.inf).softmax(-1).masked_fill(padded, 0.0)
    else:
        weights = scores.softmax(-1)
    mean = torch.einsum("bt,btc->bc", weights, x)
    if not deviation:
        return mean, weights
    variance = torch.einsum("bt,btc->bc", weights, (x - mean[:, None]).square())
    spread = torch.sqrt(variance + DEVIATION_FLOOR)
    if lengths is not None:
        spread = torch.where(lengths[:, None] > 0, spread, 0.0)
    return torch.cat([mean, spread], 1), weights
