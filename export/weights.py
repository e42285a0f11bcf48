"""A trained SATN as plain numpy arrays: the one source of numbers for every exported graph.

Weight norm is folded, and the factor of the attention scores is part of the query projection. Padding, lengths and
dropout are gone: an exported file computes one utterance at a time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from satn_fast import reference
from satn_fast.config import FEATURE_ORDERS, LEVEL_NORMALIZATIONS, SATNConfig

Array = NDArray[np.float32]


class Convolution(NamedTuple):
    """Causal convolution: `y[t] = bias + sum_j weight[j] @ x[t - (K-1-j) * dilation]`, zeros before the start."""

    weight: Array
    """(K, Cin, Cout)."""
    bias: Array
    """(Cout,)."""
    dilation: int

    @property
    def history(self) -> int:
        """Frames before the current one that the convolution sees."""
        return (len(self.weight) - 1) * self.dilation


class Dense(NamedTuple):
    """`y = x @ weight + bias` on the last axis."""

    weight: Array
    """(Cin, Cout)."""
    bias: Array
    """(Cout,)."""

    @property
    def as_convolution(self) -> Convolution:
        """The same as a convolution with one tap."""
        return Convolution(self.weight[None], self.bias, 1)


class Block(NamedTuple):
    """One residual block: `relu(relu(conv2(relu(conv1(x)))) + project(x))`; `project` is `None` where widths agree."""

    conv1: Convolution
    conv2: Convolution
    project: Dense | None


class Attention(NamedTuple):
    """Self-attention with the score factor `D ** -0.5` folded into `query`, and its LayerNorm."""

    query: Dense
    key: Dense
    value: Dense
    output: Dense
    norm_scale: Array
    norm_offset: Array
    norm_epsilon: float

    @property
    def query_key_value(self) -> Dense:
        """The three projections side by side, (C, 3C)."""
        parts = (self.query, self.key, self.value)
        return Dense(np.concatenate([p.weight for p in parts], axis=1), np.concatenate([p.bias for p in parts]))


class FoldedSATN(NamedTuple):
    """Everything that an exported graph computes with."""

    config: SATNConfig
    mean: Array
    """(F,) of the normalisation."""
    inverse_std: Array
    """(F,) of the normalisation."""
    spectral: Convolution | None
    """Of the bands around each place in every order: Cin is (orders, bands), see `image_weight`."""
    blocks: tuple[Block, ...]
    attention: Attention
    pooling: Dense
    context: Array
    """(A,) of the attentive pooling."""
    classifier: Dense
    """Of the pooled vector, (`config.embedding_size`, n_labels); its standardisation is folded in."""

    @property
    def bands(self) -> Array | None:
        """(F,): 1 for log-Mel bands, 0 for their deltas, where normalisation removes a level; deltas have none."""
        if self.config.normalization not in LEVEL_NORMALIZATIONS:
            return None
        is_band: Array = (np.arange(len(self.mean)) < len(self.mean) // FEATURE_ORDERS).astype(np.float32)
        return is_band


def image_weight(spectral: Convolution) -> Array:
    """(K, bands, orders, S): the spectral convolution's weight as that of an image of frames and bands."""
    n_taps, _, n_patterns = spectral.weight.shape
    return spectral.weight.reshape(n_taps, FEATURE_ORDERS, -1, n_patterns).swapaxes(1, 2)


def folded(model: reference.SATN) -> FoldedSATN:
    """Takes the weights out of a trained model.

    Args:
        model: `satn_fast.SATN` or `satn_fast.reference.SATN`, on any device, in any floating-point dtype.

    Raises:
        ValueError: A weight is not finite, or the model needs features that are normalised per speaker.
    """
    encoder, config = model.encoder, model.config
    if config.normalization == "speaker":
        raise ValueError(
            "normalization is 'speaker': the model needs other recordings of whoever speaks, which a device does not "
            "have; train one with normalization 'level' or 'running_level' to export it"
        )
    weights = FoldedSATN(
        config=config,
        mean=_array(encoder.normalization.mean),
        inverse_std=(1.0 / _wide(encoder.normalization.std)).astype(np.float32),
        spectral=None if encoder.spectral is None else _convolution(encoder.spectral.convolution),
        blocks=tuple(_block(block) for block in encoder.tcn.blocks),
        attention=_attention(encoder.attention, config.head_size),
        pooling=_dense(model.pooling.projection),
        context=_array(model.pooling.context),
        classifier=_classifier(model),
    )
    _check_finite(model)
    return weights


def _block(block: nn.Module) -> Block:
    assert isinstance(block, reference.ResidualBlock)
    project = None if block.project is None else _dense(block.project)
    return Block(_convolution(block.conv1), _convolution(block.conv2), project)


def _convolution(module: reference.CausalConv1d) -> Convolution:
    direction = _wide(module.weight_v)
    norm = np.sqrt(np.square(direction).sum((1, 2), keepdims=True))
    weight = _wide(module.weight_g) * direction / norm
    return Convolution(weight.transpose(2, 1, 0).astype(np.float32), _array(module.bias), module.dilation)


def _attention(module: reference.SelfAttention, head_size: int) -> Attention:
    scale = head_size**-0.5
    query = Dense(
        (_wide(module.query.weight).T * scale).astype(np.float32),
        (_wide(module.query.bias) * scale).astype(np.float32),
    )
    return Attention(
        query=query,
        key=_dense(module.key),
        value=_dense(module.value),
        output=_dense(module.output),
        norm_scale=_array(module.norm.weight),
        norm_offset=_array(module.norm.bias),
        norm_epsilon=module.norm.eps,
    )


def _classifier(model: reference.SATN) -> Dense:
    """The classifier, after the standardisation of what it reads."""
    weight, bias, norm = _wide(model.classifier.weight).T, _wide(model.classifier.bias), model.embedding_norm
    if norm is not None:
        scale = _wide(norm.weight) / np.sqrt(_wide(norm.running_var) + norm.eps)
        bias = bias + (_wide(norm.bias) - _wide(norm.running_mean) * scale) @ weight
        weight = scale[:, None] * weight
    return Dense(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))


def _dense(module: nn.Linear) -> Dense:
    return Dense(np.ascontiguousarray(_array(module.weight).T), _array(module.bias))


def _array(tensor: object) -> Array:
    return _wide(tensor).astype(np.float32)


def _wide(tensor: object) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().double().cpu().numpy()  # type: ignore[attr-defined]
    return array


def _check_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"the model's {name} holds NaN or infinity; export a model whose training did not diverge")
