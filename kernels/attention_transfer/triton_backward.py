# mypy: ignore-errors
"""The backward kernels of the attention-transfer losses: the student's queries, and its keys."""

import triton
import triton.language as tl

from satn_fast.kernels.attention_transfer.triton_common import (
    frames_of,
    load_frames,
    load_scores,
    locate_tile,
    only_visible,
    score_gradient,
    visible_keys,
    visible_queries,
)

RUN_TIME_VALUES = ["n_frames", "n_heads", "window"] + [
    f"{x}_{of}" for x in ("q", "k", "q_source", "k_source") for of in ("batch", "frame", "head")
]


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def attention_transfer_backward_query_kernel(
    q,  # (B, T, H, SIZE)
    k,  # (B, T, H, SIZE)
    q_source,  # (B, T, H, SIZE_SOURCE)
    k_source,  # (B, T, H, SIZE_SOURCE)
    lengths,  # (B,) integers or None
    rows,  # (4 to 6, B * H, T) float32: best and share of student, of source; not for "kl": pull; for "at": power
    maps,  # (2, B * H) float32: gain and skew of each map
    upstream,  # () float32 gradient of the loss
    dq,  # (B, T, H, SIZE) contiguous
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
    gradient_scale,  # scale of the student's scores, over BOOST
    LOSS: tl.constexpr,
    SIZE: tl.constexpr,
    SIZE_SOURCE: tl.constexpr,
    UNIT: tl.constexpr,
    BOOST: tl.constexpr,  # keeps the gradients of small probabilities within the range of float16
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_SIZE_SOURCE: tl.constexpr,
):
    """Each program computes BLOCK_QUERIES rows of dq = scale * dscores @ k, with a loop over the keys."""
    attention_map, utterance, head, first_query, n_real = locate_tile(lengths, n_frames, n_heads, BLOCK_QUERIES)
    queries = first_query + tl.arange(0, BLOCK_QUERIES)
    first_key, end_key = visible_keys(first_query, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    q = frames_of(q, utterance, head, q_batch, q_head, UNIT)
    k = frames_of(k, utterance, head, k_batch, k_head, UNIT)
    q_source = frames_of(q_source, utterance, head, q_source_batch, q_source_head, UNIT)
    k_source = frames_of(k_source, utterance, head, k_source_batch, k_source_head, UNIT)
    q_tile = load_frames(q, queries, n_real, q_frame, UNIT, SIZE, BLOCK_SIZE)
    q_source_tile = load_frames(q_source, queries, n_real, q_source_frame, UNIT, SIZE_SOURCE, BLOCK_SIZE_SOURCE)

    n_maps = tl.num_programs(0) // tl.cdiv(n_frames, BLOCK_QUERIES)
    exists = queries < n_frames
    row = rows + attention_map.to(tl.int64) * n_frames + queries
    next_statistic = n_maps.to(tl.int64) * n_frames
    best = tl.load(row, mask=exists, other=0.0)[:, None]
    share = tl.load(row + next_statistic, mask=exists, other=0.0)[:, None]
    best_source = tl.load(row + 2 * next_statistic, mask=exists, other=0.0)[:, None]
    share_source = tl.load(row + 3 * next_statistic, mask=exists, other=0.0)[:, None]
    skew = tl.load(maps + n_maps + attention_map)
    pull = tl.zeros((BLOCK_QUERIES, 1), tl.float32)
    if LOSS != "kl":
        pull = tl.load(row + 4 * next_statistic, mask=exists, other=0.0)[:, None]
    if LOSS == "at":
        pull += skew * tl.load(row + 5 * next_statistic, mask=exists, other=0.0)[:, None]

    acc = tl.zeros((BLOCK_QUERIES, BLOCK_SIZE), tl.float32)
    for first in range(first_key, end_key, BLOCK_KEYS):
        keys = first + tl.arange(0, BLOCK_KEYS)
        k_tile, student = load_scores(q_tile, k, keys, n_real, k_frame, scale, UNIT, SIZE, BLOCK_SIZE, PRECISION)
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
        student = tl.exp2(only_visible(student, queries[:, None], keys[None, :], n_real, window) - best) * share
        source = (
            tl.exp2(only_visible(source, queries[:, None], keys[None, :], n_real, window) - best_source) * share_source
        )
        dscores = score_gradient(student, source, pull, skew, LOSS) * BOOST
        acc = tl.dot(dscores.to(k_tile.dtype), k_tile, acc, input_precision=PRECISION)

    acc *= tl.load(maps + attention_map) * tl.load(upstream) * gradient_scale
    column = tl.arange(0, BLOCK_SIZE)
    target = ((utterance.to(tl.int64) * n_frames + queries) * n_heads + head)[:, None] * SIZE + column[None, :]
    tl.store(dq + target, acc.to(dq.dtype.element_ty), mask=exists[:, None] & (column < SIZE)[None, :])


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def attention_transfer_backward_key_kernel(
    q,  # (B, T, H, SIZE)
    k,  # (B, T, H, SIZE)
    q_source,  # (B, T, H, SIZE_SOURCE)
    k_source,  # (B, T, H, SIZE_SOURCE)
    lengths,  # (B,) integers or None
    rows,  # (4 to 6, B * H, T) float32: best and share of student, of source; not for "kl": pull; for "at": power
    maps,  # (2, B * H) float32: gain and skew of each map
    upstream,  # () float32 gradient of the loss
    dk,  # (B, T, H, SIZE) contiguous
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
    gradient_scale,  # scale of the student's scores, over BOOST
    LOSS: tl.constexpr,
    SIZE: tl.constexpr,
    SIZE_SOURCE: tl.constexpr,
    UNIT: tl.constexpr,
    BOOST: tl.constexpr,  # keeps the gradients of small probabilities within the range of float16
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_SIZE_SOURCE: tl.constexpr,
):
    """Each program computes BLOCK_KEYS rows of dk = scale * dscores^T @ q, with a loop over the queries.

    Its tiles are transposed, keys by queries: what the last product reads stays in registers.
    """
    attention_map, utterance, head, first_key, n_real = locate_tile(lengths, n_frames, n_heads, BLOCK_KEYS)
    keys = first_key + tl.arange(0, BLOCK_KEYS)
    first_query, end_query = visible_queries(first_key, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    q = frames_of(q, utterance, head, q_batch, q_head, UNIT)
    k = frames_of(k, utterance, head, k_batch, k_head, UNIT)
    q_source = frames_of(q_source, utterance, head, q_source_batch, q_source_head, UNIT)
    k_source = frames_of(k_source, utterance, head, k_source_batch, k_source_head, UNIT)
    k_tile = load_frames(k, keys, n_real, k_frame, UNIT, SIZE, BLOCK_SIZE)
    k_source_tile = load_frames(k_source, keys, n_real, k_source_frame, UNIT, SIZE_SOURCE, BLOCK_SIZE_SOURCE)

    n_maps = tl.num_programs(0) // tl.cdiv(n_frames, BLOCK_KEYS)
    rows += attention_map.to(tl.int64) * n_frames
    next_statistic = n_maps.to(tl.int64) * n_frames
    skew = tl.load(maps + n_maps + attention_map)

    acc = tl.zeros((BLOCK_KEYS, BLOCK_SIZE), tl.float32)
    for first in range(first_query, end_query, BLOCK_QUERIES):
        queries = first + tl.arange(0, BLOCK_QUERIES)
        real = queries < n_real
        q_tile, student = load_scores(k_tile, q, queries, n_real, q_frame, scale, UNIT, SIZE, BLOCK_SIZE, PRECISION)
        _, source = load_scores(
            k_source_tile,
            q_source,
            queries,
            n_real,
            q_source_frame,
            scale_source,
            UNIT,
            SIZE_SOURCE,
            BLOCK_SIZE_SOURCE,
            PRECISION,
        )
        best = tl.load(rows + queries, mask=real, other=0.0)[None, :]
        share = tl.load(rows + next_statistic + queries, mask=real, other=0.0)[None, :]
        best_source = tl.load(rows + 2 * next_statistic + queries, mask=real, other=0.0)[None, :]
        share_source = tl.load(rows + 3 * next_statistic + queries, mask=real, other=0.0)[None, :]
        student = tl.exp2(only_visible(student, queries[None, :], keys[:, None], n_real, window) - best) * share
        source = (
            tl.exp2(only_visible(source, queries[None, :], keys[:, None], n_real, window) - best_source) * share_source
        )
        pull = tl.zeros((1, BLOCK_QUERIES), tl.float32)
        if LOSS != "kl":
            pull = tl.load(rows + 4 * next_statistic + queries, mask=real, other=0.0)[None, :]
        if LOSS == "at":
            pull += skew * tl.load(rows + 5 * next_statistic + queries, mask=real, other=0.0)[None, :]
        dscores = score_gradient(student, source, pull, skew, LOSS) * BOOST
        acc = tl.dot(dscores.to(q_tile.dtype), q_tile, acc, input_precision=PRECISION)

    acc *= tl.load(maps + attention_map) * tl.load(upstream) * gradient_scale
    column = tl.arange(0, BLOCK_SIZE)
    target = ((utterance.to(tl.int64) * n_frames + keys) * n_heads + head)[:, None] * SIZE + column[None, :]
    tl.store(dk + target, acc.to(dk.dtype.element_ty), mask=(keys < n_frames)[:, None] & (column < SIZE)[None, :])
