"""Which residual blocks of other libraries can be computed exactly, and why others cannot.

A block is recognised by its parts, not by where its class is defined: copies of locuslab's TCN live in many
projects. Parts say nothing about how a copy's `forward` uses them, so every block is also tried on random numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

# PyTorch gives the parametrization no public name.
from torch.nn.utils.parametrizations import _WeightNorm

from satn_fast.acceleration.blocks import FastBlock, LocuslabBlock, Parts, PytorchTCNBlock, fast_class, is_intercepted

# A trial sees this many frames at most: convolutions of dilation 2**10 need not be tried over their whole history.
TRIAL_FRAMES = 128


def kind_of(module: nn.Module) -> type[FastBlock] | None:
    """What the module looks like; it may still be refused."""
    if hasattr(getattr(module, "conv1", None), "padder"):
        return PytorchTCNBlock
    net = getattr(module, "net", None)
    if isinstance(net, nn.Sequential) and len(net) and isinstance(net[0], nn.Conv1d) and hasattr(module, "downsample"):
        return LocuslabBlock
    return None


def refusal(block: nn.Module, kind: type[FastBlock]) -> str | None:
    """Why the block cannot be computed exactly by its fast kind, or `None` if it can."""
    option = _unsupported_option(block)
    if option is not None:
        return option
    try:
        parts = kind.parts(block)
    except (AttributeError, ValueError):
        return "is not made of convolution, cropping, ReLU and dropout, twice, with relu and downsample"
    reasons = (
        *_reasons_of_activations(parts),
        *_reasons_of_convolutions(parts, _cropped if kind is LocuslabBlock else _padded),
        *_reasons_of_modules(block, parts),
    )
    return reasons[0] if reasons else _difference_on_trial(block, kind)


def _unsupported_option(block: Any) -> str | None:
    """pytorch-tcn's blocks keep their options; these say more than what the parts look like."""
    if getattr(block, "use_norm", None) not in (None, "weight_norm"):
        return f"use_norm is {block.use_norm!r}, not 'weight_norm' or None"
    if getattr(block, "use_gate", False):
        return "use_gate is True"
    if getattr(block, "embedding_shapes", None) is not None:
        return "takes embeddings"
    if not getattr(block, "causal", True):
        return "is not causal"
    return None


def _reasons_of_activations(parts: Parts) -> Iterator[str]:
    for name in ("activation1", "activation2", "activation"):
        module = getattr(parts, name)
        if type(module) is not nn.ReLU:
            yield f"{name} is {type(module).__name__}, not ReLU"
    for name in ("dropout1", "dropout2"):
        module = getattr(parts, name)
        if type(module) is not nn.Dropout:
            yield f"{name} is {type(module).__name__}, not Dropout"


def _reasons_of_convolutions(parts: Parts, history: Callable[[Parts], tuple[object, ...]]) -> Iterator[str]:
    for name in ("conv1", "conv2", "downsample"):
        conv = getattr(parts, name)
        if conv is None and name == "downsample":
            continue
        if not isinstance(conv, nn.Conv1d):
            yield f"{name} is {type(conv).__name__}, not Conv1d"
            return
        if conv.stride != (1,) or conv.groups != 1 or conv.padding_mode != "zeros":
            yield f"{name} has stride {conv.stride[0]}, {conv.groups} groups and padding mode {conv.padding_mode!r}"
        unknown = [type(module).__name__ for module in _parametrizations(conv) if not isinstance(module, _WeightNorm)]
        if unknown:
            yield f"{name} is parametrized by {unknown[0]}"
    if parts.downsample is not None and (parts.downsample.kernel_size != (1,) or parts.downsample.padding != (0,)):
        yield "downsample is not a convolution over single frames"
    needed = tuple((conv.kernel_size[0] - 1) * conv.dilation[0] for conv in (parts.conv1, parts.conv2))
    if history(parts) != needed:
        yield f"pads or crops otherwise than its causal convolutions need, {needed[0]} and {needed[1]} frames"


def _cropped(parts: Parts) -> tuple[object, ...]:
    """How many frames locuslab's convolutions pad; unequal cropping shows in the trial."""
    return tuple(conv.padding[0] for conv in (parts.conv1, parts.conv2))


