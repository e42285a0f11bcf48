# mypy: ignore-errors
"""The forward kernels of attentive pooling: tiles of time, then all tiles of an utterance together."""

import triton
import triton.language as tl

from satn_fast.kernels.attentive_pool.triton_common import (
    LOG2_E,
    LOWEST,
    load_matrix,
    locate_block,
    locate_tile,
    pointer_of,
    tanh,
)


@triton.jit
def store_moments(h_tile, share, total, tile_pooled, tile_spread, place, exists):
    """Stores the weighted sum of a tile's frames, and of their squared distances from the tile's own mean."""
    h_tile = h_tile.to(tl.float32)
    pooled = tl.sum(share[:, None] * h_tile, axis=0)
    tl.store(tile_pooled + place, pooled, mask=exists)
    if tile_spread is not None:
        centred = h_tile - (pooled / total)[None, :]
        tl.store(tile_spread + place, tl.sum(share[:, None] * (centred * centred), axis=0), mask=exists)


@triton.jit(do_not_specialize=["n_frames"])
def attentive_pool_forward_kernel(
    layers,  # LAYERS times (B, T, CHANNELS)
    weight,  # (HIDDEN, LAYERS * CHANNELS)
    bias,  # (HIDDEN,)
    context,  # (HIDDEN,)
    lengths,  # (B,) integers or None
    scores,  # (B, T) float32, in units of log2(e); padding is not written
    tile_best,  # (B, number of tiles) float32: the largest score of a tile; tiles of padding are not written
    tile_total,  # (B, number of tiles) float32: sum_t exp2(score - best)
    tile_pooled,  # (B, number of tiles, LAYERS * CHANNELS) float32: sum_t exp2(score - best) h
    tile_spread,  # the same shape: sum_t exp2(score - best) (h - mean of the tile)^2; or None: no deviations
    n_frames,
    LAYERS: tl.constexpr,
    CHANNELS: tl.constexpr,  # of a layer
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,  # all of them
):
    """Each program scores BLOCK_TIME frames of an utterance, and pools them as if they were all.

    score[t] = context . tanh(weight h[t] + bias), h[t] being all layers side by side. The tile of h stays on the chip
    where BLOCK_CHANNELS are all channels of a single layer; more of them come from the cache a second time.
    """
    utterance, time, n_real = locate_tile(lengths, n_frames, BLOCK_TIME)
    first_frame = utterance.to(tl.int64) * n_frames
    hidden = tl.arange(0, BLOCK_HIDDEN)
    ALL: tl.constexpr = LAYERS * CHANNELS
    BLOCKS: tl.constexpr = LAYERS * ((CHANNELS + BLOCK_CHANNELS - 1) // BLOCK_CHANNELS)
    if tl.min(time, axis=0) < n_real:
        if BLOCKS == 1:
            channels = tl.arange(0, BLOCK_CHANNELS)
            h_tile = load_matrix(layers[0] + first_frame * CHANNELS, time, channels, n_real, CHANNELS, CHANNELS)
            weight_tile = load_matrix(weight, hidden, channels, HIDDEN, CHANNELS, CHANNELS)
            projected = tl.dot(h_tile, weight_tile.T, input_precision=PRECISION)
        else:
            projected = tl.zeros((BLOCK_TIME, BLOCK_HIDDEN), tl.float32)
            for step in range(0, BLOCKS):
                layer, channels = locate_block(step, CHANNELS, BLOCK_CHANNELS)
                h = pointer_of(layers, layer, LAYERS) + first_frame * CHANNELS
                h_tile = load_matrix(h, time, channels, n_real, CHANNELS, CHANNELS)
                weight_tile = load_matrix(weight + layer * CHANNELS, hidden, channels, HIDDEN, CHANNELS, ALL)
                projected = tl.dot(h_tile, weight_tile.T, projected, input_precision=PRECISION)
        projected += tl.load(bias + hidden, mask=hidden < HIDDEN, other=0.0).to(tl.float32)[None, :]
        context_row = tl.load(context + hidden, mask=hidden < HIDDEN, other=0.0).to(tl.float32)[None, :]
        score = tl.sum(tanh(projected) * context_row, axis=1) * LOG2_E
        best = tl.max(tl.where(time < n_real, score, -float("inf")), axis=0)
        share = tl.where(time < n_real, tl.exp2(score - best), 0.0)
        total = tl.sum(share, axis=0)

        tl.store(scores + first_frame + time, score, mask=time < n_real)
        tl.store(tile_best + tl.program_id(0), best)
        tl.store(tile_total + tl.program_id(0), total)
        first = tl.program_id(0).to(tl.int64) * ALL
        if BLOCKS == 1:
            channels = tl.arange(0, BLOCK_CHANNELS)
            store_moments(h_tile, share, total, tile_pooled, tile_spread, first + channels, channels < CHANNELS)
        else:
            for step in range(0, BLOCKS):
                layer, channels = locate_block(step, CHANNELS, BLOCK_CHANNELS)
                h = pointer_of(layers, layer, LAYERS) + first_frame * CHANNELS
                h_tile = load_matrix(h, time, channels, n_real, CHANNELS, CHANNELS)
                place = first + layer * CHANNELS + channels
                store_moments(h_tile, share, total, tile_pooled, tile_spread, place, channels < CHANNELS)


@triton.jit(do_not_specialize=["n_frames", "n_tiles", "n_parts"])
def attentive_pool_combine_kernel(
    scores,  # (B, T) float32, in units of log2(e)
    tile_best,  # (B, n_tiles) float32
    tile_total,  # (B, n_tiles) float32
    tile_pooled,  # (B, n_tiles, CHANNELS) float32
    tile_spread,  # (B, n_tiles, CHANNELS) float32, or None: no deviations
    lengths,  # (B,) integers or None
    pooled,  # (B, CHANNELS) float32, or (B, 2 * CHANNELS) with the deviations
    weights,  # (B, T) float32
    n_frames,
    n_tiles,
    n_parts,  # programs of an utterance
    FLOOR: tl.constexpr,  # what is added to a variance before its root
    CHANNELS: tl.constexpr,  # of all layers together
    BLOCK_TIME: tl.constexpr,  # frames of a tile, the same as in the forward kernel
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
):
    """Each program computes the weights of BLOCK_TIME frames and BLOCK_CHANNELS of the pooled vector of an utterance.

    The tiles are added up always in the same order: means first, then squared distances, which grow by those of the
    tiles' means from the mean of all (Chan et al. 1979). Utterances without frames get zeros.
    """
    utterance = tl.program_id(0) // n_parts
    part = tl.program_id(0) % n_parts
    n_real = n_frames if lengths is None else tl.load(lengths + utterance).to(tl.int32)
    n_real_tiles = tl.cdiv(n_real, BLOCK_TIME)
    first_tile = utterance.to(tl.int64) * n_tiles

    best = tl.full((), LOWEST, tl.float32)
    for first in range(0, n_real_tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        bests = tl.load(tile_best + first_tile + tile, mask=tile < n_real_tiles, other=-float("inf"))
        best = tl.maximum(best, tl.max(bests, axis=0))
    channels = part * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    total = tl.zeros((BLOCK_TILES,), tl.float32)
    acc = tl.zeros((BLOCK_CHANNELS,), tl.float32)
    tile_pooled += first_tile * CHANNELS
    for first in range(0, n_real_tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        bests = tl.load(tile_best + first_tile + tile, mask=tile < n_real_tiles, other=-float("inf"))
        shares = tl.exp2(bests - best)
        total += shares * tl.load(tile_total + first_tile + tile, mask=tile < n_real_tiles, other=0.0)
        acc += tl.sum(
            shares[:, None] * load_matrix(tile_pooled, tile, channels, n_real_tiles, CHANNELS, CHANNELS), axis=0
        )
    # Never zero for an utterance with frames: the tile of the best score has exp2(0) in its sum.
    one_over_total = tl.where(n_real > 0, 1.0 / tl.maximum(tl.sum(total, axis=0), 1.0), 0.0)
    mean = acc * one_over_total
    WIDTH: tl.constexpr = CHANNELS if tile_spread is None else 2 * CHANNELS
    pooled += utterance.to(tl.int64) * WIDTH
    tl.store(pooled + channels, mean, mask=channels < CHANNELS)

    if tile_spread is not None:
        tile_spread += first_tile * CHANNELS
        spread = tl.zeros((BLOCK_CHANNELS,), tl.float32)
        for first in range(0, n_real_tiles, BLOCK_TILES):
            tile = first + tl.arange(0, BLOCK_TILES)
            bests = tl.load(tile_best + first_tile + tile, mask=tile < n_real_tiles, other=-float("inf"))
            totals = tl.load(tile_total + first_tile + tile, mask=tile < n_real_tiles, other=1.0)[:, None]
            sums = load_matrix(tile_pooled, tile, channels, n_real_tiles, CHANNELS, CHANNELS)
            within = load_matrix(tile_spread, tile, channels, n_real_tiles, CHANNELS, CHANNELS)
            away = sums / totals - mean[None, :]
            spread += tl.sum(tl.exp2(bests - best)[:, None] * (within + totals * away * away), axis=0)
        root = tl.where(n_real > 0, tl.sqrt_rn(spread * one_over_total + FLOOR), 0.0)
        tl.store(pooled + CHANNELS + channels, root, mask=channels < CHANNELS)

    time = part * BLOCK_TIME + tl.arange(0, BLOCK_TIME)
    place = utterance.to(tl.int64) * n_frames + time
    score = tl.load(scores + place, mask=time < n_real, other=-float("inf"))
    share = tl.where(time < n_real, tl.exp2(score - best) * one_over_total, 0.0)
    tl.store(weights + place, share, mask=time < n_frames)
