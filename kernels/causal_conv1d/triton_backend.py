"""The causal convolution on Triton: shapes and launches of the kernels.

A batch (B, T, C) is read as rows (B*T, C): `row = utterance * T + time`. So a tile holds several short utterances, and
no rows are wasted whatever T and the dilation.
"""

from typing import Any

import torch
from torch import Tensor

from satn_fast.kernels.causal_conv1d import tiles
from satn_fast.kernels.causal_conv1d.settings import Settings
from satn_fast.kernels.triton_runtime import (
    Architecture,
    Launch,
    architecture_of,
    arithmetic,
    block_size,
    ceil_div,
    contiguous,
    descriptor,
    fits_descriptor,
    float32_precision,
    n_processors,
)


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    settings: Settings,
    keep_active: bool,
) -> tuple[Tensor, Tensor]:
    """The result (B, T, Cout) and, where asked for, the bits (B, T, ceil(Cout/8)) of the inner ReLU."""
    n_out = weight.shape[0]
    y = x.new_empty(*x.shape[:2], n_out)
    active = x.new_empty((*x.shape[:2], ceil_div(n_out, 8)) if keep_active else (0,), dtype=torch.uint8)
    if y.numel():
        forward_launch(
            x.contiguous(),
            packed(weight),
            contiguous(bias),
            contiguous(residual),
            contiguous(lengths),
            seed,
            y,
            active if keep_active else None,
            settings,
            architecture_of(x.device),
        ).run(x.device)
    return y, active


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    active: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    has_residual: bool,
    settings: Settings,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight, bias and residual; empty where `wanted` says no."""
    architecture = architecture_of(x.device)
    x, dy, packed_weight, lengths = x.contiguous(), dy.contiguous(), packed(weight), contiguous(lengths)
    dx = torch.empty_like(x) if wanted[0] else x.new_empty(0)
    dweight = torch.zeros_like(packed_weight) if wanted[1] else weight.new_empty(0)
    dbias = weight.new_zeros(weight.shape[0]) if wanted[2] else weight.new_empty(0)
    dresidual = torch.empty_like(dy) if wanted[3] else x.new_empty(0)
    if not dy.numel():
        return dx, dweight.permute(2, 1, 0) if wanted[1] else dweight, dbias, dresidual

    # Without a residual, the sign of y says where the gradient passes, and the other kernels look at it themselves.
    gradient, gate, scale = dy, y, settings.keep_scale
    if has_residual or (seed is not None and not settings.relu):
        gradient, gate, scale = torch.empty_like(dy), None, 1.0
        backward_epilogue_launch(
            dy,
            y if has_residual else None,
            active,
            lengths,
            seed,
            dresidual if wanted[3] else None,
            gradient if any(wanted[:3]) else None,
            settings,
        ).run(x.device)
    if wanted[0]:
        backward_input_launch(gradient, gate, packed_weight, lengths, dx, scale, settings, architecture).run(x.device)
    if wanted[1] or wanted[2]:
        dweight_parts, dbias_parts = backward_weight(x, gradient, gate, lengths, packed_weight.shape, scale, settings)
        # The splits are added up in a fixed order: no atomics, so the same gradients every time.
        if wanted[1]:
            dweight = dweight_parts.sum(0).to(weight.dtype)
        if wanted[2]:
            dbias = dbias_parts.sum(0).to(weight.dtype)
    return dx, dweight.permute(2, 1, 0) if wanted[1] else dweight, dbias, dresidual


def backward_weight(
    x: Tensor,
    gradient: Tensor,
    gate: Tensor | None,
    lengths: Tensor | None,
    weight_shape: torch.Size,
    scale: float,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """The parts (n, K, Cin, Cout) and (n, Cout) whose sums are the gradients of weight (packed) and bias."""
    architecture, real_tiles = architecture_of(x.device), None
    if lengths is not None:
        listing = real_tiles_launch(x, lengths, architecture)
        listing.run(x.device)
        real_tiles = listing.arguments["real_tiles"]
    processors = n_processors(x.device)
    launch = backward_weight_launch(
        x, gradient, gate, lengths, real_tiles, weight_shape, scale, settings, architecture, processors
    )
    launch.run(x.device)
    return launch.arguments["dweight"], launch.arguments["dbias"]


def packed(weight: Tensor) -> Tensor:
    """(Cout, Cin, K) as contiguous (K, Cin, Cout), what the kernels read: no copy of a weight that is stored so."""
    return weight.permute(2, 1, 0).contiguous()


def forward_launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    y: Tensor,
    active: Tensor | None,
    settings: Settings,
    architecture: Architecture,
) -> Launch:
    """The forward kernel, on contiguous tensors and a packed weight."""
    from satn_fast.kernels.causal_conv1d.triton_forward import causal_conv1d_forward_kernel

    taps, n_in, n_out = weight.shape
    tile = tiles.FORWARD[architecture.family][arithmetic(x.dtype)]
    block_out, block_in = block_size(n_out, tile.out_channels), block_size(n_in, tile.in_channels)
    copied = _Operands(tile.descriptors and fits_descriptor(x, weight, residual, y))
    return Launch(
        causal_conv1d_forward_kernel,
        grid=ceil_div(x.shape[0] * x.shape[1], tile.rows) * ceil_div(n_out, block_out),
        arguments={
            "x": copied.rows(x, tile.rows, block_in),
            "weight": copied.weight(weight, block_in, block_out),
            "bias": bias,
            "residual": copied.rows(residual, tile.rows, block_out),
            "lengths": lengths,
            "seed": seed,
            "y": copied.rows(y, tile.rows, block_out),
            "active": active,
            **_row_numbers(x, taps),
            **_dropout_numbers(settings),
            "dilation": _within_utterance(settings.dilation, x),
            "IN": n_in,
            "OUT": n_out,
            "TAPS": taps,
            "RELU": settings.relu,
            "PRECISION": float32_precision(),
            "DESCRIPTORS": copied.by_descriptor,
            "BLOCK_ROWS": tile.rows,
            "BLOCK_OUT": block_out,
            "BLOCK_IN": block_in,
        },
        tuning=tile.tuning,
    )


def backward_epilogue_launch(
    dy: Tensor,
    y: Tensor | None,
    active: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    dresidual: Tensor | None,
    gradient: Tensor | None,
    settings: Settings,
) -> Launch:
    """The kernel that takes dy back to what the convolution gave, on contiguous tensors."""
    from satn_fast.kernels.causal_conv1d.triton_backward import causal_conv1d_backward_epilogue_kernel

    n_out = dy.shape[2]
    tile = tiles.BACKWARD_EPILOGUE
    block_out = block_size(n_out, tile.out_channels)
    return Launch(
        causal_conv1d_backward_epilogue_kernel,
        grid=ceil_div(dy.shape[0] * dy.shape[1], tile.rows) * ceil_div(n_out, block_out),
        arguments={
            "dy": dy,
            "y": y,
            "active": active,
            "lengths": lengths,
            "seed": seed,
            "dresidual": dresidual,
            "gradient": gradient,
            **_row_numbers(dy, taps=1),
            **_dropout_numbers(settings),
            "OUT": n_out,
            "BLOCK_ROWS": tile.rows,
            "BLOCK_OUT": block_out,
        },
        tuning=tile.tuning,
    )


def backward_input_launch(
    gradient: Tensor,
    gate: Tensor | None,
    weight: Tensor,
    lengths: Tensor | None,
    dx: Tensor,
    scale: float,
    settings: Settings,
    architecture: Architecture,
) -> Launch:
    """The kernel of the input's gradient, on contiguous tensors and a packed weight."""
    from satn_fast.kernels.causal_conv1d.triton_backward import causal_conv1d_backward_input_kernel

    taps, n_in, n_out = weight.shape
    tile = tiles.BACKWARD_INPUT[architecture.family][arithmetic(dx.dtype)]
    block_out, block_in = block_size(n_out, tile.out_channels), block_size(n_in, tile.in_channels)
    copied = _Operands(tile.descriptors and fits_descriptor(gradient, gate, weight, dx))
    return Launch(
        causal_conv1d_backward_input_kernel,
        grid=ceil_div(dx.shape[0] * dx.shape[1], tile.rows) * ceil_div(n_in, block_in),
        arguments={
            "gradient": copied.rows(gradient, tile.rows, block_out),
            "gate": copied.rows(gate, tile.rows, block_out),
            "weight": copied.weight(weight, block_in, block_out),
            "lengths": lengths,
            "dx": copied.rows(dx, tile.rows, block_in),
            **_row_numbers(dx, taps),
            "dilation": _within_utterance(settings.dilation, dx),
            "scale": scale,
            "IN": n_in,
            "OUT": n_out,
            "TAPS": taps,
            "PRECISION": float32_precision(),
            "DESCRIPTORS": copied.by_descriptor,
            "BLOCK_ROWS": tile.rows,
            "BLOCK_IN": block_in,
            "BLOCK_OUT": block_out,
        },
        tuning=tile.tuning,
    )


