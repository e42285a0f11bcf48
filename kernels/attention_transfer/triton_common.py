# mypy: ignore-errors
"""What the kernels of the attention-transfer losses share: where a tile stands, its scores, its distance.

Scores are in units of log2(e): their exponential is `exp2`, one instruction.
"""

import triton
import triton.language as tl


@triton.jit
def locate_tile(lengths, n_frames, n_heads, BLOCK: tl.constexpr):
    """Programs of one map (an utterance and a head) stand side by side, so that they share its keys in the cache.

    Gives the map, its utterance and head, the first frame of the program's tile, and how many frames are real.
    """
    n_tiles = tl.cdiv(n_frames, BLOCK)
    attention_map = tl.program_id(0) // n_tiles
    utterance = attention_map // n_heads
    first = tl.program_id(0) % n_tiles * BLOCK
    n_real = n_frames if lengths is None else tl.load(lengths + utterance).to(tl.int32)
    return attention_map, utterance, attention_map % n_heads, first, n_real


@triton.jit
def frames_of(x, utterance, head, batch_stride, head_stride, UNIT: tl.constexpr):
    """Where an utterance and head of a (B, T, H, D) tensor begins; strides are in units of `UNIT` elements."""
    return x + (utterance.to(tl.int64) * batch_stride + head.to(tl.int64) * head_stride) * UNIT


@triton.jit
def load_frames(x, frames, n_real, frame_stride, UNIT: tl.constexpr, SIZE: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    """(frames, BLOCK_SIZE) of one utterance and head; zero in padding, whatever stands there."""
    column = tl.arange(0, BLOCK_SIZE)
    # In 64 bits: the frames of a transposed (T, B, ...) tensor stand far apart.
    row = frames.to(tl.int64) * frame_stride * UNIT
    return tl.load(x + row[:, None] + column[None, :], mask=(frames < n_real)[:, None] & (column < SIZE), other=0.0)


@triton.jit
def load_scores(
    own,  # (BLOCK, BLOCK_SIZE) tile of queries or keys
    x,
    frames,
    n_real,
    frame_stride,
    scale,
    UNIT: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The tile of `frames` of x, and the scores between `own` and it."""
    tile = load_frames(x, frames, n_real, frame_stride, UNIT, SIZE, BLOCK_SIZE)
    return tile, tl.dot(own, tile.T, input_precision=PRECISION) * scale


@triton.jit
def visible_keys(first_query, n_real, window, BLOCK_QUERIES: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """The first key and the end of the keys that some real query of a tile attends to: none for a tile of padding."""
    first, end = 0, n_real
    if window is not None:
        first = tl.maximum(first_query - window + 1, 0) // BLOCK_KEYS * BLOCK_KEYS
        end = tl.minimum(first_query + BLOCK_QUERIES, n_real)
    return first, tl.where(first_query < n_real, end, first)


@triton.jit
def visible_queries(first_key, n_real, window, BLOCK_QUERIES: tl.constexpr, BLOCK_KEYS: tl.constexpr):
    """The first query and the end of the queries that attend to some real key of a tile."""
    first, end = 0, n_real
    if window is not None:
        first = first_key // BLOCK_QUERIES * BLOCK_QUERIES
        end = tl.minimum(first_key + BLOCK_KEYS - 1 + window, n_real)
    return first, tl.where(first_key < n_real, end, first)


@triton.jit
def only_visible(scores, queries, keys, n_real, window):
    """Scores of queries and keys (one of them a row, the other a column), minus infinity where the key is hidden."""
    visible = keys < n_real
    if window is not None:
        visible = visible & (keys <= queries) & (keys > queries - window)
    return tl.where(visible, scores, -float("inf"))


@triton.jit
def score_gradient(student, source, row_pull, skew, LOSS: tl.constexpr):
    """The gradient of the loss with respect to the student's scores, without the factor that a whole map has.

    See README.md; `row_pull` is the softmax's row sum, `skew` belongs to the map.
    """
    gap = student - source
    if LOSS == "kl":
        return gap
    if LOSS == "at":
        gap += skew * student
    return student * (gap - row_pull)
