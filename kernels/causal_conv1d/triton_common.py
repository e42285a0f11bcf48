# mypy: ignore-errors
"""What the kernels of the causal convolution share: where the rows of a tile stand, and the dropout mask."""

import triton
import triton.language as tl


@triton.jit
def locate_rows(lengths, row_tile, n_rows, n_frames, BLOCK_ROWS: tl.constexpr):
    """Rows are the frames of the batch, one utterance after the other: row = utterance * n_frames + time.

    Gives the rows of a tile, their times, and how many frames of their utterance are real. Several short
    utterances share a tile, so none wastes rows; a row beyond the batch has no real frames.
    """
    rows = row_tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    utterance = rows // n_frames
    time = rows - utterance * n_frames
    if lengths is None:
        n_real = tl.where(rows < n_rows, n_frames, 0)
    else:
        n_real = tl.load(lengths + utterance, mask=rows < n_rows, other=0).to(tl.int32)
    return rows, time, n_real


@triton.jit
def first_useful_tap(reach, dilation, TAPS: tl.constexpr):
    """The first tap that reaches a real frame from some row of the tile; `TAPS` where none does.

    `reach` is how many frames a row may look away (back, or ahead in a gradient), negative for padding. Taps are in
    the order of the weight: the last one looks at the row itself.
    """
    farthest = tl.max(reach, axis=0)
    return tl.where(farthest < 0, TAPS, tl.maximum(TAPS - 1 - farthest // dilation, 0))


@triton.jit
def _mix(h):
    """A bijection of 32 bits in which every output bit depends on every input bit (C. Wellons, lowbias32)."""
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
    return h


@triton.jit
def is_kept(seed, utterances, channels, drop_below):
    """The dropout mask of a tile: a function of the seed and of (utterance, channel) alone, whatever the tile.

    A channel is kept or dropped for all frames of an utterance. Utterances and channels are mixed apart, then each
    element once more: ten instructions an element, where Philox takes a hundred and would take longer than the
    convolution.

    Args:
        seed: (1,) int64.
        utterances: (BLOCK_ROWS,) the utterance of each row.
        channels: (BLOCK_OUT,) channels.
        drop_below: Probability of dropping times 2**31.
    """
    key = tl.load(seed)
    utterance_key = _mix(utterances.to(tl.uint32) ^ (key >> 32).to(tl.uint32))
    channel_key = _mix(channels.to(tl.uint32) ^ key.to(tl.uint32))
    h = _mix(utterance_key[:, None] ^ channel_key[None, :])
    return (h >> 1).to(tl.int32) >= drop_below
