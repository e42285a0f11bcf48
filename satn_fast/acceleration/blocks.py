"""Residual blocks of other libraries, computed with `satn_fast.functional`.

A fast block is a subclass of the library's block, made when it is needed, that overrides how the result is computed.
Outside, layout stays the library's (B, C, T). Inside, it is channels-last: transposing is a view, and the first
convolution of a network, which pads, makes the only copy on the way in.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from satn_fast import functional

# Below this many frames of a batch (B * T), without and with gradients recorded, a CPU is faster with the library's own
# code. Measured on a shared x86-64 server (torch 2.13, one thread, five blocks of 25 to 64 channels, processor time,
# with the check in every block): inference 1 x 32 frames 0.89 to 0.98x, 1 x 500 1.04 to 1.13x, 16 x 300 1.16 to 1.36x;
# a training step 1 x 32 frames 0.75 to 0.84x, 1 x 500 0.96 to 1.01x, 8 x 300 and 16 x 300 1.01 to 1.10x.
LEAST_FRAMES_ON_CPU = {"inference": 128, "training": 1024}


class Parts(NamedTuple):
    """What a residual block is made of, and all that it would call."""

    conv1: nn.Conv1d
    activation1: nn.Module
    dropout1: nn.Dropout
    conv2: nn.Conv1d
    activation2: nn.Module
    dropout2: nn.Dropout
    activation: nn.Module
    downsample: nn.Conv1d | None
    others: tuple[nn.Module, ...]
    """Modules without a part in the computation: padding, cropping, containers."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Every module that the block's own code would call."""
        named = (self.conv1, self.activation1, self.dropout1, self.conv2, self.activation2, self.dropout2)
        downsample = () if self.downsample is None else (self.downsample,)
        return (*named, self.activation, *downsample, *self.others)


def is_intercepted(module: nn.Module) -> bool:
    """Whether calling the module does more than its class says; weight norm's own hook does not count."""
    # PyTorch has no public way to ask for hooks.
    hooks = module._forward_hooks or module._backward_hooks or module._backward_pre_hooks
    if hooks or "forward" in module.__dict__:
        return True
    return any(not isinstance(hook, WeightNorm) for hook in module._forward_pre_hooks.values())


def current_weight(conv: nn.Conv1d) -> Tensor:
    """(Cout, Cin, K) weight, with either kind of PyTorch's weight norm or none."""
    for hook in conv._forward_pre_hooks.values():
        hook(conv, ())  # the old weight norm sets `conv.weight`; there are no other hooks
    return conv.weight


