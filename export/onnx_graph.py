"""SATN as an ONNX graph, written node by node: the same weights always give the same bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from satn_fast.export.weights import HIDDEN_SCORE, Attention, Block, Convolution, Dense, FoldedSATN
from satn_fast.reference import RUNNING_PRIOR_FRAMES

# LayerNormalization arrived with opset 17; ONNX Runtime reads it since 1.12 (2022).
OPSET = 17
IR_VERSION = 8

# A score that much below the largest of its row has a weight that float32 cannot tell from zero.
NEGLIGIBLE = 75.0


class GraphBuilder:
    """Collects nodes and constants; every result is named after what it is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Stores an array and gives its name."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node with one output and gives the output's name."""
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

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


def build(weights: FoldedSATN) -> onnx.ModelProto:
    """Builds the float32 graph: `features` (1, T, F) to `logits` (1, n_labels), for every T >= 1."""
    graph, config = GraphBuilder(), weights.config
    n_frames = graph.node("Slice", [graph.node("Shape", ["features"], "features_shape"), *span(graph, 1, 2)], "frames")
    h = _normalization(graph, weights, n_frames)
    h = graph.node("Transpose", [h], "tcn_input", perm=[0, 2, 1])
    h = tcn(graph, h, weights.blocks, lambda x, conv, name: causal_convolution(graph, x, conv, name, conv.history))
    h = _attention(graph, h, weights.attention, config.n_heads, config.attention_window, n_frames)
    scores = graph.node("Transpose", [pooling_scores(graph, h, weights)], "pooling_scores_row", perm=[1, 0])
    pooled = graph.node("MatMul", [graph.node("Softmax", [scores], "pooling_weights", axis=-1), h], "pooled")
    linear(graph, pooled, weights.classifier, "logits")

    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "frames", config.n_features])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(config.labels)])]
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
    ]


def span(graph: GraphBuilder, start: int | str, end: int | str, axis: int = 0) -> list[str]:
    """The last inputs of a Slice along one axis."""
    return [graph.integer(value) if isinstance(value, int) else value for value in (start, end, axis)]


def count(graph: GraphBuilder, end: str, name: str, axes: list[int]) -> str:
    """The whole numbers from 0 to `end` (a (1,) tensor, excluded), with axes of size 1 added at the given places."""
    zero, one = graph.constant("zero", 0, np.int64), graph.constant("one_step", 1, np.int64)
    numbers = graph.node("Range", [zero, graph.node("Squeeze", [end], f"{name}_end"), one], f"{name}_range")
    return graph.node("Unsqueeze", [numbers, graph.integers(*axes)], name)


def _normalization(graph: GraphBuilder, weights: FoldedSATN, n_frames: str) -> str:
    """(1, T, F) features to normalised (1, T, F)."""
    mode = weights.config.normalization
    x = graph.node("Sub", ["features", graph.constant("mean", weights.mean)], "shifted")
    if mode == "utterance":
        x = graph.node("Sub", [x, graph.node("ReduceMean", [x], "utterance_mean", axes=[1])], "centred")
    elif mode == "running":
        frame = graph.node("Cast", [count(graph, n_frames, "frame", [1])], "frame_as_float", to=TensorProto.FLOAT)
        start = graph.constant("first_divisor", 1.0 + RUNNING_PRIOR_FRAMES)
        divisor = graph.node("Add", [frame, start], "frames_so_far")
        total = graph.node("CumSum", [x, graph.constant("time_axis", 1, np.int64)], "running_sum")
        x = graph.node("Sub", [x, graph.node("Div", [total, divisor], "running_mean")], "centred")
    return graph.node("Mul", [x, graph.constant("inverse_std", weights.inverse_std)], "normalised")


def tcn(graph: GraphBuilder, h: str, blocks: Sequence[Block], convolve: Callable[[str, Convolution, str], str]) -> str:
    """Residual blocks, (1, F, T) to (T, C); `convolve` adds the convolutions of more than one tap."""
    for i, block in enumerate(blocks):
        residual = h
        if block.project is not None:
            residual = causal_convolution(graph, h, block.project.as_convolution, f"block{i}_projection")
        y = graph.node("Relu", [convolve(h, block.conv1, f"block{i}_conv1")], f"block{i}_relu1")
        y = graph.node("Relu", [convolve(y, block.conv2, f"block{i}_conv2")], f"block{i}_relu2")
        h = graph.node("Relu", [graph.node("Add", [y, residual], f"block{i}_sum")], f"block{i}_output")
    return graph.node(
        "Squeeze", [graph.node("Transpose", [h], "tcn_output", perm=[0, 2, 1]), graph.integer(0)], "encoded"
    )


