"""One step of a stream as an ONNX graph: a chunk of frames and the state in, logits so far and the new state out.

It computes what `satn_fast.streaming.stream_step` computes, for one utterance and chunks of any size from one frame.
The cost of a chunk of `c` frames is O(c), but for the attention scores, `c * (W-1+c)`.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from satn_fast.export.onnx.graph import (
    GraphBuilder,
    Heads,
    as_frames,
    attend_all,
    attention_output,
    causal_convolution,
    count,
    deviation,
    level_sums,
    linear,
    model_of,
    pooled_layers,
    pooling_scores,
    span,
    tcn,
    tcn_input,
    time_axis,
    without_level,
)
from satn_fast.export.stream_state import NEXT, history_name, stream_state
from satn_fast.export.weights import Convolution, FoldedSATN

_END = int(np.iinfo(np.int64).max)


def build_step(weights: FoldedSATN) -> onnx.ModelProto:
    """Builds the float32 graph: `features` (1, c, F) and state to `logits` (1, n_labels) and the next state."""
    graph, config = GraphBuilder(), weights.config
    states = stream_state(config)
    n_frames = graph.node("Slice", [graph.node("Shape", ["features"], "features_shape"), *span(graph, 1, 2)], "chunk")
    graph.node("Add", ["frames", n_frames], f"{NEXT}frames")
    h = graph.node("Transpose", [_normalization(graph, weights, n_frames)], "normalised_by_feature", perm=[0, 2, 1])
    h = tcn_input(graph, h, weights, lambda x, name, n: (_remembered(graph, x, history_name(name), n, axis=2), 0))
    blocks = tcn(graph, h, weights.blocks, lambda x, conv, name: _convolution(graph, x, conv, name))
    h = _attention(graph, as_frames(graph, blocks[-1], config.channels, "encoded"), weights, n_frames)
    linear(graph, _pooled(graph, pooled_layers(graph, blocks, h, config), weights), weights.classifier, "logits")

    types = {state.name: helper.np_dtype_to_tensor_dtype(np.dtype(state.dtype)) for state in states}
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, "chunk_frames", config.n_features])]
    inputs += [helper.make_tensor_value_info(state.name, types[state.name], state.shape) for state in states]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(config.labels)])]
    outputs += [helper.make_tensor_value_info(state.next_name, types[state.name], state.shape) for state in states]
    return model_of(graph, inputs, outputs)


def _normalization(graph: GraphBuilder, weights: FoldedSATN, n_frames: str) -> str:
    """(1, c, F) features to normalised (1, c, F)."""
    x = graph.node("Sub", ["features", graph.constant("mean", weights.mean)], "shifted")
    if weights.config.running_sums:
        levels = weights.bands is not None
        added = level_sums(graph, "features", weights) if levels else x
        in_chunk = graph.node("CumSum", [added, time_axis(graph)], "chunk_sum")
        before = graph.node("Cast", ["feature_sum"], "feature_sum_as_float", to=TensorProto.FLOAT)
        total = graph.node("Add", [in_chunk, before], "running_sum")
        if levels:
            x = without_level(graph, x, total, weights)
        else:
            x = graph.node("Sub", [x, _running_mean(graph, total, weights, n_frames)], "centred")
        last = graph.node("Slice", [in_chunk, *span(graph, -1, _END, 1)], "chunk_total")
        last = graph.node("Cast", [last], "chunk_total_as_double", to=TensorProto.DOUBLE)
        graph.node("Add", ["feature_sum", last], f"{NEXT}feature_sum")
    return graph.node("Mul", [x, graph.constant("inverse_std", weights.inverse_std)], "normalised")


def _running_mean(graph: GraphBuilder, total: str, weights: FoldedSATN, n_frames: str) -> str:
    """(1, c, F) sums to means of all frames so far and of those that a running mean starts from."""
    heard = graph.node("Add", [count(graph, n_frames, "frame", [1]), "frames"], "frames_before")
    divisor = graph.node("Cast", [heard], "frames_before_as_float", to=TensorProto.FLOAT)
    start = graph.constant("first_divisor", 1.0 + weights.config.running_prior_frames)
    return graph.node("Div", [total, graph.node("Add", [divisor, start], "frames_so_far")], "running_mean")


def _convolution(graph: GraphBuilder, x: str, convolution: Convolution, name: str) -> str:
    """Convolution over the history and the chunk, (1, Cin, c) to (1, Cout, c)."""
    if convolution.history:
        x = _remembered(graph, x, history_name(name), convolution.history, axis=2)
    return causal_convolution(graph, x, convolution, name)


def _remembered(graph: GraphBuilder, x: str, state: str, n_kept: int, axis: int) -> str:
    """Puts the state's frames before those of the chunk, and keeps the last `n_kept` of them all."""
    heard = graph.node("Concat", [state, x], f"{state}_and_chunk", axis=axis)
    graph.node("Slice", [heard, *span(graph, -n_kept, _END, axis)], f"{NEXT}{state}")
    return heard


