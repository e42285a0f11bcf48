"""One streaming step of a SATN as a graph of TFLite Micro's integer operators.

In float it must equal `satn_fast.streaming.stream_step`. It is restructured where int8 would not hold what float does:

    running normalisation   stays with the host (`host`): in a long stream the mean moves by less than any int8
                            step, and the host has to scale the features anyway
    attention's softmax     is in int16: int8 has a fixed step of 1/256, and of 100 equal weights each would be 2 or 3
    LayerNorm               is an L2 normalisation of the centred frame; scale and offset are part of what reads it
    pooling                 is over the last `pooling_frames` frames, anew in every step (`pooling`)

So all state is values of single frames or chunks, which are moved and never computed with: it loses nothing, however
long the stream.
"""

from typing import NamedTuple

import numpy as np

from satn_fast.config import FEATURE_ORDERS, SPECTRAL_POOLED, SPECTRAL_STRIDE
from satn_fast.export.micro.graph import Graph
from satn_fast.export.micro.pooling import ABSENCE_GAP, PADDING, ChannelScales, logits_of_last_frames, no_scales
from satn_fast.export.weights import Block, Convolution, Dense, FoldedSATN, image_weight


class ScoreRanges(NamedTuple):
    """Between what values scores lie."""

    attention: tuple[float, float]
    pooling: tuple[float, float]


# Wide enough for a first calibration, in float.
ANY_SCORES = ScoreRanges((-1000.0, 1000.0), (-1000.0, 1000.0))


def step(
    weights: FoldedSATN,
    chunk_frames: int,
    pooling_frames: int,
    score_ranges: ScoreRanges,
    scales: ChannelScales | None = None,
) -> Graph:
    """Gives the graph of one step.

    Inputs are `features` (1, c, F), normalised, `padding` (1, c), 0 for a real frame and `PADDING` for one after the
    end of the utterance, and the states. Outputs are `logits` (1, n_labels) of the last `pooling_frames` frames, and
    the new states, in the order of the inputs.

    Args:
        weights: Of a model with an attention window of 2 or more.
        chunk_frames: New frames `c` in a step.
        pooling_frames: Frames that the logits are of, more than `c`; whole chunks where deviations are pooled.
        score_ranges: Of calibration, or `ANY_SCORES` before it.
        scales: Of calibration, or `None` before it.
    """
    config, graph = weights.config, Graph()
    features = graph.input("features", (1, chunk_frames, config.n_features))
    padding = graph.input("padding", (1, chunk_frames), quantization=(-PADDING / 128, 0))
    x = graph.apply("RESHAPE", "frames", features, graph.indices(chunk_frames, config.n_features))
    x, blocks = _tcn_input(graph, x, weights), []
    for index, block in enumerate(weights.blocks):
        x = _block(graph, f"block{index}", x, block)
        blocks.append(x)
    attended = _attention(graph, x, weights, score_ranges.attention)
    direction = _layer_norm(graph, graph.apply("ADD", "attention_residual", x, attended))
    logits = logits_of_last_frames(
        graph,
        blocks,
        direction,
        padding,
        weights,
        pooling_frames=pooling_frames,
        lowest_score=score_ranges.pooling[0],
        scales=no_scales(config.pooled_channels) if scales is None else scales,
    )
    graph.outputs.insert(0, logits)
    return graph


def _tcn_input(graph: Graph, x: str, weights: FoldedSATN) -> str:
    """What the TCN reads: the frames (c, F), and beside them the patterns in them, (c, places * S)."""
    spectral, config = weights.spectral, weights.config
    if spectral is None:
        return x
    n_frames, joined = graph.tensors[x].shape[0], graph.history("spectral_history", x, spectral.history, axis=0)
    orders = graph.indices(1, n_frames + spectral.history, FEATURE_ORDERS, config.n_bands)
    image = graph.apply(
        "TRANSPOSE", "image", graph.apply("RESHAPE", "orders", joined, orders), graph.indices(0, 1, 3, 2)
    )
    found = graph.apply(
        "CONV_2D",
        "spectral_found",
        image,
        graph.constant("spectral_weight", image_weight(spectral).transpose(3, 0, 1, 2), "int8"),
        graph.constant("spectral_bias", spectral.bias, "int32"),
        options={"stride_h": 1, "stride_w": SPECTRAL_STRIDE, "relu": True},
    )
    window = {"filter_height": 1, "filter_width": SPECTRAL_POOLED, "stride_h": 1, "stride_w": SPECTRAL_POOLED}
    largest = graph.apply("MAX_POOL_2D", "spectral_largest", found, options=window)
    shape = graph.indices(n_frames, config.n_patterns)
    # To the scale of the features, which they stand beside.
    patterns = graph.apply(
        "QUANTIZE", "patterns", graph.apply("RESHAPE", "found_in_frames", largest, shape), dtype="int8"
    )
    return graph.apply("CONCATENATION", "tcn_input", x, patterns, options={"axis": 1})


