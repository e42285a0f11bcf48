"""The plain PyTorch SATN: short, obvious, able to run in float64. It is the executable specification.

A batch of features goes through, in this order:

    Normalization -> SpectralConvolution
                  -> TemporalConvNet -> SelfAttention      the Encoder
    -> AttentivePooling -> embedding norm -> classifier    the SATN
    or -> symbol scores per frame                          the SourceModel (speech recognition)

Layout is channels-last, `(B, T, C)`. `lengths` `(B,)` says how many frames of each row are real; `None` means
all. Padding is inert: whatever stands in padded frames changes no output and no gradient of the real ones, and
outputs at padded frames are exactly zero.

`satn_fast.SATN` and `satn_fast.SourceModel` compute the same, faster, with the same constructor and the same
`state_dict`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from satn_fast.config import (
    FEATURE_ORDERS,
    LARGEST_LEVEL,
    LEVEL_NORMALIZATIONS,
    LOUDNESS_EXPONENT,
    SPECTRAL_BANDS,
    SPECTRAL_FRAMES,
    SPECTRAL_POOLED,
    SPECTRAL_STRIDE,
    SATNConfig,
)
from satn_fast.hub import PretrainedModel
from satn_fast.kernels.attentive_pool.reference import attentive_pool
from satn_fast.kernels.causal_conv1d.reference import causal_conv1d
from satn_fast.kernels.lengths import check_lengths, zero_padded
from satn_fast.kernels.self_attention.reference import attention_map, self_attention

# Below this a feature is taken as constant (digital silence, a band above the recording's bandwidth); dividing
# by less would blow up its rounding noise.
SMALLEST_STD = 1e-3


class Encoded(NamedTuple):
    """What the encoder makes of a batch; queries and keys are what attention transfer compares."""

    hidden: Tensor
    """(B, T, C), zero at padded frames."""
    query: Tensor
    """(B, T, H, D)."""
    key: Tensor
    """(B, T, H, D)."""
    blocks: tuple[Tensor, ...]
    """(B, T, C) of every block of the TCN; only the last one is sure to be zero at padded frames."""

    @property
    def convolved(self) -> Tensor:
        """(B, T, C), what the TCN gave to attention, zero at padded frames."""
        return self.blocks[-1]


class SATNOutput(NamedTuple):
    """The result of a forward pass."""

    logits: Tensor
    """(B, n_labels)."""
    attention: Tensor | None = None
    """(B, H, T, T) attention weights, where asked for."""
    pooling: Tensor | None = None
    """(B, T) pooling weights, where asked for."""


def level_sums(x: Tensor, loudness_exponent: float = LOUDNESS_EXPONENT) -> Tensor:
    """(B, T, F) features to the (B, T, 2) that add up to a level: weight times level, and weight, of a frame.

    The weight is the frame's loudness, `exp(loudness_exponent * level)`, within bounds that keep sums finite.
    """
    level = x[..., : x.shape[-1] // FEATURE_ORDERS].mean(-1)
    weight = (loudness_exponent * level.clamp(-LARGEST_LEVEL, LARGEST_LEVEL)).exp()
    return torch.stack([weight * level, weight], -1)


def level_of(sums: Tensor) -> Tensor:
    """(..., 2) sums of `level_sums` to the level (..., 1); 0 where there is no frame."""
    return sums[..., :1] / sums[..., 1:].clamp(min=torch.finfo(sums.dtype).tiny)


def of_bands(level: Tensor, n_features: int) -> Tensor:
    """(..., 1) level to the (..., F) that is removed: deltas have none."""
    n_bands = n_features // FEATURE_ORDERS
    return F.pad(level.expand(*level.shape[:-1], n_bands), (0, n_features - n_bands))


class Normalization(nn.Module):
    """Centres and standardises every feature. (B, T, F) to (B, T, F).

    `(x - mean) / std` with statistics that are buffers, so they travel with the model. In between, `"utterance"`
    removes the mean over the utterance of every feature. Before, `"level"` removes one number from all bands: how loud
    the utterance is, which says more of the microphone than of the speaker. (Deltas have no level.) It is the mean of
    the frames' levels weighted by their loudness, `sum(w * l) / sum(w)` with `l` the mean over the bands and
    `w = exp(0.3 * l)` for natural logarithms (`SATNConfig.loudness_exponent`): silence around speech hardly changes it,
    and another gain is removed altogether.

    `"running"` and `"running_level"` take the frames so far. `"running"` starts as if `prior_frames` average frames had
    been heard before: without them, the first frames would be compared with next to nothing (the idea is that of
    Kaldi's online cepstral mean normalisation). `"speaker"` is `"global"` for features that come standardised per
    speaker.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, n_features: int, mode: str, prior_frames: int = 0, loudness_exponent: float = LOUDNESS_EXPONENT
    ) -> None:
        super().__init__()
        self.mode = mode
        self.prior_frames = prior_frames
        self.loudness_exponent = loudness_exponent
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalises a batch; padded frames become zero."""
        # Half precision cannot count to T.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.mode in LEVEL_NORMALIZATIONS:
            wide = zero_padded(wide, lengths)
            centred = wide - self.level(wide, lengths) - self.mean
        else:
            centred = self.centre(zero_padded(wide - self.mean, lengths), lengths)
        return zero_padded((centred / self.std).to(x.dtype), lengths)

    def centre(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Removes the mean of the utterance, the running one, or nothing. Padding of `x` must be zero."""
        if self.mode == "utterance":
            n_frames = x.shape[1] if lengths is None else lengths.clamp(min=1)[:, None, None]
            return x - x.sum(1, keepdim=True) / n_frames
        if self.mode == "running":
            frames_so_far = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
            return x - x.cumsum(1) / (frames_so_far + self.prior_frames)
        return x

    def level(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What is removed of every feature, (B, 1, F), or (B, T, F) with `"running_level"`: deltas have no level."""
        sums = zero_padded(level_sums(x, self.loudness_exponent), lengths)
        sums = sums.sum(1, keepdim=True) if self.mode == "level" else sums.cumsum(1)
        return of_bands(level_of(sums), x.shape[-1])

    @torch.no_grad()
    def fit(self, utterances: Sequence[Tensor]) -> None:
        """Sets mean and standard deviation from features.

        Args:
            utterances: (T, F) features of each utterance, unpadded.

        Raises:
            ValueError: There is no frame at all.
        """
        n_frames = sum(len(features) for features in utterances)
        if not n_frames:
            raise ValueError("utterances holds no frame; give at least one utterance longer than a window")
        has_level = self.mode in LEVEL_NORMALIZATIONS
        wide = [features.double()[None] for features in utterances if len(features)]
        heard = [x - self.level(x, None) if has_level else x for x in wide]
        mean = torch.stack([x.sum((0, 1)) for x in heard]).sum(0) / n_frames
        variance = torch.stack([self.centre(x - mean, None).square().sum((0, 1)) for x in heard]).sum(0) / n_frames
        self.mean.copy_(mean)
        self.std.copy_(variance.sqrt().clamp(min=SMALLEST_STD))


class CausalConv1d(nn.Module):
    """Weight-normalised dilated causal convolution (Salimans & Kingma 2016; Bai et al. 2018).

    The weight is `weight_g * weight_v / ||weight_v||`, the norm taken per output channel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        # PyTorch's own initialisation of a convolution; at the start the weight is weight_v itself.
        convolution = nn.Conv1d(in_channels, out_channels, kernel_size)
        assert convolution.bias is not None
        self.weight_v = nn.Parameter(convolution.weight.detach())
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(convolution.bias.detach())

    def normalized_weight(self) -> Tensor:
        """(Cout, Cin, K) weight of the convolution."""
        norm: Tensor = torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True)
        return self.weight_g * self.weight_v / norm

    def forward(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        dropout_p: float = 0.0,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Convolution, ReLU, dropout and, with `residual`, addition and ReLU. (B, T, Cin) to (B, T, Cout)."""
        return causal_conv1d(
            x,
            self.normalized_weight(),
            self.bias,
            dilation=self.dilation,
            residual=residual,
            activation="relu",
            dropout_p=dropout_p,
            lengths=lengths,
        )


class SpectralConvolution(nn.Module):
    """Finds patterns in a few frames and bands, such as harmonics that rise, wherever they stand in the spectrum.

    To the TCN every band is a channel of its own: it has to learn anew in every pitch what a rising voice looks like,
    and a small corpus has few voices. Here the same weights look at every place, as in a convolution over time and
    frequency (Abdel-Hamid et al. 2014, "Convolutional neural networks for speech recognition"), and of neighbouring
    places only the largest value is kept. It is a causal convolution over time of the bands around each place.

    Args:
        channels: Patterns `S`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = CausalConv1d(FEATURE_ORDERS * SPECTRAL_BANDS, channels, SPECTRAL_FRAMES, dilation=1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalised features (B, T, F) to (B, T, places * S)."""
        around = self.around_places(x)
        n_places = around.shape[1]
        of_places = None if lengths is None else lengths.repeat_interleave(n_places)
        found = self.convolution(around.flatten(0, 1), lengths=of_places)
        return self.largest(found.reshape(*around.shape[:3], found.shape[-1]))

    def around_places(self, x: Tensor) -> Tensor:
        """(B, T, F) to the bands around each place in every order, (B, P, T, orders * bands)."""
        bands = x.reshape(*x.shape[:2], FEATURE_ORDERS, x.shape[2] // FEATURE_ORDERS).unfold(
            3, SPECTRAL_BANDS, SPECTRAL_STRIDE
        )
        return bands.permute(0, 3, 1, 2, 4).flatten(3)

    def largest(self, found: Tensor) -> Tensor:
        """What was found at each place, (B, P, T, S), to the largest of neighbours, (B, T, places * S)."""
        return found.unfold(1, SPECTRAL_POOLED, SPECTRAL_POOLED).amax(-1).transpose(1, 2).flatten(2)


class ResidualBlock(nn.Module):
    """Two causal convolutions of the same dilation around a residual connection (Bai et al. 2018, fig. 1b)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.conv1 = CausalConv1d(in_channels, out_channels, kernel_size, dilation)
        self.conv2 = CausalConv1d(out_channels, out_channels, kernel_size, dilation)
        self.project = None if in_channels == out_channels else nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, Cin) to (B, T, Cout)."""
        x = zero_padded(x, lengths)
        dropout_p = self.dropout if self.training else 0.0
        residual = x if self.project is None else self.project(x)
        y: Tensor = self.conv1(x, dropout_p=dropout_p, lengths=lengths)
        y = self.conv2(y, residual=residual, dropout_p=dropout_p, lengths=lengths)
        return y


class TemporalConvNet(nn.Module):
    """Residual blocks with dilations 1, 2, 4, ... (Bai et al. 2018)."""

    def __init__(self, n_inputs: int, channels: int, n_blocks: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(n_inputs if i == 0 else channels, channels, kernel_size, 2**i, dropout)
            for i in range(n_blocks)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, T, n_inputs) to the (B, T, C) of every block."""
        outputs = []
        for block in self.blocks:
            x = block(x, lengths)
            outputs.append(x)
        return tuple(outputs)


class SelfAttention(nn.Module):
    """Multi-head self-attention, output projection, residual, LayerNorm (Vaswani et al. 2017, section 3)."""

    def __init__(self, channels: int, n_heads: int, window: int | None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.window = window
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, h: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) to the attended (B, T, C), with its queries and keys (B, T, H, D)."""
        h = zero_padded(h, lengths)
        q, k, v = (projection(h).unflatten(-1, (self.n_heads, -1)) for projection in (self.query, self.key, self.value))
        attended = self.output(self.attend(q, k, v, lengths).flatten(2))
        return zero_padded(self.norm(h + attended), lengths), q, k

    def attend(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None) -> Tensor:
        """The attention itself: (B, T, H, D) three times to (B, T, H, D)."""
        return self_attention(q, k, v, lengths=lengths, window=self.window)


class Encoder(nn.Module):
    """Normalisation, spectral convolution, TCN and self-attention: the part that is shared with the source task."""

    def __init__(self, config: SATNConfig) -> None:
        super().__init__()
        self.normalization = Normalization(
            config.n_features, config.normalization, config.running_prior_frames, config.loudness_exponent
        )
        self.spectral = SpectralConvolution(config.spectral_channels) if config.spectral_channels else None
        self.tcn = TemporalConvNet(
            config.tcn_inputs, config.channels, config.n_blocks, config.kernel_size, config.dropout
        )
        self.attention = SelfAttention(config.channels, config.n_heads, config.attention_window)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Encoded:
        """(B, T, F) features to hidden states (B, T, C), and what led there."""
        n_features = len(self.normalization.mean)
        if features.dim() != 3 or features.shape[2] != n_features:
            raise ValueError(
                f"features has shape {tuple(features.shape)}; this model expects (batch, frames, {n_features})"
            )
        check_lengths(lengths, features, "features")
        x = self.normalization(features, lengths)
        if self.spectral is not None:
            x = torch.cat([x, self.spectral(x, lengths)], -1)
        blocks = self.tcn(x, lengths)
        hidden, query, key = self.attention(blocks[-1], lengths)
        return Encoded(hidden, query, key, blocks)


class AttentivePooling(nn.Module):
    """Learned weighted mean over time of one layer or several side by side, and their deviation where asked for.

    Args:
        channels: Of all layers together.
        size: Hidden width `A` of the scores.
        deviation: Also give the weighted standard deviation of every channel.
    """

    def __init__(self, channels: int, size: int, deviation: bool) -> None:
        super().__init__()
        self.deviation = deviation
        self.projection = nn.Linear(channels, size)
        self.context = nn.Parameter(torch.randn(size) * size**-0.5)

    def forward(self, layers: Sequence[Tensor], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, C) of every layer to the pooled (B, P) and the weights (B, T); P is all channels, or twice as many."""
        return attentive_pool(
            layers,
            self.projection.weight,
            self.projection.bias,
            self.context,
            lengths=lengths,
            deviation=self.deviation,
        )


class SATN(PretrainedModel):
    """Recognises the emotion of an utterance.

    Args:
        config: Hyper-parameters, labels and front-end settings.

    Example:
        >>> model = SATN(SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> model(torch.randn(2, 30, 192)).logits.shape
        torch.Size([2, 2])
    """

    task = "emotion recognition"

    def __init__(self, config: SATNConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.pooling = AttentivePooling(config.pooled_channels, config.pooling_size, config.pooling == "statistics")
        self.embedding_norm = nn.BatchNorm1d(config.embedding_size) if config.embedding_norm else None
        self.classifier = nn.Linear(config.embedding_size, len(config.labels))

    def forward(self, features: Tensor, lengths: Tensor | None = None, *, return_weights: bool = False) -> SATNOutput:
        """Scores every label.

        Args:
            features: (B, T, F) from the front end of `config.front_end`.
            lengths: (B,) integers, the real frames of each row; `None` means all.
            return_weights: Also give the attention (B, H, T, T) and pooling (B, T) weights.

        Returns:
            Logits (B, n_labels) in the order of `config.labels`, and the weights where asked for.

        Raises:
            ValueError: Wrong feature width, or lengths that do not fit.
        """
        encoded = self.encoder(features, lengths)
        output = self.classify(encoded, lengths)
        if not return_weights:
            return SATNOutput(output.logits)
        window = self.config.attention_window
        attention = attention_map(encoded.query, encoded.key, lengths=lengths, window=window)
        return output._replace(attention=attention)

    def classify(self, encoded: Encoded, lengths: Tensor | None = None) -> SATNOutput:
        """Pools and classifies what the encoder gave: the logits and the pooling weights."""
        embedding, weights = self.pooling(self.pooled_layers(encoded.blocks, encoded.hidden), lengths)
        return SATNOutput(self.score(embedding), pooling=weights)

    def pooled_layers(self, blocks: Sequence[Tensor], hidden: Tensor) -> list[Tensor]:
        """What is pooled, of the outputs of every block and of attention."""
        return [*blocks, hidden] if self.config.pooling_layers == "all" else [hidden]

    def score(self, embedding: Tensor) -> Tensor:
        """Logits (B, n_labels) of the pooled vector (B, `config.embedding_size`)."""
        if self.embedding_norm is not None:
            embedding = self.embedding_norm(embedding)
        if self.training:
            embedding = F.dropout(embedding, self.config.embedding_dropout)
        logits: Tensor = self.classifier(embedding)
        return logits


class SourceModel(PretrainedModel):
    """The source task, speech recognition: the same encoder with symbol scores over time (for CTC).

    Where a phoneme lasts several frames, scores are given for groups of frames, by the mean of their hidden states:
    CTC leaves its all-blank beginning much sooner that way.

    Args:
        encoder_config: The encoder's hyper-parameters; its labels are not used.
        symbols: What is recognised (phonemes or characters); index 0 of the scores is CTC's blank, symbol `i`
            stands at `i + 1`.
        frames_per_score: Size `G` of a group; frames that do not fill the last group are left out.

    Example:
        >>> model = SourceModel(SATNConfig.preset("micro"), symbols=("a", "b")).eval()
        >>> scores, lengths = model(torch.randn(2, 30, 192), torch.tensor([30, 10]))
        >>> scores.shape, lengths.tolist()
        (torch.Size([2, 10, 3]), [10, 3])
    """

    def __init__(self, encoder_config: SATNConfig, symbols: tuple[str, ...], frames_per_score: int = 3) -> None:
        super().__init__()
        self.config = encoder_config
        self.symbols = tuple(symbols)
        self.frames_per_score = frames_per_score
        self.encoder = Encoder(encoder_config)
        self.head = nn.Linear(encoder_config.channels, len(self.symbols) + 1)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) features to (B, T // G, n_symbols + 1) scores and how many of them are real, (B,)."""
        return self.score(self.encoder(features, lengths), lengths)

    def score(self, encoded: Encoded, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Scores symbols from what the encoder gave."""
        batch, n_frames, channels = encoded.hidden.shape
        n_groups = n_frames // self.frames_per_score
        grouped = encoded.hidden[:, : n_groups * self.frames_per_score]
        groups = grouped.reshape(batch, n_groups, self.frames_per_score, channels)
        n_scores = lengths // self.frames_per_score
        return zero_padded(self.head(groups.mean(2)), n_scores), n_scores


class AutoencoderModel(PretrainedModel):
    """The other source task, an attention autoencoder: the same encoder, whose hidden states give the features back.

    Args:
        encoder_config: The encoder's hyper-parameters; its labels are not used.

    Example:
        >>> model = AutoencoderModel(SATNConfig.preset("micro")).eval()
        >>> model(torch.randn(2, 30, 192), torch.tensor([30, 10])).shape
        torch.Size([2, 30, 192])
    """

    def __init__(self, encoder_config: SATNConfig) -> None:
        super().__init__()
        self.config = encoder_config
        self.encoder = Encoder(encoder_config)
        self.decoder = nn.Linear(encoder_config.channels, encoder_config.n_features)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, F) features to (B, T, F), what the normalised features should be."""
        return self.rebuild(self.encoder(features, lengths), lengths)

    def rebuild(self, encoded: Encoded, lengths: Tensor | None = None) -> Tensor:
        """Normalised features from what the encoder gave."""
        return zero_padded(self.decoder(encoded.hidden), lengths)


__all__ = [
    "SATN",
    "AttentivePooling",
    "AutoencoderModel",
    "CausalConv1d",
    "Encoded",
    "Encoder",
    "Normalization",
    "ResidualBlock",
    "SATNOutput",
    "SelfAttention",
    "SourceModel",
    "SpectralConvolution",
    "TemporalConvNet",
]
