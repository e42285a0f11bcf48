"""The fast modules: the reference's parameters, computed with the operations of `satn_fast.functional`.

A fast module is a subclass of the reference module that overrides only how the result is computed. So the
constructor and the `state_dict` are the same by construction, and a model is made fast by giving its modules
their fast class (`use_fast_modules`); no weight is touched.
"""

import torch
from torch import Tensor, nn

from satn_fast import functional, reference
from satn_fast.kernels.lengths import zero_padded


class CausalConv1d(reference.CausalConv1d):
    """Causal convolution on the backend of `satn_fast.functional`; folds weight norm when evaluating."""

    _folded: tuple[tuple[object, ...], Tensor] | None = None

    def normalized_weight(self) -> Tensor:
        """(Cout, Cin, K) weight; computed once for as long as no parameter changes in evaluation mode."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().normalized_weight()
        if self.weight_v.is_inference() or self.weight_g.is_inference():
            return super().normalized_weight()  # such tensors do not count their changes
        state = tuple((id(p), p.data_ptr(), p._version, p.dtype) for p in (self.weight_v, self.weight_g))
        if self._folded is None or self._folded[0] != state:
            self._folded = (state, super().normalized_weight())
        return self._folded[1]

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


class TemporalConvNet(reference.TemporalConvNet):
    """Masks once on the way in and once on the way out: in between, causality keeps padding inert."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, F) to (B, T, C)."""
        return zero_padded(super().forward(zero_padded(x, lengths)), lengths)


class SelfAttention(reference.SelfAttention):
    """Self-attention that never builds the T x T map."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
        """The attention itself: (B, T, H, D) three times to (B, T, H, D)."""
        return functional.self_attention(q, k, v, lengths=lengths, window=self.window)


class AttentivePooling(reference.AttentivePooling):
    """Attentive pooling on the backend of `satn_fast.functional`."""

    def forward(self, h: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pooled (B, C) and weights (B, T)."""
        return functional.attentive_pool(h, self.projection.weight, self.projection.bias, self.context, lengths=lengths)


FAST_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    reference.CausalConv1d: CausalConv1d,
    reference.TemporalConvNet: TemporalConvNet,
    reference.SelfAttention: SelfAttention,
    reference.AttentivePooling: AttentivePooling,
}


def use_fast_modules(model: nn.Module) -> None:
    """Gives every reference module inside `model` its fast class, in place; parameters stay as they are."""
    for module in model.modules():
        module.__class__ = FAST_CLASSES.get(type(module), type(module))
