"""What the tests of the operations share: fresh shapes, padding full of NaN, gradients of every input."""

import torch
from hypothesis import strategies as st
from torch import Tensor

frames = st.sampled_from([1, 2, 3, 7, 13, 31, 64, 101])
batches = st.integers(1, 3)
seeds = st.integers(0, 2**31)


def draw_lengths(data: st.DataObject, batch: int, n_frames: int) -> Tensor | None:
    """Full, partly filled and empty rows, or no lengths at all."""
    if data.draw(st.booleans(), label="all frames are real"):
        return None
    return torch.tensor(data.draw(st.lists(st.integers(0, n_frames), min_size=batch, max_size=batch)))


def poison_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """A copy of (B, T, ...) with NaN in every padded frame."""
    x = x.clone()
    for row, length in enumerate([] if lengths is None else lengths.tolist()):
        x[row, length:] = torch.nan
    return x


def values_and_gradients(function, inputs: list[Tensor | None], upstream: Tensor) -> list[Tensor]:
    """The result of `function(*inputs)` and its gradients with respect to every given input."""
    leaves = [None if x is None else x.detach().clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    given = [leaf for leaf in leaves if leaf is not None]
    return [result.detach(), *torch.autograd.grad(result, given, upstream)]


def assert_all_close(ours: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    assert len(ours) == len(expected)
    for index, (left, right) in enumerate(zip(ours, expected, strict=True)):
        assert left.shape == right.shape, index
        assert torch.isfinite(left).all(), index
        scale = max(1.0, float(right.detach().abs().max()) if right.numel() else 1.0)
        torch.testing.assert_close(left.double(), right.double(), atol=tolerance * scale, rtol=0)
