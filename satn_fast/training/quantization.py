"""Quantization-aware training: in the forward pass, the rounding of the int8 files; in the backward pass, none.

Weights and activations that an int8 file stores in 8 bits are rounded to such a grid and back ("fake quantization",
Jacob et al. 2018, section 3; gradients go straight through, Bengio et al. 2013). Nothing is kept between two steps: an
activation's grid spans the extremes of the batch at hand. So the parameters, the `state_dict` and every checkpoint stay
those of an ordinary float model, and a run can be taken up in the middle.

Measured with the preset edge on the demo's corpus, 8 epochs, the last 3 of them with rounding, three seeds: the mean
logit error of model.int8.onnx, relative to the deviation of the logits, fell from 0.0048, 0.0087, 0.0091 to 0.0041,
0.0084, 0.0086; that of model.int8.tflite went from 0.0033, 0.0101, 0.0096 to 0.0030, 0.0106, 0.0095. Of 192
utterances, at most two were decided otherwise than by the float model, before as after: there is little to gain, so it
is not the default.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from satn_fast import nn as fast
from satn_fast import reference
from satn_fast.functional import attentive_pool
from satn_fast.kernels.lengths import zero_padded

# Weights of the ONNX files have 7 bits (`satn_fast.export.onnx.quantization` says why), those of TFLite 8.
LARGEST_WEIGHT = 64
LARGEST_ACTIVATION = 255

_SMALLEST_SCALE = 1e-12


@contextmanager
def fake_quantized(model: nn.Module) -> Iterator[None]:
    """Inside the block, `model` computes with the rounding of its int8 files; parameters stay as they are.

    Rounded are the spectral convolution, the convolutions and sums of the TCN, and the projections of attention and
    pooling (there only the weights); in float stay the normalisation, attention itself, LayerNorm, the softmax of
    pooling, and the classifier.

    Args:
        model: A `satn_fast.SATN`, or any module with the encoder of one; changed while the block runs, so it is used by
            one thread at a time.

    Example:
        >>> import satn_fast
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro")).eval()
        >>> features = torch.randn(1, 50, 192)
        >>> before = model(features).logits
        >>> with fake_quantized(model):
        ...     rounded = model(features).logits
        >>> bool((before != rounded).any()), torch.equal(before, model(features).logits)
        (True, True)
    """
    classes = {module: type(module) for module in model.modules()}
    for parent in classes:
        if isinstance(parent, reference.SpectralConvolution | reference.ResidualBlock | reference.SelfAttention):
            _swap(parent)
            for module in parent.children():
                _swap(module)
        elif isinstance(parent, reference.AttentivePooling):
            _swap(parent)
    try:
        yield
    finally:
        for module, cls in classes.items():
            module.__class__ = cls


def rounded_weight(weight: Tensor) -> Tensor:
    """Weights (Cout, ...) on a symmetric grid per output channel; the gradient is that of the identity."""
    largest = weight.detach().float().flatten(1).abs().amax(1)
    scale = (largest / LARGEST_WEIGHT).clamp(min=_SMALLEST_SCALE)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded = torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    return rounded.to(weight.dtype)


def rounded_activation(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Activations (B, T, C) on a grid of 256 steps over the range of the real frames, zero included; padding is zero.

    The gradient is that of the identity.
    """
    x = zero_padded(x, lengths)
    wide = x.float()
    low, high = wide.detach().aminmax()
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = ((high - low) / LARGEST_ACTIVATION).clamp(min=_SMALLEST_SCALE)
    zero = (-low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(wide, scale, zero, 0, LARGEST_ACTIVATION).to(x.dtype)


class _Convolution(fast.CausalConv1d):
    def normalized_weight(self) -> Tensor:
        return rounded_weight(super().normalized_weight())


class _Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, rounded_weight(self.weight), self.bias)


class _SpectralConvolution(fast.SpectralConvolution):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return rounded_activation(super().forward(rounded_activation(x, lengths), lengths), lengths)


class _ResidualBlock(fast.ResidualBlock):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        dropout_p = self.dropout if self.training else 0.0
        x = rounded_activation(x, lengths)
        residual = x if self.project is None else rounded_activation(self.project(x), lengths)
        y = rounded_activation(self.conv1(x, dropout_p=dropout_p, lengths=lengths), lengths)
        y = rounded_activation(self.conv2(y, dropout_p=dropout_p, lengths=lengths), lengths)
        return F.relu(y + residual)


class _SelfAttention(fast.SelfAttention):
    def forward(self, h: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(rounded_activation(h, lengths), lengths)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
        attended = super().attend(q, k, v, lengths)
        return rounded_activation(attended.flatten(2), lengths).view_as(attended)


class _AttentivePooling(fast.AttentivePooling):
    def forward(self, layers: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weight = rounded_weight(self.projection.weight)
        return attentive_pool(
            layers, weight, self.projection.bias, self.context, lengths=lengths, deviation=self.deviation
        )


_ROUNDING: dict[type[nn.Module], type[nn.Module]] = {
    fast.CausalConv1d: _Convolution,
    fast.SpectralConvolution: _SpectralConvolution,
    fast.ResidualBlock: _ResidualBlock,
    fast.SelfAttention: _SelfAttention,
    fast.AttentivePooling: _AttentivePooling,
    nn.Linear: _Linear,
}


def _swap(module: nn.Module) -> None:
    module.__class__ = _ROUNDING.get(type(module), type(module))
