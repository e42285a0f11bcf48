"""SATN as an ONNX graph, written node by node: the same weights always give the same bytes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from satn_fast.config import (
    FEATURE_ORDERS,
    LARGEST_LEVEL,
    SPECTRAL_POOLED,
    SPECTRAL_STRIDE,
    SATNConfig,
)
from satn_fast.export.tiles import Tiles
from satn_fast.export.weights import Attention, Block, Convolution, Dense, FoldedSATN, image_weight
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR

# LayerNormalization arrived with opset 17; ONNX Runtime reads it since 1.12 (2022).
OPSET = 17
IR_VERSION = 8

# A window of 100 frames has four kinds of tiles, one of 5000 has eighty, which would take 100 MB.
_MAX_KINDS_OF_TILES = 8


class GraphBuilder:
    """Collects nodes and constants; every result is named after what it is.

    The branch of a graph keeps its constants with those of the graph.
    """

    def __init__(self, whole: "GraphBuilder | None" = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {} if whole is None else whole.constants

    def constant(self, name: str, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Stores an array and gives its name."""
        array = np.asarray(value, dtype=dtype, order="C")
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node with one output and gives the output's name."""
        return self.node_with_outputs(operator, inputs, [name], **attributes)[0]

    def node_with_outputs(self, operator: str, inputs: Sequence[str], names: list[str], **attributes: Any) -> list[str]:
        """Adds a node with several outputs and gives their names."""
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
        return names

    def integer(self, value: int) -> str:
        """A constant of shape (1,), int64; equal values share one."""
        return self.constant(f"integer_{value}".replace("-", "minus_"), [value], np.int64)

    def integers(self, *values: int | str) -> str:
        """A 1-D int64 tensor from numbers and from the names of computed (1,) tensors."""
        if all(isinstance(value, int) for value in values):
            name = "shape_" + "_".join(str(value) for value in values)
            return self.constant(name.replace("-", "minus_"), values, np.int64)
        parts = [self.integer(value) if isinstance(value, int) else value for value in values]
        return self.node("Concat", parts, f"shape{len(self.nodes)}", axis=0)


class Batch(NamedTuple):
    """Several utterances in one tensor."""

    size: str
    """(1,): B."""
    lengths: str
    """(B, 1)."""
    valid: str
    """(B, 1, T): 1 for frames of the utterance, 0 for padding."""


def build(weights: FoldedSATN, *, batched: bool = False) -> onnx.ModelProto:
    """Builds the float32 graph: `features` (1, T, F) to `logits` (1, n_labels), for every T >= 1.

    With `batched`, `features` (B, T, F) and `lengths` (B,) int64 to `logits` (B, n_labels).
    """
    graph, config = GraphBuilder(), weights.config
    shape = graph.node("Shape", ["features"], "features_shape")
    n_frames = graph.node("Slice", [shape, *span(graph, 1, 2)], "frames")
    features, batch = "features", None
    if batched:
        size = graph.node("Slice", [shape, *span(graph, 0, 1)], "n_utterances")
        features, batch = _without_padding(graph, config.n_features, n_frames, size)
    h = _normalization(graph, features, weights, n_frames, batch)
    h = graph.node("Transpose", [h], "normalised_by_feature", perm=[0, 2, 1])
    h = tcn_input(graph, h, weights, lambda x, name, zeros: (x, zeros))
    blocks = tcn(graph, h, weights.blocks, lambda x, conv, name: causal_convolution(graph, x, conv, name, conv.history))
    h = as_frames(graph, blocks[-1], config.channels, "encoded")
    h = _attention(graph, h, weights.attention, config.n_heads, config.attention_window, n_frames, batch)
    layers = pooled_layers(graph, blocks, h, config)
    linear(graph, _pooled(graph, layers, weights, n_frames, batch), weights.classifier, "logits")

    rows: str | int = "batch" if batched else 1
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [rows, "frames", config.n_features])]
    if batched:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, [rows]))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, len(config.labels)])]
    return model_of(graph, inputs, outputs)


