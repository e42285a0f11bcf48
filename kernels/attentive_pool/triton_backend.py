"""Attentive pooling on Triton: shapes and launches of the kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import tiles
from satn_fast.kernels.attentive_pool.reference import DEVIATION_FLOOR
from satn_fast.kernels.causal_conv1d import triton_backend as convolution
from satn_fast.kernels.causal_conv1d.settings import Settings
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

# A tile of the combining kernel: channels, and tiles of time (fewer with deviations, which take registers).
COMBINE_CHANNELS, COMBINE_TILES, COMBINE_TILES_STATISTICS = 64, 32, 16


def forward(
    layers: Sequence[Tensor], weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, deviation: bool
) -> tuple[Tensor, Tensor]:
    """The pooled (B, C) or (B, 2C) and the weights (B, T), both in float32."""
    batch, n_frames, _ = layers[0].shape
    pooled = weight.new_zeros(batch, (1 + deviation) * weight.shape[1], dtype=torch.float32)
    weights = weight.new_empty(batch, n_frames, dtype=torch.float32)
    if batch and n_frames and weight.shape[1]:
        device = layers[0].device
        launch = forward_launch(
            _even(layers),
            weight.contiguous(),
            bias.contiguous(),
            context.contiguous(),
            contiguous(lengths),
            deviation,
            architecture_of(device),
        )
        launch.run(device)
        combine_launch(launch, pooled, weights).run(device)
    return pooled, weights


def backward(
    dpooled: Tensor,
    dweights: Tensor | None,
    layers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """The gradients of the layers, weight, bias and context."""
    sizes = [layer.shape[2] for layer in layers]
    weight, bias, context = weight.contiguous(), bias.contiguous(), context.contiguous()
    dpooled, dweights, lengths = dpooled.contiguous(), contiguous(dweights), contiguous(lengths)
    first = layers[0]
    if not (first.shape[0] and first.shape[1] and weight.shape[1]):
        dlayers = [layer.new_empty(layer.shape) for layer in layers]
        return dlayers, torch.zeros_like(weight), torch.zeros_like(bias), torch.zeros_like(context)
    mean = None
    if dweights is not None:
        mean = first.new_empty(first.shape[0], dtype=torch.float32)
        backward_mean_launch(weights, dweights, lengths, mean).run(first.device)
    even = _even(layers)
    dlayers = [torch.empty_like(layer) for layer in even]
    launch = backward_launch(
        even,
        weight,
        bias,
        context,
        lengths,
        weights,
        pooled,
        dpooled,
        dweights,
        mean,
        dlayers,
        architecture_of(first.device),
    )
    launch.run(first.device)
    dweight, dbias = _backward_projection(even, launch.arguments["dprojected"], lengths)
    dcontext = launch.arguments["dcontext"]
    if len(even) < len(layers):
        dlayers = [part.contiguous() for part in dlayers[0].split_with_sizes(sizes, 2)]
    return dlayers, dweight.to(weight.dtype), dbias.to(bias.dtype), dcontext.sum(0).to(context.dtype)


def _even(layers: Sequence[Tensor]) -> list[Tensor]:
    """Contiguous layers of one width, as the kernels read them: side by side where their widths differ."""
    if len({layer.shape[2] for layer in layers}) > 1:
        return [torch.cat(tuple(layers), 2)]
    return [layer.contiguous() for layer in layers]


def _backward_projection(layers: Sequence[Tensor], dprojected: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradients of weight (A, C) and bias (A,) in float32.

    A projection is a convolution of one tap. Parts are added up in a fixed order: the same gradients every time.
    """
    parts = []
    for layer in layers:
        shape = torch.Size((1, layer.shape[2], dprojected.shape[2]))
        dweight, dbias = convolution.backward_weight(layer, dprojected, None, lengths, shape, 1.0, Settings())
        parts.append(dweight.sum(0).squeeze(0))
    return torch.cat(parts).T.contiguous(), dbias.sum(0)