def causal_convolution(graph: GraphBuilder, x: str, convolution: Convolution, name: str, zeros: int = 0) -> str:
    """Causal convolution with that many zero frames before the first, (1, Cin, T) to (1, Cout, T)."""
    weight = graph.constant(f"{name}_weight", convolution.weight.transpose(2, 1, 0))
    bias = graph.constant(f"{name}_bias", convolution.bias)
    return graph.node("Conv", [x, weight, bias], name, pads=[zeros, 0], dilations=[convolution.dilation])


def linear(graph: GraphBuilder, x: str, dense: Dense, name: str) -> str:
    """(T, Cin) to (T, Cout)."""
    weight, bias = graph.constant(f"{name}_weight", dense.weight), graph.constant(f"{name}_bias", dense.bias)
    return graph.node("Gemm", [x, weight, bias], name)


def _attention(
    graph: GraphBuilder, h: str, attention: Attention, n_heads: int, window: int | None, n_frames: str
) -> str:
    """Self-attention, residual and LayerNorm, (T, C) to (T, C)."""
    q, k, v = (linear(graph, h, getattr(attention, name), name) for name in ("query", "key", "value"))
    size = len(attention.norm_scale) // n_heads
    if window is None:
        y = _whole_utterance(graph, q, k, v, (n_heads, size))
    else:
        y = _windowed(graph, q, k, v, (n_heads, size), window, n_frames)
    return attention_output(graph, h, y, attention)


def attention_output(graph: GraphBuilder, h: str, attended: str, attention: Attention) -> str:
    """Output projection, residual and LayerNorm, (T, C) twice to (T, C)."""
    h = graph.node("Add", [h, linear(graph, attended, attention.output, "attention_output")], "attention_sum")
    scale = graph.constant("norm_scale", attention.norm_scale)
    offset = graph.constant("norm_offset", attention.norm_offset)
    return graph.node("LayerNormalization", [h, scale, offset], "hidden", axis=-1, epsilon=attention.norm_epsilon)


def _whole_utterance(graph: GraphBuilder, q: str, k: str, v: str, heads: tuple[int, int]) -> str:
    """Every frame attends to every frame; (T, C) three times to (T, C)."""
    shape = graph.integers(-1, *heads)
    q = graph.node("Transpose", [graph.node("Reshape", [q, shape], "query_heads")], "queries", perm=[1, 0, 2])
    k = graph.node("Transpose", [graph.node("Reshape", [k, shape], "key_heads")], "keys", perm=[1, 2, 0])
    v = graph.node("Transpose", [graph.node("Reshape", [v, shape], "value_heads")], "values", perm=[1, 0, 2])
    weights = graph.node("Softmax", [graph.node("MatMul", [q, k], "scores")], "attention_weights", axis=-1)
    y = graph.node("MatMul", [weights, v], "attended_heads")
    y = graph.node("Transpose", [y], "attended_frames", perm=[1, 0, 2])
    return graph.node("Reshape", [y, graph.integers(-1, heads[0] * heads[1])], "attended")


