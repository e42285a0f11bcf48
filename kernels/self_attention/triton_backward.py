# mypy: ignore-errors
"""The backward kernels of self-attention: queries, then keys and values.

Both recompute the attention p from the saved log-sum-exp. Each gradient is summed up by one program, in a fixed
order: no atomics, so the same gradients every time.
"""

import triton
import triton.language as tl

from satn_fast.kernels.self_attention.triton_common import (
    RUN_TIME_VALUES,
    frame_of_step,
    is_visible,
    keys_of_queries,
    load_tile,
    locate_tile,
    queries_of_keys,
    store_tile,
)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def self_attention_backward_query_kernel(
    do,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    q,  # (B, n_frames, HEADS, HEAD_SIZE)
    k,  # (B, n_frames, HEADS, HEAD_SIZE)
    v,  # (B, n_frames, HEADS, HEAD_SIZE)
    o,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    log_sum_exp,  # (B, HEADS, n_frames) float32
    lengths,  # (B,) integers or None
    dq,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    delta,  # (B, HEADS, n_frames) float32, do[t] . o[t], for the other kernel; zero at padding
    n_frames,
    window,  # a query sees so many keys, itself the last, or None: it sees all
    q_batch,  # strides, in units of STRIDE_UNIT elements
    q_frame,
    q_head,
    k_batch,
    k_frame,
    k_head,
    v_batch,
    v_frame,
    v_head,
    scale,
    exponent_scale,  # the scale of the scores times log2(e), above zero
    HEADS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    STRIDE_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Each program computes BLOCK_QUERIES frames of one head of dq, and of delta.

    dq[t] = scale * sum_s p[t, s] (do[t] . v[s] - delta[t]) k[s]
    """
    utterance, head, first_query, n_real = locate_tile(lengths, n_frames, HEADS, BLOCK_QUERIES)
    q += (utterance * q_batch + head * q_head) * STRIDE_UNIT
    k += (utterance * k_batch + head * k_head) * STRIDE_UNIT
    v += (utterance * v_batch + head * v_head) * STRIDE_UNIT
    ROW: tl.constexpr = HEADS * HEAD_SIZE
    do += utterance * n_frames * ROW + head * HEAD_SIZE
    o += utterance * n_frames * ROW + head * HEAD_SIZE
    dq += utterance * n_frames * ROW + head * HEAD_SIZE
    log_sum_exp += (utterance * HEADS + head) * n_frames
    delta += (utterance * HEADS + head) * n_frames

    q_tile = load_tile(q, q_frame * STRIDE_UNIT, first_query, n_real, True, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
    do_tile = load_tile(do, ROW, first_query, n_real, True, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
    o_tile = load_tile(o, ROW, first_query, n_real, True, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
    queries = first_query + tl.arange(0, BLOCK_QUERIES)
    exists = queries < n_frames
    lse = tl.load(log_sum_exp + queries, mask=exists, other=float("inf"))
    own_delta = tl.sum(do_tile.to(tl.float32) * o_tile.to(tl.float32), axis=1)
    tl.store(delta + queries, own_delta, mask=exists)

    acc = tl.zeros((BLOCK_QUERIES, BLOCK_SIZE), dtype=tl.float32)
    first, first_whole, n_whole, n_partial = keys_of_queries(first_query, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    for PARTIAL in tl.static_range(2):
        for step in range(n_partial if PARTIAL else n_whole):
            first_key = frame_of_step(step, first, first_whole, n_whole, PARTIAL, BLOCK_KEYS)
            k_tile = load_tile(k, k_frame * STRIDE_UNIT, first_key, n_real, PARTIAL, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
            v_tile = load_tile(v, v_frame * STRIDE_UNIT, first_key, n_real, PARTIAL, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
            scores = tl.dot(q_tile, k_tile.T, input_precision=PRECISION)
            p = tl.exp2(scores * exponent_scale - lse[:, None])
            if PARTIAL:
                keys = first_key + tl.arange(0, BLOCK_KEYS)
                p = tl.where(is_visible(queries[:, None], keys[None, :], n_real, window), p, 0.0)
            dp = tl.dot(do_tile, v_tile.T, input_precision=PRECISION)
            dscores = p * (dp - own_delta[:, None])
            acc = tl.dot(dscores.to(k_tile.dtype), k_tile, acc, input_precision=PRECISION)

    acc = tl.where((queries < n_real)[:, None], acc * scale, 0.0)
    store_tile(dq, ROW, first_query, n_frames, acc, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def self_attention_backward_key_value_kernel(
    do,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    q,  # (B, n_frames, HEADS, HEAD_SIZE)
    k,  # (B, n_frames, HEADS, HEAD_SIZE)
    v,  # (B, n_frames, HEADS, HEAD_SIZE)
    log_sum_exp,  # (B, HEADS, n_frames) float32
    delta,  # (B, HEADS, n_frames) float32
    lengths,  # (B,) integers or None
    dk,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    dv,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    n_frames,
    window,  # a query sees so many keys, itself the last, or None: it sees all
    q_batch,  # strides, in units of STRIDE_UNIT elements
    q_frame,
    q_head,
    k_batch,
    k_frame,
    k_head,
    v_batch,
    v_frame,
    v_head,
    scale,
    exponent_scale,  # the scale of the scores times log2(e), above zero
    HEADS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    STRIDE_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Each program computes BLOCK_KEYS frames of one head of dk and dv.

    dv[s] = sum_t p[t, s] do[t], dk[s] = scale * sum_t p[t, s] (do[t] . v[s] - delta[t]) q[t]. The map is computed
    transposed, (keys, queries), as the products need it.
    """
    utterance, head, first_key, n_real = locate_tile(lengths, n_frames, HEADS, BLOCK_KEYS)
    q += (utterance * q_batch + head * q_head) * STRIDE_UNIT
    k += (utterance * k_batch + head * k_head) * STRIDE_UNIT
    v += (utterance * v_batch + head * v_head) * STRIDE_UNIT
    ROW: tl.constexpr = HEADS * HEAD_SIZE
    do += utterance * n_frames * ROW + head * HEAD_SIZE
    dk += utterance * n_frames * ROW + head * HEAD_SIZE
    dv += utterance * n_frames * ROW + head * HEAD_SIZE
    log_sum_exp += (utterance * HEADS + head) * n_frames
    delta += (utterance * HEADS + head) * n_frames

    k_tile = load_tile(k, k_frame * STRIDE_UNIT, first_key, n_real, True, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
    v_tile = load_tile(v, v_frame * STRIDE_UNIT, first_key, n_real, True, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
    keys = first_key + tl.arange(0, BLOCK_KEYS)

    dk_acc = tl.zeros((BLOCK_KEYS, BLOCK_SIZE), dtype=tl.float32)
    dv_acc = tl.zeros((BLOCK_KEYS, BLOCK_SIZE), dtype=tl.float32)
    first, first_whole, n_whole, n_partial = queries_of_keys(first_key, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    for PARTIAL in tl.static_range(2):
        for step in range(n_partial if PARTIAL else n_whole):
            first_query = frame_of_step(step, first, first_whole, n_whole, PARTIAL, BLOCK_QUERIES)
            queries = first_query + tl.arange(0, BLOCK_QUERIES)
            q_tile = load_tile(
                q, q_frame * STRIDE_UNIT, first_query, n_real, PARTIAL, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE
            )
            do_tile = load_tile(do, ROW, first_query, n_real, PARTIAL, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
            # Infinite at padding: no attention.
            lse = tl.load(log_sum_exp + queries, mask=queries < n_real, other=float("inf"))
            their_delta = tl.load(delta + queries, mask=queries < n_real, other=0.0)
            scores = tl.dot(k_tile, q_tile.T, input_precision=PRECISION)
            p = tl.exp2(scores * exponent_scale - lse[None, :])
            if PARTIAL and window is not None:
                p = tl.where(is_visible(queries[None, :], keys[:, None], n_real, window), p, 0.0)
            dv_acc = tl.dot(p.to(do_tile.dtype), do_tile, dv_acc, input_precision=PRECISION)
            dp = tl.dot(v_tile, do_tile.T, input_precision=PRECISION)
            dscores = p * (dp - their_delta[None, :])
            dk_acc = tl.dot(dscores.to(q_tile.dtype), q_tile, dk_acc, input_precision=PRECISION)

    real = (keys < n_real)[:, None]
    dk_acc, dv_acc = tl.where(real, dk_acc * scale, 0.0), tl.where(real, dv_acc, 0.0)
    store_tile(dk, ROW, first_key, n_frames, dk_acc, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
    store_tile(dv, ROW, first_key, n_frames, dv_acc, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
