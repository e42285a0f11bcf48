"""The attention-transfer losses on Triton: shapes and launches of the kernels."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from satn_fast.kernels.attention_transfer import tiles
from satn_fast.kernels.attention_transfer.settings import Settings
from satn_fast.kernels.self_attention.tiles import Table, Tiles
from satn_fast.kernels.triton_runtime import (
    Architecture,
    Launch,
    architecture_of,
    arithmetic,
    block_size,
    ceil_div,
    contiguous,
    float32_precision,
)

LOG2_E = math.log2(math.e)
# Gradients of scores are products of probabilities; float16 ends at 6e-5, or at 6e-8 with less precision.
BOOST = {torch.float16: 1024.0}


class Inputs(NamedTuple):
    """What the kernels read.

    Args:
        q: (B, T, H, D) student queries, any strides, but the numbers of a head side by side.
        k: (B, T, H, D) student keys.
        q_source: (B, T, H, D') source queries.
        k_source: (B, T, H, D') source keys.
        lengths: (B,) contiguous integers or `None`.
    """

    q: Tensor
    k: Tensor
    q_source: Tensor
    k_source: Tensor
    lengths: Tensor | None

    @staticmethod
    def readable(q: Tensor, k: Tensor, q_source: Tensor, k_source: Tensor, lengths: Tensor | None) -> "Inputs":
        """The inputs, copied only where a kernel could not read them."""
        q, k, q_source, k_source = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, q_source, k_source))
        return Inputs(q, k, q_source, k_source, contiguous(lengths))

    @property
    def n_maps(self) -> int:
        """Utterances times heads."""
        return self.q.shape[0] * self.q.shape[2]


def forward(
    q: Tensor, k: Tensor, q_source: Tensor, k_source: Tensor, lengths: Tensor | None, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss (), and what its gradient needs: statistics of rows (n, B*H, T), and of maps (2, B*H)."""
    batch, n_frames, n_heads, _ = q.shape
    rows = q.new_empty(settings.n_statistics, batch * n_heads, n_frames, dtype=torch.float32)
    maps = q.new_empty(2, batch * n_heads, dtype=torch.float32)
    if not rows.numel():
        return q.new_zeros((), dtype=torch.float32), rows, maps
    loss = q.new_empty((), dtype=torch.float32)
    inputs = Inputs.readable(q, k, q_source, k_source, lengths)
    launch = forward_launch(inputs, rows, settings, architecture_of(q.device))
    launch.run(q.device)
    combine_launch(launch.arguments["sums"], inputs.lengths, loss, maps, q.shape, settings).run(q.device)
    return loss, rows, maps


def backward(
    upstream: Tensor,
    q: Tensor,
    k: Tensor,
    q_source: Tensor,
    k_source: Tensor,
    lengths: Tensor | None,
    rows: Tensor,
    maps: Tensor,
    settings: Settings,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """The gradients of q and k; empty where `wanted` says no."""
    dq = torch.empty(q.shape if wanted[0] else (0,), dtype=q.dtype, device=q.device)
    dk = torch.empty(k.shape if wanted[1] else (0,), dtype=k.dtype, device=k.device)
    inputs = Inputs.readable(q, k, q_source, k_source, lengths)
    for gradient, launch in ((dq, backward_query_launch), (dk, backward_key_launch)):
        if gradient.numel():
            launch(inputs, rows, maps, upstream, gradient, settings, architecture_of(q.device)).run(q.device)
    return dq, dk


def forward_launch(
    inputs: Inputs,
    rows: Tensor,
    settings: Settings,
    architecture: Architecture,
) -> Launch:
    """The kernel that passes over both maps."""
    from satn_fast.kernels.attention_transfer.triton_forward import attention_transfer_forward_kernel

    tile = _tile(tiles.FORWARD, inputs, architecture)
    batch, n_frames, n_heads, _ = inputs.q.shape
    n_tiles = ceil_div(n_frames, tile.queries)
    return Launch(
        attention_transfer_forward_kernel,
        grid=batch * n_heads * n_tiles,
        arguments={
            **_input_arguments(inputs, settings),
            "rows": rows,
            "sums": rows.new_empty(settings.n_sums, batch * n_heads, n_tiles),
            "BLOCK_QUERIES": tile.queries,
            "BLOCK_KEYS": tile.keys,
        },
        tuning=tile.tuning,
    )


def combine_launch(
    sums: Tensor, lengths: Tensor | None, loss: Tensor, maps: Tensor, shape: torch.Size, settings: Settings
) -> Launch:
    """The kernel that adds up the sums of all tiles; `shape` is that of the queries."""
    from satn_fast.kernels.attention_transfer.triton_forward import attention_transfer_combine_kernel

    return Launch(
        attention_transfer_combine_kernel,
        grid=1,
        arguments={
            "sums": sums,
            "lengths": lengths,
            "loss": loss,
            "maps": maps,
            "n_utterances": shape[0],
            "n_frames": shape[1],
            "n_heads": shape[2],
            "n_tiles": sums.shape[2],
            "LOSS": settings.loss,
            "BLOCK_MAPS": 64,
            "BLOCK_TILES": 16,
        },
        tuning={"num_warps": 8, "num_stages": 1},
    )


def backward_query_launch(
    inputs: Inputs,
    rows: Tensor,
    maps: Tensor,
    upstream: Tensor,
    dq: Tensor,
    settings: Settings,
    architecture: Architecture,
) -> Launch:
    """The kernel of the gradient of the student's queries."""
    from satn_fast.kernels.attention_transfer.triton_backward import attention_transfer_backward_query_kernel

    tile = _tile(tiles.BACKWARD_QUERY, inputs, architecture)
    return Launch(
        attention_transfer_backward_query_kernel,
        grid=inputs.n_maps * ceil_div(inputs.q.shape[1], tile.queries),
        arguments={
            **_input_arguments(inputs, settings),
            **_gradient_arguments(rows, maps, upstream, inputs, settings),
            "dq": dq,
            "BLOCK_QUERIES": tile.queries,
            "BLOCK_KEYS": tile.keys,
        },
        tuning=tile.tuning,
    )


def backward_key_launch(
    inputs: Inputs,
    rows: Tensor,
    maps: Tensor,
    upstream: Tensor,
    dk: Tensor,
    settings: Settings,
    architecture: Architecture,
) -> Launch:
    """The kernel of the gradient of the student's keys."""
    from satn_fast.kernels.attention_transfer.triton_backward import attention_transfer_backward_key_kernel

    tile = _tile(tiles.BACKWARD_KEY, inputs, architecture)
    return Launch(
        attention_transfer_backward_key_kernel,
        grid=inputs.n_maps * ceil_div(inputs.q.shape[1], tile.keys),
        arguments={
            **_input_arguments(inputs, settings),
            **_gradient_arguments(rows, maps, upstream, inputs, settings),
            "dk": dk,
            "BLOCK_QUERIES": tile.queries,
            "BLOCK_KEYS": tile.keys,
        },
        tuning=tile.tuning,
    )


def _tile(table: Table, inputs: Inputs, architecture: Architecture) -> Tiles:
    size = max(inputs.q.shape[3], inputs.q_source.shape[3])
    return tiles.tile_for(table, architecture.family, arithmetic(inputs.q.dtype), size)


def _input_arguments(inputs: Inputs, settings: Settings) -> dict[str, Any]:
    """What all kernels but the combining one read."""
    n_frames, n_heads, size = inputs.q.shape[1:]
    size_source = inputs.q_source.shape[3]
    return {
        **inputs._asdict(),
        **_strides(inputs),
        "n_frames": n_frames,
        "n_heads": n_heads,
        # Further back than the utterance reaches there is nothing; the smaller number cannot overflow 32 bits.
        "window": None if settings.window is None else min(settings.window, n_frames),
        "scale": settings.scale * LOG2_E,
        "scale_source": settings.scale_source * LOG2_E,
        "LOSS": settings.loss,
        "SIZE": size,
        "SIZE_SOURCE": size_source,
        "PRECISION": float32_precision(),
        "BLOCK_SIZE": block_size(size, tiles.LARGEST_HEAD),
        "BLOCK_SIZE_SOURCE": block_size(size_source, tiles.LARGEST_HEAD),
    }


def _strides(inputs: Inputs) -> dict[str, int]:
    """Strides of the inputs, in units of 16 bytes where all are whole such.

    Triton compiles anew for strides that it is to know something of. That they are in such units is all it needs to
    copy 16 bytes at once.
    """
    named = {name: getattr(inputs, name).stride()[:3] for name in ("q", "k", "q_source", "k_source")}
    unit = 16 // inputs.q.element_size()
    if any(stride % unit for strides in named.values() for stride in strides):
        unit = 1
    return {
        "UNIT": unit,
        **{
            f"{name}_{of}": stride // unit
            for name, strides in named.items()
            for of, stride in zip(("batch", "frame", "head"), strides, strict=True)
        },
    }


def _gradient_arguments(
    rows: Tensor, maps: Tensor, upstream: Tensor, inputs: Inputs, settings: Settings
) -> dict[str, Any]:
    boost = BOOST.get(inputs.q.dtype, 1.0)
    return {
        "rows": rows,
        "maps": maps,
        "upstream": upstream,
        "gradient_scale": settings.scale / boost,
        "BOOST": boost,
    }
