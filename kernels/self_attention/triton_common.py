# mypy: ignore-errors
"""What the kernels of self-attention share: which tiles a program meets, and copies of tiles.

A tile is BLOCK frames of one head of one utterance, as a matrix (BLOCK, BLOCK_SIZE); BLOCK_SIZE is the head size
rounded up to a power of two, and the columns beyond the head size are zero.
"""

import triton
import triton.language as tl

# They change with every batch, or tell nothing that STRIDE_UNIT does not: no kernel is compiled anew for them.
RUN_TIME_VALUES = (
    *("n_frames", "window", "q_batch", "q_frame", "q_head"),
    *("k_batch", "k_frame", "k_head", "v_batch", "v_frame", "v_head"),
)


@triton.jit
def locate_tile(lengths, n_frames, HEADS: tl.constexpr, BLOCK: tl.constexpr):
    """The utterance, head and first frame of this program's tile, and how many frames of the utterance are real.

    Tiles of the same head stand side by side, so that what they all read leaves device memory once.
    """
    n_tiles = tl.cdiv(n_frames, BLOCK)
    first_frame = tl.program_id(0) % n_tiles * BLOCK
    head = tl.program_id(0) // n_tiles % HEADS
    utterance = tl.program_id(0) // n_tiles // HEADS
    n_real = n_frames
    if lengths is not None:
        n_real = tl.minimum(tl.load(lengths + utterance).to(tl.int32), n_frames)
    return utterance.to(tl.int64), head.to(tl.int64), first_frame, n_real


@triton.jit
def keys_of_queries(first_query, n_real, window, BLOCK_QUERIES: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """The tiles of keys that a tile of queries meets; see `_split`."""
    begin, end, whole_begin, whole_end = 0, n_real, 0, n_real
    if window is not None:
        begin = tl.maximum(first_query + 1 - window, 0)
        end = tl.minimum(first_query + BLOCK_QUERIES, n_real)
        whole_begin = tl.maximum(first_query + BLOCK_QUERIES - window, 0)
        whole_end = first_query + 1
    return _split(first_query < n_real, begin, end, whole_begin, whole_end, BLOCK_KEYS)


@triton.jit
def queries_of_keys(first_key, n_real, window, BLOCK_QUERIES: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """The tiles of queries that a tile of keys meets; see `_split`."""
    begin, end, whole_begin, whole_end = 0, n_real, 0, n_real
    if window is not None:
        begin = first_key
        end = tl.minimum(first_key + BLOCK_KEYS - 1 + window, n_real)
        whole_begin = first_key + BLOCK_KEYS - 1
        whole_end = tl.minimum(first_key + window, n_real)
    return _split(first_key < n_real, begin, end, whole_begin, whole_end, BLOCK_QUERIES)


@triton.jit
def _split(any_real, begin, end, whole_begin, whole_end, BLOCK: tl.constexpr):
    """Splits the tiles that overlap frames begin..end: those within whole_begin..whole_end need no mask.

    Gives the first tile, the first whole tile, and how many tiles are whole and how many are not. A program whose own
    tile is padding (`any_real` is false) meets none.
    """
    first = begin // BLOCK
    first_whole = tl.cdiv(whole_begin, BLOCK)
    n_whole = tl.maximum(whole_end // BLOCK - first_whole, 0)
    n_partial = tl.cdiv(end, BLOCK) - first - n_whole
    return first, first_whole, tl.where(any_real, n_whole, 0), tl.where(any_real, n_partial, 0)


@triton.jit
def frame_of_step(step, first, first_whole, n_whole, PARTIAL: tl.constexpr, BLOCK: tl.constexpr):
    """The first frame of the tile that is met in a step, in the pass over the whole or over the partial tiles."""
    tile = first_whole + step
    if PARTIAL:
        # The whole tiles stand between the partial ones, and are met in their own pass.
        tile = tl.where(first + step < first_whole, first + step, first + step + n_whole)
    return tile * BLOCK


@triton.jit
def is_visible(query, key, n_real, window):
    """Whether queries attend to keys; the shapes are broadcast. Real queries only: what others see does not matter."""
    return key < n_real if window is None else (key <= query) & (key > query - window)


@triton.jit
def load_tile(
    x,  # (T, HEAD_SIZE): one head of one utterance
    frame_stride,
    first_frame,
    n_real,
    MASKED: tl.constexpr,  # padded frames read as zero, whatever stands there; without, there must be none
    HEAD_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """The tile (BLOCK, BLOCK_SIZE) from `first_frame` on."""
    frames, columns = tl.arange(0, BLOCK), tl.arange(0, BLOCK_SIZE)
    # 64 bits up to the tile, 32 bits within it.
    source = x + first_frame.to(tl.int64) * frame_stride + (frames[:, None] * frame_stride + columns[None, :])
    within_head = (columns < HEAD_SIZE)[None, :]
    if MASKED:
        tile = tl.load(source, mask=(first_frame + frames < n_real)[:, None] & within_head, other=0.0)
    elif HEAD_SIZE < BLOCK_SIZE:
        tile = tl.load(source, mask=within_head, other=0.0)
    else:
        tile = tl.load(source)
    return tile


@triton.jit
def store_tile(
    x,  # (T, HEAD_SIZE): one head of one utterance
    frame_stride,
    first_frame,
    n_frames,
    tile,
    HEAD_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Writes a tile (BLOCK, BLOCK_SIZE) from `first_frame` on; frames from `n_frames` on do not exist."""
    frames, columns = tl.arange(0, BLOCK), tl.arange(0, BLOCK_SIZE)
    target = x + first_frame.to(tl.int64) * frame_stride + (frames[:, None] * frame_stride + columns[None, :])
    exists = (first_frame + frames < n_frames)[:, None] & (columns < HEAD_SIZE)[None, :]
    tl.store(target, tile.to(x.dtype.element_ty), mask=exists)