def _windowed(graph: GraphBuilder, q: str, k: str, v: str, heads: tuple[int, int], window: int, n_frames: str) -> str:
    """Cuts time into N tiles of `W = min(window, T)` frames; a tile attends to itself and the tile before it."""
    tile = graph.node("Min", [n_frames, graph.integer(window)], "tile")
    tail = graph.node("Mod", [graph.node("Neg", [n_frames], "minus_frames"), tile], "tail")
    two_tiles = graph.node("Add", [tile, tile], "two_tiles")
    no_history = graph.integers(0, 0, tail, 0)
    one_tile_history = graph.integers(tile, 0, tail, 0)

    def with_previous_tile(x: str, name: str, perm: list[int]) -> str:
        """(T, C) to (N, 2W, H, D), zeros before the first tile, permuted."""
        padded = graph.node("Pad", [x, one_tile_history], f"{name}_padded")
        tiles = graph.node("Reshape", [padded, graph.integers(-1, tile, *heads)], f"{name}_tiles")
        before = graph.node("Slice", [tiles, *span(graph, 0, -1)], f"{name}_before")
        current = graph.node("Slice", [tiles, *span(graph, 1, np.iinfo(np.int64).max)], f"{name}_current")
        both = graph.node("Concat", [before, current], f"{name}_pairs", axis=1)
        return graph.node("Transpose", [both], f"{name}_both", perm=perm)

    padded = graph.node("Pad", [q, no_history], "query_padded")
    tiles = graph.node("Reshape", [padded, graph.integers(-1, tile, *heads)], "query_tiles")
    queries = graph.node("Transpose", [tiles], "queries", perm=[0, 2, 1, 3])
    scores = graph.node("MatMul", [queries, with_previous_tile(k, "key", [0, 2, 3, 1])], "scores")
    hidden = _hidden_in_tiles(graph, tile, two_tiles, tiles)
    one_if_hidden = graph.node("Cast", [hidden], "one_if_hidden", to=TensorProto.FLOAT)
    bias = graph.node("Mul", [one_if_hidden, graph.constant("hidden_score", HIDDEN_SCORE)], "score_bias")
    weights = softmax(graph, graph.node("Add", [scores, bias], "masked_scores"), "attention_weights")
    y = graph.node("MatMul", [weights, with_previous_tile(v, "value", [0, 2, 1, 3])], "attended_heads")
    y = graph.node("Transpose", [y], "attended_tiles", perm=[0, 2, 1, 3])
    y = graph.node("Reshape", [y, graph.integers(-1, heads[0] * heads[1])], "attended_padded")
    return graph.node("Slice", [y, *span(graph, 0, n_frames)], "attended")


def softmax(graph: GraphBuilder, scores: str, name: str) -> str:
    """Softmax over the last axis, for scores of which many are minus infinity.

    Weights below exp(-75) of the largest are raised to that, which changes no float32 sum: without it they would be
    denormal numbers, on which ONNX Runtime's softmax takes five times as long.
    """
    largest = graph.node("ReduceMax", [scores], f"{name}_largest", axes=[-1], keepdims=1)
    floor = graph.node("Sub", [largest, graph.constant("negligible", NEGLIGIBLE)], f"{name}_floor")
    return graph.node("Softmax", [graph.node("Max", [scores, floor], f"{name}_scores")], name, axis=-1)


def _hidden_in_tiles(graph: GraphBuilder, tile: str, two_tiles: str, tiles: str) -> str:
    """(N, 1, W, 2W) bool: keys after the query, beyond the window, or before the utterance.

    Key 0 of a tile is the first frame of the tile before it.
    """
    n_tiles = graph.node("Slice", [graph.node("Shape", [tiles], "tiles_shape"), *span(graph, 0, 1)], "n_tiles")
    query, key = count(graph, tile, "query_index", [0, 1, 3]), count(graph, two_tiles, "key_index", [0, 1, 2])
    in_tile = count(graph, n_tiles, "tile_index", [1, 2, 3])
    too_old = graph.node("LessOrEqual", [key, query], "too_old")
    too_new = graph.node("Greater", [key, graph.node("Add", [query, tile], "query_as_key")], "too_new")
    frame = graph.node("Add", [graph.node("Mul", [in_tile, tile], "tile_start"), key], "frame_after_padding")
    before_start = graph.node("Less", [frame, tile], "before_start")
    outside = graph.node("Or", [too_old, too_new], "outside_window")
    return graph.node("Or", [outside, before_start], "hidden_keys")


def pooling_scores(graph: GraphBuilder, h: str, weights: FoldedSATN) -> str:
    """The scores of attentive pooling, (T, C) to (T, 1)."""
    energy = graph.node("Tanh", [linear(graph, h, weights.pooling, "pooling_projection")], "pooling_energy")
    return graph.node("MatMul", [energy, graph.constant("context", weights.context[:, None])], "pooling_scores")
