"""The front end in TensorFlow, converted to TFLite and put before a finished model, be it in int8 or not.

Imports TensorFlow: only the exporter does, never what runs the files.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from satn_fast.export.audio_tables import AudioTables, audio_tables, delta_weights, log_factor
from satn_fast.export.tflite.file import joined
from satn_fast.export.tflite.graph import Tensor, converted


def with_audio_input(model: bytes, front_end: Mapping[str, Any]) -> bytes:
    """Gives the same model with `audio` (1, n_samples), at the front end's rate, in place of `features`.

    Args:
        model: A flatbuffer with input `features` (1, T, F).
        front_end: Keyword arguments of `satn_fast.LogMel`.

    Raises:
        ValueError: The front end computes in double precision.
    """
    tables = audio_tables(front_end)
    signature = tf.TensorSpec([1, None], tf.float32, name="audio")
    return joined(converted(features_of_audio(tables), signature), model)


def features_of_audio(tables: AudioTables) -> Callable[[Tensor], dict[str, Tensor]]:
    """Gives the function from `audio` (1, n_samples) to `{"features": (1, T, F)}`."""

    def front_end(audio: Tensor) -> dict[str, Tensor]:
        log_mel = _log_mel(_spectrum(_positions(audio, tables), tables), tables)
        deltas = _regression(log_mel, tables)
        features = tf.concat([log_mel, deltas, _regression(deltas, tables)], 1)
        return {"features": tf.expand_dims(features, 0)}

    return front_end


def _positions(audio: Tensor, tables: AudioTables) -> Tensor:
    """(1, n_samples) to the positions of all rows, (1, 1, n_rows, P)."""
    if tables.emphasises_signal:
        audio = _convolved(tf.pad(audio, [[0, 0], [1, 0]]), np.array([[-tables.options["preemphasis"], 1.0]]), 1)
        audio = tf.reshape(audio, [1, -1])
    left, right = tables.padding
    if tables.options["framing"] == "pad_end":
        # The shortest audio fills one window all the same.
        right += tf.maximum(tables.window_length - tf.shape(audio)[1], 0)
    mode = "REFLECT" if tables.options["framing"] == "center_reflect" else "CONSTANT"
    return _convolved(tf.pad(audio, [[0, 0], [left, right]], mode), tables.rows, tables.row)


def _convolved(audio: Tensor, kernels: NDArray[Any], stride: int) -> Tensor:
    """(1, n) samples and (P, taps) kernels to (1, 1, n_rows, P)."""
    samples = tf.reshape(audio, [1, 1, -1, 1])
    return tf.nn.conv2d(samples, kernels.T[None, :, None].astype(np.float32), [1, 1, stride, 1], "VALID")


def _spectrum(positions: Tensor, tables: AudioTables) -> Tensor:
    """(1, 1, n_rows, P) to real and imaginary parts, (T, 2bG)."""
    n_positions, n_values, _ = tables.first_stage.shape
    kernel = tables.first_stage.transpose(2, 0, 1)[None]
    stride = [1, tables.rows_per_hop, tables.rows_per_hop, 1]
    values = tf.nn.depthwise_conv2d(positions, kernel, stride, "VALID")
    values = tf.transpose(tf.reshape(values, [-1, n_positions, n_values // 2, 2]), [2, 0, 1, 3])
    values = tf.reshape(values, [n_values // 2, -1, 2 * n_positions])
    bins = tf.matmul(values, tables.second_stage.transpose(0, 2, 1))
    return tf.reshape(tf.transpose(bins, [1, 0, 2]), [-1, tables.mel.shape[1]])


def _log_mel(spectrum: Tensor, tables: AudioTables) -> Tensor:
    """(T, 2bG) to (T, n_mels)."""
    options = tables.options
    energy = tf.matmul(spectrum * spectrum, tables.mel.T)
    if options["floor_mode"] == "clamp":
        energy = tf.maximum(energy, options["floor"])
    else:
        energy = tf.where(tf.equal(energy, 0.0), options["floor"], energy)
    if options["log"] == "none":
        return energy
    level = tf.math.log(energy) * log_factor(options)
    if options["top_db"] is not None:
        level = tf.maximum(level, tf.reduce_max(level) - options["top_db"])
    return level


def _regression(x: Tensor, tables: AudioTables) -> Tensor:
    """Deltas with the edge frames repeated, (T, n) to (T, n)."""
    after, width = delta_weights(tables.options), x.shape[1]
    edges = tf.concat([*[x[:1]] * len(after), x, *[x[-1:]] * len(after)], 0)
    weights = np.array([*(-np.array(after[::-1])), 0.0, *after], np.float32)
    kernel = np.tile(weights[:, None, None, None], (1, 1, width, 1))
    deltas = tf.nn.depthwise_conv2d(tf.reshape(edges, [1, -1, 1, width]), kernel, [1, 1, 1, 1], "VALID")
    return tf.reshape(deltas, [-1, width])
