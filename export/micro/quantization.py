"""Scales and integers for a streaming step: int8, and int16 around attention's softmax and the pooling.

Tensors between which values are only moved share one scale. A state's output is nothing but
frames of its input and new ones, so it has the input's scale, and the host copies it as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.export.micro.graph import Graph, Tensor
from satn_fast.export.micro.operators import KINDS

Values = NDArray[Any]
Ranges = dict[str, tuple[Values, Values]]


class Quantization(NamedTuple):
    """`value = scale * (integer - zero_point)`; a weight or a bias has a scale for each entry of its first axis."""

    scale: NDArray[np.float32]
    """(1,) or (channels,)."""
    zero_point: int

    def integers(self, values: Values, dtype: str) -> Values:
        """The nearest integers, cut off at the ends of `dtype`."""
        scale = self.scale.reshape(-1, *([1] * (values.ndim - 1))).astype(np.float64)
        rounded = np.round(values / scale) + self.zero_point
        limits = np.iinfo(dtype)
        return np.clip(rounded, limits.min, limits.max).astype(dtype)

    def values(self, integers: Values) -> NDArray[np.float32]:
        """What integers of an activation stand for."""
        real: NDArray[np.float32] = (integers.astype(np.float32) - self.zero_point) * self.scale
        return real


def calibrated(graph: Graph, streams: Iterable[Iterable[Mapping[str, Values]]]) -> Ranges:
    """The smallest and largest value of everything that is computed, or of each of its channels (`channel_axes`).

    Args:
        graph: The step.
        streams: For each utterance the inputs of its steps, less the states.
    """
    computed = graph.inputs[:2] + [operator.output for operator in graph.operators if not KINDS[operator.kind].moves]
    ranges: Ranges = {}
    for stream in streams:
        state = graph.initial_state()
        for inputs in stream:
            values = graph.run({**inputs, **state})
            state = {kept.input: values[kept.output] for kept in graph.states}
            for name in computed:
                ranges[name] = _widened(ranges.get(name), values[name], graph.channel_axes.get(name))
    return ranges


def _widened(range_: tuple[Values, Values] | None, x: Values, channel_axis: int | None) -> tuple[Values, Values]:
    axes = tuple(axis for axis in range(x.ndim) if axis != channel_axis)
    low, high = x.min(axes), x.max(axes)
    return (low, high) if range_ is None else (np.minimum(range_[0], low), np.maximum(range_[1], high))


def quantizations(graph: Graph, ranges: Ranges) -> dict[str, Quantization]:
    """How every tensor of the graph is quantized."""
    result: dict[str, Quantization] = {}
    for names in _tied(graph):
        chosen = _of_tied([graph.tensors[name] for name in names], ranges)
        result |= dict.fromkeys(names, chosen)
    for operator in graph.operators:
        if operator.kind in ("CONV_2D", "FULLY_CONNECTED"):
            # A weight has a scale per output channel, and its bias is in the scale of the sum.
            _, weight, bias = operator.inputs
            result[weight] = _of_weight(graph.tensors[weight])
            result[bias] = Quantization(result[operator.inputs[0]].scale * result[weight].scale, 0)
    return result


def _of_tied(tied: list[Tensor], ranges: Ranges) -> Quantization:
    for tensor in tied:
        if tensor.quantization is not None:
            scale, zero_point = tensor.quantization
            return Quantization(np.array([scale], np.float32), zero_point)
    known = [ranges[tensor.name] for tensor in tied if tensor.name in ranges]
    known += [(tensor.constant.min(), tensor.constant.max()) for tensor in tied if tensor.constant is not None]
    return _spanning(tied[0].dtype, min(low.min() for low, _ in known), max(high.max() for _, high in known))


def _spanning(dtype: str, low: float, high: float) -> Quantization:
    """From `low` to `high`, and zero in any case; int16 is symmetric, as TFLite wants it."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if dtype == "int16":
        return Quantization(np.array([max(-low, high, 1e-6) / 32767], np.float32), 0)
    scale = max(high - low, 1e-6) / 255
    return Quantization(np.array([scale], np.float32), round(-128 - low / scale))


def _of_weight(weight: Tensor) -> Quantization:
    assert weight.constant is not None
    largest = np.abs(weight.constant).reshape(len(weight.constant), -1).max(1)
    return Quantization((np.maximum(largest, 1e-9) / 127).astype(np.float32), 0)


def _tied(graph: Graph) -> list[list[str]]:
    """Names of all int8 and int16 tensors, in groups that share one scale."""
    group = {name: [name] for name, tensor in graph.tensors.items() if tensor.dtype in ("int8", "int16")}

    def tie(one: str, other: str) -> None:
        if group[one] is not group[other]:
            group[one] += group[other]
            for name in group[other]:
                group[name] = group[one]

    for operator in graph.operators:
        if KINDS[operator.kind].moves:
            for name in operator.inputs:
                if name in group:
                    tie(operator.output, name)
    return list({id(names): names for names in group.values()}.values())
