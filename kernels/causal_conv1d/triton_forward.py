# mypy: ignore-errors
"""The forward kernel of the causal convolution."""

import triton
import triton.language as tl

from satn_fast.kernels.causal_conv1d.triton_common import first_useful_tap, is_kept, locate_rows


@triton.jit(do_not_specialize=["n_rows", "n_frames", "dilation", "drop_below"])
def causal_conv1d_forward_kernel(
    x,  # (n_rows, IN)
    weight,  # (TAPS, IN, OUT)
    bias,  # (OUT,) or None
    residual,  # (n_rows, OUT) or None
    lengths,  # (n_rows / n_frames,) integers or None
    seed,  # (1,) int64, or None: no dropout
    y,  # (n_rows, OUT)
    active,  # (n_rows, ceil(OUT / 8)) bits of where the inner ReLU lets through, or None: not asked for
    n_rows,
    n_frames,
    dilation,
    drop_below,
    keep_scale,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    TAPS: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    DESCRIPTORS: tl.constexpr,  # x, weight, residual, y are tensor descriptors instead of pointers
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """Each program computes BLOCK_ROWS x BLOCK_OUT of y.

    y[n] = relu(dropout(relu(bias + sum_k x[n - (TAPS - 1 - k) * dilation] @ weight[k])) + residual[n])
    """
    N_OUT_TILES: tl.constexpr = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    N_IN_TILES: tl.constexpr = (IN + BLOCK_IN - 1) // BLOCK_IN
    # Programs that read the same rows of x stand side by side, so that x leaves device memory once.
    row_tile = tl.program_id(0) // N_OUT_TILES
    first_channel = tl.program_id(0) % N_OUT_TILES * BLOCK_OUT
    rows, time, n_real = locate_rows(lengths, row_tile, n_rows, n_frames, BLOCK_ROWS)
    real = time < n_real
    # A tile of padding has no useful tap: it reads nothing and stores zeros.
    first_step = first_useful_tap(tl.where(real, time, -1), dilation, TAPS) * N_IN_TILES

    acc = tl.zeros((BLOCK_ROWS, BLOCK_OUT), dtype=tl.float32)
    # One flat loop over taps and channels, so that the copies of the next steps run ahead of the arithmetic.
    if DESCRIPTORS:
        # A descriptor copies whole tiles. Where every tap of every row stays in its utterance nothing is to be masked.
        inside = tl.min(time, axis=0) >= (TAPS - 1) * dilation
        for step in range(tl.where(inside, first_step, TAPS * N_IN_TILES), TAPS * N_IN_TILES):
            back = (TAPS - 1 - step // N_IN_TILES) * dilation
            channel = step % N_IN_TILES * BLOCK_IN
            x_tile = x.load([row_tile * BLOCK_ROWS - back, channel])
            weight_tile = weight.load([step // N_IN_TILES, channel, first_channel]).reshape(BLOCK_IN, BLOCK_OUT)
            acc = tl.dot(x_tile, weight_tile, acc, input_precision=PRECISION)
        for step in range(tl.where(inside, TAPS * N_IN_TILES, first_step), TAPS * N_IN_TILES):
            back = (TAPS - 1 - step // N_IN_TILES) * dilation
            channel = step % N_IN_TILES * BLOCK_IN
            x_tile = x.load([row_tile * BLOCK_ROWS - back, channel])
            x_tile = tl.where((time >= back)[:, None], x_tile, tl.zeros_like(x_tile))
            weight_tile = weight.load([step // N_IN_TILES, channel, first_channel]).reshape(BLOCK_IN, BLOCK_OUT)
            acc = tl.dot(x_tile, weight_tile, acc, input_precision=PRECISION)
    else:
        out_channels = first_channel + tl.arange(0, BLOCK_OUT)
        for step in range(first_step, TAPS * N_IN_TILES):
            back = (TAPS - 1 - step // N_IN_TILES) * dilation
            in_channels = step % N_IN_TILES * BLOCK_IN + tl.arange(0, BLOCK_IN)
            x_tile = tl.load(
                x + (rows - back).to(tl.int64)[:, None] * IN + in_channels[None, :],
                mask=(real & (time >= back))[:, None] & (in_channels < IN)[None, :],
                other=0.0,
            )
            weight_tile = tl.load(
                weight + (step // N_IN_TILES * IN + in_channels)[:, None] * OUT + out_channels[None, :],
                mask=(in_channels < IN)[:, None] & (out_channels < OUT)[None, :],
                other=0.0,
            )
            acc = tl.dot(x_tile, weight_tile, acc, input_precision=PRECISION)

    channels = first_channel + tl.arange(0, BLOCK_OUT)
    element = rows.to(tl.int64)[:, None] * OUT + channels[None, :]
    exists = (rows < n_rows)[:, None] & (channels < OUT)[None, :]
    if bias is not None:
        acc += tl.load(bias + channels, mask=channels < OUT, other=0.0).to(tl.float32)[None, :]
    if active is not None:
        bits = (acc > 0).to(tl.int32).reshape(BLOCK_ROWS, BLOCK_OUT // 8, 8) << tl.arange(0, 8)[None, None, :]
        N_BYTES: tl.constexpr = (OUT + 7) // 8
        byte = first_channel // 8 + tl.arange(0, BLOCK_OUT // 8)
        tl.store(
            active + rows.to(tl.int64)[:, None] * N_BYTES + byte[None, :],
            tl.sum(bits, axis=2).to(tl.uint8),
            mask=(rows < n_rows)[:, None] & (byte < N_BYTES)[None, :],
        )
    if RELU:
        acc = tl.where(acc < 0, 0.0, acc)  # NaN stays NaN, unlike in a maximum
    if seed is not None:
        acc = tl.where(is_kept(seed, rows // n_frames, channels, drop_below), acc * keep_scale, 0.0)
    if residual is not None:
        if DESCRIPTORS:
            acc += residual.load([row_tile * BLOCK_ROWS, first_channel]).to(tl.float32)
        else:
            acc += tl.load(residual + element, mask=exists & real[:, None], other=0.0).to(tl.float32)
        acc = tl.where(acc < 0, 0.0, acc)
    acc = tl.where(real[:, None], acc, 0.0)
    if DESCRIPTORS:
        y.store([row_tile * BLOCK_ROWS, first_channel], acc.to(y.dtype))
    else:
        tl.store(y + element, acc.to(y.dtype.element_ty), mask=exists)
