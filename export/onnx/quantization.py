"""INT8 for ONNX Runtime: QUInt8 activations, QInt8 weights per channel, QDQ format, static ranges.

In int8 are every convolution with its ReLU, the sums of the residual blocks, and the projections of attention and
pooling. In float32 stay the normalisation (a running sum over thousands of frames), the attention scores and their
softmax, LayerNorm, the sum before it, the pooling's softmax, mean and deviation, and the classifier. Where all blocks are
pooled, what is pooled of them is dequantized, and the next block goes on from the integers.

Measured with the preset edge as the demo trains it: on 192 synthetic utterances of voices it had not seen, mean logit
error 0.008, largest 0.04, 99.5 % equal decisions (191), no unweighted accuracy lost; with another seed, one utterance,
whose best two labels are 0.012 apart, was lost. On 270 clips of another language and of people, 0.011, 0.07 and 100 %
(logits of deviation 1.4 both times). Equalising the channels of two convolutions (Nagel et al. 2019) changed nothing
beyond what another draw of the calibration does; adding the weights' mean rounding error to the biases took 7 % off the
mean error, and changed no decision, so neither is done. ReLUs are quantized with their convolutions: without them,
every convolution is followed by a conversion to float and back. With the sum before LayerNorm, the classifier and the
projections' outputs in int8, too, the mean error is a third larger. Against float32 in the same runtime, one thread on
x86-64 with VNNI, with 64 channels, in turns of some 20 ms: 1.9 to 2.1 times as fast from 100 to 3000 frames. Where each
run follows one of the other file, which leaves its weights in the caches, it is 1.7 to 1.9 times.

Half of the time is now that of attention in float32: scores, exponentials, mask, weighted sum. In int8 that takes ONNX
Runtime longer: with the tiles of 300 frames, 59 us instead of 48 for scores from int8 queries and keys, 340 instead of
59 for a softmax; a weighted sum of int8 weights is as fast as one in float32, but making them takes 36 us.
With mean and deviation of all layers (tests' model, three seeds, 90 utterances), the mean logit error is 0.25 to 0.55 %
of the logits' deviation, the largest 1.7 %, all decisions equal; the projection of pooling in float32 would make that
0.33 to 0.34 %, and take 17 us more of 255 (3 s, 64 channels, 40 ms hop).

A step of a stream gains little: of 146 us, for 10 frames, 27 go into handing over 18 inputs and 18 outputs, and the
state, being in float32, is rounded anew at every convolution (189 nodes, 121 in float32).
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from satn_fast.export.calibration import Ranges
from satn_fast.export.onnx.graph import pooled_tensor, quantizable_nodes
from satn_fast.export.stream_state import StateTensor

Array = NDArray[np.float32]
Feed = dict[str, NDArray[Any]]

# Streams are calibrated in chunks of that many frames; the activations do not depend on it.
CHUNK_FRAMES = 100


def quantized(
    model: onnx.ModelProto, calibration: Sequence[Array], method: str, states: Sequence[StateTensor] = ()
) -> onnx.ModelProto:
    """Gives the int8 version of a float32 graph.

    Args:
        model: What `graph.build` or `stream_graph.build_step` gave; it is not changed.
        calibration: (T, F) features of each utterance.
        method: How the ranges of the activations follow from them, see `calibration.Ranges`.
        states: The state tensors of a step.
    """
    nodes = quantizable_nodes(model)
    with tempfile.TemporaryDirectory(prefix="satn_fast.") as folder, _without_advice():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(model, source)
        quantize_static(
            source,
            target,
            # The ranges are given below, but the quantizer insists on seeing some data.
            _Reader(iter(next(_feeds(model, calibration[:1], states)))),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # 7-bit weights: with 8 bits, x86 processors without VNNI saturate the sum of two products and give
            # other results than the rest. Costs 0.001 of mean logit error.
            reduce_range=True,
            nodes_to_quantize=nodes,
            extra_options={
                # What follows a projection is in float32: no rounding to int8 in between.
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
                "TensorQuantOverrides": _overrides(model, nodes, _feeds(model, calibration, states), method),
            },
        )
        result = onnx.load_model(target)
    _keep_in_float(result, pooled_tensor(model), nodes)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result


def _keep_in_float(model: onnx.ModelProto, tensor: str, nodes: Sequence[str]) -> None:
    """Has nodes outside of `nodes` read a float32 tensor as it is, and not rounded, as the quantizer would have it."""
    for node in model.graph.node:
        if node.name not in nodes and node.op_type != "QuantizeLinear":
            node.input[:] = [tensor if name == f"{tensor}_DequantizeLinear_Output" else name for name in node.input]


def _overrides(
    model: onnx.ModelProto, nodes: Sequence[str], utterances: Iterable[Iterable[Feed]], method: str
) -> dict[str, list[dict[str, Any]]]:
    """The range of every activation that the nodes read or give, as the quantizer wants to be told."""
    constants = {constant.name for constant in model.graph.initializer}
    names = {
        name
        for node in model.graph.node
        if node.name in nodes
        for name in (*node.input, *node.output)
        if name not in constants
    }
    with_activations = onnx.ModelProto()
    with_activations.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    with_activations.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(names - known))
    session = _session(with_activations)
    ranges, outputs = Ranges(method), sorted(names)
    for feeds in utterances:
        chunks = [[values.ravel() for values in session.run(outputs, feed)] for feed in feeds]
        for name, parts in zip(outputs, zip(*chunks, strict=True), strict=True):
            ranges.add(name, np.concatenate(parts))
    return {name: [{"rmin": np.float32(ranges[name][0]), "rmax": np.float32(ranges[name][1])}] for name in outputs}


def _feeds(model: onnx.ModelProto, calibration: Sequence[Array], states: Sequence[StateTensor]) -> Iterator[list[Feed]]:
    """What goes into the graph for each utterance: all of it, or for a step the chunks of its stream."""
    session = _session(model) if states else None
    batched = any(tensor.name == "lengths" for tensor in model.graph.input)

    def lengths(features: Array) -> Feed:
        return {"lengths": np.array([len(features)])} if batched else {}

    for features in calibration:
        if session is None:
            yield [{"features": features[None]} | lengths(features)]
            continue
        state, feeds = {tensor.name: tensor.zeros() for tensor in states}, []
        for start in range(0, len(features), CHUNK_FRAMES):
            feeds.append({"features": features[None, start : start + CHUNK_FRAMES], **state})
            state = dict(zip(state, session.run([tensor.next_name for tensor in states], feeds[-1]), strict=True))
        yield feeds


def _session(model: onnx.ModelProto) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the inputs to the quantizer, one by one."""

    def __init__(self, feeds: Iterator[Feed]) -> None:
        self._feeds = feeds

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Drops the quantizer's advice to run its pre-processing, which the graph does not need."""

    def wanted(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
