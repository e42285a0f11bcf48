"""SATN re-hosted in TensorFlow with the same weights, and converted to a float32 TFLite file.

Imports TensorFlow: only the exporter does, never what runs the files.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from satn_fast.export.weights import HIDDEN_SCORE, Attention, Convolution, Dense, FoldedSATN
from satn_fast.reference import RUNNING_PRIOR_FRAMES

# A symbolic or eager TensorFlow tensor; the library has no types.
Tensor = Any


def convert(weights: FoldedSATN) -> bytes:
    """Gives the float32 flatbuffer: `features` (1, T, F) to `logits` (1, n_labels), for every T >= 1.

    Only built-in operators are used. The same weights always give the same bytes.
    """
    signature = [tf.TensorSpec([1, None, weights.config.n_features], tf.float32, name="features")]
    function = tf.function(forward(weights), input_signature=signature).get_concrete_function()
    keeps_function_alive = tf.Module()
    keeps_function_alive.function = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], keeps_function_alive)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model: bytes = converter.convert()
    return model


def forward(weights: FoldedSATN) -> Callable[[Tensor], dict[str, Tensor]]:
    """Gives the function from `features` (1, T, F) to `{"logits": (1, n_labels)}`.

    The scopes name the tensors, and by them the quantizer tells the parts of the model apart.
    """
    config = weights.config

    def satn(features: Tensor) -> dict[str, Tensor]:
        with tf.name_scope("normalization"):
            x = _normalization(features, weights)
        with tf.name_scope("tcn"):
            h = x[:, :, None]
            for block in weights.blocks:
                residual = h if block.project is None else _convolution(h, block.project.as_convolution)
                y = tf.nn.relu(_convolution(h, block.conv1))
                y = tf.nn.relu(_convolution(y, block.conv2))
                h = tf.nn.relu(y + residual)
            h = h[:, :, 0]
        with tf.name_scope("attention"):
            h = _attention(h, weights.attention, config.n_heads, config.attention_window)
        with tf.name_scope("pooling_projection"):
            energy = tf.tanh(_dense(h, weights.pooling))
        with tf.name_scope("pooling"):
            scores = tf.matmul(energy, weights.context[:, None])
            # A softmax over the last axis and a product convert to two operators; any other axis to five.
            pooled = tf.matmul(tf.nn.softmax(tf.transpose(scores, [0, 2, 1])), h)
        with tf.name_scope("classifier"):
            return {"logits": _dense(tf.squeeze(pooled, 1), weights.classifier)}

    return satn


def _normalization(features: Tensor, weights: FoldedSATN) -> Tensor:
    """(1, T, F) to normalised (1, T, F)."""
    x = features - weights.mean
    if weights.config.normalization == "utterance":
        x = x - tf.reduce_mean(x, 1, keepdims=True)
    elif weights.config.normalization == "running":
        frames_so_far = tf.cumsum(tf.ones_like(x[:, :, :1]), 1)
        x = x - tf.cumsum(x, 1) / (frames_so_far + RUNNING_PRIOR_FRAMES)
    return x * weights.inverse_std


def _convolution(x: Tensor, convolution: Convolution) -> Tensor:
    """Causal convolution, (1, T, 1, Cin) to (1, T, 1, Cout)."""
    if convolution.history:
        x = tf.pad(x, [[0, 0], [convolution.history, 0], [0, 0], [0, 0]])
    kernel, dilations = convolution.weight[:, None], [1, convolution.dilation, 1, 1]
    return tf.nn.conv2d(x, kernel, 1, "VALID", dilations=dilations) + convolution.bias


def _dense(x: Tensor, dense: Dense) -> Tensor:
    """(..., Cin) to (..., Cout)."""
    return tf.matmul(x, dense.weight) + dense.bias


def _attention(h: Tensor, attention: Attention, n_heads: int, window: int | None) -> Tensor:
    """Self-attention, residual and LayerNorm, (1, T, C) to (1, T, C)."""
    q, k, v = (_dense(h, dense) for dense in (attention.query, attention.key, attention.value))
    size = len(attention.norm_scale) // n_heads
    y = _whole_utterance(q, k, v, n_heads, size) if window is None else _windowed(q, k, v, n_heads, size, window)
    h = h + _dense(y, attention.output)
    with tf.name_scope("layer_norm"):
        mean = tf.reduce_mean(h, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(h, mean), -1, keepdims=True)
        normalised = (h - mean) * tf.math.rsqrt(variance + attention.norm_epsilon)
        return normalised * attention.norm_scale + attention.norm_offset


def _whole_utterance(q: Tensor, k: Tensor, v: Tensor, n_heads: int, size: int) -> Tensor:
    """Every frame attends to every frame; (1, T, C) three times to (1, T, C)."""
    q, k, v = (tf.transpose(tf.reshape(x, [1, -1, n_heads, size]), [0, 2, 1, 3]) for x in (q, k, v))
    weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True))
    return tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [1, -1, n_heads * size])


def _windowed(q: Tensor, k: Tensor, v: Tensor, n_heads: int, size: int, window: int) -> Tensor:
    """Cuts time into N tiles of `W = min(window, T)` frames; a tile attends to itself and the tile before it."""
    n_frames = tf.shape(q)[1]
    tile = tf.minimum(n_frames, window)
    tail = tf.math.floormod(-n_frames, tile)

    def tiles(x: Tensor, history: Tensor) -> Tensor:
        """(1, T, C) to (N, W, H, D), with `history` zero frames put before the first."""
        padded = tf.pad(x[0], tf.convert_to_tensor([[history, tail], [0, 0]]))
        return tf.reshape(padded, tf.stack([-1, tile, n_heads, size]))

    def with_previous_tile(x: Tensor) -> Tensor:
        """(1, T, C) to (N, H, 2W, D)."""
        both = tiles(x, tile)
        return tf.transpose(tf.concat([both[:-1], both[1:]], 1), [0, 2, 1, 3])

    queries = tiles(q, 0)
    scores = tf.matmul(tf.transpose(queries, [0, 2, 1, 3]), with_previous_tile(k), transpose_b=True)
    hidden = _hidden_in_tiles(tile, tf.shape(queries)[0])
    weights = tf.nn.softmax(tf.where(hidden, HIDDEN_SCORE, scores))
    y = tf.transpose(tf.matmul(weights, with_previous_tile(v)), [0, 2, 1, 3])
    return tf.reshape(y, [1, -1, n_heads * size])[:, :n_frames]


def _hidden_in_tiles(tile: Tensor, n_tiles: Tensor) -> Tensor:
    """(N, 1, W, 2W) bool: keys after the query, beyond the window, or before the utterance.

    Key 0 of a tile is the first frame of the tile before it.
    """
    query, key = tf.range(tile)[:, None], tf.range(2 * tile)[None, :]
    outside_window = (key <= query) | (key > query + tile)
    before_start = tf.range(n_tiles)[:, None, None, None] * tile + key < tile
    return outside_window | before_start
