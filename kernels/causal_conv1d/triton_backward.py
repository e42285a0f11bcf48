# mypy: ignore-errors
"""The backward kernels of the causal convolution: epilogue, input, weight and bias."""

import triton
import triton.language as tl

from satn_fast.kernels.causal_conv1d.triton_common import first_useful_tap, is_kept, locate_rows


@triton.jit(do_not_specialize=["n_rows", "n_frames", "drop_below"])
def causal_conv1d_backward_epilogue_kernel(
    dy,  # (n_rows, OUT)
    y,  # (n_rows, OUT), or None: there was no residual and no final ReLU
    active,  # (n_rows, ceil(OUT / 8)) bits of the inner ReLU, or None: there was none
    lengths,  # (n_rows / n_frames,) integers or None
    seed,  # (1,) int64, or None: no dropout
    dresidual,  # (n_rows, OUT), or None: not asked for
    gradient,  # (n_rows, OUT) gradient of what the convolution gave, or None: not asked for
    n_rows,
    n_frames,
    drop_below,
    keep_scale,
    OUT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Each program takes BLOCK_ROWS x BLOCK_OUT of dy back through final ReLU, residual, dropout and inner ReLU.

    dresidual = dy where y > 0; gradient = dresidual * dropout where active. Zero at padded frames.
    """
    N_OUT_TILES: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    first_channel = tl.program_id(0) % N_OUT_TILES * BLOCK_OUT
    rows, time, n_real = locate_rows(lengths, tl.program_id(0) // N_OUT_TILES, n_rows, n_frames, BLOCK_ROWS)
    channels = first_channel + tl.arange(0, BLOCK_OUT)
    element = rows.to(tl.int64)[:, None] * OUT + channels[None, :]
    exists = (rows < n_rows)[:, None] & (channels < OUT)[None, :]
    real = (time < n_real)[:, None] & exists

    grad = tl.load(dy + element, mask=real, other=0.0)
    if y is not None:
        grad = tl.where(tl.load(y + element, mask=real, other=0.0) > 0, grad, tl.zeros_like(grad))
    if dresidual is not None:
        tl.store(dresidual + element, grad, mask=exists)
    if gradient is not None:
        grad = grad.to(tl.float32)
        if active is not None:
            N_BYTES: tl.constexpr = (OUT + 7) // 8
            byte = first_channel // 8 + tl.arange(0, BLOCK_OUT // 8)
            bits = tl.load(
                active + rows.to(tl.int64)[:, None] * N_BYTES + byte[None, :],
                mask=(time < n_real)[:, None] & (byte < N_BYTES)[None, :],
                other=0,
            ).to(tl.int32)
            passes = (bits[:, :, None] >> tl.arange(0, 8)[None, None, :]) & 1
            grad = tl.where(passes.reshape(BLOCK_ROWS, BLOCK_OUT) != 0, grad, 0.0)
        if seed is not None:
            grad = tl.where(is_kept(seed, rows // n_frames, channels, drop_below), grad * keep_scale, 0.0)
        tl.store(gradient + element, grad.to(gradient.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["n_rows", "n_frames", "dilation"])
def causal_conv1d_backward_input_kernel(
    gradient,  # (n_rows, OUT)
    gate,  # (n_rows, OUT) lets gradient pass where it is above zero, or None: it always passes
    weight,  # (TAPS, IN, OUT)
    lengths,  # (n_rows / n_frames,) integers or None
    dx,  # (n_rows, IN)
    n_rows,
    n_frames,
    dilation,
    scale,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    PRECISION: tl.constexpr,
    DESCRIPTORS: tl.constexpr,  # gradient, gate, weight, dx are tensor descriptors instead of pointers
    BLOCK_ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Each program computes BLOCK_ROWS x BLOCK_IN of dx.

    dx[n] = scale * sum_k (gradient where gate > 0)[n + (TAPS - 1 - k) * dilation] @ weight[k].T
    """
    N_IN_TILES: tl.constexpr = (IN + BLOCK_IN - 1) // BLOCK_IN
    N_OUT_TILES: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    N_STEPS: tl.constexpr = TAPS * N_OUT_TILES
    row_tile = tl.program_id(0) // N_IN_TILES
    first_channel = tl.program_id(0) % N_IN_TILES * BLOCK_IN
    rows, time, n_real = locate_rows(lengths, row_tile, n_rows, n_frames, BLOCK_ROWS)
    first_step = first_useful_tap(n_real - 1 - time, dilation, TAPS) * N_OUT_TILES
    in_channels = first_channel + tl.arange(0, BLOCK_IN)

    acc = tl.zeros((BLOCK_ROWS, BLOCK_IN), dtype=tl.float32)
    if DESCRIPTORS:
        # Where every tap of every row stays among the real frames, and without a gate, nothing is to be masked.
        inside = (tl.max(time - n_real, axis=0) + (TAPS - 1) * dilation < 0) & (gate is None)
        for step in range(tl.where(inside, first_step, N_STEPS), N_STEPS):
            ahead = (TAPS - 1 - step // N_OUT_TILES) * dilation
            channel = step % N_OUT_TILES * BLOCK_OUT
            grad_tile = gradient.load([row_tile * BLOCK_ROWS + ahead, channel])
            weight_tile = weight.load([step // N_OUT_TILES, first_channel, channel]).reshape(BLOCK_IN, BLOCK_OUT)
            acc = tl.dot(grad_tile, weight_tile.T, acc, input_precision=PRECISION)
        for step in range(tl.where(inside, N_STEPS, first_step), N_STEPS):
            ahead = (TAPS - 1 - step // N_OUT_TILES) * dilation
            channel = step % N_OUT_TILES * BLOCK_OUT
            grad_tile = gradient.load([row_tile * BLOCK_ROWS + ahead, channel])
            passes = (time + ahead < n_real)[:, None]
            if gate is not None:
                passes = passes & (gate.load([row_tile * BLOCK_ROWS + ahead, channel]) > 0)
            grad_tile = tl.where(passes, grad_tile, tl.zeros_like(grad_tile))
            weight_tile = weight.load([step // N_OUT_TILES, first_channel, channel]).reshape(BLOCK_IN, BLOCK_OUT)
            acc = tl.dot(grad_tile, weight_tile.T, acc, input_precision=PRECISION)
    else:
        for step in range(first_step, N_STEPS):
            ahead = (TAPS - 1 - step // N_OUT_TILES) * dilation
            out_channels = step % N_OUT_TILES * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
            source = (rows + ahead).to(tl.int64)[:, None] * OUT + out_channels[None, :]
            real = (time + ahead < n_real)[:, None] & (out_channels < OUT)[None, :]
            grad_tile = tl.load(gradient + source, mask=real, other=0.0)
            if gate is not None:
                passes = tl.load(gate + source, mask=real, other=0.0) > 0
                grad_tile = tl.where(passes, grad_tile, tl.zeros_like(grad_tile))
            weight_tile = tl.load(
                weight + (step // N_OUT_TILES * IN + in_channels)[:, None] * OUT + out_channels[None, :],
                mask=(in_channels < IN)[:, None] & (out_channels < OUT)[None, :],
                other=0.0,
            )
            acc = tl.dot(grad_tile, weight_tile.T, acc, input_precision=PRECISION)

    acc = tl.where((time < n_real)[:, None], acc * scale, 0.0)
    if DESCRIPTORS:
        dx.store([row_tile * BLOCK_ROWS, first_channel], acc.to(dx.dtype))
    else:
        exists = (rows < n_rows)[:, None] & (in_channels < IN)[None, :]
        target = rows.to(tl.int64)[:, None] * IN + in_channels[None, :]
        tl.store(dx + target, acc.to(dx.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["n_rows", "n_frames", "n_tiles"])
def causal_conv1d_real_tiles_kernel(
    lengths,  # (n_rows / n_frames,) integers
    real_tiles,  # (1 + n_tiles,) int32: how many tiles hold real frames, then which
    n_rows,
    n_frames,
    n_tiles,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
):
    """The only program lists the tiles of BLOCK_ROWS rows that are not all padding, in their order.

    So that the weight's gradient, which goes through all rows, shares the real ones out evenly and skips the others.
    """
    n_real = 0
    for first in range(0, n_tiles, BLOCK_TILES):
        tiles = first + tl.arange(0, BLOCK_TILES)
        first_row = tiles * BLOCK_ROWS
        utterance = first_row // n_frames
        length = tl.load(lengths + utterance, mask=tiles < n_tiles, other=0).to(tl.int32)
        # A tile in which another utterance begins counts as real, even should that one be empty.
        last_row = tl.minimum(first_row + BLOCK_ROWS, n_rows) - 1
        real = (first_row - utterance * n_frames < length) | (last_row // n_frames > utterance)
        real = (real & (tiles < n_tiles)).to(tl.int32)
        tl.store(real_tiles + n_real + tl.cumsum(real, axis=0), tiles, mask=real > 0)
        n_real += tl.sum(real, axis=0)
    tl.store(real_tiles, n_real)


@triton.jit(do_not_specialize=["n_rows", "n_frames", "dilation", "n_tiles", "n_splits"])
def causal_conv1d_backward_weight_kernel(
    x,  # (n_rows, IN)
    gradient,  # (n_rows, OUT)
    gate,  # (n_rows, OUT) lets gradient pass where it is above zero, or None: it always passes
    lengths,  # (n_rows / n_frames,) integers or None
    real_tiles,  # (1 + n_tiles,) int32: how many tiles hold real frames, then which; None where lengths is
    dweight,  # (n_splits, TAPS, IN, OUT) float32
    dbias,  # (n_splits, OUT) float32
    n_rows,
    n_frames,
    dilation,
    n_tiles,
    n_splits,
    scale,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Each program computes BLOCK_IN x BLOCK_OUT of one tap's gradient from one split of the rows.

    dweight[split, k] = scale * sum_n x[n - (TAPS - 1 - k) * dilation].T @ (gradient where gate > 0)[n], and, in the
    programs of the last tap and the first input channels, dbias[split] = scale * sum_n (gradient where gate > 0)[n].
    The splits are added up afterwards, always in the same order.
    """
    N_IN_TILES: tl.constexpr = (IN + BLOCK_IN - 1) // BLOCK_IN
    N_OUT_TILES: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    # Programs that read the same rows stand side by side.
    split = tl.program_id(0) // (TAPS * N_IN_TILES * N_OUT_TILES)
    tap = tl.program_id(0) // (N_IN_TILES * N_OUT_TILES) % TAPS
    in_tile = tl.program_id(0) // N_OUT_TILES % N_IN_TILES
    in_channels = in_tile * BLOCK_IN + tl.arange(0, BLOCK_IN)
    out_channels = tl.program_id(0) % N_OUT_TILES * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    back = (TAPS - 1 - tap) * dilation

    acc = tl.zeros((BLOCK_IN, BLOCK_OUT), dtype=tl.float32)
    bias_acc = tl.zeros((BLOCK_ROWS, BLOCK_OUT), dtype=tl.float32)
    if real_tiles is not None:
        n_tiles = tl.load(real_tiles)
    tiles_per_split = (n_tiles + n_splits - 1) // n_splits
    for index in range(split * tiles_per_split, tl.minimum((split + 1) * tiles_per_split, n_tiles)):
        row_tile = index if real_tiles is None else tl.load(real_tiles + 1 + index)
        rows, time, n_real = locate_rows(lengths, row_tile, n_rows, n_frames, BLOCK_ROWS)
        real = time < n_real
        x_tile = tl.load(
            x + (rows - back).to(tl.int64)[:, None] * IN + in_channels[None, :],
            mask=(real & (time >= back))[:, None] & (in_channels < IN)[None, :],
            other=0.0,
        )
        source = rows.to(tl.int64)[:, None] * OUT + out_channels[None, :]
        real = real[:, None] & (out_channels < OUT)[None, :]
        grad_tile = tl.load(gradient + source, mask=real, other=0.0)
        if gate is not None:
            grad_tile = tl.where(tl.load(gate + source, mask=real, other=0.0) > 0, grad_tile, tl.zeros_like(grad_tile))
        acc = tl.dot(x_tile.T, grad_tile, acc, input_precision=PRECISION)
        bias_acc += grad_tile.to(tl.float32)

    part = (split * TAPS + tap).to(tl.int64) * IN
    tl.store(
        dweight + (part + in_channels)[:, None] * OUT + out_channels[None, :],
        acc * scale,
        mask=(in_channels < IN)[:, None] & (out_channels < OUT)[None, :],
    )
    if (tap == TAPS - 1) & (in_tile == 0):
        tl.store(dbias + split * OUT + out_channels, tl.sum(bias_acc, axis=0) * scale, mask=out_channels < OUT)
