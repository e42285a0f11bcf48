"""INT8 for LiteRT: int8 activations, int8 weights per channel, static ranges.

In int8 is the TCN (convolutions, padding, residual sums) and the projections of attention and pooling. In float32
stay the input normalisation, the attention scores and their softmax (int8 has a fixed scale of 1/256 there),
LayerNorm, the pooling's softmax, and the classifier; input and output are float32.

Measured with the preset edge as the demo trains it: on 192 synthetic utterances of voices it had not seen, mean logit
error 0.008, largest 0.05, all decisions equal; on 270 clips of another language and of people, 0.015, 0.13 and 98.9 %
(logits of deviation 1.4 both times). Attention's projections in float32 gain 0.002 and cost up to a fifth of the speed.
Against float32 in the same runtime, one thread on x86-64, 300 to 500 frames: 1.9 to 2.1 times as fast with 64 channels.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from litert_quantizer import qtyping, quantizer
from numpy.typing import NDArray

Array = NDArray[np.float32]
Ranges = dict[str, dict[str, NDArray[np.float32]]]

SIGNATURE = "serving_default"

_Operator = qtyping.TFLOperationName

# Parts of the model, by the scopes of tflite_graph, and their operators that int8 computes.
INT8_OPERATORS = {
    "tcn": (_Operator.CONV_2D, _Operator.PAD, _Operator.ADD, _Operator.RESHAPE),
    "attention": (_Operator.FULLY_CONNECTED,),
    "pooling_projection": (_Operator.FULLY_CONNECTED,),
}


def quantized(model: bytes, calibration: Sequence[Array]) -> bytes:
    """Gives the int8 version of a float32 flatbuffer.

    Args:
        model: What `tflite_graph.convert` gave.
        calibration: (T, F) features of each utterance; the ranges of the activations are their extremes.

    Returns:
        A flatbuffer whose large buffers may stand outside of it; see `tflite_file.finished`.
    """
    with warnings.catch_warnings():
        # The calibrator keeps all tensors, and LiteRT warns of the memory that this takes.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        ranges = _ranges(model, calibration)
        result = _quantizer(model).quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def _quantizer(model: bytes) -> quantizer.Quantizer:
    result = quantizer.Quantizer(model)
    for scope, operators in INT8_OPERATORS.items():
        for operator in operators:
            result.add_static_config(scope, operator, activation_num_bits=8, weight_num_bits=8)
    return result


def _ranges(model: bytes, calibration: Sequence[Array]) -> Ranges:
    """The smallest and largest value of every tensor over all utterances.

    Within one call the calibrator forgets: it takes a moving average, which clips. So each utterance has its own.
    """
    merged: Ranges = {}
    calibrator = _quantizer(model)
    for features in calibration:
        found = calibrator.calibrate({SIGNATURE: [{"features": features[None]}]}, num_threads=1)
        for name, extremes in found.items():
            known = merged.setdefault(name, extremes)
            merged[name] = {
                "min": np.minimum(known["min"], extremes["min"]),
                "max": np.maximum(known["max"], extremes["max"]),
            }
    return merged
