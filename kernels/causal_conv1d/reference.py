"""The dilated causal convolution in plain PyTorch: the specification."""

import torch.nn.functional as F
from torch import Tensor

from satn_fast.kernels.lengths import zero_padded


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    residual: Tensor | None = None,
    activation: str | None = None,
    dropout_p: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """See `satn_fast.functional.causal_conv1d`."""
    history = (weight.shape[2] - 1) * dilation
    past_and_present = F.pad(zero_padded(x, lengths).transpose(1, 2), (history, 0))
    y = F.conv1d(past_and_present, weight, bias, dilation=dilation).transpose(1, 2)
    if activation == "relu":
        y = F.relu(y)
    if dropout_p > 0.0:
        y = y * F.dropout(y.new_ones(y.shape[0], 1, y.shape[2]), dropout_p)
    if residual is not None:
        y = F.relu(y + residual)
    return zero_padded(y, lengths)
