"""The front end as ONNX nodes before a finished graph, which stays as it is, be it in int8 or not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from satn_fast.export.audio_tables import AudioTables, audio_tables, delta_weights, log_factor
from satn_fast.export.onnx.graph import GraphBuilder, span


def with_audio_input(model: onnx.ModelProto, front_end: Mapping[str, Any]) -> onnx.ModelProto:
    """Gives the same model with `audio` (1, n_samples), at the front end's rate, in place of `features`.

    Args:
        model: A graph with input `features` (1, T, F); it is not changed.
        front_end: Keyword arguments of `satn_fast.LogMel`.

    Raises:
        ValueError: The front end computes in double precision.
    """
    graph = GraphBuilder()
    _features(graph, audio_tables(front_end))
    known = {constant.name for constant in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.input[:]
    result.graph.input.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "samples"]))
    result.graph.node.extend([*graph.nodes, *model.graph.node])
    # Both parts name a small integer, or a shape of integers, after its value.
    result.graph.initializer.extend(constant for name, constant in graph.constants.items() if name not in known)
    return result


def _features(graph: GraphBuilder, tables: AudioTables) -> str:
    """`audio` (1, n_samples) to `features` (1, T, F)."""
    log_mel = _log_mel(graph, _spectrum(graph, _positions(graph, tables), tables), tables)
    deltas = _regression(graph, log_mel, tables, "deltas")
    orders = [log_mel, deltas, _regression(graph, deltas, tables, "delta_deltas")]
    columns = graph.node("Concat", orders, "feature_columns", axis=0)
    columns = graph.node("Transpose", [columns], "feature_rows", perm=[1, 0])
    return graph.node("Unsqueeze", [columns, graph.integer(0)], "features")


def _positions(graph: GraphBuilder, tables: AudioTables) -> str:
    """`audio` (1, n_samples) to the positions of all rows, (1, P, n_rows)."""
    audio = graph.node("Unsqueeze", ["audio", graph.integer(1)], "audio_channel")
    if tables.emphasises_signal:
        weights = graph.constant("preemphasis", [[[-tables.options["preemphasis"], 1.0]]])
        audio = graph.node("Conv", [audio, weights], "emphasised", pads=[1, 0])
    kernel = graph.constant("rows", tables.rows[:, None])
    return graph.node("Conv", [_padded(graph, audio, tables), kernel], "positions", strides=[tables.row])


def _padded(graph: GraphBuilder, audio: str, tables: AudioTables) -> str:
    """All samples that frames reach, (1, 1, n)."""
    left, right = tables.padding
    if tables.options["framing"] != "pad_end":
        mode = "reflect" if tables.options["framing"] == "center_reflect" else "constant"
        return graph.node("Pad", [audio, graph.integers(0, 0, left, 0, 0, right)], "padded_audio", mode=mode)
    # The shortest audio fills one window all the same.
    n_samples = graph.node("Slice", [graph.node("Shape", ["audio"], "audio_shape"), *span(graph, 1, 2)], "n_samples")
    missing = graph.node("Sub", [graph.integer(tables.window_length), n_samples], "missing")
    missing = graph.node("Max", [missing, graph.integer(0)], "missing_samples")
    right_end = graph.node("Add", [missing, graph.integer(right)], "padding_at_end")
    return graph.node("Pad", [audio, graph.integers(0, 0, left, 0, 0, right_end)], "padded_audio")


def _spectrum(graph: GraphBuilder, positions: str, tables: AudioTables) -> str:
    """(1, P, n_rows) to real and imaginary parts, (2bG, T)."""
    n_positions, n_values, n_rows = tables.first_stage.shape
    kernel = graph.constant("first_stage", tables.first_stage.reshape(-1, 1, n_rows))
    values = graph.node(
        "Conv", [positions, kernel], "position_values", group=n_positions, strides=[tables.rows_per_hop]
    )
    # (P, G, 2 * T) to (G, P, 2 * T): whole groups move, not single numbers.
    values = graph.node("Reshape", [values, graph.integers(n_positions, n_values // 2, -1)], "values_by_position")
    values = graph.node("Transpose", [values], "values_by_group", perm=[1, 0, 2])
    values = graph.node("Reshape", [values, graph.integers(n_values // 2, 2 * n_positions, -1)], "group_values")
    bins = graph.node("MatMul", [graph.constant("second_stage", tables.second_stage), values], "bins_of_groups")
    return graph.node("Reshape", [bins, graph.integers(tables.mel.shape[1], -1)], "spectrum")


def _log_mel(graph: GraphBuilder, spectrum: str, tables: AudioTables) -> str:
    """(2bG, T) to (n_mels, T)."""
    options = tables.options
    power = graph.node("Mul", [spectrum, spectrum], "power")
    energy = graph.node("MatMul", [graph.constant("mel_filters", tables.mel), power], "mel_energy")
    floor = graph.constant("energy_floor", options["floor"])
    if options["floor_mode"] == "clamp":
        energy = graph.node("Max", [energy, floor], "floored_energy")
    else:
        silent = graph.node("Equal", [energy, graph.constant("no_energy", 0.0)], "is_silent")
        energy = graph.node("Where", [silent, floor, energy], "floored_energy")
    if options["log"] == "none":
        return energy
    level = graph.node("Log", [energy], "log_energy")
    if options["log"] != "ln":
        level = graph.node("Mul", [level, graph.constant("log_factor", log_factor(options))], "log_mel")
    if options["top_db"] is not None:
        loudest = graph.node("ReduceMax", [level], "loudest", keepdims=1)
        least = graph.node("Sub", [loudest, graph.constant("top_db", options["top_db"])], "least_level")
        level = graph.node("Max", [level, least], "clipped_log_mel")
    return level


def _regression(graph: GraphBuilder, x: str, tables: AudioTables, name: str) -> str:
    """Deltas with the edge frames repeated, (n, T) to (n, T)."""
    after = delta_weights(tables.options)
    reach = len(after)
    edges = graph.node("Pad", [x, graph.integers(0, reach, 0, reach)], f"{name}_edges", mode="edge")
    kernel = graph.constant("regression", np.array([*(-np.array(after[::-1])), 0.0, *after])[None, None])
    rows = graph.node("Unsqueeze", [edges, graph.integer(1)], f"{name}_rows")
    deltas = graph.node("Conv", [rows, kernel], f"{name}_of_rows")
    return graph.node("Squeeze", [deltas, graph.integer(1)], name)
