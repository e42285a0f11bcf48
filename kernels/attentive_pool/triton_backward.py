# mypy: ignore-errors
"""The backward kernels of attentive pooling: the mean gradient of the weights, then h and the projection."""

import triton
import triton.language as tl

from satn_fast.kernels.attentive_pool.triton_common import load_matrix, locate_tile, tanh


@triton.jit(do_not_specialize=["n_frames"])
def attentive_pool_backward_mean_kernel(
    weights,  # (B, T) float32
    dweights,  # (B, T) float32
    lengths,  # (B,) integers or None
    mean,  # (B,) float32
    n_frames,
    BLOCK: tl.constexpr,
):
    """Each program computes what softmax's gradient subtracts, for one utterance: sum_t weights[t] dweights[t]."""
    utterance = tl.program_id(0).to(tl.int64)
    n_real = n_frames if lengths is None else tl.load(lengths + utterance).to(tl.int32)
    acc = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, n_real, BLOCK):
        time = first + tl.arange(0, BLOCK)
        share = tl.load(weights + utterance * n_frames + time, mask=time < n_real, other=0.0)
        acc += share * tl.load(dweights + utterance * n_frames + time, mask=time < n_real, other=0.0)
    tl.store(mean + utterance, tl.sum(acc, axis=0))


@triton.jit(do_not_specialize=["n_frames"])
def attentive_pool_backward_kernel(
    h,  # (B, T, CHANNELS)
    weight,  # (HIDDEN, CHANNELS)
    bias,  # (HIDDEN,)
    context,  # (HIDDEN,)
    lengths,  # (B,) integers or None
    weights,  # (B, T) float32
    pooled,  # (B, CHANNELS) float32
    dpooled,  # (B, CHANNELS) float32
    dweights,  # (B, T) float32, or None: zero
    mean,  # (B,) float32 sum_t weights dweights, or None: zero
    dh,  # (B, T, CHANNELS)
    dprojected,  # (B, T, HIDDEN): gradient of weight h + bias; padding is not written
    dcontext,  # (B * number of tiles, HIDDEN) float32: the part of each tile
    n_frames,
    CHANNELS: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,  # all of them
):
    """Each program computes BLOCK_TIME frames of dh, and what the gradients of the parameters need of them.

    dscore = weights (dpooled . (h - pooled) + dweights - mean); dprojected = dscore context (1 - tanh^2);
    dh = weights dpooled + dprojected @ weight; dcontext = sum_t dscore tanh.
    """
    utterance, time, n_real = locate_tile(lengths, n_frames, BLOCK_TIME)
    first_frame = utterance.to(tl.int64) * n_frames
    hidden = tl.arange(0, BLOCK_HIDDEN)
    pooled += utterance.to(tl.int64) * CHANNELS
    dpooled += utterance.to(tl.int64) * CHANNELS
    is_hidden = hidden < HIDDEN
    is_real = time < n_real

    projected = tl.zeros((BLOCK_TIME, BLOCK_HIDDEN), tl.float32)
    slope = tl.zeros((BLOCK_TIME,), tl.float32)  # gradient of the weights, less its mean
    # A tile of padding reads nothing and stores zeros.
    for first in range(0, tl.where(tl.min(time, axis=0) < n_real, CHANNELS, 0), BLOCK_CHANNELS):
        channels = first + tl.arange(0, BLOCK_CHANNELS)
        h_tile = load_matrix(h + first_frame * CHANNELS, time, channels, n_real, CHANNELS)
        weight_tile = load_matrix(weight, hidden, channels, HIDDEN, CHANNELS)
        projected = tl.dot(h_tile, weight_tile.T, projected, input_precision=PRECISION)
        dpooled_row = tl.load(dpooled + channels, mask=channels < CHANNELS, other=0.0)
        pooled_row = tl.load(pooled + channels, mask=channels < CHANNELS, other=0.0)
        # The difference first: where a frame has nearly all the weight, h and pooled cancel.
        slope += tl.sum((h_tile.to(tl.float32) - pooled_row[None, :]) * dpooled_row[None, :], axis=1)
    if dweights is not None:
        slope += tl.load(dweights + first_frame + time, mask=is_real, other=0.0) - tl.load(mean + utterance)
    share = tl.load(weights + first_frame + time, mask=is_real, other=0.0)
    dscore = (share * slope)[:, None]

    activation = tanh(projected + tl.load(bias + hidden, mask=is_hidden, other=0.0).to(tl.float32)[None, :])
    context_row = tl.load(context + hidden, mask=is_hidden, other=0.0).to(tl.float32)[None, :]
    grad = (dscore * context_row * (1.0 - activation * activation)).to(h.dtype.element_ty)
    tl.store(
        dcontext + tl.program_id(0).to(tl.int64) * HIDDEN + hidden, tl.sum(dscore * activation, axis=0), mask=is_hidden
    )
    place = (first_frame + time)[:, None] * HIDDEN + hidden[None, :]
    tl.store(dprojected + place, grad, mask=is_real[:, None] & is_hidden[None, :])

    for first in range(0, CHANNELS, BLOCK_CHANNELS):
        channels = first + tl.arange(0, BLOCK_CHANNELS)
        weight_tile = load_matrix(weight, hidden, channels, HIDDEN, CHANNELS)
        dpooled_row = tl.load(dpooled + channels, mask=channels < CHANNELS, other=0.0)
        acc = tl.dot(grad, weight_tile, share[:, None] * dpooled_row[None, :], input_precision=PRECISION)
        target = (first_frame + time)[:, None] * CHANNELS + channels[None, :]
        exists = (time < n_frames)[:, None] & (channels < CHANNELS)[None, :]
        tl.store(dh + target, tl.where(is_real[:, None], acc, 0.0).to(dh.dtype.element_ty), mask=exists)
