# mypy: ignore-errors
"""What the kernels of attentive pooling share."""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
# Below every score; minus infinity less minus infinity would not be a number.
LOWEST = tl.constexpr(-1e30)


@triton.jit
def locate_tile(lengths, n_frames, BLOCK_TIME: tl.constexpr):
    """Gives the utterance of a program, the frames of its tile, and how many frames of the utterance are real."""
    n_tiles = tl.cdiv(n_frames, BLOCK_TIME)
    utterance = tl.program_id(0) // n_tiles
    time = tl.program_id(0) % n_tiles * BLOCK_TIME + tl.arange(0, BLOCK_TIME)
    n_real = n_frames if lengths is None else tl.load(lengths + utterance).to(tl.int32)
    return utterance, time, n_real


@triton.jit
def locate_block(step, CHANNELS: tl.constexpr, BLOCK_CHANNELS: tl.constexpr):
    """Gives the layer and its channels that a step of a loop over the blocks of all layers is about."""
    n_blocks: tl.constexpr = (CHANNELS + BLOCK_CHANNELS - 1) // BLOCK_CHANNELS
    return step // n_blocks, step % n_blocks * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)


@triton.jit
def pointer_of(layers, layer, LAYERS: tl.constexpr):
    """The pointer of one of several tensors, by a number known at run time: one loop serves any number of them."""
    pointer = layers[0]
    for number in tl.static_range(1, LAYERS):
        pointer = tl.where(layer == number, layers[number], pointer)
    return pointer


@triton.jit
def load_matrix(x, rows, columns, n_rows, N_COLUMNS: tl.constexpr, STRIDE: tl.constexpr):
    """(rows, columns) of a (n_rows, N_COLUMNS) matrix whose rows are STRIDE apart; zero outside of it."""
    place = x + rows.to(tl.int64)[:, None] * STRIDE + columns[None, :]
    return tl.load(place, mask=(rows < n_rows)[:, None] & (columns < N_COLUMNS)[None, :], other=0.0)


@triton.jit
def tanh(x):
    """Hyperbolic tangent from one exponential, with the absolute error of its last place."""
    x = tl.where(x > 15.0, 15.0, x)  # already 1 in float32; an infinite exponential would not be a number
    e = tl.exp2(x * (2.0 * LOG2_E))
    return (e - 1.0) / (e + 1.0)
