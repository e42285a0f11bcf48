"""One streaming step of a SATN as a graph of TFLite Micro's integer operators.

`step` writes it down once. `Graph.run` computes it in float with numpy, which is what calibration looks at and what
must equal `satn_fast.streaming.stream_step`; `file` turns the same graph into a TFLite file.

The step is restructured where int8 would not hold what float does:

    running normalisation   stays with the host (`host`): in a long stream the mean moves by less than any int8
                            step, and the host has to scale the features anyway
    attention's softmax     is in int16: int8 has a fixed step of 1/256, and of 100 equal weights each would be 2 or 3
    LayerNorm               is an L2 normalisation of the centred frame; scale and offset are part of what reads it
    pooling                 does not add up: a mean over all frames would move by less than any int8 step too. State are
                            score and logits of the last `pooling_frames` frames, pooled anew in every step. (The
                            classifier is linear, so the mean of logits is the logits of the mean: a frame takes
                            1 + n_labels bytes and not 1 + C.)

So all state is values of single frames, which are moved and never computed with: it loses nothing, however long the
stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.export.micro.operators import DICTATED, KINDS
from satn_fast.export.weights import Attention, Block, Convolution, Dense, FoldedSATN

Values = NDArray[Any]

# How far the score of an absent frame, before the first or after the last, lies below those of real ones: 1000 absent
# frames weigh 0.006 of a real one with the lowest score. (In attention they weigh up to 0.005 per 100: there the int16
# softmax takes every difference beyond 10 for 10.) More would leave fewer of an int8's 256 steps for the scores.
ABSENCE_GAP = 12.0

# What the host's input `padding` adds to the score of a frame after the last one.
PADDING = -64.0


class ScoreRanges(NamedTuple):
    """Between what values scores lie."""

    attention: tuple[float, float]
    pooling: tuple[float, float]


# Wide enough for a first calibration, in float.
ANY_SCORES = ScoreRanges((-1000.0, 1000.0), (-1000.0, 1000.0))


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        name: Its name in the file.
        shape: Its shape.
        dtype: In the file: `"int8"`, `"int16"`, or `"int32"` (biases, and constants that are not quantized).
        constant: The value of a constant, in float where it is quantized.
        quantization: Scale and zero point, where they are not left to calibration.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    constant: Values | None = None
    quantization: tuple[float, int] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator; `kind` is its name in TFLite's schema."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any]


class State(NamedTuple):
    """An input, and the output that the host copies to it before the next step. Before the first it is all zero."""

    input: str
    output: str


@dataclass
class Graph:
    """Tensors by name; operators in the order of computing; inputs and outputs in the order of the file."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def run(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Computes every tensor in float."""
        values = {name: tensor.constant for name, tensor in self.tensors.items() if tensor.constant is not None}
        values |= inputs
        for operator in self.operators:
            arguments = (values[name] for name in operator.inputs)
            values[operator.output] = KINDS[operator.kind].compute(operator.options, *arguments)
        return values

    def initial_state(self) -> dict[str, Values]:
        """The state before the first frame."""
        return {state.input: np.zeros(self.tensors[state.input].shape, np.float32) for state in self.states}

    def input(self, name: str, shape: Sequence[int], **properties: Any) -> str:
        """Adds an input."""
        self.inputs.append(name)
        return self._add(Tensor(name, tuple(shape), **properties))

    def constant(self, name: str, value: Values, dtype: str) -> str:
        """Adds a constant, unless it is there."""
        return name if name in self.tensors else self._add(Tensor(name, value.shape, dtype, value))

    def indices(self, *numbers: int) -> str:
        """Adds a constant of whole numbers: a shape, axes."""
        return self.constant("indices_" + "_".join(map(str, numbers)), np.array(numbers, np.int32), "int32")

    def apply(
        self, kind: str, output: str, *inputs: str, options: Mapping[str, Any] | None = None, **properties: Any
    ) -> str:
        """Adds an operator and the tensor that it makes."""
        operator = Operator(kind, inputs, output, options or {})
        examples = (self._example(name) for name in inputs)
        shape = KINDS[kind].compute(operator.options, *examples).shape
        self.operators.append(operator)
        dtype = properties.get("dtype", self.tensors[inputs[0]].dtype)
        quantization = DICTATED.get((kind, dtype))
        return self._add(Tensor(output, shape, **({"dtype": dtype, "quantization": quantization} | properties)))

    def history(self, name: str, frames: str, length: int, axis: int) -> str:
        """Puts the last `length` frames before the new ones, along `axis`, and keeps the last for the next step."""
        joined = self.apply(
            "CONCATENATION",
            f"{name}_joined",
            self._state_input(name, frames, length, axis),
            frames,
            options={"axis": axis},
        )
        self.outputs.append(self._last(f"{name}_next", joined, length, axis))
        return joined

    def window(self, name: str, frames: str, length: int, axis: int) -> str:
        """The last `length` frames, the new ones included, along `axis`; what they are is what is kept."""
        kept = self._state_input(name, frames, length, axis)
        older = self._last(f"{name}_kept", kept, length - self.tensors[frames].shape[axis], axis)
        self.outputs.append(self.apply("CONCATENATION", f"{name}_next", older, frames, options={"axis": axis}))
        return self.outputs[-1]

    def _state_input(self, name: str, frames: str, length: int, axis: int) -> str:
        like = self.tensors[frames]
        shape = (*like.shape[:axis], length, *like.shape[axis + 1 :])
        self.states.append(State(name, f"{name}_next"))
        return self.input(name, shape, dtype=like.dtype)

    def _last(self, output: str, x: str, length: int, axis: int) -> str:
        shape = self.tensors[x].shape
        begin = [shape[axis] - length if i == axis else 0 for i in range(len(shape))]
        size = [length if i == axis else n for i, n in enumerate(shape)]
        return self.apply("SLICE", output, x, self.indices(*begin), self.indices(*size))

    def _add(self, tensor: Tensor) -> str:
        assert tensor.name not in self.tensors, f"two tensors are called {tensor.name}"
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _example(self, name: str) -> Values:
        tensor = self.tensors[name]
        return np.zeros(tensor.shape, np.float32) if tensor.constant is None else tensor.constant