def _block(graph: Graph, name: str, x: str, block: Block) -> str:
    """One residual block, (c, Cin) to (c, C)."""
    residual = x if block.project is None else graph.dense(f"{name}_project", x, block.project)
    y = _convolution(graph, f"{name}_conv1", x, block.conv1)
    y = _convolution(graph, f"{name}_conv2", y, block.conv2)
    return graph.apply("ADD", name, y, residual, options={"relu": True})


def _convolution(graph: Graph, name: str, x: str, convolution: Convolution) -> str:
    """A causal convolution and its ReLU, (c, Cin) to (c, Cout).

    It is a dense layer of all frames that a new one depends on, laid side by side: integers are those of CONV_2D, whose
    reference kernel takes a fifth longer, for its inner loop is K times as short.
    """
    n_taps, n_in, n_out = convolution.weight.shape
    if convolution.history:
        x = _taps(graph, name, x, convolution)
    return graph.dense(name, x, Dense(convolution.weight.reshape(n_taps * n_in, n_out), convolution.bias), relu=True)


def _taps(graph: Graph, name: str, x: str, convolution: Convolution) -> str:
    """(c, Cin) to (c, K, Cin): each new frame, after those that the convolution sees before it."""
    n_frames, joined = graph.tensors[x].shape[0], graph.history(f"{name}_history", x, convolution.history, axis=0)
    starts = np.arange(0, convolution.history + 1, convolution.dilation, dtype=np.int32)
    rows = np.arange(n_frames, dtype=np.int32)[:, None] + starts
    seen = graph.constant(f"frames_seen_at_dilation_{convolution.dilation}", rows, "int32")
    return graph.apply("GATHER", f"{name}_taps", joined, seen)


def _attention(graph: Graph, x: str, weights: FoldedSATN, score_range: tuple[float, float]) -> str:
    """What attention adds to (c, C)."""
    attention, window, n_heads = weights.attention, weights.config.attention_window, weights.config.n_heads
    assert window is not None
    n_frames, channels = graph.tensors[x].shape
    heads = graph.indices(1, n_frames, n_heads, channels // n_heads)

    def by_head(name: str, dense: Dense, order: tuple[int, ...]) -> str:
        split = graph.apply("RESHAPE", f"{name}_split", graph.dense(f"{name}_projection", x, dense), heads)
        return graph.apply("TRANSPOSE", name, split, graph.indices(*order))

    query = by_head("query", attention.query, (0, 2, 1, 3))  # (1, H, c, D)
    keys = graph.history("keys", by_head("key", attention.key, (0, 2, 1, 3)), window - 1, axis=2)  # (1, H, K, D)
    scores = graph.product("attention_scores", graph.wide(query), graph.wide(keys))
    visible = _visible_keys(graph, n_frames, window, score_range)
    shares = graph.apply("SOFTMAX", "attention_weights", graph.apply("ADD", "visible_scores", scores, visible))
    # Not before: beside keys and scores they would make the arena larger.
    values = graph.history("values", by_head("value", attention.value, (0, 2, 3, 1)), window - 1, axis=3)
    mean = graph.product("attended_wide", shares, graph.wide(values))
    mean = graph.apply("QUANTIZE", "attended_by_head", mean, dtype="int8")
    mean = graph.apply("TRANSPOSE", "attended_split", mean, graph.indices(0, 2, 1, 3))
    mean = graph.apply("RESHAPE", "attended", mean, graph.indices(n_frames, channels))
    return graph.dense("attention_output", mean, attention.output)


def _visible_keys(graph: Graph, n_frames: int, window: int, score_range: tuple[float, float]) -> str:
    """(1, 1, c, K), added to the scores: at least `ABSENCE_GAP` less where the key is absent or outside of the window.

    Padding needs no care here: it stands after the last frame, where no query looks.
    """
    n_keys, bonus = window - 1 + n_frames, score_range[1] - score_range[0] + ABSENCE_GAP
    query, key = np.arange(n_frames)[:, None], np.arange(n_keys)
    outside = (key < query) | (key >= query + window)
    outside_window = np.where(outside, -bonus, 0.0).astype(np.float32)[None, None]
    # An absent key is zero, and so is its score: it is the present ones that get something.
    present = graph.constant("present", np.full((1, n_frames), bonus, np.float32), "int8")
    presence = graph.wide(graph.history("presence", present, window - 1, axis=1))
    presence = graph.apply("RESHAPE", "presence_of_keys", presence, graph.indices(1, 1, 1, n_keys))
    return graph.apply("ADD", "visible_keys", graph.constant("outside_window", outside_window, "int16"), presence)


def _layer_norm(graph: Graph, x: str) -> str:
    """LayerNorm less its scale and offset, divided by sqrt(C): the direction of the centred frame, (c, C)."""
    mean = graph.apply("MEAN", "frame_mean", x, graph.indices(1), options={"keep_dims": True})
    return graph.apply("L2_NORMALIZATION", "direction", graph.apply("SUB", "centred", x, mean))