def real_tiles_launch(x: Tensor, lengths: Tensor, architecture: Architecture) -> Launch:
    """The kernel that lists the tiles of rows which `backward_weight_launch` has to look at."""
    from satn_fast.kernels.causal_conv1d.triton_backward import causal_conv1d_real_tiles_kernel

    tile = tiles.BACKWARD_WEIGHT[architecture.family][arithmetic(x.dtype)]
    n_tiles = ceil_div(x.shape[0] * x.shape[1], tile.rows)
    return Launch(
        causal_conv1d_real_tiles_kernel,
        grid=1,
        arguments={
            "lengths": lengths,
            "real_tiles": x.new_empty(1 + n_tiles, dtype=torch.int32),
            **_row_numbers(x, taps=1),
            "n_tiles": n_tiles,
            "BLOCK_ROWS": tile.rows,
            "BLOCK_TILES": tiles.LISTED_TOGETHER,
        },
        tuning={"num_warps": 4, "num_stages": 1},
    )


def backward_weight_launch(
    x: Tensor,
    gradient: Tensor,
    gate: Tensor | None,
    lengths: Tensor | None,
    real_tiles: Tensor | None,
    weight_shape: torch.Size,
    scale: float,
    settings: Settings,
    architecture: Architecture,
    n_processors: int,
) -> Launch:
    """The kernel of the gradients of weight (packed) and bias, as one float32 part for each split of the rows.

    There are as many splits as keep every processor busy once: more would only add traffic.
    """
    from satn_fast.kernels.causal_conv1d.triton_backward import causal_conv1d_backward_weight_kernel

    taps, n_in, n_out = weight_shape
    tile = tiles.BACKWARD_WEIGHT[architecture.family][arithmetic(x.dtype)]
    block_out, block_in = block_size(n_out, tile.out_channels), block_size(n_in, tile.in_channels)
    programs_per_split = taps * ceil_div(n_in, block_in) * ceil_div(n_out, block_out)
    n_tiles = ceil_div(x.shape[0] * x.shape[1], tile.rows)
    n_splits = min(n_tiles, max(1, n_processors // programs_per_split))
    return Launch(
        causal_conv1d_backward_weight_kernel,
        grid=n_splits * programs_per_split,
        arguments={
            "x": x,
            "gradient": gradient,
            "gate": gate,
            "lengths": lengths,
            "real_tiles": real_tiles,
            "dweight": x.new_empty(n_splits, *weight_shape, dtype=torch.float32),
            "dbias": x.new_empty(n_splits, n_out, dtype=torch.float32),
            **_row_numbers(x, taps),
            "dilation": _within_utterance(settings.dilation, x),
            "n_tiles": n_tiles,
            "n_splits": n_splits,
            "scale": scale,
            "IN": n_in,
            "OUT": n_out,
            "TAPS": taps,
            "PRECISION": float32_precision(),
            "BLOCK_ROWS": tile.rows,
            "BLOCK_IN": block_in,
            "BLOCK_OUT": block_out,
        },
        tuning=tile.tuning,
    )


class _Operands:
    """Hands tensors to a kernel, as tensor descriptors or as they are."""

    def __init__(self, by_descriptor: bool) -> None:
        self.by_descriptor = by_descriptor

    def rows(self, values: Tensor | None, block_rows: int, block_channels: int) -> Any:
        """(B, T, C), copied in tiles of rows and channels."""
        if values is None or not self.by_descriptor:
            return values
        return descriptor(values.flatten(0, 1), (block_rows, block_channels))

    def weight(self, values: Tensor, block_in: int, block_out: int) -> Any:
        """(K, Cin, Cout), copied in tiles of one tap."""
        return descriptor(values, (1, block_in, block_out)) if self.by_descriptor else values


def _row_numbers(x: Tensor, taps: int) -> dict[str, int]:
    """Rows of the batch and frames of an utterance. Raises ValueError where kernels could not count them."""
    n_rows, n_frames = x.shape[0] * x.shape[1], x.shape[1]
    if n_rows + taps * n_frames >= 2**31:
        raise ValueError(f"x has {n_rows} frames in all, and the kernels count them in 32 bits; split the batch")
    return {"n_rows": n_rows, "n_frames": n_frames}


def _within_utterance(dilation: int, x: Tensor) -> int:
    """Further away than the utterance reaches there is nothing; the smaller number cannot overflow 32 bits."""
    return min(dilation, x.shape[1])


def _dropout_numbers(settings: Settings) -> dict[str, Any]:
    return {"drop_below": round(settings.dropout_p * 2**31), "keep_scale": settings.keep_scale}
