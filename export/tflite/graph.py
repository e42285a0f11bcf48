"""SATN re-hosted in TensorFlow with the same weights, and converted to a float32 TFLite file.

Imports TensorFlow: only the exporter does, never what runs the files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from satn_fast.config import (
    FEATURE_ORDERS,
    LARGEST_LEVEL,
    LEVEL_NORMALIZATIONS,
    SPECTRAL_POOLED,
    SPECTRAL_STRIDE,
)
from satn_fast.export.tiles import Tiles
from satn_fast.export.weights import Attention, Convolution, Dense, FoldedSATN, image_weight
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR

# A symbolic or eager TensorFlow tensor; the library has no types.
Tensor = Any

# Taken from the scores of hidden keys, which become zeros of the softmax. Unlike in ONNX Runtime, that costs nothing.
_BEYOND_ALL_SCORES = 1e9


def convert(weights: FoldedSATN) -> bytes:
    """Gives the float32 flatbuffer: `features` (1, T, F) to `logits` (1, n_labels), for every T >= 1.

    Only built-in operators are used. The same weights always give the same bytes.
    """
    features = tf.TensorSpec([1, None, weights.config.n_features], tf.float32, name="features")
    return converted(forward(weights), features)


def converted(function: Callable[[Tensor], dict[str, Tensor]], signature: Tensor) -> bytes:
    """Gives the float32 flatbuffer of a function of one tensor.

    Args:
        function: Gives its results by their names.
        signature: A `tf.TensorSpec`: name and shape of the tensor.
    """
    concrete = tf.function(function, input_signature=[signature]).get_concrete_function()
    keeps_function_alive = tf.Module()
    keeps_function_alive.function = concrete
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], keeps_function_alive)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model: bytes = converter.convert()
    return model


def forward(weights: FoldedSATN) -> Callable[[Tensor], dict[str, Tensor]]:
    """Gives the function from `features` (1, T, F) to `{"logits": (1, n_labels)}`.

    The scopes name the tensors, and by them the quantizer tells the parts of the model apart.
    """
    config = weights.config

    def satn(features: Tensor) -> dict[str, Tensor]:
        frame = _frame_index(features)
        with tf.name_scope("normalization"):
            x = _normalization(features, weights, frame)
        # As images of one column; indexing with None would convert to two operators, in int8 to four.
        h, blocks = tf.reshape(x, [1, -1, 1, config.n_features]), []
        if weights.spectral is not None:
            with tf.name_scope("spectral"):
                patterns = _patterns(x, weights.spectral, config.n_bands)
                patterns = tf.reshape(patterns, [1, -1, 1, config.n_patterns])
                h = tf.concat([h, patterns], -1)
        with tf.name_scope("tcn"):
            for block in weights.blocks:
                residual = h if block.project is None else _convolution(h, block.project.as_convolution)
                y = tf.nn.relu(_convolution(h, block.conv1))
                y = tf.nn.relu(_convolution(y, block.conv2))
                h = tf.nn.relu(y + residual)
                blocks.append(h)
            h = tf.reshape(h, [1, -1, config.channels])
        with tf.name_scope("attention"):
            h = _attention(h, weights.attention, config.n_heads, config.attention_window, frame)
        if config.pooling_layers == "all":
            with tf.name_scope("layers"):
                h = tf.concat([*blocks, tf.reshape(h, [1, -1, 1, config.channels])], -1)
                h = tf.reshape(h, [1, -1, config.pooled_channels])
        with tf.name_scope("pooling_projection"):
            energy = tf.tanh(_dense(h, weights.pooling))
        with tf.name_scope("pooling"):
            scores = tf.matmul(energy, weights.context[:, None])
            # A softmax over the last axis and a product convert to two operators; any other axis to five.
            frame_weights = tf.nn.softmax(tf.transpose(scores, [0, 2, 1]))
            pooled = tf.matmul(frame_weights, h)
            if config.pooling == "statistics":
                variance = tf.matmul(frame_weights, tf.math.squared_difference(h, pooled))
                pooled = tf.concat([pooled, tf.sqrt(variance + DEVIATION_FLOOR)], -1)
        with tf.name_scope("classifier"):
            return {"logits": _dense(tf.squeeze(pooled, 1), weights.classifier)}

    return satn


def _normalization(features: Tensor, weights: FoldedSATN, frame: Tensor) -> Tensor:
    """(1, T, F) to normalised (1, T, F); `frame` is (T,) 0, 1, 2, ..."""
    x, mode = features - weights.mean, weights.config.normalization
    if mode in LEVEL_NORMALIZATIONS:
        x = x - _level(features, weights, running=mode == "running_level")
    elif mode == "utterance":
        x = x - tf.reduce_mean(x, 1, keepdims=True)
    elif mode == "running":
        divisor = tf.reshape(frame + (1.0 + weights.config.running_prior_frames), [1, -1, 1])
        x = x - tf.cumsum(x, 1) / divisor
    return x * weights.inverse_std


def _level(features: Tensor, weights: FoldedSATN, *, running: bool) -> Tensor:
    """(1, T, F) to the level of the utterance, or so far, of its bands: see `satn_fast.reference.level_sums`."""
    bands = weights.bands
    assert bands is not None
    level = tf.matmul(features, bands[:, None] / bands.sum())
    loudness = tf.exp(weights.config.loudness_exponent * tf.clip_by_value(level, -LARGEST_LEVEL, LARGEST_LEVEL))
    total = loudness * level
    if running:
        return tf.cumsum(total, 1) / tf.cumsum(loudness, 1) * bands
    return tf.reduce_sum(total, 1, keepdims=True) / tf.reduce_sum(loudness, 1, keepdims=True) * bands


def _patterns(x: Tensor, spectral: Convolution, n_bands: int) -> Tensor:
    """(1, T, F) normalised features to the patterns in them, (1, T, places, S)."""
    image = tf.transpose(tf.reshape(x, [1, -1, FEATURE_ORDERS, n_bands]), [0, 1, 3, 2])
    image = tf.pad(image, [[0, 0], [spectral.history, 0], [0, 0], [0, 0]])
    found = tf.nn.conv2d(image, image_weight(spectral), [1, 1, SPECTRAL_STRIDE, 1], "VALID") + spectral.bias
    window = [1, 1, SPECTRAL_POOLED, 1]
    return tf.nn.max_pool2d(tf.nn.relu(found), window, window, "VALID")


def _convolution(x: Tensor, convolution: Convolution) -> Tensor:
    """Causal convolution, (1, T, 1, Cin) to (1, T, 1, Cout)."""
    if convolution.history:
        x = tf.pad(x, [[0, 0], [convolution.history, 0], [0, 0], [0, 0]])
    kernel, dilations = convolution.weight[:, None], [1, convolution.dilation, 1, 1]
    return tf.nn.conv2d(x, kernel, 1, "VALID", dilations=dilations) + convolution.bias


def _dense(x: Tensor, dense: Dense) -> Tensor:
    """(..., Cin) to (..., Cout)."""
    return tf.matmul(x, dense.weight) + dense.bias


def _frame_index(x: Tensor) -> Tensor:
    """(T,) float32: 0, 1, 2, ... for (1, T, n)."""
    return tf.cumsum(tf.ones_like(x[0, :, 0]), exclusive=True)


def _attention(h: Tensor, attention: Attention, n_heads: int, window: int | None, frame: Tensor) -> Tensor:
    """Self-attention, residual and LayerNorm, (1, T, C) to (1, T, C); `frame` is (T,) 0, 1, 2, ..."""
    heads = (n_heads, len(attention.norm_scale) // n_heads)
    qkv = _dense(h, attention.query_key_value)
    y = _whole_utterance(qkv, heads) if window is None else _windowed(qkv, heads, window, frame)
    h = h + _dense(y, attention.output)
    with tf.name_scope("layer_norm"):
        mean = tf.reduce_mean(h, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(h, mean), -1, keepdims=True)
        normalised = (h - mean) * tf.math.rsqrt(variance + attention.norm_epsilon)
        return normalised * attention.norm_scale + attention.norm_offset


def _whole_utterance(qkv: Tensor, heads: tuple[int, int]) -> Tensor:
    """Every frame attends to every frame; (1, T, 3C) to (1, T, C)."""
    n_heads, size = heads
    parts = tf.transpose(tf.reshape(qkv, [-1, 3 * n_heads, size]), [1, 0, 2])
    q, k, v = (parts[i * n_heads : (i + 1) * n_heads] for i in range(3))
    y = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)
    return tf.reshape(tf.transpose(y, [1, 0, 2]), [1, -1, n_heads * size])


def _windowed(qkv: Tensor, heads: tuple[int, int], window: int, frame: Tensor) -> Tensor:
    """Every frame attends to the last `window` frames, in N tiles; (1, T, 3C) to (1, T, C).

    No shape depends on a computed value, only on the shape of the input: so LiteRT plans its memory once per length,
    where it would otherwise allocate anew in every run.
    """
    (n_heads, size), tiles = heads, Tiles.of_window(window)
    rows = tf.reshape(qkv, [-1, size])  # row: (frame, q/k/v, head)
    first, last = frame[:: tiles.queries][:, None], frame[-1]
    query_frame = first + np.arange(tiles.queries, dtype=np.float32)
    key_frame = first + np.arange(-tiles.history, tiles.queries, dtype=np.float32)

    def gathered(frames: Tensor, part: int) -> Tensor:
        """(N, n) frames to (H, N, n, D); 0 queries, 1 keys, 2 values. Frames that do not exist give those that do."""
        rows_of_head = part * n_heads + np.arange(n_heads, dtype=np.int32)[:, None, None]
        existing = tf.cast(tf.maximum(tf.minimum(frames, last), 0.0), tf.int32)
        return tf.gather(rows, existing * (3 * n_heads) + rows_of_head)

    heard = tf.maximum(tf.minimum(key_frame + 1.0, 1.0), 0.0)
    visible = heard[:, None, :] * tiles.in_window().astype(np.float32)
    scores = tf.matmul(gathered(query_frame, 0), gathered(key_frame, 1), transpose_b=True)
    y = tf.matmul(tf.nn.softmax(scores + (visible - 1.0) * _BEYOND_ALL_SCORES), gathered(key_frame, 2))

    # Back to (T, H, D), without the tail of the last tile.
    rows_per_head = tf.cast(first[-1] + float(tiles.queries), tf.int32)
    row = tf.cast(frame, tf.int32)[:, None] + rows_per_head * np.arange(n_heads, dtype=np.int32)
    return tf.reshape(tf.gather(tf.reshape(y, [-1, size]), row), [1, -1, n_heads * size])