def forward_launch(
    layers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    deviation: bool,
    architecture: Architecture,
) -> Launch:
    """The kernel that scores and pools tiles of time, on contiguous layers of one width."""
    from satn_fast.kernels.attentive_pool.triton_forward import attentive_pool_forward_kernel

    (batch, n_frames, channels), hidden = layers[0].shape, weight.shape[0]
    table = tiles.FORWARD_STATISTICS if deviation or len(layers) > 1 else tiles.FORWARD
    tile = tiles.tile_for(table, architecture.family, arithmetic(weight.dtype), hidden)
    n_tiles = ceil_div(n_frames, tile.frames)
    moments = (batch, n_tiles, weight.shape[1])
    return Launch(
        attentive_pool_forward_kernel,
        grid=batch * n_tiles,
        arguments={
            "layers": tuple(layers),
            "weight": weight,
            "bias": bias,
            "context": context,
            "lengths": lengths,
            "scores": weight.new_empty(batch, n_frames, dtype=torch.float32),
            "tile_best": weight.new_empty(batch, n_tiles, dtype=torch.float32),
            "tile_total": weight.new_empty(batch, n_tiles, dtype=torch.float32),
            "tile_pooled": weight.new_empty(moments, dtype=torch.float32),
            "tile_spread": weight.new_empty(moments, dtype=torch.float32) if deviation else None,
            "n_frames": n_frames,
            "LAYERS": len(layers),
            "CHANNELS": channels,
            "HIDDEN": hidden,
            "PRECISION": float32_precision(),
            "BLOCK_TIME": tile.frames,
            "BLOCK_CHANNELS": block_size(channels, tile.channels),
            "BLOCK_HIDDEN": block_size(hidden, tiles.LARGEST_HIDDEN),
        },
        tuning=tile.tuning,
    )


def combine_launch(forward: Launch, pooled: Tensor, weights: Tensor) -> Launch:
    """The kernel that puts the tiles of a forward launch together."""
    from satn_fast.kernels.attentive_pool.triton_forward import attentive_pool_combine_kernel

    batch, n_tiles, channels = forward.arguments["tile_pooled"].shape
    block_channels = block_size(channels, COMBINE_CHANNELS)
    n_parts = max(n_tiles, ceil_div(channels, block_channels))
    names = ("scores", "tile_best", "tile_total", "tile_pooled", "tile_spread", "lengths", "n_frames", "BLOCK_TIME")
    return Launch(
        attentive_pool_combine_kernel,
        grid=batch * n_parts,
        arguments={
            **{name: forward.arguments[name] for name in names},
            "pooled": pooled,
            "weights": weights,
            "n_tiles": n_tiles,
            "n_parts": n_parts,
            "FLOOR": DEVIATION_FLOOR,
            "CHANNELS": channels,
            "BLOCK_CHANNELS": block_channels,
            "BLOCK_TILES": COMBINE_TILES if forward.arguments["tile_spread"] is None else COMBINE_TILES_STATISTICS,
        },
        tuning={"num_warps": 4, "num_stages": 1},
    )


def backward_mean_launch(weights: Tensor, dweights: Tensor, lengths: Tensor | None, mean: Tensor) -> Launch:
    """The kernel of the mean gradient of every utterance's weights."""
    from satn_fast.kernels.attentive_pool.triton_backward import attentive_pool_backward_mean_kernel

    return Launch(
        attentive_pool_backward_mean_kernel,
        grid=weights.shape[0],
        arguments={
            "weights": weights,
            "dweights": dweights,
            "lengths": lengths,
            "mean": mean,
            "n_frames": weights.shape[1],
            "BLOCK": 256,
        },
        tuning={"num_warps": 4, "num_stages": 1},
    )


def backward_launch(
    layers: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    weights: Tensor,
    pooled: Tensor,
    dpooled: Tensor,
    dweights: Tensor | None,
    mean: Tensor | None,
    dlayers: Sequence[Tensor],
    architecture: Architecture,
) -> Launch:
    """The kernel of the gradients of the layers, of what the projection gave, and of the context in parts."""
    from satn_fast.kernels.attentive_pool.triton_backward import attentive_pool_backward_kernel

    (batch, n_frames, channels), hidden = layers[0].shape, weight.shape[0]
    deviation = pooled.shape[1] > weight.shape[1]
    table = tiles.BACKWARD_STATISTICS if deviation or len(layers) > 1 else tiles.BACKWARD
    tile = tiles.tile_for(table, architecture.family, arithmetic(weight.dtype), hidden)
    n_tiles = ceil_div(n_frames, tile.frames)
    return Launch(
        attentive_pool_backward_kernel,
        grid=batch * n_tiles,
        arguments={
            "layers": tuple(layers),
            "weight": weight,
            "bias": bias,
            "context": context,
            "lengths": lengths,
            "weights": weights,
            "pooled": pooled,
            "dpooled": dpooled,
            "dweights": dweights,
            "mean": mean,
            "dlayers": tuple(dlayers),
            "dprojected": weight.new_empty(batch, n_frames, hidden),
            "dcontext": weight.new_empty(batch * n_tiles, hidden, dtype=torch.float32),
            "n_frames": n_frames,
            "DEVIATION": deviation,
            "FLOOR": DEVIATION_FLOOR,
            "LAYERS": len(layers),
            "CHANNELS": channels,
            "HIDDEN": hidden,
            "PRECISION": float32_precision(),
            "BLOCK_TIME": tile.frames,
            "BLOCK_CHANNELS": block_size(channels, tile.channels),
            "BLOCK_HIDDEN": block_size(hidden, tiles.LARGEST_HIDDEN),
        },
        tuning=tile.tuning,
    )
