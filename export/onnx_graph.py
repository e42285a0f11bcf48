"""SATN as an ONNX graph, written node by node: the same weights always give the same bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from satn_fast.export.tiles import Tiles
from satn_fast.export.weights import Attention, Block, Convolution, Dense, FoldedSATN
from satn_fast.reference import RUNNING_PRIOR_FRAMES

# LayerNormalization arrived with opset 17; ONNX Runtime reads it since 1.12 (2022).
OPSET = 17
IR_VERSION = 8


class GraphBuilder:
    """Collects nodes and constants; every result is named after what it is."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

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
    heads = (n_heads, len(attention.norm_scale) // n_heads)
    qkv = linear(graph, h, attention.query_key_value, "query_key_value")
    y = _whole_utterance(graph, qkv, heads) if window is None else _windowed(graph, qkv, heads, window, n_frames)
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


def _windowed(graph: GraphBuilder, qkv: str, heads: tuple[int, int], window: int, n_frames: str) -> str:
    """Every frame attends to the last `window` frames, in N tiles; (T, 3C) to (T, C).

    Queries, keys and values of a tile are gathered in one go, head by head: padding, cutting and transposing them took
    three times as long.
    """
    (n_heads, size), tiles = heads, Tiles.of_window(window)
    rows = graph.node("Reshape", [qkv, graph.integers(-1, size)], "heads_of_frames")  # row: (frame, q/k/v, head)
    ceiling = graph.node("Add", [n_frames, graph.integer(tiles.queries - 1)], "frames_and_tail")
    n_tiles = graph.node("Div", [ceiling, graph.integer(tiles.queries)], "tiles")
    first = graph.node("Mul", [count(graph, n_tiles, "tile", [1]), graph.integer(tiles.queries)], "first_frame")
    last = graph.node("Sub", [n_frames, graph.integer(1)], "last_frame")

    def frames(offsets: NDArray[np.int64], name: str) -> str:
        """(N, len(offsets)) int64, frames relative to the first of each tile."""
        return graph.node("Add", [first, graph.constant(f"{name}_offsets", offsets, np.int64)], f"{name}_frames")

    def gathered(frames: str, part: int, name: str) -> str:
        """(N, n) frames to (H, N, n, D); 0 queries, 1 keys, 2 values. Frames that do not exist give those that do."""
        rows_of_head = part * n_heads + np.arange(n_heads)[:, None, None]
        row = graph.node("Mul", [frames, graph.integer(3 * n_heads)], f"{name}_row_of_frame")
        row = graph.node("Add", [row, graph.constant(f"{name}_rows", rows_of_head, np.int64)], f"{name}_row")
        return graph.node("Gather", [rows, row], name, axis=0)

    query_frames = frames(np.arange(tiles.queries), "query")
    key_frames = frames(np.arange(-tiles.history, tiles.queries), "key")
    existing_query = graph.node("Min", [query_frames, last], "existing_query_frames")
    existing_key = graph.node(
        "Max", [graph.node("Min", [key_frames, last], "key_frames_to_end"), graph.integer(0)], "existing_key_frames"
    )

    not_before_start = graph.node("GreaterOrEqual", [key_frames, graph.integer(0)], "not_before_start")
    heard = graph.node("Cast", [not_before_start], "heard", to=TensorProto.FLOAT)
    heard = graph.node("Unsqueeze", [heard, graph.integer(1)], "heard_by_queries")
    visible = graph.node("Mul", [heard, graph.constant("in_window", tiles.in_window())], "visible")

    keys = graph.node("Transpose", [gathered(existing_key, 1, "key")], "keys", perm=[0, 1, 3, 2])
    scores = graph.node("MatMul", [gathered(existing_query, 0, "query"), keys], "scores")
    y = attend(graph, scores, visible, gathered(existing_key, 2, "value"))

    # Back to (T, H, D), without the tail of the last tile.
    y = graph.node("Reshape", [y, graph.integers(-1, size)], "attended_rows")
    per_head = graph.node("Mul", [n_tiles, graph.integer(tiles.queries)], "rows_per_head")
    head_start = graph.node("Mul", [graph.constant("head_index", np.arange(n_heads), np.int64), per_head], "head_start")
    row = graph.node("Add", [count(graph, n_frames, "attended_frame", [1]), head_start], "attended_row")
    y = graph.node("Gather", [y, row], "attended_frames", axis=0)
    return graph.node("Reshape", [y, graph.integers(-1, n_heads * size)], "attended")


def attend(graph: GraphBuilder, scores: str, visible: str, values: str) -> str:
    """Weighted sum of the values, (..., n, m) scores and (..., m, D) to (..., n, D); `visible` is 1 or 0.

    The softmax is over all keys; then hidden ones are set to zero, and the rest is divided by its sum. Scores of minus
    infinity would become denormal numbers, on which ONNX Runtime's softmax takes ten times as long. The price is that
    no hidden key may outweigh all visible ones by exp(87); if one does, the logits are NaN, which the runtime interface
    and verification refuse.
    """
    weights = graph.node("Softmax", [scores], "weights_of_all_keys", axis=-1)
    weights = graph.node("Mul", [weights, visible], "attention_weights")
    total = graph.node("ReduceSum", [weights, graph.integer(-1)], "weight_of_visible", keepdims=1)
    return graph.node("Div", [graph.node("MatMul", [weights, values], "weighted_values"), total], "attended_heads")


def pooling_scores(graph: GraphBuilder, h: str, weights: FoldedSATN) -> str:
    """The scores of attentive pooling, (T, C) to (T, 1)."""
    energy = graph.node("Tanh", [linear(graph, h, weights.pooling, "pooling_projection")], "pooling_energy")
    return graph.node("MatMul", [energy, graph.constant("context", weights.context[:, None])], "pooling_scores")
