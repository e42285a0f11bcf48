# mypy: ignore-errors
"""The forward kernels of attentive pooling: tiles of time, then all tiles of an utterance together."""

import triton
import triton.language as tl

from satn_fast.kernels.attentive_pool.triton_common import LOG2_E, LOWEST, load_matrix, locate_tile, tanh


@triton.jit(do_not_specialize=["n_frames"])
def attentive_pool_forward_kernel(
    h,  # (B, T, CHANNELS)
    weight,  # (HIDDEN, CHANNELS)
    bias,  # (HIDDEN,)
    context,  # (HIDDEN,)
    lengths,  # (B,) integers or None
    scores,  # (B, T) float32, in units of log2(e); padding is not written
    tile_best,  # (B, number of tiles) float32: the largest score of a tile; tiles of padding are not written
    tile_total,  # (B, number of tiles) float32: sum_t exp2(score - best)
    tile_pooled,  # (B, number of tiles, CHANNELS) float32: sum_t exp2(score - best) h
    n_frames,
    CHANNELS: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,  # all of them
):
    """Each program scores BLOCK_TIME frames of an utterance, and pools them as if they were all.

    score[t] = context . tanh(weight h[t] + bias). The tile of h stays on the chip where BLOCK_CHANNELS are all
    channels; more of them come from the cache a second time.
    """
    utterance, time, n_real = locate_tile(lengths, n_frames, BLOCK_TIME)
    h += utterance.to(tl.int64) * n_frames * CHANNELS
    hidden = tl.arange(0, BLOCK_HIDDEN)
    if tl.min(time, axis=0) < n_real:
        if BLOCK_CHANNELS >= CHANNELS:
            channels = tl.arange(0, BLOCK_CHANNELS)
            h_tile = load_matrix(h, time, channels, n_real, CHANNELS)
            weight_tile = load_matrix(weight, hidden, channels, HIDDEN, CHANNELS)
            projected = tl.dot(h_tile, weight_tile.T, input_precision=PRECISION)
        else:
            projected = tl.zeros((BLOCK_TIME, BLOCK_HIDDEN), tl.float32)
            for first in range(0, CHANNELS, BLOCK_CHANNELS):
                channels = first + tl.arange(0, BLOCK_CHANNELS)
                h_tile = load_matrix(h, time, channels, n_real, CHANNELS)
                weight_tile = load_matrix(weight, hidden, channels, HIDDEN, CHANNELS)
                projected = tl.dot(h_tile, weight_tile.T, projected, input_precision=PRECISION)
        projected += tl.load(bias + hidden, mask=hidden < HIDDEN, other=0.0).to(tl.float32)[None, :]
        context_row = tl.load(context + hidden, mask=hidden < HIDDEN, other=0.0).to(tl.float32)[None, :]
        score = tl.sum(tanh(projected) * context_row, axis=1) * LOG2_E
        best = tl.max(tl.where(time < n_real, score, -float("inf")), axis=0)
        share = tl.where(time < n_real, tl.exp2(score - best), 0.0)

        tl.store(scores + utterance.to(tl.int64) * n_frames + time, score, mask=time < n_real)
        tl.store(tile_best + tl.program_id(0), best)
        tl.store(tile_total + tl.program_id(0), tl.sum(share, axis=0))
        tile_pooled += tl.program_id(0).to(tl.int64) * CHANNELS
        if BLOCK_CHANNELS >= CHANNELS:
            channels = tl.arange(0, BLOCK_CHANNELS)
            pooled = tl.sum(share[:, None] * h_tile.to(tl.float32), axis=0)
            tl.store(tile_pooled + channels, pooled, mask=channels < CHANNELS)
        else:
            for first in range(0, CHANNELS, BLOCK_CHANNELS):
                channels = first + tl.arange(0, BLOCK_CHANNELS)
                h_tile = load_matrix(h, time, channels, n_real, CHANNELS)
                pooled = tl.sum(share[:, None] * h_tile.to(tl.float32), axis=0)
                tl.store(tile_pooled + channels, pooled, mask=channels < CHANNELS)


@triton.jit(do_not_specialize=["n_frames", "n_tiles", "n_parts"])
def attentive_pool_combine_kernel(
    scores,  # (B, T) float32, in units of log2(e)
    tile_best,  # (B, n_tiles) float32
    tile_total,  # (B, n_tiles) float32
    tile_pooled,  # (B, n_tiles, CHANNELS) float32
    lengths,  # (B,) integers or None
    pooled,  # (B, CHANNELS) float32
    weights,  # (B, T) float32
    n_frames,
    n_tiles,
    n_parts,  # programs of an utterance
    CHANNELS: tl.constexpr,
    BLOCK_TIME: tl.constexpr,  # frames of a tile, the same as in the forward kernel
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
):
    """Each program computes the weights of BLOCK_TIME frames and BLOCK_CHANNELS of the pooled vector of an utterance.

    The tiles are added up always in the same order. Utterances without frames get zeros.
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
    for first in range(0, n_real_tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        bests = tl.load(tile_best + first_tile + tile, mask=tile < n_real_tiles, other=-float("inf"))
        shares = tl.exp2(bests - best)
        total += shares * tl.load(tile_total + first_tile + tile, mask=tile < n_real_tiles, other=0.0)
        acc += tl.sum(
            shares[:, None] * load_matrix(tile_pooled + first_tile * CHANNELS, tile, channels, n_real_tiles, CHANNELS),
            axis=0,
        )
    # Never zero for an utterance with frames: the tile of the best score has exp2(0) in its sum.
    one_over_total = tl.where(n_real > 0, 1.0 / tl.maximum(tl.sum(total, axis=0), 1.0), 0.0)
    tl.store(pooled + utterance.to(tl.int64) * CHANNELS + channels, acc * one_over_total, mask=channels < CHANNELS)

    time = part * BLOCK_TIME + tl.arange(0, BLOCK_TIME)
    place = utterance.to(tl.int64) * n_frames + time
    score = tl.load(scores + place, mask=time < n_real, other=-float("inf"))
    share = tl.where(time < n_real, tl.exp2(score - best) * one_over_total, 0.0)
    tl.store(weights + place, share, mask=time < n_frames)
