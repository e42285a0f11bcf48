"""What a SATN is made of: its hyper-parameters and named presets.

Every number here is a choice of this project. The paper (Zhao et al. 2021) does not publish its exact
sizes, so no preset claims to be the paper's model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NORMALIZATIONS = ("global", "level", "running_level", "utterance", "running", "speaker")

# Those that remove one number from all bands.
LEVEL_NORMALIZATIONS = ("level", "running_level")

# Those that need no frame of the future, so that a stream can compute them.
STREAMABLE_NORMALIZATIONS = ("global", "running_level", "running")

POOLINGS = ("mean", "statistics")
POOLING_LAYERS = ("last", "all")

# What the network is fed: log-Mel bands with their deltas and delta-deltas, side by side.
FEATURE_ORDERS = 3

# Power to loudness (Stevens 1955, "The measurement of loudness"): ten decibels more are twice as loud. With
# power in its place, a few peaks decide what the level of an utterance is, and less is recognised (`docs/results.md`).
LOUDNESS_EXPONENT = 0.3

# A step of one in each logarithm that a front end may take of power, as a natural logarithm.
_NATURAL_LOGARITHMS = {"ln": 1.0, "log10": math.log(10), "db": math.log(10) / 10}

# Bounds of a frame's level where its loudness is taken, so that sums stay finite in float32 whatever the features. The
# natural logarithm of what 16 bits hold is within -16 and 30, decibels from full scale are mostly within.
LARGEST_LEVEL = 60.0

# The spectral convolution: frames and bands that it sees, bands from one place to the next, and places of which the
# largest value is kept.
SPECTRAL_FRAMES = 3
SPECTRAL_BANDS = 9
SPECTRAL_STRIDE = 2
SPECTRAL_POOLED = 4

# Average speech that a running mean starts from, in seconds. With none, the source task of the demo was still at 93 %
# phoneme errors where this reached 83 % (400 steps of 16 utterances, preset edge).
RUNNING_PRIOR_SECONDS = 1.0

# What `satn_fast.LogMel` takes where a front end does not say.
_DEFAULT_HOP_SECONDS = 0.01


def _default_front_end() -> dict[str, Any]:
    return {"preset": "kaldi", "sample_rate": 16000, "n_mels": 40}


@dataclass(frozen=True)
class SATNConfig:
    """The hyper-parameters of a SATN (normalisation, TCN, self-attention, pooling, classifier).

    The defaults of the fields are a plain SATN; `preset` gives what recognises emotions well.

    Args:
        labels: Names of the classes, in the order of the logits.
        channels: Width `C` of every layer of the TCN and of attention.
        n_blocks: Residual blocks of the TCN; block `i` has dilation `2**i`.
        kernel_size: Taps `K` of each causal convolution.
        n_heads: Attention heads `H`; must divide `channels`.
        attention_window: `None` attends to the whole utterance; `W` attends to the last `W` frames only
            (causal), which is what makes exact streaming possible.
        pooling: What is kept of the frames, weighted by attention: `"mean"`, or `"statistics"` for mean and standard
            deviation (Okabe et al. 2018).
        pooling_layers: What is pooled: the `"last"` layer, attention's output; or `"all"`, the outputs of every block
            beside it.
        pooling_size: Hidden width of the attentive pooling.
        embedding_norm: Standardise every number of the pooled vector before the classifier, with the statistics of
            training (BatchNorm, Ioffe & Szegedy 2015). Layers and deviations differ in scale.
        dropout: Probability of dropping a channel, for all frames of an utterance, while training.
        embedding_dropout: Probability of dropping a number of the pooled vector while training.
        normalization: `"global"` uses the feature statistics kept in the model. The others first remove something:
            `"level"` how loud the utterance is, one number, the mean over its bands and, weighted by their loudness,
            its frames; `"utterance"` the mean over its frames of every feature (neither is streamable);
            `"running_level"` and `"running"` the same over the frames so far, the same offline and streaming.
            `"speaker"` expects features that were standardised per speaker
            (`satn_fast.training.normalize_per_speaker`), for research on speakers who were recorded before.
        front_end: Keyword arguments of `satn_fast.LogMel` that give the features this model expects.
        spectral_channels: Patterns of the spectral convolution before the TCN, which finds them wherever they stand in
            the spectrum, in a high voice and in a low one (`satn_fast.reference.SpectralConvolution`); 0 for none.

    Raises:
        ValueError: A value is out of range; the message names it and the remedy.

    Example:
        >>> config = SATNConfig.preset("edge", labels=("calm", "angry"))
        >>> config.channels, config.n_features, config.receptive_field
        (64, 192, 125)
    """

    labels: tuple[str, ...] = ("angry", "happy", "neutral", "sad")
    channels: int = 128
    n_blocks: int = 6
    kernel_size: int = 3
    n_heads: int = 4
    attention_window: int | None = None
    pooling: str = "mean"
    pooling_layers: str = "last"
    pooling_size: int = 64
    embedding_norm: bool = False
    dropout: float = 0.1
    embedding_dropout: float = 0.0
    normalization: str = "utterance"
    front_end: Mapping[str, Any] = field(default_factory=_default_front_end)
    spectral_channels: int = 0

    def __post_init__(self) -> None:
        # JSON has lists only; a configuration read back must equal the one that was written.
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "front_end", dict(self.front_end))
        _check(self)

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "SATNConfig":
        """Gives the named configuration, with any field overridden.

        Args:
            name: `"base"`, `"large"`, `"edge"` (small, streamable) or `"micro"` (for microcontrollers).
            **overrides: Fields of `SATNConfig`.

        Raises:
            ValueError: The name is not a preset, or a field is out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"preset is {name!r}; choose one of {', '.join(PRESETS)}")
        return cls(**(PRESETS[name] | overrides))

    @property
    def n_features(self) -> int:
        """Width `F` of the input: static, delta and delta-delta of every Mel band."""
        return FEATURE_ORDERS * self.n_bands

    @property
    def n_bands(self) -> int:
        """Mel bands of the front end."""
        return int(self.front_end["n_mels"])

    @property
    def spectral_places(self) -> int:
        """Places along the spectrum of which the spectral convolution keeps the largest value of every pattern."""
        return ((self.n_bands - SPECTRAL_BANDS) // SPECTRAL_STRIDE + 1) // SPECTRAL_POOLED

    @property
    def n_patterns(self) -> int:
        """Width of what the spectral convolution gives: every pattern at every place; 0 without one."""
        return self.spectral_channels * self.spectral_places

    @property
    def tcn_inputs(self) -> int:
        """Width of what the TCN reads: the features, and beside them the patterns in them."""
        return self.n_features + self.n_patterns

    @property
    def head_size(self) -> int:
        """Width `D` of one attention head."""
        return self.channels // self.n_heads

    @property
    def pooled_channels(self) -> int:
        """Channels that pooling looks at in every frame."""
        return self.channels * (self.n_blocks + 1 if self.pooling_layers == "all" else 1)

    @property
    def embedding_size(self) -> int:
        """Width of the pooled vector."""
        return self.pooled_channels * (2 if self.pooling == "statistics" else 1)

    @property
    def hop_seconds(self) -> float:
        """Time from frame to frame, in seconds."""
        return float(self.front_end.get("hop_seconds", _DEFAULT_HOP_SECONDS))

    @property
    def loudness_exponent(self) -> float:
        """What a level is multiplied by to be the natural logarithm of a loudness: depends on the front end's `log`."""
        default = "db" if self.front_end.get("preset") == "librosa" else "ln"
        return LOUDNESS_EXPONENT * _NATURAL_LOGARITHMS.get(self.front_end.get("log", default), 1.0)

    @property
    def running_prior_frames(self) -> int:
        """Average frames that a running mean starts from."""
        return round(RUNNING_PRIOR_SECONDS / self.hop_seconds)

    @property
    def running_sums(self) -> int:
        """Numbers that normalisation sums over the frames so far: of every feature, or two for their level."""
        return {"running": self.n_features, "running_level": 2}.get(self.normalization, 0)

    @property
    def receptive_field(self) -> int:
        """Frames that one TCN output can see, itself included (two convolutions per block)."""
        return 1 + 2 * (self.kernel_size - 1) * ((1 << self.n_blocks) - 1)


# 25 frames a second are a quarter of the usual cost, and trials lost nothing by it. Nor by one window of 64 ms in place
# of two of 40 ms averaged: a linear SVM on functionals of either recognises as much (`docs/results.md`).
_EMOTION_FRONT_END: dict[str, Any] = {
    "preset": "kaldi",
    "sample_rate": 16000,
    "n_mels": 64,
    "window_seconds": 0.064,
    "hop_seconds": 0.04,
    "high_hz": 8000.0,
}

# What recognises emotions of speakers never heard best; `docs/results.md` has the figures.
_EMOTION: dict[str, Any] = {
    "pooling": "statistics",
    "pooling_layers": "all",
    "embedding_norm": True,
    "embedding_dropout": 0.3,
    "front_end": _EMOTION_FRONT_END,
}
_WHOLE: dict[str, Any] = _EMOTION | {"normalization": "level"}
_STREAMING: dict[str, Any] = _EMOTION | {"normalization": "running_level", "attention_window": 50}

PRESETS: dict[str, dict[str, Any]] = {
    "base": _WHOLE | {"spectral_channels": 32, "channels": 128, "n_blocks": 6},
    "large": _WHOLE | {"spectral_channels": 64, "channels": 256, "n_blocks": 8, "pooling_size": 128},
    "edge": _STREAMING | {"spectral_channels": 16, "channels": 64, "n_blocks": 5},
    "micro": _STREAMING | {"spectral_channels": 8, "channels": 32, "n_blocks": 5, "n_heads": 2, "pooling_size": 32},
}


def _check(config: SATNConfig) -> None:
    """Raises ValueError for the first field that is out of range."""
    if len(config.labels) < 1 or len(set(config.labels)) != len(config.labels):
        raise ValueError(f"labels is {config.labels!r}; give at least one name, each once")
    for name in ("channels", "n_blocks", "kernel_size", "n_heads", "pooling_size"):
        _check_positive_integer(name, getattr(config, name))
    if config.attention_window is not None:
        _check_positive_integer("attention_window", config.attention_window)
    if config.channels % config.n_heads:
        raise ValueError(
            f"n_heads is {config.n_heads}, which does not divide channels = {config.channels}; choose a divisor"
        )
    for name in ("dropout", "embedding_dropout"):
        if not 0.0 <= getattr(config, name) < 1.0:
            raise ValueError(f"{name} is {getattr(config, name)!r}; choose a probability in [0, 1)")
    choices = {"normalization": NORMALIZATIONS, "pooling": POOLINGS, "pooling_layers": POOLING_LAYERS}
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"{name} is {getattr(config, name)!r}; choose one of {', '.join(known)}")
    if not isinstance(config.embedding_norm, bool):
        raise ValueError(f"embedding_norm is {config.embedding_norm!r}; choose true or false")
    if config.spectral_channels:
        _check_positive_integer("spectral_channels", config.spectral_channels)
    if "n_mels" not in config.front_end:
        raise ValueError("front_end has no n_mels; give the keyword arguments of satn_fast.LogMel")
    _check_positive_integer("front_end['n_mels']", config.front_end["n_mels"])
    if config.spectral_channels and not config.spectral_places:
        least = SPECTRAL_BANDS + SPECTRAL_STRIDE * (SPECTRAL_POOLED - 1)
        raise ValueError(
            f"front_end['n_mels'] is {config.n_bands}, too few for a spectral convolution; choose {least} or more, or "
            "spectral_channels = 0"
        )
    if not config.front_end.get("deltas", True):
        raise ValueError("front_end has deltas = False; the model needs deltas and delta-deltas")


def _check_positive_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; choose a whole number from 1")
