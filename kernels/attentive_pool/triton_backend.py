"""Attentive pooling on Triton: shapes and launches of the kernels."""

import torch
from torch import Tensor

from satn_fast.kernels.attentive_pool import tiles
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

# A tile of the combining kernel: channels, and tiles of time.
COMBINE_CHANNELS, COMBINE_TILES = 64, 32


def forward(h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pooled (B, C) and the weights (B, T), both in float32."""
    batch, n_frames, channels = h.shape
    pooled = h.new_zeros(batch, channels, dtype=torch.float32)
    weights = h.new_empty(batch, n_frames, dtype=torch.float32)
    if h.numel():
        launch = forward_launch(
            h.contiguous(),
            weight.contiguous(),
            bias.contiguous(),
            context.contiguous(),
            contiguous(lengths),
            architecture_of(h.device),
        )
        launch.run(h.device)
        combine_launch(launch, pooled, weights).run(h.device)
    return pooled, weights


def backward(
    dpooled: Tensor,
    dweights: Tensor | None,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    pooled: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of h, weight, bias and context."""
    h, weight, bias, context = (tensor.contiguous() for tensor in (h, weight, bias, context))
    dpooled, dweights, lengths = dpooled.contiguous(), contiguous(dweights), contiguous(lengths)
    dh = torch.empty_like(h)
    if not h.numel():
        return dh, torch.zeros_like(weight), torch.zeros_like(bias), torch.zeros_like(context)
    architecture = architecture_of(h.device)
    mean = None
    if dweights is not None:
        mean = h.new_empty(h.shape[0], dtype=torch.float32)
        backward_mean_launch(weights, dweights, lengths, mean).run(h.device)
    launch = backward_launch(
        h, weight, bias, context, lengths, weights, pooled, dpooled, dweights, mean, dh, architecture
    )
    launch.run(h.device)
    # A projection is a convolution of one tap. Parts are added up in a fixed order: the same gradients every time.
    shape = torch.Size((1, h.shape[2], weight.shape[0]))
    dweight, dbias = convolution.backward_weight(
        h, launch.arguments["dprojected"], None, lengths, shape, 1.0, Settings()
    )
    dcontext = launch.arguments["dcontext"]
    return (
        dh,
        dweight.sum(0).squeeze(0).T.contiguous().to(weight.dtype),
        dbias.sum(0).to(bias.dtype),
        dcontext.sum(0).to(context.dtype),
    )


def forward_launch(
    h: Tensor, weight: Tensor, bias: Tensor, context: Tensor, lengths: Tensor | None, architecture: Architecture
) -> Launch:
    """The kernel that scores and pools tiles of time, on contiguous tensors."""
    from satn_fast.kernels.attentive_pool.triton_forward import attentive_pool_forward_kernel

    (batch, n_frames, channels), hidden = h.shape, weight.shape[0]
    tile = tiles.tile_for(tiles.FORWARD, architecture.family, arithmetic(h.dtype), hidden)
    n_tiles = ceil_div(n_frames, tile.frames)
    return Launch(
        attentive_pool_forward_kernel,
        grid=batch * n_tiles,
        arguments={
            "h": h,
            "weight": weight,
            "bias": bias,
            "context": context,
            "lengths": lengths,
            "scores": h.new_empty(batch, n_frames, dtype=torch.float32),
            "tile_best": h.new_empty(batch, n_tiles, dtype=torch.float32),
            "tile_total": h.new_empty(batch, n_tiles, dtype=torch.float32),
            "tile_pooled": h.new_empty(batch, n_tiles, channels, dtype=torch.float32),
            "n_frames": n_frames,
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
    names = ("scores", "tile_best", "tile_total", "tile_pooled", "lengths", "n_frames", "CHANNELS", "BLOCK_TIME")
    return Launch(
        attentive_pool_combine_kernel,
        grid=batch * n_parts,
        arguments={
            **{name: forward.arguments[name] for name in names},
            "pooled": pooled,
            "weights": weights,
            "n_tiles": n_tiles,
            "n_parts": n_parts,
            "BLOCK_CHANNELS": block_channels,
            "BLOCK_TILES": COMBINE_TILES,
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
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    context: Tensor,
    lengths: Tensor | None,
    weights: Tensor,
    pooled: Tensor,
    dpooled: Tensor,
    dweights: Tensor | None,
    mean: Tensor | None,
    dh: Tensor,
    architecture: Architecture,
) -> Launch:
    """The kernel of the gradients of h, of what the projection gave, and of the context in parts."""
    from satn_fast.kernels.attentive_pool.triton_backward import attentive_pool_backward_kernel

    (batch, n_frames, channels), hidden = h.shape, weight.shape[0]
    tile = tiles.tile_for(tiles.BACKWARD, architecture.family, arithmetic(h.dtype), hidden)
    n_tiles = ceil_div(n_frames, tile.frames)
    return Launch(
        attentive_pool_backward_kernel,
        grid=batch * n_tiles,
        arguments={
            "h": h,
            "weight": weight,
            "bias": bias,
            "context": context,
            "lengths": lengths,
            "weights": weights,
            "pooled": pooled,
            "dpooled": dpooled,
            "dweights": dweights,
            "mean": mean,
            "dh": dh,
            "dprojected": h.new_empty(batch, n_frames, hidden),
            "dcontext": h.new_empty(batch * n_tiles, hidden, dtype=torch.float32),
            "n_frames": n_frames,
            "CHANNELS": channels,
            "HIDDEN": hidden,
            "PRECISION": float32_precision(),
            "BLOCK_TIME": tile.frames,
            "BLOCK_CHANNELS": block_size(channels, tile.channels),
            "BLOCK_HIDDEN": block_size(hidden, tiles.LARGEST_HIDDEN),
        },
        tuning=tile.tuning,
    )
