"""Makes an existing model fast in place, and gives it back as it was.

    report = satn_fast.accelerate(model)
    satn_fast.restore(model)

A module is accelerated by giving it another class that computes the same with `satn_fast.functional`. It keeps its
parameters, submodules and hooks, so optimizers, `state_dict`, `DistributedDataParallel`, `copy.deepcopy` and
saving go on as before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from torch import nn

from satn_fast import reference
from satn_fast.acceleration.blocks import FastBlock, fast_class
from satn_fast.acceleration.recognition import kind_of, refusal
from satn_fast.nn import FAST_CLASSES, use_fast_modules

# The attribute that remembers a module's own class; only what `accelerate` changed has it.
_OWN_CLASS = "_class_before_acceleration"


@dataclass(frozen=True)
class Report:
    """What `accelerate` did.

    Attributes:
        accelerated: Names of the modules that now run fast, as in `model.named_modules()`.
        left_alone: Names of the modules that look like ones it knows but would not be computed exactly, and why.

    Example:
        >>> print(Report(("tcn.network.0",), {"tcn.network.1": "activation1 is GELU, not ReLU"}))
        accelerated: tcn.network.0
        left alone (activation1 is GELU, not ReLU): tcn.network.1
    """

    accelerated: tuple[str, ...] = ()
    left_alone: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        lines = ["accelerated: " + _listed(self.accelerated)] if self.accelerated else []
        for reason in dict.fromkeys(self.left_alone.values()):
            names = [name for name, its_reason in self.left_alone.items() if its_reason == reason]
            lines.append(f"left alone ({reason}): {_listed(names)}")
        return "\n".join(lines or ["nothing to accelerate: no module of a known kind"])


def accelerate(model: nn.Module) -> Report:
    """Makes the modules it knows compute the same, faster, in place; `restore` undoes it.

    It knows the modules of `satn_fast.reference`, residual blocks in the style of locuslab/TCN (Bai et al. 2018),
    whatever module they are defined in, and the blocks of pytorch-tcn's `TCN`. A block of the latter two is taken
    only if it is causal, with ReLU, elementwise dropout, and weight norm or none, has no hooks inside, and computes
    the same numbers on a trial input. Everything else is left alone, and named. pytorch-tcn's streaming `inference`
    and calls with embeddings go on running its own code.

    On a CPU, blocks of the latter two run their own code for batches of few frames, where that is faster (see
    `satn_fast.acceleration.blocks.LEAST_FRAMES_ON_CPU`).

    A hook that is added to the inside of a block later makes that block run its own code, too. Call `restore` before
    you exchange layers of a block.

    Args:
        model: Anything, on any device, in training or evaluation mode.

    Returns:
        What was accelerated, what was left alone and why.

    Raises:
        TypeError: `model` is not a module.

    Example:
        >>> from satn_fast import SATNConfig, reference
        >>> model = reference.SATN(SATNConfig.preset("micro"))
        >>> report = accelerate(model)
        >>> report.accelerated[0], report.left_alone
        ('encoder.spectral', {})
        >>> restore(model)
    """
    _check(model)
    left_alone = dict(_accelerate_reference(model)) | dict(_accelerate_blocks(model))
    _keep_layout_between_blocks(model)
    accelerated = tuple(name for name, module in model.named_modules() if _OWN_CLASS in vars(module))
    return Report(accelerated, left_alone)


def restore(model: nn.Module) -> None:
    """Gives every module that `accelerate` changed its own class back; parameters stay as they are now.

    Args:
        model: A model, accelerated or not, or a part of one.

    Raises:
        TypeError: `model` is not a module.
    """
    _check(model)
    for module in model.modules():
        own_class = vars(module).pop(_OWN_CLASS, None)
        if own_class is not None:
            module.__class__ = own_class
            # What the fast classes keep with their instances.
            for name in ("_folded", "feeds_fast_block"):
                vars(module).pop(name, None)


def _check(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; give a torch.nn.Module")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name or "the model itself" for name in names)


def _accelerate_reference(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Gives the reference's modules their fast classes; yields what it leaves alone and why."""
    own_classes = {module: type(module) for module in model.modules() if type(module) in FAST_CLASSES}
    refused = {}
    for name, module in model.named_modules():
        reason = _reference_refusal(module)
        if reason is not None:
            own_classes.pop(module, None)
            refused[module] = type(module)
            yield name, reason
    use_fast_modules(model)
    for module, own_class in own_classes.items():
        setattr(module, _OWN_CLASS, own_class)
    for module, own_class in refused.items():
        module.__class__ = own_class


def _reference_refusal(module: nn.Module) -> str | None:
    own = type(module)
    if own in FAST_CLASSES.values():
        return None if _OWN_CLASS in vars(module) else "is fast already"
    if own not in FAST_CLASSES:
        known = next((known for known in FAST_CLASSES if isinstance(module, known)), None)
        return None if known is None else f"is a subclass of {known.__name__}, which may compute something else"
    if "forward" in vars(module):
        return "its forward was replaced"
    if isinstance(module, reference.TemporalConvNet):
        # The fast one gives its blocks no lengths: it relies on their being causal.
        foreign = next((type(block).__name__ for block in module.blocks if not _is_known_block(block)), None)
        return foreign and f"has a block of a class of its own, {foreign}"
    return None


def _is_known_block(block: nn.Module) -> bool:
    convolutions = {reference.CausalConv1d, FAST_CLASSES[reference.CausalConv1d]}
    return (
        isinstance(block, reference.ResidualBlock)
        and type(block) is reference.ResidualBlock
        and {type(block.conv1), type(block.conv2)} <= convolutions
    )


def _accelerate_blocks(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Gives other libraries' residual blocks their fast class; yields what it leaves alone and why."""
    for name, module in model.named_modules():
        kind = kind_of(module)
        if kind is None or isinstance(module, FastBlock):
            continue
        reason = refusal(module, kind)
        if reason is not None:
            yield name, reason
            continue
        setattr(module, _OWN_CLASS, type(module))
        module.__class__ = fast_class(kind, type(module))


def _keep_layout_between_blocks(model: nn.Module) -> None:
    """Fast blocks compute channels-last: between two of them, (B, C, T) may stay a view of that."""
    for container in model.modules():
        if isinstance(container, nn.Sequential | nn.ModuleList):
            for block, following in pairwise(container):
                if isinstance(block, FastBlock) and isinstance(following, FastBlock):
                    block.feeds_fast_block = True
