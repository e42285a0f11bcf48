"""Self-attention on Triton: shapes and launches of the kernels.

The kernels read (B, T, H, D) with whatever strides the projections left: nothing is transposed or copied.
"""

import math
from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.self_attention import tiles
from satn_fast.kernels.triton_runtime import (
    Architecture,
    Launch,
    architecture_of,
    arithmetic,
    block_size,
    ceil_div,
    float32_precision,
)

# Strides that are multiples of it let a thread copy 16 bytes of half precision at once.
STRIDE_UNIT = 8


def forward(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, window: int | None, scale: float
) -> tuple[Tensor, Tensor]:
    """The result (B, T, H, D), and the log-sum-exp (B, H, T) float32 of the scores, to base 2."""
    o = q.new_empty(q.shape)
    log_sum_exp = _per_row(q)
    if o.numel():
        q, k, v = (_readable(x) for x in (q, k, v))
        architecture = architecture_of(q.device)
        forward_launch(q, k, v, _contiguous(lengths), o, log_sum_exp, window, scale, architecture).run(q.device)
    return o, log_sum_exp


def backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    log_sum_exp: Tensor,
    lengths: Tensor | None,
    window: int | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v."""
    dq, dk, dv = (q.new_empty(q.shape) for _ in range(3))
    if q.numel():
        do, o, lengths = do.contiguous(), o.contiguous(), _contiguous(lengths)
        q, k, v = (_readable(x) for x in (q, k, v))
        architecture, delta = architecture_of(q.device), _per_row(q)
        # In this order: the first kernel gives delta to the second.
        backward_query_launch(do, q, k, v, o, log_sum_exp, lengths, dq, delta, window, scale, architecture).run(
            q.device
        )
        backward_key_value_launch(do, q, k, v, log_sum_exp, delta, lengths, dk, dv, window, scale, architecture).run(
            q.device
        )
    return dq, dk, dv


def forward_launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    o: Tensor,
    log_sum_exp: Tensor,
    window: int | None,
    scale: float,
    architecture: Architecture,
) -> Launch:
    """The forward kernel, on tensors whose last dimension is contiguous."""
    from satn_fast.kernels.self_attention.triton_forward import self_attention_forward_kernel

    tile = tiles.choose(tiles.FORWARD, architecture.family, arithmetic(q.dtype), q.shape[-1])
    return Launch(
        self_attention_forward_kernel,
        grid=_n_programs(q, tile.queries),
        arguments={
            **{"q": q, "k": k, "v": v, "lengths": lengths, "o": o, "log_sum_exp": log_sum_exp},
            **_numbers(q, k, v, window, scale),
            **_constants(q, tile),
        },
        tuning=tile.tuning,
    )


def backward_query_launch(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    log_sum_exp: Tensor,
    lengths: Tensor | None,
    dq: Tensor,
    delta: Tensor,
    window: int | None,
    scale: float,
    architecture: Architecture,
) -> Launch:
    """The kernel of the queries' gradient."""
    from satn_fast.kernels.self_attention.triton_backward import self_attention_backward_query_kernel

    tile = tiles.choose(tiles.BACKWARD_QUERY, architecture.family, arithmetic(q.dtype), q.shape[-1])
    return Launch(
        self_attention_backward_query_kernel,
        grid=_n_programs(q, tile.queries),
        arguments={
            **{"do": do, "q": q, "k": k, "v": v, "o": o, "log_sum_exp": log_sum_exp, "lengths": lengths},
            **{"dq": dq, "delta": delta, "scale": scale},
            **_numbers(q, k, v, window, scale),
            **_constants(q, tile),
        },
        tuning=tile.tuning,
    )


def backward_key_value_launch(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_sum_exp: Tensor,
    delta: Tensor,
    lengths: Tensor | None,
    dk: Tensor,
    dv: Tensor,
    window: int | None,
    scale: float,
    architecture: Architecture,
) -> Launch:
    """The kernel of the gradients of keys and values."""
    from satn_fast.kernels.self_attention.triton_backward import self_attention_backward_key_value_kernel

    tile = tiles.choose(tiles.BACKWARD_KEY_VALUE, architecture.family, arithmetic(q.dtype), q.shape[-1])
    return Launch(
        self_attention_backward_key_value_kernel,
        grid=_n_programs(q, tile.keys),
        arguments={
            **{"do": do, "q": q, "k": k, "v": v, "log_sum_exp": log_sum_exp, "delta": delta, "lengths": lengths},
            **{"dk": dk, "dv": dv, "scale": scale},
            **_numbers(q, k, v, window, scale),
            **_constants(q, tile),
        },
        tuning=tile.tuning,
    )


def _per_row(q: Tensor) -> Tensor:
    """Room for one float32 number per head and frame: (B, H, T)."""
    batch, n_frames, heads, _ = q.shape
    return q.new_empty(batch, heads, n_frames, dtype=torch.float32)


def _readable(x: Tensor) -> Tensor:
    """The tensor itself where the kernels can address it, else a contiguous copy."""
    # Within a tile the kernels count elements in 32 bits.
    return x if x.stride(3) == 1 and x.stride(1) < 2**22 else x.contiguous()


def _contiguous(lengths: Tensor | None) -> Tensor | None:
    return None if lengths is None else lengths.contiguous()


def _n_programs(q: Tensor, frames_of_tile: int) -> int:
    batch, n_frames, heads, _ = q.shape
    return batch * heads * ceil_div(n_frames, frames_of_tile)


def _numbers(q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> dict[str, Any]:
    """What may change with every call without compiling a kernel anew, and the unit of the strides."""
    strides = {
        # The stride of a single row, frame or head is never used, and may be anything.
        f"{name}_{dimension}": x.stride(index) if x.shape[index] > 1 else 0
        for name, x in (("q", q), ("k", k), ("v", v))
        for index, dimension in enumerate(("batch", "frame", "head"))
    }
    unit = STRIDE_UNIT if all(stride % STRIDE_UNIT == 0 for stride in strides.values()) else 1
    n_frames = q.shape[1]
    return {
        "n_frames": n_frames,
        # A longer window sees no more; the smaller number cannot overflow 32 bits.
        "window": None if window is None else min(window, n_frames),
        # Never zero: hidden scores are -inf, and -inf * 0 is NaN. So small a scale attends evenly, too.
        "exponent_scale": max(scale * math.log2(math.e), 1e-30),
        "STRIDE_UNIT": unit,
        **{name: stride // unit for name, stride in strides.items()},
    }


def _constants(q: Tensor, tile: tiles.Tiles) -> dict[str, Any]:
    heads, head_size = q.shape[2:]
    return {
        "HEADS": heads,
        "HEAD_SIZE": head_size,
        "PRECISION": float32_precision(),
        "BLOCK_QUERIES": tile.queries,
        "BLOCK_KEYS": tile.keys,
        "BLOCK_SIZE": block_size(head_size, tiles.LARGEST_HEAD_SIZE),
    }
