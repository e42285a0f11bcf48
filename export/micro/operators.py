"""The operators of TFLite Micro that a streaming step is made of: what each computes in float.

Everything here is in TFLite Micro's reference kernels in the types that `graph` uses them in.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Options = Mapping[str, Any]

# The quantization that TFLite demands of an output, by operator and dtype: scale and zero point.
DICTATED = {
    ("TANH", "int16"): (1 / 32768, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
}


class Kind(NamedTuple):
    """A kind of operator, e.g. `FULLY_CONNECTED`."""

    compute: Callable[..., Values]
    """(options, inputs...) to the output, in float."""
    options: str | None = None
    """Name of its options in TFLite's schema, less the ending `Options`."""
    version: int = 1
    """Version of the operator in TFLite that has the types used here."""
    moves: bool = False
    """Whether it only moves values about, so that inputs and output must share one scale."""


def _concatenate(options: Options, *parts: Values) -> Values:
    return np.concatenate(parts, options["axis"])


def _slice(options: Options, x: Values, begin: Values, size: Values) -> Values:
    return x[tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))]


def _connect(options: Options, x: Values, weight: Values, bias: Values) -> Values:
    """(c, Cin), or more axes that make Cin together, to (c, Cout)."""
    return _activated(options, x.reshape(-1, weight.shape[1]) @ weight.T + bias)


def _convolve(options: Options, x: Values, weight: Values, bias: Values) -> Values:
    """(1, T, N, Cin) to (1, T - K + 1, places, Cout), nothing around it; the weight is (Cout, K, bands, Cin)."""
    seen = np.lib.stride_tricks.sliding_window_view(x, weight.shape[1:3], axis=(1, 2))
    seen = seen[:, :: options["stride_h"], :: options["stride_w"]]
    return _activated(options, np.einsum("btpckn,oknc->btpo", seen, weight, optimize=True) + bias)


def _largest(options: Options, x: Values) -> Values:
    """(1, T, N, C) to (1, T, N // width, C)."""
    width = options["filter_width"]
    batch, n_frames, n_places, channels = x.shape
    whole = x[:, :, : n_places // width * width]
    largest: Values = whole.reshape(batch, n_frames, -1, width, channels).max(3)
    return largest


def _add(options: Options, x: Values, y: Values) -> Values:
    return _activated(options, x + y)


def _matmul(options: Options, x: Values, y: Values) -> Values:
    product: Values = x @ (y.swapaxes(-1, -2) if options["adj_y"] else y)
    return product


def _softmax(options: Options, x: Values) -> Values:
    weights = np.exp(x - x.max(-1, keepdims=True))
    shares: Values = weights / weights.sum(-1, keepdims=True)
    return shares


def _mean(options: Options, x: Values, axis: Values) -> Values:
    mean: Values = x.mean(tuple(axis), keepdims=options["keep_dims"])
    return mean


def _sum(options: Options, x: Values, axis: Values) -> Values:
    total: Values = x.sum(tuple(axis), keepdims=options["keep_dims"])
    return total


def _reciprocal_root(options: Options, x: Values) -> Values:
    # Of zero, TFLite Micro gives the largest number of the output.
    root: Values = 1 / np.sqrt(np.maximum(x, 1e-12))
    return root


def _l2_normalize(options: Options, x: Values) -> Values:
    direction: Values = x / np.maximum(np.sqrt(np.square(x).sum(-1, keepdims=True)), 1e-6)
    return direction


def _activated(options: Options, x: Values) -> Values:
    return np.maximum(x, 0) if options.get("relu") else x


KINDS = {
    "ADD": Kind(_add, "Add", version=2),
    "BATCH_MATMUL": Kind(_matmul, "BatchMatMul", version=2),
    "CONCATENATION": Kind(_concatenate, "Concatenation", version=2, moves=True),
    "CONV_2D": Kind(_convolve, "Conv2D", version=3),
    "FULLY_CONNECTED": Kind(_connect, "FullyConnected", version=4),
    "GATHER": Kind(lambda options, x, rows: x[rows], "Gather", version=2, moves=True),
    "L2_NORMALIZATION": Kind(_l2_normalize, "L2Norm", version=2),
    "MAX_POOL_2D": Kind(_largest, "Pool2D", version=2, moves=True),
    "MEAN": Kind(_mean, "Reducer", version=2),
    "MUL": Kind(lambda options, x, y: x * y, "Mul", version=2),
    "QUANTIZE": Kind(lambda options, x: x, "Quantize", version=2),
    "RESHAPE": Kind(lambda options, x, shape: x.reshape(shape), "Reshape", moves=True),
    "RSQRT": Kind(_reciprocal_root, version=2),
    "SLICE": Kind(_slice, "Slice", version=2, moves=True),
    "SOFTMAX": Kind(_softmax, "Softmax", version=3),
    "SUB": Kind(lambda options, x, y: x - y, "Sub", version=2),
    "SQUARED_DIFFERENCE": Kind(lambda options, x, y: np.square(x - y), "SquaredDifference", version=2),
    "SUM": Kind(_sum, "Reducer", version=2),
    "TANH": Kind(lambda options, x: np.tanh(x), version=2),
    "TRANSPOSE": Kind(lambda options, x, order: x.transpose(order), "Transpose", version=2, moves=True),
}
