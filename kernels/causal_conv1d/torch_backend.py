"""The dilated causal convolution with PyTorch's own operations.

`causal_conv1d` is what runs where there is no Triton, in one of two ways:

- On a CPU, in float32 and float64, as one autograd function over frames-first memory: (T, B, C) under a (B, T, C) view.
  There a tap is the same matrix some rows further on, so a convolution is K matrix products, one on top of the other:
  nothing is padded or copied, and products with zeros before the start are left out.
- Elsewhere (other devices, half precision, what is traced or transformed) as PyTorch's channels-last convolution with
  PyTorch's gradients, also those of second order.

`forward` and `backward` compute what the kernels compute, with the same arguments, for
`torch.ops.satn_fast.causal_conv1d` on any device.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.kernels.backend import runs_at_once_on_cpu
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
    """See `satn_fast.functional.causal_conv1d`.

    On a CPU the result lies in memory as `x` does where that is (B, T, C) or, under a view, (T, B, C).
    """
    x = zero_padded(x, lengths)
    kept = F.dropout(x.new_ones(x.shape[0], 1, weight.shape[0]), dropout_p) if dropout_p > 0.0 else None
    relu = activation == "relu"
    given = [tensor for tensor in (x, weight, bias, residual) if tensor is not None]
    if not runs_at_once_on_cpu(*given):
        y = _composed(x, weight, bias, residual, kept, dilation, relu)
    elif torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        y = _FramesFirst.apply(x, weight, bias, residual, kept, dilation, relu)  # type: ignore[no-untyped-call]
    else:
        y = _compute(x, weight, bias, residual, kept, dilation, relu)[0]
    return zero_padded(y, lengths)


def _composed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    kept: Tensor | None,
    dilation: int,
    relu: bool,
) -> Tensor:
    y = _from_image(F.conv2d(_image(x, weight, dilation), weight.unsqueeze(2), bias, dilation=(1, dilation)))
    # In place: no backward pass needs what a convolution or an addition gave.
    if relu:
        y = F.relu(y, inplace=True)
    if kept is not None:
        y = y * kept
    return y if residual is None else F.relu(y + residual, inplace=True)


def frames_first(x: Tensor) -> Tensor:
    """The same (B, T, C) values, lying in memory as (T, B, C); no copy where they do already."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def _compute(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    kept: Tensor | None,
    dilation: int,
    relu: bool,
    keep_inner: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The result, and what the inner ReLU gave, which with `keep_inner` is not overwritten."""
    batch, n_frames, _ = x.shape
    rows, taps = _rows(x), _taps(weight)
    y = rows.mm(taps[-1].T) if bias is None else torch.addmm(bias, rows, taps[-1].T)
    for shift, tap in _earlier_taps(taps, dilation * batch, len(rows)):
        y[shift:].addmm_(rows[: len(rows) - shift], tap.T)

    y = y.view(n_frames, batch, len(weight)).transpose(0, 1)
    if relu:
        y.relu_()
    if kept is not None:
        y.mul_(kept)
    inner = None
    if residual is not None:
        inner, y = y, y + residual if keep_inner else y.add_(residual)
        y.relu_()
    # Who keeps to (B, T, C) gets it.
    return y.contiguous() if x.is_contiguous() else y, inner


def _rows(x: Tensor) -> Tensor:
    """(B, T, C) to (T * B, C)."""
    batch, n_frames, channels = x.shape
    return x.transpose(0, 1).reshape(n_frames * batch, channels)


def _taps(weight: Tensor) -> Tensor:
    """(Cout, Cin, K) to contiguous (K, Cout, Cin)."""
    return weight.permute(2, 0, 1).contiguous()


def _earlier_taps(taps: Tensor, rows_apart: int, n_rows: int) -> list[tuple[int, Tensor]]:
    """How many rows back each tap within reach looks, but for the last one, which looks at the row itself."""
    shifts = ((len(taps) - 1 - index) * rows_apart for index in range(len(taps) - 1))
    return [(shift, tap) for shift, tap in zip(shifts, taps[:-1], strict=True) if shift < n_rows]


class _FramesFirst(torch.autograd.Function):
    """The fused convolution on a CPU. Backward keeps the input, the result and, with a residual, the inner ReLU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        kept: Tensor | None,
        dilation: int,
        relu: bool,
    ) -> Tensor:
        y, inner = _compute(x, weight, bias, residual, kept, dilation, relu, keep_inner=relu)
        ctx.dilation, ctx.relu, ctx.has_residual = dilation, relu, residual is not None
        ctx.save_for_backward(x, weight, y if relu or ctx.has_residual else None, inner if relu else None, kept)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y, inner, kept = ctx.saved_tensors
        gradient = frames_first(dy)
        if ctx.has_residual:
            gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        dresidual = gradient if ctx.needs_input_grad[3] else None
        if ctx.relu:
            # Where dropout put zeros, too, none passes.
            gradient = torch.ops.aten.threshold_backward(gradient, inner if ctx.has_residual else y, 0)
        if kept is not None:
            gradient = gradient * kept
        wanted = ctx.needs_input_grad[:3]
        differentiate = _composed_gradients if torch.is_grad_enabled() else _gradients
        return *differentiate(gradient, x, weight, ctx.dilation, wanted), dresidual, None, None, None


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, dilation: int, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Of input, weight and bias, from that of what the convolution gave."""
    batch, n_frames, n_in = x.shape
    rows, dy, taps = _rows(x), _rows(gradient), _taps(weight)
    n_rows = len(rows)
    earlier = _earlier_taps(taps, dilation * batch, n_rows)
    dx = dweight = None
    if wanted[0]:
        dx = dy.mm(taps[-1])
        for shift, tap in earlier:
            dx[: n_rows - shift].addmm_(dy[shift:], tap)
        dx = dx.view(n_frames, batch, n_in).transpose(0, 1)
    if wanted[1]:
        out_of_reach = len(taps) - 1 - len(earlier)
        parts = [dy[shift:].T.mm(rows[: n_rows - shift]) for shift, _ in earlier]
        parts = [dy.new_zeros(taps.shape[1:])] * out_of_reach + [*parts, dy.T.mm(rows)]
        dweight = torch.stack(parts, 2)
    return dx, dweight, dy.sum(0) if wanted[2] else None


def _composed_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, dilation: int, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The same, to be differentiated once more."""
    inputs = [tensor for tensor, is_wanted in zip((x, weight), wanted[:2], strict=True) if is_wanted]
    found: list[Tensor | None] = []
    if inputs:
        y = _composed(x, weight, None, None, None, dilation, relu=False)
        found = list(torch.autograd.grad(y, inputs, gradient, create_graph=True))
    dx, dweight = (found.pop(0) if is_wanted else None for is_wanted in wanted[:2])
    return dx, dweight, gradient.sum((0, 1)) if wanted[2] else None


def _image(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """(B, T, C) to (B, C, 1, history + T), zeros before the start.

    (B, T, C) in memory is exactly a channels_last (B, C, 1, T): a view, and the layout that the convolution libraries
    are fastest in.
    """
    history = (weight.shape[2] - 1) * dilation
    return F.pad(x, (0, 0, history, 0)).unsqueeze(1).permute(0, 3, 1, 2)


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

    image = _image(zero_padded(x, lengths), weight, settings.dilation)
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
    """The channels that are kept, (B, 1, C), which belong to a seed."""
    generator = torch.Generator(like.device).manual_seed(int(seed))
    return torch.rand(like.shape[0], 1, like.shape[2], generator=generator, device=like.device) >= settings.dropout_p


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