def _padded(parts: Parts) -> tuple[object, ...]:
    """How many zeros pytorch-tcn's convolutions put before the start."""
    pads: tuple[Any, ...] = parts.conv1.padder.pad, parts.conv2.padder.pad  # type: ignore[union-attr]
    zeros = (isinstance(pad, nn.ConstantPad1d) and pad.value == 0 and pad.padding[1] == 0 for pad in pads)
    return tuple(pad.padding[0] if is_zeros else None for pad, is_zeros in zip(pads, zeros, strict=True))


def _parametrizations(conv: nn.Conv1d) -> Iterator[nn.Module]:
    if parametrize.is_parametrized(conv):
        for chain in conv.parametrizations.values():  # type: ignore[operator]
            yield from chain


def _reasons_of_modules(block: nn.Module, parts: Parts) -> Iterator[str]:
    if "forward" in vars(block):
        yield "its forward was replaced"
    known = {block, *parts.modules}
    for conv in (parts.conv1, parts.conv2, parts.downsample):
        if conv is not None and parametrize.is_parametrized(conv):
            known.add(conv.parametrizations)  # type: ignore[arg-type]
            for chain in conv.parametrizations.values():  # type: ignore[operator]
                known |= {chain, *chain}
    for name, module in block.named_modules():
        if module not in known:
            yield f"has a module of its own, {name}"
        elif module is not block and is_intercepted(module):
            yield f"{name} has a hook, which would not run"


class _Forward(nn.Module):
    """A block's computation without the hooks that calling it would run."""

    def __init__(self, block: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.block = block
        self.compute = compute

    def forward(self, *arguments: object) -> Any:
        return self.compute(*arguments)


def _difference_on_trial(block: nn.Module, kind: type[FastBlock]) -> str | None:
    """Runs the block and its fast kind on random parameters in float64, dropout aside."""
    parts = kind.parts(block)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")

    parameters = {f"block.{name}": random(*parameter.shape) for name, parameter in block.named_parameters()}
    history = (parts.conv1.kernel_size[0] - 1) * parts.conv1.dilation[0]
    x = random(2, parts.conv1.in_channels, min(history + 4, TRIAL_FRAMES))
    own_class = type(block)

    def result(compute: Callable[..., Any], *arguments: object) -> Any:
        # Parameters are replaced once, where they are named first: tying would restore the wrong one for modules
        # that have two names, like those of locuslab's `net`.
        return functional_call(_Forward(block, compute), parameters, arguments, tie_weights=False)

    with _left_as_it_is(block, parts), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for training in (False, True):
            block.train(training)
            block.__class__ = own_class
            try:
                expected = result(block.forward, x, *kind.further_arguments)
            except Exception as error:  # the code of others may raise anything
                return f"its forward could not be tried: {type(error).__name__}: {error}"
            block.__class__ = fast_class(kind, own_class)
            if not _equal(result(block.fast_forward, parts, x), expected):  # type: ignore[arg-type]
                return "its forward computes something else"
    return None


@contextmanager
def _left_as_it_is(block: nn.Module, parts: Parts) -> Iterator[None]:
    """Takes dropout out of the block, and afterwards undoes all that a trial changes."""
    own_class = type(block)
    modes = [(module, module.training) for module in block.modules()]
    dropouts = [(dropout, dropout.p) for dropout in (parts.dropout1, parts.dropout2)]
    # The old weight norm keeps the weight it computed last as a plain attribute.
    weights = [(module, vars(module)["weight"]) for module in parts.modules if "weight" in vars(module)]
    for dropout, _ in dropouts:
        dropout.p = 0.0
    try:
        yield
    finally:
        block.__class__ = own_class
        for module, training in modes:
            module.training = training
        for dropout, p in dropouts:
            dropout.p = p
        for module, weight in weights:
            vars(module)["weight"] = weight


def _equal(ours: Any, expected: Any) -> bool:
    ours, expected = (value if isinstance(value, tuple) else (value,) for value in (ours, expected))
    return len(ours) == len(expected) and all(
        isinstance(b, Tensor)
        and a.shape == b.shape
        and torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))
        for a, b in zip(ours, expected, strict=True)
    )
