"""The head of a streaming step: scores of frames, pooling over the last ones, and the classifier.

Pooling does not add up: a mean over all frames would soon move by less than any int8 step. State is what single frames
or chunks gave, and it is pooled anew in every step.

The mean alone takes score and logits of every frame: the classifier is linear, so the mean of logits is the logits of
the mean, and a frame takes 1 + n_labels bytes.

Mean and deviation take the score of every frame, and of every chunk of frames its weighted mean and deviation, 2P
bytes. A window of chunks has the mean of their means, and its variance is the mean of their variances and the variance
of their means (Chan et al. 1983), each weighted by the sum of the weights of its frames. Channels differ in scale, and
standardised ones (`embedding_norm`) all count the same: everything that is pooled is divided by what is its channel's
largest, so that each fills its integers (`ChannelScales`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from satn_fast.export.micro.graph import Graph, Values
from satn_fast.export.weights import Dense, FoldedSATN
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR

# How far the score of an absent frame, before the first or after the last, lies below those of real ones: 1000 absent
# frames weigh 0.006 of a real one with the lowest score. (In attention they weigh up to 0.005 per 100: there the int16
# softmax takes every difference beyond 10 for 10.) More would leave fewer of an int8's 256 steps for the scores.
ABSENCE_GAP = 12.0

# What the host's input `padding` adds to the score of a frame after the last one.
PADDING = -64.0

# A channel of chunks may go so far beyond what calibration saw before it is cut off.
_MARGIN = 1.2

# Factors stand side by side in one constant of int16. What the largest value of a channel counts for at least, so that
# the factor of one that is hardly ever active leaves the others some steps: relative to the largest of all channels,
_SMALLEST_FRAME = 1 / 8192
# to the channel's frames,
_SMALLEST_OF_CHUNKS = 1 / 1024
# and to the channel's chunks.
_SMALLEST_DEVIATION = 1 / 16

# Quantities that calibration brought to a largest absolute value of 1, in int16, with room for twice as much.
_UNIT: Mapping[str, Any] = {"dtype": "int16", "quantization": (2 / 32768, 0)}

# Reciprocals of the roots of such quantities: that of a single step is the largest.
_ROOTS: Mapping[str, Any] = {"dtype": "int16", "quantization": ((2 / 32768) ** -0.5 / 32767, 0)}

# The scale of a LayerNorm may be zero.
_SMALLEST_FACTOR = 1e-6


class ChannelScales(NamedTuple):
    """What the pooled channels are multiplied by, so that the largest value of each is about 1; each (P,)."""

    frame: Values
    """Values of frames. What follows is of those that were multiplied by it."""
    centre: Values
    """Is subtracted from the means of chunks."""
    mean: Values
    """Means of chunks, less `centre`."""
    chunk_deviation: Values
    """Deviations within chunks."""
    deviation: Values
    """Deviations within the window."""


def no_scales(n_channels: int) -> ChannelScales:
    """Leaves everything as it is, for a first calibration in float."""
    one = np.ones(n_channels, np.float32)
    return ChannelScales(frame=one, centre=0 * one, mean=one, chunk_deviation=one, deviation=one)


def channel_scales(ranges: Mapping[str, tuple[Values, Values]], n_channels: int) -> ChannelScales:
    """Gives the scales for what calibration found with `no_scales`; those of tensors that are not there are 1."""
    one = np.ones(n_channels)

    def largest(name: str) -> Values:
        low, high = ranges.get(name, (-one, one))
        size: Values = np.maximum(-low, high)
        return size

    of_frames = largest("pooled_frames")
    frame = _representable(1 / np.maximum(of_frames, max(of_frames.max() * _SMALLEST_FRAME, _SMALLEST_FACTOR)))
    low, high = (limit * frame for limit in ranges.get("chunk_mean", (-one, one)))
    mean = np.maximum(_MARGIN * (high - low) / 2, _SMALLEST_OF_CHUNKS)
    chunk_deviation = np.maximum(_MARGIN * largest("chunk_deviation") * frame, _SMALLEST_OF_CHUNKS)
    of_chunks = np.maximum(mean, chunk_deviation)
    return ChannelScales(
        frame=frame,
        centre=(low + high) / 2,
        mean=_representable(1 / mean),
        chunk_deviation=_representable(1 / chunk_deviation),
        deviation=1 / np.maximum(largest("deviation") * frame, _SMALLEST_DEVIATION * of_chunks),
    )


def _representable(factors: Values) -> Values:
    """What int16 makes of positive factors, so that what is multiplied by them can be divided by the same."""
    step = factors.max() / 32767
    rounded: Values = np.round(factors / step) * step
    return rounded


class _Frames(NamedTuple):
    """What is pooled: a tensor (c, P) with `value = factor * tensor + offset`."""

    tensor: str
    factor: Values
    """(P,)."""
    offset: Values
    """(P,)."""

    def reads(self, dense: Dense) -> Dense:
        """The same layer, to be fed with the tensor."""
        weight = (self.factor[:, None] * dense.weight).astype(np.float32)
        return Dense(weight, (dense.bias + self.offset @ dense.weight).astype(np.float32))


def logits_of_last_frames(
    graph: Graph,
    blocks: list[str],
    direction: str,
    padding: str,
    weights: FoldedSATN,
    *,
    pooling_frames: int,
    lowest_score: float,
    scales: ChannelScales,
) -> str:
    """Adds the head, and gives its logits (1, n_labels).

    Args:
        graph: Of the step.
        blocks: (c, C) of every block of the TCN.
        direction: (c, C) of attention, its LayerNorm's direction.
        padding: The input.
        weights: Of the model.
        pooling_frames: Frames that the logits are of; whole chunks, for mean and deviation.
        lowest_score: Of calibration.
        scales: Of calibration.
    """
    frames = _frames(graph, blocks, direction, weights, scales)
    score = _scores(graph, frames, padding, weights, lowest_score)
    if weights.config.pooling == "mean":
        return _mean_of_logits(graph, frames, score, weights, pooling_frames)
    chunks = _statistics_of_chunks(graph, frames.tensor, score, scales, pooling_frames)
    return _logits_of_statistics(graph, frames, chunks, weights.classifier, scales)


def _frames(graph: Graph, blocks: list[str], direction: str, weights: FoldedSATN, scales: ChannelScales) -> _Frames:
    attention, config = weights.attention, weights.config
    factor = attention.norm_scale * np.float32(np.sqrt(config.channels))
    if (config.pooling, config.pooling_layers) == ("mean", "last"):
        return _Frames(direction, factor, attention.norm_offset)
    layers = [graph.wide(layer) for layer in ([*blocks, direction] if config.pooling_layers == "all" else [direction])]
    joined = graph.apply("CONCATENATION", "pooled_layers", *layers, options={"axis": 1}) if layers[1:] else layers[0]
    frames = graph.apply(
        "MUL", "pooled_frames", joined, graph.constant("frame_scale", scales.frame.astype(np.float32), "int16"), **_UNIT
    )
    graph.channel_axes[frames] = 1
    unchanged = np.ones(config.pooled_channels - config.channels, np.float32)
    factor, offset = np.concatenate([unchanged, factor]), np.concatenate([0 * unchanged, attention.norm_offset])
    return _Frames(frames, factor / scales.frame, offset)


def _scores(graph: Graph, frames: _Frames, padding: str, weights: FoldedSATN, lowest_score: float) -> str:
    """(1, c), above zero for real frames."""
    inner = graph.dense("pooling_projection", frames.tensor, frames.reads(weights.pooling))
    # Sixteen bits: TFLite Micro takes this tanh from a table, and computes that of eight bits.
    if graph.tensors[inner].dtype == "int8":
        inner = graph.wide(inner)
    inner = graph.apply("TANH", "pooling_tanh_wide", inner)
    inner = graph.apply("QUANTIZE", "pooling_tanh", inner, dtype="int8")
    score = graph.dense("pooling_score", inner, Dense(weights.context[:, None], np.zeros(1, np.float32)))
    n_frames = graph.tensors[score].shape[0]
    score = graph.apply("RESHAPE", "pooling_score_of_frame", score, graph.indices(1, n_frames))
    # Before the first frame the state is zero: real scores are moved above it, which changes no weight.
    bonus = graph.constant("pooling_bonus", np.full((1, n_frames), ABSENCE_GAP - lowest_score, np.float32), "int8")
    score = graph.apply("ADD", "pooling_score_above_absence", score, bonus)
    return graph.apply("ADD", "pooling_score_if_present", score, padding)


def _weights(graph: Graph, name: str, scores: str) -> str:
    """The softmax of (1, n) scores, in int16."""
    # From int8, the softmax takes the largest differences for what they are.
    shares = graph.apply("SOFTMAX", f"{name}_shares", scores, dtype="int16", quantization=(1 / 65536, -32768))
    return graph.apply("QUANTIZE", f"{name}_weights", shares, quantization=(1 / 32768, 0))


def _mean_of_logits(graph: Graph, frames: _Frames, score: str, weights: FoldedSATN, pooling_frames: int) -> str:
    scores = graph.window("pooling_scores", score, pooling_frames, axis=1)
    logits = graph.dense("frame_logits", frames.tensor, frames.reads(weights.classifier))
    if graph.tensors[logits].dtype == "int16":
        logits = graph.apply("QUANTIZE", "frame_logits_narrow", logits, dtype="int8")
    logits = graph.apply("TRANSPOSE", "logits_by_label", logits, graph.indices(1, 0))
    logits = graph.window("logits_of_frames", logits, pooling_frames, axis=1)
    pooled = graph.product("pooled_logits", _weights(graph, "pooling", scores), graph.wide(logits))
    return graph.apply("QUANTIZE", "logits", pooled, dtype="int8")


class _Chunks(NamedTuple):
    """The window: `n` chunks, the last one new."""

    means: str
    """(P, n) int8."""
    deviations: str
    """(P, n) int8."""
    weights: str
    """(1, n) int16."""


def _statistics_of_chunks(graph: Graph, frames: str, score: str, scales: ChannelScales, pooling_frames: int) -> _Chunks:
    n_frames, n_channels = graph.tensors[frames].shape
    n_chunks = pooling_frames // n_frames
    shares = _weights(graph, "chunk", score)
    by_channel = graph.apply("TRANSPOSE", "frames_by_channel", frames, graph.indices(1, 0))
    mean = graph.product("chunk_mean", by_channel, shares)
    squares = graph.apply("SQUARED_DIFFERENCE", "chunk_squares", by_channel, mean, **_UNIT)
    deviation = _root(graph, "chunk_deviation", graph.product("chunk_variance", squares, shares, **_UNIT))
    graph.channel_axes |= {mean: 0, deviation: 0}
    mean = graph.apply("SUB", "chunk_mean_centred", mean, _column(graph, "chunk_centre", scales.centre), **_UNIT)
    mean = _scaled(graph, "chunk_mean_scaled", mean, scales.mean)
    deviation = _scaled(graph, "chunk_deviation_scaled", deviation, scales.chunk_deviation)
    mean = graph.apply("QUANTIZE", "chunk_mean_narrow", mean, dtype="int8", quantization=(1 / 127, 0))
    deviation = graph.apply("QUANTIZE", "chunk_deviation_narrow", deviation, dtype="int8", quantization=(1 / 255, -128))
    means = graph.window("chunk_means", mean, n_chunks, axis=1)
    deviations = graph.window("chunk_deviations", deviation, n_chunks, axis=1)
    scores = graph.window("pooling_scores", score, pooling_frames, axis=1)
    by_chunk = graph.apply(
        "RESHAPE", "weights_by_chunk", _weights(graph, "pooling", scores), graph.indices(n_chunks, n_frames)
    )
    sums = graph.apply(
        "SUM", "chunk_weight_sums", by_chunk, graph.indices(1), quantization=(1 / 32768, 0), options={"keep_dims": True}
    )
    return _Chunks(means, deviations, graph.apply("RESHAPE", "weights_of_chunks", sums, graph.indices(1, n_chunks)))


def _logits_of_statistics(
    graph: Graph, frames: _Frames, chunks: _Chunks, classifier: Dense, scales: ChannelScales
) -> str:
    means = graph.wide(chunks.means)
    mean = graph.product("pooled_mean", means, chunks.weights, **_UNIT)
    squares = graph.apply("SQUARED_DIFFERENCE", "squares_of_means", means, mean, **_UNIT)
    between = graph.product("variance_of_means", squares, chunks.weights)
    deviations = graph.wide(chunks.deviations)
    squares = graph.apply("MUL", "squares_of_deviations", deviations, deviations, **_UNIT)
    within = graph.product("mean_of_variances", squares, chunks.weights)
    # In units of the largest deviation of each channel, squared.
    between = _scaled(graph, "variance_between", between, np.square(scales.deviation / scales.mean))
    within = _scaled(graph, "variance_within", within, np.square(scales.deviation / scales.chunk_deviation))
    variance = graph.apply("ADD", "variance", between, within, **_UNIT)
    size = np.maximum(np.abs(frames.factor), _SMALLEST_FACTOR)
    floor = _column(graph, "deviation_floor", DEVIATION_FLOOR * np.square(scales.deviation / size))
    deviation = _root(graph, "deviation", graph.apply("ADD", "variance_above_floor", variance, floor, **_UNIT))
    graph.channel_axes[deviation] = 0
    both = graph.apply("CONCATENATION", "embedding_column", mean, deviation, options={"axis": 0})
    embedding = graph.apply("RESHAPE", "embedding", both, graph.indices(1, graph.tensors[both].shape[0]))
    n_channels = len(size)
    of_mean, of_deviation = classifier.weight[:n_channels], classifier.weight[n_channels:]
    reading = frames.reads(Dense(of_mean, classifier.bias))
    bias = reading.bias + scales.centre @ reading.weight
    weight = np.concatenate([reading.weight / scales.mean[:, None], of_deviation * (size / scales.deviation)[:, None]])
    # Sixteen bits: the largest of these weights is far from most.
    logits = graph.product("logits_less_bias", embedding, graph.constant("classifier_weight", weight.T.copy(), "int16"))
    logits = graph.apply("ADD", "logits_wide", logits, graph.constant("classifier_bias", bias[None], "int16"))
    return graph.apply("QUANTIZE", "logits", logits, dtype="int8")


def _root(graph: Graph, name: str, x: str) -> str:
    """The square root. Zero has one too: its reciprocal is the largest number there is, and zero times that is zero."""
    reciprocal = graph.apply("RSQRT", f"{name}_reciprocal", x, **_ROOTS)
    return graph.apply("MUL", name, x, reciprocal, **_UNIT)


def _scaled(graph: Graph, name: str, x: str, factor: Values) -> str:
    """(P, 1) times a factor for each channel."""
    return graph.apply("MUL", name, x, _column(graph, f"{name}_by", factor), **_UNIT)


def _column(graph: Graph, name: str, values: Values) -> str:
    return graph.constant(name, values[:, None].astype(np.float32), "int16")