def step(weights: FoldedSATN, chunk_frames: int, pooling_frames: int, score_ranges: ScoreRanges) -> Graph:
    """Gives the graph of one step.

    Inputs are `features` (1, c, F), normalised, `padding` (1, c), 0 for a real frame and `PADDING` for one after the
    end of the utterance, and the states. Outputs are `logits` (1, n_labels) of the last `pooling_frames` frames, and
    the new states, in the order of the inputs.

    Args:
        weights: Of a model with an attention window of 2 or more.
        chunk_frames: New frames `c` in a step.
        pooling_frames: Frames that the logits are of, at least `c`.
        score_ranges: Of calibration, or `ANY_SCORES` before it.
    """
    config, graph = weights.config, Graph()
    features = graph.input("features", (1, chunk_frames, config.n_features))
    padding = graph.input("padding", (1, chunk_frames), quantization=(-PADDING / 128, 0))
    x = graph.apply("RESHAPE", "frames", features, graph.indices(chunk_frames, config.n_features))
    for index, block in enumerate(weights.blocks):
        x = _block(graph, f"block{index}", x, block)
    attended = _attention(graph, x, weights, score_ranges.attention)
    direction = _layer_norm(graph, graph.apply("ADD", "attention_residual", x, attended))
    logits = _pooled_logits(graph, direction, padding, weights, pooling_frames, lowest_score=score_ranges.pooling[0])
    graph.outputs.insert(0, logits)
    return graph


def _block(graph: Graph, name: str, x: str, block: Block) -> str:
    """One residual block, (c, Cin) to (c, C)."""
    residual = x if block.project is None else _dense(graph, f"{name}_project", x, block.project)
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
    return _dense(graph, name, x, Dense(convolution.weight.reshape(n_taps * n_in, n_out), convolution.bias), relu=True)


def _taps(graph: Graph, name: str, x: str, convolution: Convolution) -> str:
    """(c, Cin) to (c, K, Cin): each new frame, after those that the convolution sees before it."""
    n_frames, joined = graph.tensors[x].shape[0], graph.history(f"{name}_history", x, convolution.history, axis=0)
    starts = np.arange(0, convolution.history + 1, convolution.dilation, dtype=np.int32)
    rows = np.arange(n_frames, dtype=np.int32)[:, None] + starts
    seen = graph.constant(f"frames_seen_at_dilation_{convolution.dilation}", rows, "int32")
    return graph.apply("GATHER", f"{name}_taps", joined, seen)


def _dense(graph: Graph, name: str, x: str, dense: Dense, *, relu: bool = False) -> str:
    """(c, Cin) to (c, Cout), or (c, K, Cin) to (c, Cout) with the weights of K frames."""
    return graph.apply(
        "FULLY_CONNECTED",
        name,
        x,
        graph.constant(f"{name}_weight", np.ascontiguousarray(dense.weight.T), "int8"),
        graph.constant(f"{name}_bias", dense.bias, "int32"),
        options={"relu": relu},
    )