def convolved(conv: nn.Conv1d, dropout: nn.Dropout, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Convolution, ReLU, dropout and, with `residual`, addition and ReLU. (B, T, Cin) to (B, T, Cout)."""
    drops = dropout.training and dropout.p > 0.0
    y = functional.causal_conv1d(
        x,
        current_weight(conv),
        conv.bias,
        dilation=conv.dilation[0],
        residual=None if drops else residual,
        activation="relu",
    )
    if not drops:
        return y
    # The library drops elements, the fused convolution would drop whole channels.
    y = dropout(y)
    return y if residual is None else F.relu(y + residual)


def is_worthwhile(x: Tensor) -> bool:
    """Whether the fast computation takes such an input, (B, C, T), and is faster."""
    if x.dim() != 3:
        return False
    # A size that is asked for while compiling or exporting would become a condition of the result.
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    least = LEAST_FRAMES_ON_CPU["training" if torch.is_grad_enabled() else "inference"]
    return x.shape[0] * x.shape[2] >= least


class FastBlock(nn.Module):
    """What the fast blocks have in common; the library's class follows it in the order of bases."""

    # What the library's block is called with beside the input.
    further_arguments: ClassVar[tuple[object, ...]] = ()
    feeds_fast_block = False

    @staticmethod
    def parts(block: Any) -> Parts:
        """Finds the parts; AttributeError or ValueError where the block has others."""
        raise NotImplementedError

    def fast_forward(self, parts: Parts, x: Tensor) -> Any:
        """What the library's block gives without further arguments."""
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class was made at run time, so a pickle or copy names what it was made of.
        reduced: Any = super().__reduce_ex__(protocol)
        constructor, arguments, *rest = reduced
        return _rebuild, (constructor, type(self).__bases__, *arguments[1:]), *rest

    def is_applicable(self, parts: Parts) -> bool:
        """Whether the fast computation does all that the library's own code would do now."""
        certain = any(dropout.training and dropout.p >= 1.0 for dropout in (parts.dropout1, parts.dropout2))
        return not certain and not any(is_intercepted(module) for module in parts.modules)

    def given_out(self, y: Tensor) -> Tensor:
        """(B, T, C) to (B, C, T); contiguous, like the library's, unless a fast block takes it."""
        y = y.transpose(1, 2)
        return y if self.feeds_fast_block else y.contiguous()


def residual_input(parts: Parts, x: Tensor) -> Tensor:
    """(B, T, Cin) to (B, T, Cout): the input, projected where widths differ."""
    if parts.downsample is None:
        return x
    return F.linear(x, current_weight(parts.downsample).squeeze(2), parts.downsample.bias)


class LocuslabBlock(FastBlock):
    """A block with `net` (convolution, cropping, ReLU, dropout, twice), `downsample` and `relu`."""

    @staticmethod
    def parts(block: Any) -> Parts:
        """See `FastBlock`."""
        conv1, chomp1, relu1, dropout1, conv2, chomp2, relu2, dropout2 = block.net
        others = (block.net, chomp1, chomp2)
        return Parts(conv1, relu1, dropout1, conv2, relu2, dropout2, block.relu, block.downsample, others)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, T) to (B, Cout, T)."""
        if not is_worthwhile(x) or not self.is_applicable(parts := self.parts(self)):
            return super().forward(x)  # type: ignore[no-any-return]
        return self.fast_forward(parts, x)

    def fast_forward(self, parts: Parts, x: Tensor) -> Tensor:
        """The same, fast."""
        x = x.transpose(1, 2)
        y = convolved(parts.conv1, parts.dropout1, x)
        return self.given_out(convolved(parts.conv2, parts.dropout2, y, residual_input(parts, x)))


class PytorchTCNBlock(FastBlock):
    """A block of pytorch-tcn, whose convolutions pad by themselves."""

    further_arguments = (None, False)

    @staticmethod
    def parts(block: Any) -> Parts:
        """See `FastBlock`."""
        padders = (block.conv1.padder, block.conv2.padder)
        return Parts(
            block.conv1,
            block.activation1,
            block.dropout1,
            block.conv2,
            block.activation2,
            block.dropout2,
            block.activation_final,
            block.downsample,
            (*padders, *(padder.pad for padder in padders)),
        )

    def forward(
        self, x: Tensor, embeddings: object, inference: bool, in_buffers: object = None
    ) -> tuple[Tensor, Tensor]:
        """(B, Cin, T) to (B, Cout, T), and the same before the residual connection."""
        only_input = embeddings is None and not inference and not in_buffers
        if not only_input or not is_worthwhile(x) or not self.is_applicable(parts := self.parts(self)):
            return super().forward(x, embeddings, inference, in_buffers)  # type: ignore[no-any-return]
        return self.fast_forward(parts, x)

    def fast_forward(self, parts: Parts, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, fast."""
        x = x.transpose(1, 2)
        y = convolved(parts.conv1, parts.dropout1, x)
        y = convolved(parts.conv2, parts.dropout2, y)
        # Not fused into the convolution: the network may ask for what comes before the addition, too.
        return self.given_out(F.relu(y + residual_input(parts, x))), self.given_out(y)


_fast_classes: dict[tuple[type[FastBlock], type[nn.Module]], type[nn.Module]] = {}


def fast_class(kind: type[FastBlock], own_class: type[nn.Module]) -> type[nn.Module]:
    """The library's class, computed as `kind` says."""
    bases = (kind, own_class)
    if bases not in _fast_classes:
        _fast_classes[bases] = type(f"Fast{own_class.__name__}", bases, {"__module__": kind.__module__})
    return _fast_classes[bases]


def _rebuild(constructor: Callable[..., nn.Module], bases: tuple[Any, Any], *arguments: object) -> nn.Module:
    return constructor(fast_class(*bases), *arguments)
