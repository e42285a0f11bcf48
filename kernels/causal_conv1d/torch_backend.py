"""The dilated causal convolution on PyTorch's channels-last convolution: no transposed copy."""

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
    past_and_present = F.pad(zero_padded(x, lengths), (0, 0, history, 0))
    # (B, T, C) in memory is exactly a channels_last (B, C, 1, T): a view, and the layout that the
    # convolution libraries are fastest in.
    image = past_and_present.unsqueeze(1).permute(0, 3, 1, 2)
    y = F.conv2d(image, weight.unsqueeze(2), bias, dilation=(1, dilation))
    y = y.permute(0, 2, 3, 1).squeeze(1)
    # In place: no backward pass needs what a convolution or an addition gave.
    if activation == "relu":
        y = F.relu(y, inplace=True)
    if dropout_p > 0.0:
        y = F.dropout(y, dropout_p)
    if residual is not None:
        y = F.relu(y + residual, inplace=True)
    return zero_padded(y, lengths)