def _attention(graph: Graph, x: str, weights: FoldedSATN, score_range: tuple[float, float]) -> str:
    """What attention adds to (c, C)."""
    attention, window, n_heads = weights.attention, weights.config.attention_window, weights.config.n_heads
    assert window is not None
    n_frames, channels = graph.tensors[x].shape
    heads = graph.indices(1, n_frames, n_heads, channels // n_heads)

    def by_head(name: str, dense: Dense, order: tuple[int, ...]) -> str:
        split = graph.apply("RESHAPE", f"{name}_split", _dense(graph, f"{name}_projection", x, dense), heads)
        return graph.apply("TRANSPOSE", name, split, graph.indices(*order))

    query = by_head("query", attention.query, (0, 2, 1, 3))  # (1, H, c, D)
    keys = graph.history("keys", by_head("key", attention.key, (0, 2, 1, 3)), window - 1, axis=2)  # (1, H, K, D)
    scores = graph.apply("BATCH_MATMUL", "attention_scores", _wide(graph, query), _wide(graph, keys), options=_BY_ROWS)
    visible = _visible_keys(graph, n_frames, window, score_range)
    shares = graph.apply("SOFTMAX", "attention_weights", graph.apply("ADD", "visible_scores", scores, visible))
    # Not before: beside keys and scores they would make the arena larger.
    values = graph.history("values", by_head("value", attention.value, (0, 2, 3, 1)), window - 1, axis=3)
    mean = graph.apply("BATCH_MATMUL", "attended_wide", shares, _wide(graph, values), options=_BY_ROWS)
    mean = graph.apply("QUANTIZE", "attended_by_head", mean, dtype="int8")
    mean = graph.apply("TRANSPOSE", "attended_split", mean, graph.indices(0, 2, 1, 3))
    mean = graph.apply("RESHAPE", "attended", mean, graph.indices(n_frames, channels))
    return _dense(graph, "attention_output", mean, attention.output)


# The right matrix of a product is given transposed: TFLite Micro would transpose it in memory of its own.
_BY_ROWS = {"adj_y": True}


def _wide(graph: Graph, x: str) -> str:
    return graph.apply("QUANTIZE", f"{x}_wide", x, dtype="int16")


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
    presence = _wide(graph, graph.history("presence", present, window - 1, axis=1))
    presence = graph.apply("RESHAPE", "presence_of_keys", presence, graph.indices(1, 1, 1, n_keys))
    return graph.apply("ADD", "visible_keys", graph.constant("outside_window", outside_window, "int16"), presence)


def _layer_norm(graph: Graph, x: str) -> str:
    """LayerNorm less its scale and offset, divided by sqrt(C): the direction of the centred frame, (c, C)."""
    mean = graph.apply("MEAN", "frame_mean", x, graph.indices(1), options={"keep_dims": True})
    return graph.apply("L2_NORMALIZATION", "direction", graph.apply("SUB", "centred", x, mean))


def _after_layer_norm(dense: Dense, attention: Attention) -> Dense:
    """The same layer, to be fed with `_layer_norm`."""
    channels = len(attention.norm_scale)
    scale = attention.norm_scale[:, None] * np.float32(np.sqrt(channels))
    return Dense(scale * dense.weight, dense.bias + attention.norm_offset @ dense.weight)


def _pooled_logits(
    graph: Graph, direction: str, padding: str, weights: FoldedSATN, pooling_frames: int, lowest_score: float
) -> str:
    """Logits (1, n_labels) of the last frames."""
    n_frames = graph.tensors[direction].shape[0]
    inner = _dense(graph, "pooling_projection", direction, _after_layer_norm(weights.pooling, weights.attention))
    # Sixteen bits: TFLite Micro takes this tanh from a table, and computes that of eight bits.
    inner = graph.apply("TANH", "pooling_tanh_wide", _wide(graph, inner))
    inner = graph.apply("QUANTIZE", "pooling_tanh", inner, dtype="int8")
    context = Dense(weights.context[:, None], np.zeros(1, np.float32))
    score = _dense(graph, "pooling_score", inner, context)
    score = graph.apply("RESHAPE", "pooling_score_of_frame", score, graph.indices(1, n_frames))
    # Before the first frame the state is zero: real scores are moved above it, which changes no weight.
    bonus = graph.constant("pooling_bonus", np.full((1, n_frames), ABSENCE_GAP - lowest_score, np.float32), "int8")
    score = graph.apply("ADD", "pooling_score_above_absence", score, bonus)
    score = graph.apply("ADD", "pooling_score_if_present", score, padding)
    scores = graph.window("pooling_scores", score, pooling_frames, axis=1)

    logits = _dense(graph, "frame_logits", direction, _after_layer_norm(weights.classifier, weights.attention))
    logits = graph.apply("TRANSPOSE", "logits_by_label", logits, graph.indices(1, 0))
    logits = graph.window("logits_of_frames", logits, pooling_frames, axis=1)

    # From int8, the softmax takes the largest differences for what they are.
    shares = graph.apply("SOFTMAX", "pooling_shares", scores, dtype="int16", quantization=(1 / 65536, -32768))
    shares = graph.apply("QUANTIZE", "pooling_weights", shares, quantization=(1 / 32768, 0))
    pooled = graph.apply("BATCH_MATMUL", "pooled_logits", shares, _wide(graph, logits), options=_BY_ROWS)
    return graph.apply("QUANTIZE", "logits", pooled, dtype="int8")
