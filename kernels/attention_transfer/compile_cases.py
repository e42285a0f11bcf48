"""The launches of the attention-transfer losses that `compile_check` compiles: every entry of the tables of tiles."""

from collections.abc import Iterator

import torch
from torch import Tensor

from satn_fast.kernels.attention_transfer import triton_backend
from satn_fast.kernels.attention_transfer.op import LOSSES
from satn_fast.kernels.attention_transfer.settings import Settings
from satn_fast.kernels.causal_conv1d.compile_cases import NUMBERS, float32_precision
from satn_fast.kernels.triton_runtime import Architecture, Launch

BATCH, N_FRAMES, N_HEADS = 32, 1000, 4


def compile_cases(target: Architecture) -> Iterator[tuple[str, Launch]]:
    """Names and launches; the tensors have no memory."""
    for name, (dtype, precision) in NUMBERS.items():
        with float32_precision(precision):
            for size in (64, 128, 256):
                yield from _launches(target, f"{name}, {size} a head", dtype, size, Settings("at", None, 1.0, 1.0))
    half = torch.bfloat16
    for loss in LOSSES:
        yield from _launches(target, f"bfloat16, {loss}, window", half, 64, Settings(loss, 100, 1.0, 1.0))
    yield from _launches(target, "bfloat16, 20 a head", half, 20, Settings("kl", None, 1.0, 1.0))


def _launches(
    target: Architecture, name: str, dtype: torch.dtype, size: int, settings: Settings
) -> Iterator[tuple[str, Launch]]:
    q = torch.empty(BATCH, N_FRAMES, N_HEADS, size, dtype=dtype, device="meta")
    inputs = triton_backend.Inputs(q, q, q, q, _numbers(BATCH, dtype=torch.int64))
    rows, maps = _numbers(settings.n_statistics, BATCH * N_HEADS, N_FRAMES), _numbers(2, BATCH * N_HEADS)
    forward = triton_backend.forward_launch(inputs, rows, settings, target)
    yield f"transfer forward, {name}", forward
    if settings.window:
        sums, lengths = forward.arguments["sums"], inputs.lengths
        yield (
            f"transfer combine, {settings.loss}",
            triton_backend.combine_launch(sums, lengths, _numbers(), maps, q.shape, settings),
        )
    backward = (inputs, rows, maps, _numbers(), q, settings, target)
    yield f"transfer backward query, {name}", triton_backend.backward_query_launch(*backward)
    yield f"transfer backward key, {name}", triton_backend.backward_key_launch(*backward)


def _numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