def model_of(
    graph: GraphBuilder, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Gives the model of a complete graph."""
    proto = helper.make_graph(graph.nodes, "satn", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "satn_fast"
    return model


def finished(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """Gives the file's content, with `metadata` as its `metadata_props`; the same model gives the same bytes."""
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def quantizable_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that int8 may compute: convolutions, sums of the residual blocks, projections.

    Other sums are left out: the frame count, for one, must not saturate at the longest utterance of the calibration.
    """
    names = [(node.op_type, node.name) for node in model.graph.node]
    return [
        name
        for operator, name in names
        if operator == "Conv"
        or (operator == "Gemm" and name != "logits")
        or (operator in ("Add", "Relu") and name.startswith("block"))
        or (operator in ("MaxPool", "Relu") and name.startswith("spectral"))
    ]


def pooled_tensor(model: onnx.ModelProto) -> str:
    """Name of what pooling looks at."""
    projection = next(node for node in model.graph.node if node.name == "pooling_projection")
    return str(projection.input[0])


def span(graph: GraphBuilder, start: int | str, end: int | str, axis: int = 0) -> list[str]:
    """The last inputs of a Slice along one axis."""
    return [graph.integer(value) if isinstance(value, int) else value for value in (start, end, axis)]


def count(graph: GraphBuilder, end: str, name: str, axes: list[int]) -> str:
    """The whole numbers from 0 to `end` (a (1,) tensor, excluded), with axes of size 1 added at the given places."""
    zero, one = graph.constant("zero", 0, np.int64), graph.constant("one_step", 1, np.int64)
    numbers = graph.node("Range", [zero, graph.node("Squeeze", [end], f"{name}_end"), one], f"{name}_range")
    return graph.node("Unsqueeze", [numbers, graph.integers(*axes)], name)


def _without_padding(graph: GraphBuilder, n_features: int, n_frames: str, size: str) -> tuple[str, Batch]:
    """Features (B, T, F) with each utterance's last frame in place of its padding, whatever that holds, NaN included.

    What is left to do is to keep these frames out of sums and weights over time; causal layers never look at them.
    """
    lengths = graph.node("Unsqueeze", ["lengths", graph.integer(1)], "lengths_column")
    frame = count(graph, n_frames, "frame_of_batch", [0])
    before_end = graph.node("Less", [frame, lengths], "is_valid")
    valid = graph.node("Cast", [before_end], "valid_frames", to=TensorProto.FLOAT)
    valid = graph.node("Unsqueeze", [valid, graph.integer(1)], "valid")
    last = graph.node("Sub", [lengths, graph.integer(1)], "last_frames")
    existing = graph.node(
        "Max", [graph.node("Min", [frame, last], "frames_to_end"), graph.integer(0)], "existing_frames"
    )
    first = graph.node("Mul", [count(graph, size, "utterance", [1]), n_frames], "first_rows")
    row = graph.node("Add", [first, existing], "existing_feature_rows")
    rows = graph.node("Reshape", ["features", graph.integers(-1, n_features)], "feature_rows_of_batch")
    return graph.node("Gather", [rows, row], "features_without_padding", axis=0), Batch(size, lengths, valid)


def _normalization(graph: GraphBuilder, features: str, weights: FoldedSATN, n_frames: str, batch: Batch | None) -> str:
    """(B, T, F) features to normalised (B, T, F)."""
    mode = weights.config.normalization
    x = graph.node("Sub", [features, graph.constant("mean", weights.mean)], "shifted")
    if mode == "level":
        x = without_level(graph, x, _utterance_sum(graph, level_sums(graph, features, weights), batch), weights)
    elif mode == "running_level":
        sums = graph.node("CumSum", [level_sums(graph, features, weights), time_axis(graph)], "running_sums")
        x = without_level(graph, x, sums, weights)
    elif mode == "utterance":
        x = graph.node("Sub", [x, _utterance_mean(graph, x, batch)], "centred")
    elif mode == "running":
        frame = graph.node("Cast", [count(graph, n_frames, "frame", [1])], "frame_as_float", to=TensorProto.FLOAT)
        start = graph.constant("first_divisor", 1.0 + weights.config.running_prior_frames)
        divisor = graph.node("Add", [frame, start], "frames_so_far")
        total = graph.node("CumSum", [x, time_axis(graph)], "running_sum")
        x = graph.node("Sub", [x, graph.node("Div", [total, divisor], "running_mean")], "centred")
    return graph.node("Mul", [x, graph.constant("inverse_std", weights.inverse_std)], "normalised")


def time_axis(graph: GraphBuilder) -> str:
    """The axis of frames, as `CumSum` takes it."""
    return graph.constant("time_axis", 1, np.int64)


def level_sums(graph: GraphBuilder, features: str, weights: FoldedSATN) -> str:
    """(B, T, F) features to the (B, T, 2) that add up to a level, see `satn_fast.reference.level_sums`."""
    assert weights.bands is not None
    of_bands = weights.bands[:, None] / weights.bands.sum()
    level = graph.node("MatMul", [features, graph.constant("band_mean", of_bands)], "frame_level")
    largest = graph.constant("largest_level", LARGEST_LEVEL)
    smallest = graph.constant("smallest_level", -LARGEST_LEVEL)
    bounded = graph.node("Clip", [level, smallest, largest], "bounded_level")
    exponent = graph.constant("loudness_exponent", weights.config.loudness_exponent)
    loudness = graph.node("Exp", [graph.node("Mul", [bounded, exponent], "log_loudness")], "frame_loudness")
    return graph.node(
        "Concat", [graph.node("Mul", [loudness, level], "weighted_level"), loudness], "level_sums", axis=2
    )


def without_level(graph: GraphBuilder, x: str, sums: str, weights: FoldedSATN) -> str:
    """Removes the level that the sums (B, n, 2) are of from the bands of (B, T, F)."""
    assert weights.bands is not None
    total, loudness = graph.node_with_outputs("Split", [sums], ["level_total", "loudness_total"], axis=2)
    level = graph.node("Div", [total, loudness], "level")
    removed = graph.node("Mul", [level, graph.constant("is_band", weights.bands)], "level_of_bands")
    return graph.node("Sub", [x, removed], "centred")


def _utterance_sum(graph: GraphBuilder, x: str, batch: Batch | None) -> str:
    """(B, T, n) to (B, 1, n)."""
    if batch is None:
        return graph.node("ReduceSum", [x, graph.integers(1)], "utterance_sum")
    return graph.node("MatMul", [batch.valid, x], "utterance_sum")


def _utterance_mean(graph: GraphBuilder, x: str, batch: Batch | None) -> str:
    """(B, T, n) to (B, 1, n)."""
    if batch is None:
        return graph.node("ReduceMean", [x], "utterance_mean", axes=[1])
    lengths = graph.node("Cast", [batch.lengths], "lengths_as_float", to=TensorProto.FLOAT)
    divisor = graph.node("Unsqueeze", [lengths, graph.integer(2)], "frames_of_utterance")
    return graph.node("Div", [_utterance_sum(graph, x, batch), divisor], "utterance_mean")


def tcn_input(
    graph: GraphBuilder, x: str, weights: FoldedSATN, heard: Callable[[str, str, int], tuple[str, int]]
) -> str:
    """What the TCN reads: normalised features (B, F, T), and beside them the patterns in them, (B, places * S, T).

    `heard` gives frames with those before them, by the name of the convolution and how many it sees, and how many
    zeros are left to put before them.
    """
    if weights.spectral is None:
        return x
    frames, zeros = heard(x, "spectral", weights.spectral.history)
    image = graph.node("Reshape", [frames, graph.integers(0, FEATURE_ORDERS, weights.config.n_bands, -1)], "image")
    weight = graph.constant("spectral_weight", image_weight(weights.spectral).transpose(3, 2, 1, 0))
    bias = graph.constant("spectral_bias", weights.spectral.bias)
    pads = [0, zeros, 0, 0]
    found = graph.node("Conv", [image, weight, bias], "spectral", pads=pads, strides=[SPECTRAL_STRIDE, 1])
    found, kernel = graph.node("Relu", [found], "spectral_relu"), [SPECTRAL_POOLED, 1]
    found = graph.node("MaxPool", [found], "spectral_largest", kernel_shape=kernel, strides=kernel)
    # Place by place, as the TCN was trained.
    found = graph.node("Transpose", [found], "spectral_places", perm=[0, 2, 1, 3])
    patterns = graph.node("Reshape", [found, graph.integers(0, weights.config.n_patterns, -1)], "patterns")
    return graph.node("Concat", [x, patterns], "tcn_input", axis=1)


def tcn(
    graph: GraphBuilder, h: str, blocks: Sequence[Block], convolve: Callable[[str, Convolution, str], str]
) -> list[str]:
    """Residual blocks, (B, F, T) to the (B, C, T) of every block; `convolve` adds the convolutions of several taps."""
    outputs = []
    for i, block in enumerate(blocks):
        residual = h
        if block.project is not None:
            residual = causal_convolution(graph, h, block.project.as_convolution, f"block{i}_projection")
        y = graph.node("Relu", [convolve(h, block.conv1, f"block{i}_conv1")], f"block{i}_relu1")
        y = graph.node("Relu", [convolve(y, block.conv2, f"block{i}_conv2")], f"block{i}_relu2")
        h = graph.node("Relu", [graph.node("Add", [y, residual], f"block{i}_sum")], f"block{i}_output")
        outputs.append(h)
    return outputs


def as_frames(graph: GraphBuilder, x: str, channels: int, name: str) -> str:
    """(B, C, T) to (B * T, C)."""
    x = graph.node("Transpose", [x], f"{name}_by_frame", perm=[0, 2, 1])
    return graph.node("Reshape", [x, graph.integers(-1, channels)], name)


def pooled_layers(graph: GraphBuilder, blocks: Sequence[str], hidden: str, config: SATNConfig) -> str:
    """What is pooled, (B * T, P), of the (B, C, T) of every block and attention's (B * T, C).

    Frame by frame, as attention gives it: with channel by channel, pooling takes 5 to 15 % longer in ONNX Runtime
    (5 and 8 blocks of 64 channels, 75 frames).
    """
    if config.pooling_layers == "last":
        return hidden
    together = graph.node("Concat", blocks, "block_outputs", axis=1)
    convolved = as_frames(graph, together, len(blocks) * config.channels, "convolved")
    return graph.node("Concat", [convolved, hidden], "layers", axis=1)


def causal_convolution(graph: GraphBuilder, x: str, convolution: Convolution, name: str, zeros: int = 0) -> str:
    """Causal convolution with that many zero frames before the first, (B, Cin, T) to (B, Cout, T)."""
    weight = graph.constant(f"{name}_weight", convolution.weight.transpose(2, 1, 0))
    bias = graph.constant(f"{name}_bias", convolution.bias)
    return graph.node("Conv", [x, weight, bias], name, pads=[zeros, 0], dilations=[convolution.dilation])


def linear(graph: GraphBuilder, x: str, dense: Dense, name: str) -> str:
    """(T, Cin) to (T, Cout)."""
    weight, bias = graph.constant(f"{name}_weight", dense.weight), graph.constant(f"{name}_bias", dense.bias)
    return graph.node("Gemm", [x, weight, bias], name)


def _attention(
    graph: GraphBuilder,
    h: str,
    attention: Attention,
    n_heads: int,
    window: int | None,
    n_frames: str,
    batch: Batch | None,
) -> str:
    """Self-attention, residual and LayerNorm, (B * T, C) to (B * T, C)."""
    heads = (n_heads, len(attention.norm_scale) // n_heads)
    qkv = linear(graph, h, attention.query_key_value, "query_key_value")
    if window is not None:
        y = _windowed(graph, qkv, heads, window, n_frames, batch)
    elif batch is None:
        y = _whole_utterance(graph, qkv, heads)
    else:
        y = _whole_utterances(graph, qkv, heads, n_frames, batch)
    return attention_output(graph, h, y, attention)


def attention_output(graph: GraphBuilder, h: str, attended: str, attention: Attention) -> str:
    """Output projection, residual and LayerNorm, (T, C) twice to (T, C)."""
    h = graph.node("Add", [h, linear(graph, attended, attention.output, "attention_output")], "attention_sum")
    scale = graph.constant("norm_scale", attention.norm_scale)
    offset = graph.constant("norm_offset", attention.norm_offset)
    return graph.node("LayerNormalization", [h, scale, offset], "hidden", axis=-1, epsilon=attention.norm_epsilon)


def _whole_utterance(graph: GraphBuilder, qkv: str, heads: tuple[int, int]) -> str:
    """Every frame attends to every frame; (T, 3C) to (T, C)."""
    n_heads, size = heads
    parts = graph.node("Reshape", [qkv, graph.integers(-1, 3 * n_heads, size)], "heads_of_frames")
    parts = graph.node("Transpose", [parts], "heads", perm=[1, 0, 2])
    q, k, v = graph.node_with_outputs("Split", [parts], ["query", "key", "value"], axis=0)
    scores = graph.node("MatMul", [q, graph.node("Transpose", [k], "keys", perm=[0, 2, 1])], "scores")
    y = graph.node("MatMul", [graph.node("Softmax", [scores], "attention_weights", axis=-1), v], "attended_heads")
    y = graph.node("Transpose", [y], "attended_frames", perm=[1, 0, 2])
    return graph.node("Reshape", [y, graph.integers(-1, n_heads * size)], "attended")


def _whole_utterances(graph: GraphBuilder, qkv: str, heads: tuple[int, int], n_frames: str, batch: Batch) -> str:
    """Every frame attends to every frame of its utterance; (B * T, 3C) to (B * T, C)."""
    n_heads, size = heads
    parts = graph.node("Reshape", [qkv, graph.integers(-1, n_frames, 3 * n_heads, size)], "heads_of_frames")
    q, k, v = graph.node_with_outputs("Split", [parts], ["query", "key", "value"], axis=2)
    visible = graph.node("Unsqueeze", [batch.valid, graph.integer(1)], "visible")
    y = attend_all(graph, Heads(q, k, v, as_rows=(0, 2, 1, 3), as_columns=(0, 2, 3, 1)), visible)
    y = graph.node("Transpose", [y], "attended_frames", perm=[0, 2, 1, 3])
    return graph.node("Reshape", [y, graph.integers(-1, n_heads * size)], "attended")


def _windowed(
    graph: GraphBuilder, qkv: str, heads: tuple[int, int], window: int, n_frames: str, batch: Batch | None
) -> str:
    """Every frame attends to the last `window` frames, in N tiles; (B * T, 3C) to (B * T, C).

    Queries, keys and values are gathered with the place in the tile first, utterance and tile after it: ONNX Runtime
    multiplies such matrices where they lie, and each frame is copied in one piece.
    """
    (n_heads, size), tiles = heads, Tiles.of_window(window)
    rows = graph.node("Reshape", [qkv, graph.integers(-1, n_heads * size)], "parts_of_frames")  # row: (frame, q/k/v)
    n_rows = graph.node("Mul", [n_frames, graph.integer(3)], "rows_of_frames")
    end = graph.node("Squeeze", [n_rows], "row_end")
    last = graph.node("Sub", [end, graph.constant("three", 3, np.int64)], "last_row")
    step = graph.constant("rows_of_tile", 3 * tiles.queries, np.int64)
    first = graph.node("Range", [graph.constant("zero", 0, np.int64), end, step], "first_row")
    start = None
    if batch is not None:
        start = graph.node(
            "Mul", [count(graph, batch.size, "utterance_of_rows", [1]), n_rows], "first_row_of_utterance"
        )

    def gathered(offsets: NDArray[np.int64], name: str, parts: dict[str, int]) -> list[str]:
        """(n, B, N, H, D) of each part, at frames relative to the first of each tile; (n,) `offsets`.

        Frames that do not exist give those that do.
        """
        row = graph.constant(f"{name}_offsets", 3 * offsets[:, None, None], np.int64)
        row = graph.node("Add", [first, row], f"{name}_rows")
        row = graph.node("Clip", [row, graph.constant("zero", 0, np.int64), last], f"existing_{name}_rows")
        if start is not None:
            row = graph.node("Add", [row, start], f"{name}_rows_in_batch")
        result = []
        for part, index in parts.items():
            row_of_part = graph.node("Add", [row, graph.integer(index)], f"{part}_rows") if index else row
            frames = graph.node("Gather", [rows, row_of_part], f"{part}_frames", axis=0)
            result.append(graph.node("Reshape", [frames, graph.integers(0, 0, 0, n_heads, size)], part))
        return result

    (query,) = gathered(np.arange(tiles.queries), "query", {"query": 0})
    key, value = gathered(np.arange(-tiles.history, tiles.queries), "key_or_value", {"key": 1, "value": 2})
    tile = graph.node("Div", [first, step], "tile")
    parts = Heads(query, key, value, as_rows=(1, 2, 3, 0, 4), as_columns=(1, 2, 3, 4, 0))
    y = attend_all(graph, parts, _visible(graph, tile, tiles))

    # Back to (B, T, H, D), without the tail of the last tile.
    y = graph.node("Transpose", [y], "attended_tiles", perm=[0, 1, 3, 2, 4])
    y = graph.node("Reshape", [y, graph.integers(0, -1, n_heads * size)], "attended_frames_and_tail")
    y = graph.node("Slice", [y, *span(graph, 0, n_frames, 1)], "attended_frames")
    return graph.node("Reshape", [y, graph.integers(-1, n_heads * size)], "attended")


def _visible(graph: GraphBuilder, tile: str, tiles: Tiles) -> str:
    """(N, 1, queries, keys): 1 where a query sees a key, else 0; `tile` is (N,).

    All tiles are alike but the first few, whose keys begin before the utterance. Of windows that are not too long, the
    runtime computes these few once, when it opens the file, and only copies them afterwards.
    """
    n_different = -(-tiles.history // tiles.queries) + 1
    copied = n_different <= _MAX_KINDS_OF_TILES
    kinds = (
        graph.constant("kinds_of_tiles", np.arange(n_different)[:, None], np.int64)
        if copied
        else graph.node("Unsqueeze", [tile, graph.integer(1)], "kinds_of_tiles")
    )
    start = graph.node("Mul", [kinds, graph.integer(tiles.queries)], "first_frame_of_kind")
    offset = graph.constant("key_offsets", np.arange(-tiles.history, tiles.queries), np.int64)
    exists = graph.node(
        "GreaterOrEqual", [graph.node("Add", [start, offset], "frame_of_key"), graph.integer(0)], "exists"
    )
    exists = graph.node("Unsqueeze", [exists, graph.integers(1, 2)], "exists_for_queries")
    oldest = graph.constant("oldest_offset", np.arange(tiles.queries)[:, None] - tiles.history, np.int64)
    newest = graph.constant("newest_offset", np.arange(tiles.queries)[:, None], np.int64)
    new_enough = graph.node("GreaterOrEqual", [offset, oldest], "new_enough")
    old_enough = graph.node("LessOrEqual", [offset, newest], "old_enough")
    in_window = graph.node("And", [new_enough, old_enough], "in_window")
    visible = graph.node("And", [exists, in_window], "is_visible")
    visible = graph.node("Cast", [visible], "visible_by_kind" if copied else "visible", to=TensorProto.FLOAT)
    if not copied:
        return visible
    kind = graph.node("Min", [tile, graph.integer(n_different - 1)], "kind_of_tile")
    return graph.node("Gather", [visible, kind], "visible", axis=0)


def attend(graph: GraphBuilder, scores: str, visible: str, values: str, prefix: str = "") -> str:
    """Weighted sum of the values, (..., n, m) scores and (..., m, D) to (..., n, D); `visible` is 1 or 0."""
    weights = _softmax_of_visible(graph, scores, visible, prefix)
    return graph.node("MatMul", [weights, values], f"{prefix}attended_heads")


def _softmax_of_visible(graph: GraphBuilder, scores: str, visible: str, prefix: str) -> str:
    """Softmax over the last axis, of scores of any size; `visible` is 1 or 0.

    ONNX Runtime's softmax takes five times as long where a fifth of the scores is more than 87 below the largest, as
    those of hidden keys are: this is for few scores, `attend_all` for many.
    """
    # Not minus infinity: the quantizer looks at the range of every tensor.
    hidden = graph.node("Sub", [visible, graph.constant("all_visible", 1.0)], f"{prefix}minus_hidden")
    limit = graph.node("Mul", [hidden, graph.constant("beyond_all_scores", 1e30)], f"{prefix}limit")
    seen = graph.node("Add", [scores, limit], f"{prefix}visible_scores")
    return graph.node("Softmax", [seen], f"{prefix}weights", axis=-1)


class Heads(NamedTuple):
    """Queries, keys and values of all heads, and how the axes go to have them as matrices in a batch."""

    query: str
    key: str
    value: str
    as_rows: tuple[int, ...]
    """Permutation to (..., n, D)."""
    as_columns: tuple[int, ...]
    """Permutation to (..., D, n)."""

    def scores(self, graph: GraphBuilder, prefix: str = "") -> str:
        """(..., n, m)."""
        queries = graph.node("Transpose", [self.query], f"{prefix}query_matrices", perm=self.as_rows)
        keys = graph.node("Transpose", [self.key], f"{prefix}key_matrices", perm=self.as_columns)
        return graph.node("MatMul", [queries, keys], f"{prefix}scores")

    def values(self, graph: GraphBuilder, prefix: str = "") -> str:
        """(..., m, D)."""
        return graph.node("Transpose", [self.value], f"{prefix}value_matrices", perm=self.as_rows)


def attend_all(graph: GraphBuilder, heads: Heads, visible: str) -> str:
    """Gives what `attend` gives, (..., n, D), sooner.

    The exponentials of the scores as they are, with those of hidden keys set to zero, take half the time of a softmax.
    Where scores are so large that one overflows, or a value may that is weighted with it, or where all that a query
    sees vanish (speech between stretches of digital silence can do it), everything is computed again by `attend`. In
    the demo's speech no score that a query sees is above 26, and the largest is never below -15.
    """
    exponentials = graph.node("Exp", [heads.scores(graph)], "exponentials")
    weights = graph.node("Mul", [exponentials, visible], "attention_weights")
    total = graph.node("ReduceSum", [weights, graph.integer(-1)], "weight_of_visible", keepdims=1)
    weighted = graph.node("MatMul", [weights, heads.values(graph)], "weighted_values")
    least = graph.node("ReduceMin", [total], "least_weight", keepdims=0)
    largest = graph.node("ReduceSum", [total], "sum_of_weights", keepdims=0)  # NaN, unlike the maximum, if one is
    none_vanish = graph.node("Greater", [least, graph.constant("least_exact_weight", 1e-30)], "none_vanish")
    none_overflow = graph.node("Less", [largest, graph.constant("largest_exact_weight", 1e30)], "none_overflow")

    quickly, exactly = GraphBuilder(graph), GraphBuilder(graph)
    results = [quickly.node("Div", [weighted, total], "quickly_attended_heads")]
    results.append(attend(exactly, heads.scores(exactly, "exact_"), visible, heads.values(exactly, "exact_"), "exact_"))
    then_branch, else_branch = (
        helper.make_graph(
            branch.nodes, f"{result}_branch", [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
        )
        for branch, result in zip((quickly, exactly), results, strict=True)
    )
    is_exact = graph.node("And", [none_vanish, none_overflow], "is_exact")
    return graph.node("If", [is_exact], "attended_heads", then_branch=then_branch, else_branch=else_branch)


def _pooled(graph: GraphBuilder, x: str, weights: FoldedSATN, n_frames: str, batch: Batch | None) -> str:
    """Attentive pooling, (B * T, P) to the mean, or mean and deviation side by side: (B, P) or (B, 2P)."""
    config, scores = weights.config, pooling_scores(graph, x, weights)
    if batch is None:
        return _statistics(graph, graph.node("Softmax", [scores], "pooling_weights", axis=-1), x, config, "pooled")
    scores = graph.node("Reshape", [scores, graph.integers(-1, 1, n_frames)], "pooling_scores_rows")
    frames = graph.node("Reshape", [x, graph.integers(-1, n_frames, config.pooled_channels)], "layers_of_utterances")
    frame_weights = _softmax_of_visible(graph, scores, batch.valid, "pooling_")
    pooled = _statistics(graph, frame_weights, frames, config, "pooled_rows")
    return graph.node("Reshape", [pooled, graph.integers(-1, config.embedding_size)], "pooled")


def _statistics(graph: GraphBuilder, frame_weights: str, x: str, config: SATNConfig, name: str) -> str:
    """Weighted mean of (..., T, P), and where asked for the deviation beside it, by weights (..., 1, T)."""
    if config.pooling == "mean":
        return graph.node("MatMul", [frame_weights, x], name)
    mean = graph.node("MatMul", [frame_weights, x], "pooled_mean")
    # The difference of mean square and squared mean would lose all digits of a channel that hardly moves.
    around = graph.node("Sub", [x, mean], "around_mean")
    variance = graph.node("MatMul", [frame_weights, graph.node("Mul", [around, around], "squares")], "variance")
    return graph.node("Concat", [mean, deviation(graph, variance)], name, axis=-1)


def deviation(graph: GraphBuilder, variance: str) -> str:
    """The square root of a float32 variance and its floor."""
    floored = graph.node("Add", [variance, graph.constant("deviation_floor", DEVIATION_FLOOR)], "floored_variance")
    return graph.node("Sqrt", [floored], "deviation")


def pooling_scores(graph: GraphBuilder, x: str, weights: FoldedSATN) -> str:
    """The scores of attentive pooling, (T, P) to (1, T)."""
    energy = graph.node("Tanh", [linear(graph, x, weights.pooling, "pooling_projection")], "pooling_energy")
    columns = graph.node("Transpose", [energy], "pooling_energy_columns", perm=[1, 0])
    return graph.node("MatMul", [graph.constant("context", weights.context[None]), columns], "pooling_scores")
