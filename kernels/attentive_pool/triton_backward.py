# mypy: ignore-errors
"""The backward kernels of attentive pooling: the mean gradient of the weights, then layers and projection."""

import triton
import triton.language as tl

from satn_fast.kernels.attentive_pool.triton_common import load_matrix, locate_block, locate_tile, pointer_of, tanh


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


@triton.jit
def load_row(row, channels, exists):
    """Numbers of some channels; zero where there is no channel."""
    return tl.load(row + channels, mask=exists, other=0.0)


@triton.jit
def load_ratio(dspread, spread, channels, exists):
    """Gradient of the deviation over the deviation, which is zero without frames; and the squared deviation."""
    deviation = load_row(spread, channels, exists)
    ratio = load_row(dspread, channels, exists) / tl.where(deviation == 0.0, 1.0, deviation)
    return tl.where(deviation == 0.0, 0.0, ratio), deviation * deviation


@triton.jit(do_not_specialize=["n_frames"])
def attentive_pool_backward_kernel(
    layers,  # LAYERS times (B, T, CHANNELS)
    weight,  # (HIDDEN, LAYERS * CHANNELS)
    bias,  # (HIDDEN,)
    context,  # (HIDDEN,)
    lengths,  # (B,) integers or None
    weights,  # (B, T) float32
    pooled,  # (B, LAYERS * CHANNELS) float32, or twice as many with the deviations
    dpooled,  # the same shape, float32
    dweights,  # (B, T) float32, or None: zero
    mean,  # (B,) float32 sum_t weights dweights, or None: zero
    dlayers,  # LAYERS times (B, T, CHANNELS)
    dprojected,  # (B, T, HIDDEN): gradient of weight h + bias; padding is not written
    dcontext,  # (B * number of tiles, HIDDEN) float32: the part of each tile
    n_frames,
    DEVIATION: tl.constexpr,  # whether pooled has the deviations
    FLOOR: tl.constexpr,  # what was added to a variance before its root
    LAYERS: tl.constexpr,
    CHANNELS: tl.constexpr,  # of a layer
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,  # all of them
):
    """Each program computes BLOCK_TIME frames of dlayers, and what the gradients of the parameters need of them.

    With m the mean, s the deviation, c = h - m, g and q the gradients of m and s, and r = q / s (without deviations 0):
    dscore = weights (sum over channels of (g c + r / 2 (c^2 - variance)) + dweights - mean);
    dprojected = dscore context (1 - tanh^2); dh = weights (g + r c) + dprojected @ weight;
    dcontext = sum_t dscore tanh.
    """
    utterance, time, n_real = locate_tile(lengths, n_frames, BLOCK_TIME)
    first_frame = utterance.to(tl.int64) * n_frames
    hidden = tl.arange(0, BLOCK_HIDDEN)
    ALL: tl.constexpr = LAYERS * CHANNELS
    BLOCKS: tl.constexpr = LAYERS * ((CHANNELS + BLOCK_CHANNELS - 1) // BLOCK_CHANNELS)
    pooled += utterance.to(tl.int64) * (2 * ALL if DEVIATION else ALL)
    dpooled += utterance.to(tl.int64) * (2 * ALL if DEVIATION else ALL)
    is_hidden = hidden < HIDDEN
    is_real = time < n_real

    projected = tl.zeros((BLOCK_TIME, BLOCK_HIDDEN), tl.float32)
    slope = tl.zeros((BLOCK_TIME,), tl.float32)  # gradient of the weights, less its mean
    # A tile of padding reads nothing and stores zeros.
    for step in range(0, tl.where(tl.min(time, axis=0) < n_real, BLOCKS, 0)):
        layer, channels = locate_block(step, CHANNELS, BLOCK_CHANNELS)
        exists = channels < CHANNELS
        h = pointer_of(layers, layer, LAYERS) + first_frame * CHANNELS
        h_tile = load_matrix(h, time, channels, n_real, CHANNELS, CHANNELS)
        weight_tile = load_matrix(weight + layer * CHANNELS, hidden, channels, HIDDEN, CHANNELS, ALL)
        projected = tl.dot(h_tile, weight_tile.T, projected, input_precision=PRECISION)
        place = layer * CHANNELS + channels
        dpooled_row = load_row(dpooled, place, exists)
        pooled_row = load_row(pooled, place, exists)
        # The difference first: where a frame has nearly all the weight, h and pooled cancel.
        centred = h_tile.to(tl.float32) - pooled_row[None, :]
        if DEVIATION:
            ratio, square = load_ratio(dpooled + ALL, pooled + ALL, place, exists)
            half = 0.5 * ratio
            variance = half * (square - FLOOR)
            slope += tl.sum(centred * (dpooled_row[None, :] + half[None, :] * centred) - variance[None, :], axis=1)
        else:
            slope += tl.sum(centred * dpooled_row[None, :], axis=1)
    if dweights is not None:
        slope += tl.load(dweights + first_frame + time, mask=is_real, other=0.0) - tl.load(mean + utterance)
    share = tl.load(weights + first_frame + time, mask=is_real, other=0.0)
    dscore = (share * slope)[:, None]

    activation = tanh(projected + tl.load(bias + hidden, mask=is_hidden, other=0.0).to(tl.float32)[None, :])
    context_row = tl.load(context + hidden, mask=is_hidden, other=0.0).to(tl.float32)[None, :]
    grad = (dscore * context_row * (1.0 - activation * activation)).to(layers[0].dtype.element_ty)
    tl.store(
        dcontext + tl.program_id(0).to(tl.int64) * HIDDEN + hidden, tl.sum(dscore * activation, axis=0), mask=is_hidden
    )
    place = (first_frame + time)[:, None] * HIDDEN + hidden[None, :]
    tl.store(dprojected + place, grad, mask=is_real[:, None] & is_hidden[None, :])

    for step in range(0, BLOCKS):
        layer, channels = locate_block(step, CHANNELS, BLOCK_CHANNELS)
        exists = channels < CHANNELS
        weight_tile = load_matrix(weight + layer * CHANNELS, hidden, channels, HIDDEN, CHANNELS, ALL)
        dpooled_row = load_row(dpooled, layer * CHANNELS + channels, exists)
        if DEVIATION:
            h = pointer_of(layers, layer, LAYERS) + first_frame * CHANNELS
            h_tile = load_matrix(h, time, channels, n_real, CHANNELS, CHANNELS)
            pooled_row = load_row(pooled, layer * CHANNELS + channels, exists)
            ratio, _ = load_ratio(dpooled + ALL, pooled + ALL, layer * CHANNELS + channels, exists)
            direct = dpooled_row[None, :] + ratio[None, :] * (h_tile.to(tl.float32) - pooled_row[None, :])
            acc = tl.dot(grad, weight_tile, share[:, None] * direct, input_precision=PRECISION)
        else:
            acc = tl.dot(grad, weight_tile, share[:, None] * dpooled_row[None, :], input_precision=PRECISION)
        dh = pointer_of(dlayers, layer, LAYERS)
        target = (first_frame + time)[:, None] * CHANNELS + channels[None, :]
        tl.store(
            dh + target,
            tl.where(is_real[:, None], acc, 0.0).to(dh.dtype.element_ty),
            mask=(time < n_frames)[:, None] & exists[None, :],
        )
