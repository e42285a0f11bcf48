"""The launches of attentive pooling that `compile_check` compiles: every entry of the tables of tile sizes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import triton_backend
from satn_fast.kernels.causal_conv1d.compile_cases import NUMBERS, float32_precision
from satn_fast.kernels.triton_runtime import Architecture, Launch

BATCH, N_FRAMES = 32, 1000


def compile_cases(target: Architecture) -> Iterator[tuple[str, Launch]]:
    """Names and launches; the tensors have no memory."""
    for name, (dtype, precision) in NUMBERS.items():
        with float32_precision(precision):
            for hidden in (128, 256, 512):
                yield from _launches(target, f"{name}, {hidden} hidden", dtype, 256, hidden)
                statistics = f"{name}, 9 layers of 256, deviation, {hidden} hidden"
                yield from _launches(target, statistics, dtype, 256, hidden, 9)
    half = torch.bfloat16
    yield from _launches(target, "bfloat16, 32 channels", half, 32, 32)
    yield from _launches(target, "bfloat16, 100 channels", half, 100, 50)
    yield from _launches(target, "bfloat16, 128 channels", half, 128, 64)
    yield from _launches(target, "bfloat16, 512 channels", half, 512, 64)
    yield from _launches(target, "bfloat16, 6 layers of 64, deviation", half, 64, 64, 6)
    yield from _launches(target, "bfloat16, 6 layers of 100, deviation", half, 100, 50, 6)
    weights, lengths = _tensor((BATCH, N_FRAMES), torch.float32), _tensor((BATCH,), torch.int64)
    mean = _tensor((BATCH,), torch.float32)
    yield "pool backward mean", triton_backend.backward_mean_launch(weights, weights, lengths, mean)


def _launches(
    target: Architecture, name: str, dtype: torch.dtype, channels: int, hidden: int, n_deviating: int = 0
) -> Iterator[tuple[str, Launch]]:
    """Of the mean of one layer, or of mean and deviation of several."""
    layers = [_tensor((BATCH, N_FRAMES, channels), dtype) for _ in range(n_deviating or 1)]
    lengths, deviation, total = _tensor((BATCH,), torch.int64), n_deviating > 0, channels * len(layers)
    weight, bias = _tensor((hidden, total), dtype), _tensor((hidden,), dtype)
    pooled = _tensor((BATCH, (1 + deviation) * total), torch.float32)
    weights = _tensor((BATCH, N_FRAMES), torch.float32)
    forward = triton_backend.forward_launch(layers, weight, bias, bias, lengths, deviation, target)
    yield f"pool forward, {name}", forward
    if hidden == 128:
        yield f"pool combine, {name}", triton_backend.combine_launch(forward, pooled, weights)
    mean = _tensor((BATCH,), torch.float32)
    yield (
        f"pool backward, {name}",
        triton_backend.backward_launch(
            layers, weight, bias, bias, lengths, weights, pooled, pooled, weights, mean, layers, target
        ),
    )


def _tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