def _attention(graph: GraphBuilder, h: str, weights: FoldedSATN, n_frames: str) -> str:
    """Every frame attends to the last `W`; self-attention, residual and LayerNorm, (c, C) to (c, C)."""
    attention, config = weights.attention, weights.config
    assert config.attention_window is not None
    n_kept, heads = config.attention_window - 1, (config.n_heads, config.head_size)
    qkv = linear(graph, h, attention.query_key_value, "query_key_value")
    q, k, v = graph.node_with_outputs("Split", [qkv], ["query", "key", "value"], axis=1)
    if n_kept:
        k, v = _remembered(graph, k, "keys", n_kept, axis=0), _remembered(graph, v, "values", n_kept, axis=0)

    q, k, v = (graph.node("Reshape", [x, graph.integers(-1, *heads)], f"{x}_heads") for x in (q, k, v))
    parts = Heads(q, k, v, as_rows=(1, 0, 2), as_columns=(1, 2, 0))
    y = attend_all(graph, parts, _visible(graph, n_frames, n_kept))
    y = graph.node("Transpose", [y], "attended_frames", perm=[1, 0, 2])
    y = graph.node("Reshape", [y, graph.integers(-1, config.channels)], "attended")
    return attention_output(graph, h, y, attention)


def _visible(graph: GraphBuilder, n_frames: str, n_kept: int) -> str:
    """(c, W-1+c): 1 where the query sees the key, else 0.

    Query `t` sees keys `t` to `t + W-1`, but none from before the utterance began.
    """
    n_keys = graph.node("Add", [n_frames, graph.integer(n_kept)], "keys_and_chunk_size")
    query, key = count(graph, n_frames, "query_index", [1]), count(graph, n_keys, "key_index", [0])
    newest = graph.node("Add", [query, graph.integer(n_kept)], "newest_key")
    missing = graph.node("Sub", [graph.integer(n_kept), "frames"], "keys_before_start")
    oldest = graph.node("Max", [query, missing], "oldest_key")
    old_enough = graph.node("LessOrEqual", [key, newest], "old_enough")
    new_enough = graph.node("GreaterOrEqual", [key, oldest], "new_enough")
    visible = graph.node("And", [old_enough, new_enough], "is_visible")
    return graph.node("Cast", [visible], "visible", to=TensorProto.FLOAT)


def _pooled(graph: GraphBuilder, x: str, weights: FoldedSATN) -> str:
    """Attentive pooling of all frames so far; (c, P) to the mean (1, P), or mean and deviation side by side (1, 2P).

    Sums are relative to the largest score so far, and are scaled down when a larger one comes. A constant, which the
    softmax does not see, lifts all scores above zero: so the largest one, too, starts at zero.
    """
    bound = graph.constant("score_bound", np.abs(weights.context).sum())  # |tanh| <= 1
    scores = graph.node("Add", [pooling_scores(graph, x, weights), bound], "lifted_scores")
    in_chunk = graph.node("ReduceMax", [scores], "largest_score_of_chunk", axes=[-1], keepdims=1)
    largest = graph.node("Max", ["largest_score", in_chunk], f"{NEXT}largest_score")
    frame_weights = graph.node("Exp", [graph.node("Sub", [scores, largest], "relative_scores")], "frame_weights")
    shrink = graph.node("Exp", [graph.node("Sub", ["largest_score", largest], "decrease")], "shrink")
    shrink, frame_weights, x = (
        graph.node("Cast", [tensor], f"{name}_as_double", to=TensorProto.DOUBLE)
        for tensor, name in ((shrink, "shrink"), (frame_weights, "frame_weights"), (x, "layers"))
    )

    def accumulated(state: str, addend: str) -> str:
        return graph.node("Add", [graph.node("Mul", [state, shrink], f"{state}_shrunk"), addend], f"{NEXT}{state}")

    total = accumulated("weighted_sum", graph.node("MatMul", [frame_weights, x], "weighted_chunk"))
    ones = graph.node("ReduceSum", [frame_weights, graph.integer(1)], "chunk_normalizer", keepdims=1)
    normalizer = accumulated("normalizer", ones)
    mean = graph.node("Div", [total, normalizer], "pooled_mean_as_double")
    if weights.config.pooling == "mean":
        return graph.node("Cast", [mean], "pooled", to=TensorProto.FLOAT)
    squares = graph.node("Mul", [x, x], "squares")
    squares = accumulated(
        "weighted_squares", graph.node("MatMul", [frame_weights, squares], "weighted_squares_of_chunk")
    )
    mean_square = graph.node("Div", [squares, normalizer], "mean_square")
    # In double precision the difference loses nothing that float32 would show, but may end below zero.
    variance = graph.node("Sub", [mean_square, graph.node("Mul", [mean, mean], "squared_mean")], "variance_as_double")
    variance = graph.node(
        "Relu", [graph.node("Cast", [variance], "rounded_variance", to=TensorProto.FLOAT)], "variance"
    )
    mean = graph.node("Cast", [mean], "pooled_mean", to=TensorProto.FLOAT)
    return graph.node("Concat", [mean, deviation(graph, variance)], "pooled", axis=1)
