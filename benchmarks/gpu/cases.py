"""What the races are about: shapes, padded batches, gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from satn_fast import set_backend


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        size: Utterances, B.
        frames: Frames of the longest, T.
        fill: Share of the frames that are real; the lengths are spread evenly around it, up to T.
    """

    size: int
    frames: int
    fill: float = 1.0

    def lengths(self, device: torch.device) -> Tensor | None:
        """(B,) real frames, or `None` where all are."""
        if self.fill == 1.0:
            return None
        shares = torch.linspace(2 * self.fill - 1, 1.0, self.size) if self.size > 1 else torch.tensor([self.fill])
        return (shares * self.frames).round().clamp(1, self.frames).long().to(device)

    @property
    def real_frames(self) -> float:
        """About how many frames of the batch are real."""
        return self.size * self.frames * self.fill

    def small(self) -> "Batch":
        """A few frames of the same kind, to try the suite."""
        return Batch(min(self.size, 2), 24, self.fill)

    def __str__(self) -> str:
        return f"{self.size}x{self.frames}" + ("" if self.fill == 1.0 else f" filled {self.fill:.0%}")


def forward_and_backward(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], gradient: Tensor
) -> Callable[[], list[Tensor]]:
    """The function's result and its gradients, as a training step needs them."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]

    def run() -> list[Tensor]:
        result = function(*leaves)
        return [result.detach(), *torch.autograd.grad(result, leaves, gradient.to(result.dtype))]

    return run


def forward(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[[], Tensor]:
    """The function's result alone, without what gradients need."""
    leaves = [tensor.detach() for tensor in inputs]

    def run() -> Tensor:
        with torch.no_grad():
            return function(*leaves)

    return run


def on_backend(backend: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function computed by that backend, whatever is chosen elsewhere."""

    def run(*inputs: Tensor) -> Tensor:
        with set_backend(backend):
            return function(*inputs)

    return run


def compiled(function: Callable[..., Tensor], mode: str = "max-autotune-no-cudagraphs") -> Callable[..., Tensor]:
    """What torch.compile makes of a function, a new graph for each race."""
    torch._dynamo.reset()
    return torch.compile(function, mode=mode, dynamic=False)
