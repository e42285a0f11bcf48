# mypy: ignore-errors
"""The forward kernels of the attention-transfer losses: a pass over both maps, and the sums of all tiles."""

import triton
import triton.language as tl

from satn_fast.kernels.attention_transfer.triton_common import (
    frames_of,
    load_frames,
    load_scores,
    locate_tile,
    only_visible,
    visible_keys,
)

LN_2 = tl.constexpr(0.6931471805599453)
# Below every score; minus infinity less minus infinity would not be a number.
LOWEST = tl.constexpr(-1e30)


@triton.jit(
    do_not_specialize=["n_frames", "n_heads", "window"]
    + [f"{x}_{of}" for x in ("q", "k", "q_source", "k_source") for of in ("batch", "frame", "head")]
)
def attention_transfer_forward_kernel(
    q,  # (B, T, H, SIZE)
    k,  # (B, T, H, SIZE)
    q_source,  # (B, T, H, SIZE_SOURCE)
    k_source,  # (B, T, H, SIZE_SOURCE)
    lengths,  # (B,) integers or None
    rows,  # (4 to 6, B * H, T) float32: best and share of student, of source; not for "kl": pull; for "at": power
    sums,  # (1 or 3, B * H, number of tiles) float32: distance and, for "at", power and excess of each tile
    q_batch,
    q_frame,
    q_head,
    k_batch,
    k_frame,
    k_head,
    q_source_batch,
    q_source_frame,
    q_source_head,
    k_source_batch,
    k_source_frame,
    k_source_head,  # strides in units of UNIT elements
    n_frames,
    n_heads,
    window,  # frames that a query sees, or None: all
    scale,
    scale_source,  # scales of the scores, times log2(e)
    LOSS: tl.constexpr,
    SIZE: tl.constexpr,
    SIZE_SOURCE: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_SIZE_SOURCE: tl.constexpr,
):
    """Each program computes the distance between BLOCK_QUERIES rows of both maps, and what their gradient needs.

    P = softmax(scale * q k^T), S likewise from the source. "kl": one loop over the keys, the divergence
    sum_k S (log S - log P) with running maxima. "mse", "at": a second loop takes differences of P and S with the
    maxima and sums that the first one found.
    """
    attention_map, utterance, head, first_query, n_real = locate_tile(lengths, n_frames, n_heads, BLOCK_QUERIES)
    queries = first_query + tl.arange(0, BLOCK_QUERIES)
    first_key, end_key = visible_keys(first_query, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    q = frames_of(q, utterance, head, q_batch, q_head, UNIT)
    k = frames_of(k, utterance, head, k_batch, k_head, UNIT)
    q_source = frames_of(q_source, utterance, head, q_source_batch, q_source_head, UNIT)
    k_source = frames_of(k_source, utterance, head, k_source_batch, k_source_head, UNIT)
    q_tile = load_frames(q, queries, n_real, q_frame, UNIT, SIZE, BLOCK_SIZE)
    q_source_tile = load_frames(q_source, queries, n_real, q_source_frame, UNIT, SIZE_SOURCE, BLOCK_SIZE_SOURCE)

    best = tl.full((BLOCK_QUERIES,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK_QUERIES,), tl.float32)
    best_source = tl.full((BLOCK_QUERIES,), LOWEST, tl.float32)
    total_source = tl.zeros((BLOCK_QUERIES,), tl.float32)
    gap = tl.zeros((BLOCK_QUERIES,), tl.float32)  # sum_k exp2(source - best_source) (source - student)
    for first in range(first_key, end_key, BLOCK_KEYS):
        keys = first + tl.arange(0, BLOCK_KEYS)
        _, student = load_scores(q_tile, k, keys, n_real, k_frame, scale, UNIT, SIZE, BLOCK_SIZE, PRECISION)
        _, source = load_scores(
            q_source_tile,
            k_source,
            keys,
            n_real,
            k_source_frame,
            scale_source,
            UNIT,
            SIZE_SOURCE,
            BLOCK_SIZE_SOURCE,
            PRECISION,
        )
        difference = source - student
        student = only_visible(student, queries[:, None], keys[None, :], n_real, window)
        source = only_visible(source, queries[:, None], keys[None, :], n_real, window)

        new_best = tl.maximum(best, tl.max(student, axis=1))
        total = total * tl.exp2(best - new_best) + tl.sum(tl.exp2(student - new_best[:, None]), axis=1)
        best = new_best
        new_best = tl.maximum(best_source, tl.max(source, axis=1))
        shrink = tl.exp2(best_source - new_best)
        weight = tl.exp2(source - new_best[:, None])
        total_source = total_source * shrink + tl.sum(weight, axis=1)
        best_source = new_best
        if LOSS == "kl":
            gap = gap * shrink + tl.sum(weight * difference, axis=1)

    # A padded query has probabilities of zero wherever they are computed again.
    real = queries < n_real
    total = tl.where(real, total, 1.0)
    total_source = tl.where(real, total_source, 1.0)
    best = tl.where(real, best, 0.0)
    best_source = tl.where(real, best_source, 0.0)
    share = tl.where(real, 1.0 / total, 0.0)
    share_source = tl.where(real, 1.0 / total_source, 0.0)
    n_maps = tl.num_programs(0) // tl.cdiv(n_frames, BLOCK_QUERIES)
    exists = queries < n_frames
    row = rows + attention_map.to(tl.int64) * n_frames + queries
    next_statistic = n_maps.to(tl.int64) * n_frames
    tl.store(row, best, mask=exists)
    tl.store(row + next_statistic, share, mask=exists)
    tl.store(row + 2 * next_statistic, best_source, mask=exists)
    tl.store(row + 3 * next_statistic, share_source, mask=exists)
    tile_sum = sums + tl.program_id(0)

    if LOSS == "kl":
        # log S - log P = (source - student) - (log-sum-exp of source - that of student). Maxima and sums are kept
        # apart: where the maps are nearly equal all parts are small, and little cancels.
        divergence = gap * share_source + (best - best_source) + tl.log2(total / total_source)
        tl.store(tile_sum, tl.sum(tl.where(real, divergence, 0.0), axis=0) * LN_2)
    else:
        distance = tl.zeros((BLOCK_QUERIES,), tl.float32)  # sum_k (P - S)^2
        pull = tl.zeros((BLOCK_QUERIES,), tl.float32)  # sum_k P (P - S)
        power = tl.zeros((BLOCK_QUERIES,), tl.float32)  # sum_k P^2
        excess = tl.zeros((BLOCK_QUERIES,), tl.float32)  # sum_k P^2 - S^2
        for first in range(first_key, end_key, BLOCK_KEYS):
            keys = first + tl.arange(0, BLOCK_KEYS)
            _, student = load_scores(q_tile, k, keys, n_real, k_frame, scale, UNIT, SIZE, BLOCK_SIZE, PRECISION)
            _, source = load_scores(
                q_source_tile,
                k_source,
                keys,
                n_real,
                k_source_frame,
                scale_source,
                UNIT,
                SIZE_SOURCE,
                BLOCK_SIZE_SOURCE,
                PRECISION,
            )
            student = only_visible(student, queries[:, None], keys[None, :], n_real, window)
            source = only_visible(source, queries[:, None], keys[None, :], n_real, window)
            student = tl.exp2(student - best[:, None]) * share[:, None]
            source = tl.exp2(source - best_source[:, None]) * share_source[:, None]
            difference = student - source
            distance += tl.sum(difference * difference, axis=1)
            pull += tl.sum(student * difference, axis=1)
            if LOSS == "at":
                power += tl.sum(student * student, axis=1)
                excess += tl.sum(difference * (student + source), axis=1)
        tl.store(row + 4 * next_statistic, pull, mask=exists)
        tl.store(tile_sum, tl.sum(distance, axis=0))
        if LOSS == "at":
            tl.store(row + 5 * next_statistic, power, mask=exists)
            tl.store(tile_sum + tl.num_programs(0), tl.sum(power, axis=0))
            tl.store(tile_sum + 2 * tl.num_programs(0), tl.sum(excess, axis=0))


@triton.jit(do_not_specialize=["n_utterances", "n_frames", "n_heads", "n_tiles"])
def attention_transfer_combine_kernel(
    sums,  # (1 or 3, n_utterances * n_heads, n_tiles) float32: distance, power, excess of each tile
    lengths,  # (n_utterances,) integers or None
    loss,  # () float32
    maps,  # (2, n_utterances * n_heads) float32: gain and skew of each map, which the gradient needs
    n_utterances,
    n_frames,
    n_heads,
    n_tiles,
    LOSS: tl.constexpr,
    BLOCK_MAPS: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
):
    """One program adds the sums of all tiles up, always in the same order, and divides by the rows or maps that count.

    In float64: the norms of nearly equal maps cancel. The formulas are in README.md.
    """
    n_maps = n_utterances * n_heads
    count = tl.zeros((BLOCK_MAPS,), tl.int64)
    for first in range(0, n_maps, BLOCK_MAPS):
        map_ = first + tl.arange(0, BLOCK_MAPS)
        n_real = tl.where(map_ < n_maps, n_frames, 0).to(tl.int64)
        if lengths is not None:
            n_real = tl.load(lengths + map_ // n_heads, mask=map_ < n_maps, other=0).to(tl.int64)
        count += (n_real > 0).to(tl.int64) if LOSS == "at" else n_real
    factor = 1.0 / tl.maximum(tl.sum(count, axis=0), 1).to(tl.float64)

    result = tl.zeros((BLOCK_MAPS,), tl.float64)
    for first in range(0, n_maps, BLOCK_MAPS):
        map_ = first + tl.arange(0, BLOCK_MAPS)
        distance = tl.zeros((BLOCK_MAPS,), tl.float64)
        power = tl.zeros((BLOCK_MAPS,), tl.float64)
        excess = tl.zeros((BLOCK_MAPS,), tl.float64)
        for first_tile in range(0, n_tiles, BLOCK_TILES):
            tile = first_tile + tl.arange(0, BLOCK_TILES)
            exists = (map_ < n_maps)[:, None] & (tile < n_tiles)[None, :]
            place = sums + map_.to(tl.int64)[:, None] * n_tiles + tile[None, :]
            distance += tl.sum(tl.load(place, mask=exists, other=0.0).to(tl.float64), axis=1)
            if LOSS == "at":
                next_sum = n_maps.to(tl.int64) * n_tiles
                power += tl.sum(tl.load(place + next_sum, mask=exists, other=0.0).to(tl.float64), axis=1)
                excess += tl.sum(tl.load(place + 2 * next_sum, mask=exists, other=0.0).to(tl.float64), axis=1)
        gain = tl.zeros((BLOCK_MAPS,), tl.float64) + (1.0 if LOSS == "kl" else 2.0) * factor
        skew = tl.zeros((BLOCK_MAPS,), tl.float64)
        if LOSS == "at":
            # A map without real frames is zero: any norm serves.
            norm = tl.sqrt(tl.where(power > 0, power, 1.0))
            norm_source = tl.sqrt(tl.where(power > 0, power - excess, 1.0))
            norm_excess = excess / (norm + norm_source)
            distance = (distance - norm_excess * norm_excess) / (norm * norm_source)
            gain /= norm * norm_source
            skew = -(norm_excess + distance / 2 * norm_source) / norm
        result += distance
        tl.store(maps + map_, gain.to(tl.float32), mask=map_ < n_maps)
        tl.store(maps + n_maps + map_, skew.to(tl.float32), mask=map_ < n_maps)
    tl.store(loss, (tl.sum(result, axis=0) * factor).to(tl.float32))
