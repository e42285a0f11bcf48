"""The dilated causal convolution on PyTorch's channels-last convolution: no transposed copy.

`causal_conv1d` is what runs where there is no Triton, with PyTorch's own gradients. `forward` and `backward` compute
what the kernels compute, with the same arguments, for `torch.ops.satn_fast.causal_conv1d` on any device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.kernels.causal_conv1d.settings import Settings
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
    y = _from_image(F.conv2d(_image(x, weight, dilation, lengths), weight.unsqueeze(2), bias, dilation=(1, dilation)))
    # In place: no backward pass needs what a convolution or an addition gave.
    if activation == "relu":
        y = F.relu(y, inplace=True)
    if dropout_p > 0.0:
        y = F.dropout(y, dropout_p)
    if residual is not None:
        y = F.relu(y + residual, inplace=True)
    return zero_padded(y, lengths)


def _image(x: Tensor, weight: Tensor, dilation: int, lengths: Tensor | None) -> Tensor:
    """(B, T, C) to (B, C, 1, history + T), zeros before the start.

    (B, T, C) in memory is exactly a channels_last (B, C, 1, T): a view, and the layout that the convolution libraries
    are fastest in.
    """
    history = (weight.shape[2] - 1) * dilation
    return F.pad(zero_padded(x, lengths), (0, 0, history, 0)).unsqueeze(1).permute(0, 3, 1, 2)


def _from_image(image: Tensor) -> Tensor:
    """(B, C, 1, T) to (B, T, C)."""
    return image.permute(0, 2, 3, 1).squeeze(1)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    settings: Settings,
    keep_active: bool,
) -> tuple[Tensor, Tensor]:
    """See `triton_backend.forward`."""
    with torch.autocast(x.device.type, enabled=False):
        y = causal_conv1d(x, weight, bias, dilation=settings.dilation)
    active = _packed_bits(y > 0) if keep_active else y.new_empty(0, dtype=torch.uint8)
    if settings.relu:
        y = F.relu(y)
    if seed is not None:
        y = torch.where(_is_kept(y, seed, settings), y * settings.keep_scale, 0.0)
    if residual is not None:
        y = F.relu(y + residual)
    return zero_padded(y, lengths).contiguous(), active


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    active: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    has_residual: bool,
    settings: Settings,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `triton_backend.backward`."""
    gradient = zero_padded(dy, lengths)
    if has_residual and y is not None:
        gradient = torch.where(y > 0, gradient, 0.0)
    dresidual = gradient
    if settings.relu and y is not None:
        gradient = torch.where(y > 0 if active is None else _unpacked_bits(active, y.shape[2]), gradient, 0.0)
    if seed is not None:
        gradient = torch.where(_is_kept(gradient, seed, settings), gradient * settings.keep_scale, 0.0)

    image = _image(x, weight, settings.dilation, lengths)
    dimage, dweight, dbias = torch.ops.aten.convolution_backward(
        gradient.unsqueeze(1).permute(0, 3, 1, 2),
        image,
        weight.unsqueeze(2),
        [weight.shape[0]],
        [1, 1],
        [0, 0],
        [1, settings.dilation],
        False,
        [0, 0],
        1,
        wanted[:3],
    )
    n_frames = x.shape[1]
    return (
        zero_padded(_from_image(dimage)[:, -n_frames:], lengths).contiguous() if wanted[0] else x.new_empty(0),
        dweight.squeeze(2).permute(2, 1, 0).contiguous().permute(2, 1, 0) if wanted[1] else weight.new_empty(0),
        dbias if wanted[2] else weight.new_empty(0),
        dresidual.clone() if wanted[3] else x.new_empty(0),
    )


def _is_kept(like: Tensor, seed: Tensor, settings: Settings) -> Tensor:
    """The dropout mask that belongs to a seed."""
    generator = torch.Generator(like.device).manual_seed(int(seed))
    return torch.rand(like.shape, generator=generator, device=like.device) >= settings.dropout_p


def _packed_bits(mask: Tensor) -> Tensor:
    """(..., C) bool to (..., ceil(C / 8)) uint8; bit i of a byte is channel i of its eight."""
    padded = F.pad(mask, (0, -mask.shape[-1] % 8))
    octets = padded.reshape(*mask.shape[:-1], padded.shape[-1] // 8, 8)
    packed: Tensor = (octets << torch.arange(8, device=mask.device)).sum(-1).to(torch.uint8)
    return packed


def _unpacked_bits(bits: Tensor, n_channels: int) -> Tensor:
    """The inverse of `_packed_bits`."""
    mask = bits[..., None] >> torch.arange(8, device=bits.device, dtype=torch.uint8) & 1
    return mask.flatten(-2)[..., :n_channels].bool()
