"""The launches of self-attention that `compile_check` compiles: every entry of the tables of tile sizes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from satn_fast.kernels.causal_conv1d.compile_cases import NUMBERS, float32_precision
from satn_fast.kernels.self_attention import triton_backend
from satn_fast.kernels.triton_runtime import Architecture, Launch

BATCH, N_FRAMES, HEADS, WINDOW = 32, 1000, 4, 100


def compile_cases(target: Architecture) -> Iterator[tuple[str, Launch]]:
    """Names and launches; the tensors have no memory."""
    for name, (dtype, precision) in NUMBERS.items():
        with float32_precision(precision):
            for head_size in (64, 128):
                yield from _launches(target, f"{name}, D={head_size}, window", dtype, head_size, WINDOW)
    for head_size in (32, 40, 64, 128):
        yield from _launches(target, f"bfloat16, D={head_size}", torch.bfloat16, head_size, None)
    yield from _launches(target, "bfloat16, D=32, window", torch.bfloat16, 32, WINDOW)


def _launches(
    target: Architecture, name: str, dtype: torch.dtype, head_size: int, window: int | None
) -> Iterator[tuple[str, Launch]]:
    q, k, v = _tensor(BATCH, N_FRAMES, 3, HEADS, head_size, dtype=dtype).unbind(2)
    o, lengths = _tensor(BATCH, N_FRAMES, HEADS, head_size, dtype=dtype), _tensor(BATCH, dtype=torch.int64)
    lse = delta = _tensor(BATCH, HEADS, N_FRAMES, dtype=torch.float32)
    yield (
        f"attention forward, {name}",
        triton_backend.forward_launch(q, k, v, lengths, o, lse, window, 0.1, target),
    )
    yield (
        f"attention dq, {name}",
        triton_backend.backward_query_launch(o, q, k, v, o, lse, lengths, o, delta, window, 0.1, target),
    )
    yield (
        f"attention dk dv, {name}",
        triton_backend.backward_key_value_launch(o, q, k, v, lse, delta, lengths, o, o, window, 0.1, target),
    )


def _tensor(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
