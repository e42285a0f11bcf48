# mypy: ignore-errors
"""The forward kernel of self-attention."""

import triton
import triton.language as tl

from satn_fast.kernels.self_attention.triton_common import (
    RUN_TIME_VALUES,
    frame_of_step,
    is_visible,
    keys_of_queries,
    load_tile,
    locate_tile,
    store_tile,
)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def self_attention_forward_kernel(
    q,  # (B, n_frames, HEADS, HEAD_SIZE)
    k,  # (B, n_frames, HEADS, HEAD_SIZE)
    v,  # (B, n_frames, HEADS, HEAD_SIZE)
    lengths,  # (B,) integers or None
    o,  # (B, n_frames, HEADS, HEAD_SIZE), contiguous
    log_sum_exp,  # (B, HEADS, n_frames) float32, to base 2; infinite at padding
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
    exponent_scale,  # the scale of the scores times log2(e), above zero
    HEADS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    STRIDE_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Each program computes BLOCK_QUERIES frames of one head of o.

    o[t] = sum_s p[t, s] v[s] / sum_s p[t, s], p[t, s] = exp2(exponent_scale * q[t] . k[s] - maximum[t]). One pass over
    the keys: where the maximum grows, what was summed up before shrinks with it (Milakov & Gimelshein 2018).
    """
    utterance, head, first_query, n_real = locate_tile(lengths, n_frames, HEADS, BLOCK_QUERIES)
    q += (utterance * q_batch + head * q_head) * STRIDE_UNIT
    k += (utterance * k_batch + head * k_head) * STRIDE_UNIT
    v += (utterance * v_batch + head * v_head) * STRIDE_UNIT
    o += (utterance * n_frames * HEADS + head) * HEAD_SIZE
    log_sum_exp += (utterance * HEADS + head) * n_frames
    q_tile = load_tile(q, q_frame * STRIDE_UNIT, first_query, n_real, True, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
    queries = first_query + tl.arange(0, BLOCK_QUERIES)

    # Finite, so that a row that has seen no key yet does not make inf - inf.
    maximum = tl.full((BLOCK_QUERIES,), -1e30, dtype=tl.float32)
    total = tl.zeros((BLOCK_QUERIES,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_QUERIES, BLOCK_SIZE), dtype=tl.float32)
    first, first_whole, n_whole, n_partial = keys_of_queries(first_query, n_real, window, BLOCK_QUERIES, BLOCK_KEYS)
    for PARTIAL in tl.static_range(2):
        for step in range(n_partial if PARTIAL else n_whole):
            first_key = frame_of_step(step, first, first_whole, n_whole, PARTIAL, BLOCK_KEYS)
            k_tile = load_tile(k, k_frame * STRIDE_UNIT, first_key, n_real, PARTIAL, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
            scores = tl.dot(q_tile, k_tile.T, input_precision=PRECISION)
            if PARTIAL:
                keys = first_key + tl.arange(0, BLOCK_KEYS)
                scores = tl.where(is_visible(queries[:, None], keys[None, :], n_real, window), scores, -float("inf"))
            # The scale is above zero: scaling the maxima instead of all scores leaves one multiply-add for each.
            new_maximum = tl.maximum(maximum, tl.max(scores, axis=1) * exponent_scale)
            p = tl.exp2(scores * exponent_scale - new_maximum[:, None])
            shrink = tl.exp2(maximum - new_maximum)
            total = total * shrink + tl.sum(p, axis=1)
            v_tile = load_tile(v, v_frame * STRIDE_UNIT, first_key, n_real, PARTIAL, HEAD_SIZE, BLOCK_KEYS, BLOCK_SIZE)
            acc = tl.dot(p.to(v_tile.dtype), v_tile, acc * shrink[:, None], input_precision=PRECISION)
            maximum = new_maximum

    real = queries < n_real
    total = tl.where(real, total, 1.0)
    acc = tl.where(real[:, None], acc / total[:, None], 0.0)
    store_tile(o, HEADS * HEAD_SIZE, first_query, n_frames, acc, HEAD_SIZE, BLOCK_QUERIES, BLOCK_SIZE)
    # Infinite at padding: the backward pass computes exp2(... - infinity), no attention.
    tl.store(log_sum_exp + queries, tl.where(real, maximum + tl.log2(total), float("inf")), mask=queries < n_frames)
