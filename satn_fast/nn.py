"""The fast modules: the reference's parameters, computed with the operations of `satn_fast.functional`.

A fast module is a subclass of the reference module that overrides only how the result is computed. So the
constructor and the `state_dict` are the same by construction, and a model is made fast by giving its modules
their fast class (`use_fast_modules`); no weight is touched.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from satn_fast import functional, reference
from satn_fast.config import FEATURE_ORDERS, SPECTRAL_FRAMES, SPECTRAL_POOLED, SPECTRAL_STRIDE
from satn_fast.kernels.backend import runs_at_once_on_cpu, runs_on_triton
from satn_fast.kernels.causal_conv1d import weight_norm
from satn_fast.kernels.causal_conv1d.torch_backend import frames_first
from satn_fast.kernels.lengths import zero_padded
from satn_fast.kernels.self_attention.torch_backend import unmasked_self_attention


class CausalConv1d(reference.CausalConv1d):
    """Causal convolution on the backend of `satn_fast.functional`; folds weight norm when evaluating."""

    _folded: tuple[tuple[object, ...], Tensor] | None = None

    def normalized_weight(self) -> Tensor:
        """(Cout, Cin, K) weight; computed once for as long as no parameter changes in evaluation mode."""
        on_triton = runs_on_triton(self.weight_v)
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._fold(on_triton)
        if self.weight_v.is_inference() or self.weight_g.is_inference():
            return self._fold(on_triton)  # such tensors do not count their changes
        # The Triton weight is cast for autocast and laid out for the kernels.
        device_type = self.weight_v.device.type
        autocast = torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type)
        parameters = tuple((id(p), p.data_ptr(), p._version, p.dtype) for p in (self.weight_v, self.weight_g))
        state = (on_triton, on_triton and autocast, *parameters)
        if self._folded is None or self._folded[0] != state:
            self._folded = (state, self._fold(on_triton))
        return self._folded[1]

    def _fold(self, on_triton: bool) -> Tensor:
        if on_triton:
            return weight_norm(self.weight_v, self.weight_g)
        if runs_at_once_on_cpu(self.weight_v, self.weight_g):
            # What torch.nn.utils.parametrizations.weight_norm calls: one operation forward, one backward.
            return torch._weight_norm(self.weight_v, self.weight_g, 0)
        return super().normalized_weight()

    def __getstate__(self) -> dict[str, object]:
        # A copy folds its own weight.
        return {name: value for name, value in self.__dict__.items() if name != "_folded"}

    def forward(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        dropout_p: float = 0.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Convolution, ReLU, dropout and, with `residual`, addition and ReLU. (B, T, Cin) to (B, T, Cout)."""
        return functional.causal_conv1d(
            x,
            self.normalized_weight(),
            self.bias,
            dilation=self.dilation,
            residual=residual,
            activation="relu",
            dropout_p=dropout_p,
            lengths=lengths,
        )


class SpectralConvolution(reference.SpectralConvolution):
    """On a processor one convolution over time and frequency, for which the bands around places are never copied."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalised features (B, T, F) to (B, T, places * S)."""
        convolution, n_frames = self.convolution, x.shape[1]
        if runs_on_triton(x) or not runs_at_once_on_cpu(x, convolution.bias) or not x.numel():
            return super().forward(x, lengths)
        image = zero_padded(x, lengths).reshape(len(x), n_frames, FEATURE_ORDERS, -1).transpose(1, 2)
        weight = convolution.normalized_weight()
        weight = weight.reshape(len(weight), FEATURE_ORDERS, -1, SPECTRAL_FRAMES).transpose(2, 3)
        # Channels last takes a third of the time of a training step.
        image, weight = (y.contiguous(memory_format=torch.channels_last) for y in (image, weight))
        found = F.conv2d(image, weight, convolution.bias, stride=(1, SPECTRAL_STRIDE), padding=(SPECTRAL_FRAMES - 1, 0))
        # The largest first: it leaves a quarter of the values to rectify.
        found = F.relu(F.max_pool2d(found[:, :, :n_frames], (1, SPECTRAL_POOLED)))
        return zero_padded(found.permute(0, 2, 3, 1).flatten(2), lengths)


class ResidualBlock(reference.ResidualBlock):
    """Leaves it to the convolutions to mask what they read and what they give."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, Cin) to (B, T, Cout)."""
        dropout_p = self.dropout if self.training else 0.0
        residual = x if self.project is None else self.projected(self.project, zero_padded(x, lengths))
        y: Tensor = self.conv1(x, dropout_p=dropout_p, lengths=lengths)
        y = self.conv2(y, residual=residual, dropout_p=dropout_p, lengths=lengths)
        return y

    @staticmethod
    def projected(project: nn.Linear, x: Tensor) -> Tensor:
        """(B, T, Cin) to (B, T, Cout), in the order of frames and utterances that `x` has in memory."""
        if runs_at_once_on_cpu(x, project.weight) and x.transpose(0, 1).is_contiguous():
            return project(x.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]
        return project(x)  # type: ignore[no-any-return]


class TemporalConvNet(reference.TemporalConvNet):
    """Masks once on the way in and once on the way out: in between, causality keeps padding inert.

    The Triton kernels are told the lengths all the same, since they skip padding.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, T, F) to the (B, T, C) of every block."""
        if runs_on_triton(x):
            return super().forward(x, lengths)
        x = zero_padded(x, lengths)
        on_cpu = runs_at_once_on_cpu(x)
        # One copy here and one on the way out: in between, convolutions need none.
        *outputs, last = super().forward(frames_first(x) if on_cpu else x)
        return *outputs, zero_padded(last.contiguous() if on_cpu else last, lengths)


class SelfAttention(reference.SelfAttention):
    """Self-attention that never builds the T x T map."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
        """The attention itself: (B, T, H, D) three times to (B, T, H, D)."""
        if runs_on_triton(q) or q.numel() == 0:
            return functional.self_attention(q, k, v, lengths=lengths, window=self.window)
        # `forward` clears its input and its result: padding is finite on the way in, and without effect on the way out.
        return unmasked_self_attention(q, k, v, lengths=lengths, window=self.window)


class AttentivePooling(reference.AttentivePooling):
    """Attentive pooling on the backend of `satn_fast.functional`."""

    def forward(self, layers: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, C) of every layer to the pooled (B, P) and the weights (B, T)."""
        return functional.attentive_pool(
            layers,
            self.projection.weight,
            self.projection.bias,
            self.context,
            lengths=lengths,
            deviation=self.deviation,
        )


FAST_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    reference.CausalConv1d: CausalConv1d,
    reference.SpectralConvolution: SpectralConvolution,
    reference.ResidualBlock: ResidualBlock,
    reference.TemporalConvNet: TemporalConvNet,
    reference.SelfAttention: SelfAttention,
    reference.AttentivePooling: AttentivePooling,
}


def use_fast_modules(model: nn.Module) -> None:
    """Gives every reference module inside `model` its fast class, in place; parameters stay as they are."""
    for module in model.modules():
        module.__class__ = FAST_CLASSES.get(type(module), type(module))
