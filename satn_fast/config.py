"""What a SATN is made of: its hyper-parameters and named presets.

Every number here is a choice of this project. The paper (Zhao et al. 2021) does not publish its exact
sizes, so no preset claims to be the paper's model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NORMALIZATIONS = ("global", "utterance", "running", "speaker")

# What the network is fed: log-Mel bands with their deltas and delta-deltas, side by side.
FEATURE_ORDERS = 3

# Average frames that a running mean starts from: 1 s at the usual 10 ms hop. With none, the source task of the demo
# was still at 93 % phoneme errors where this reached 83 % (400 steps of 16 utterances, preset edge).
RUNNING_PRIOR_FRAMES = 100


def _default_front_end() -> dict[str, Any]:
    return {"preset": "kaldi", "sample_rate": 16000, "n_mels": 40}


@dataclass(frozen=True)
class SATNConfig:
    """The hyper-parameters of a SATN (normalisation, TCN, self-attention, pooling, classifier).

    Args:
        labels: Names of the classes, in the order of the logits.
        channels: Width `C` of every layer after the input.
        n_blocks: Residual blocks of the TCN; block `i` has dilation `2**i`.
        kernel_size: Taps `K` of each causal convolution.
        n_heads: Attention heads `H`; must divide `channels`.
        attention_window: `None` attends to the whole utterance; `W` attends to the last `W` frames only
            (causal), which is what makes exact streaming possible.
        pooling_size: Hidden width of the attentive pooling.
        dropout: Probability of dropping a channel, for all frames of an utterance, while training.
        normalization: `"global"` uses the feature statistics kept in the model; `"utterance"` first removes
            the mean of the utterance's frames (not streamable); `"running"` first removes the mean of the
            frames so far, the same offline and streaming; `"speaker"` expects features that were standardised per
            speaker (`satn_fast.training.normalize_per_speaker`), for research on speakers who were recorded before.
        front_end: Keyword arguments of `satn_fast.LogMel` that give the features this model expects.

    Raises:
        ValueError: A value is out of range; the message names it and the remedy.

    Example:
        >>> config = SATNConfig.preset("edge", labels=("calm", "angry"))
        >>> config.channels, config.n_features, config.receptive_field
        (64, 120, 125)
    """

    labels: tuple[str, ...] = ("angry", "happy", "neutral", "sad")
    channels: int = 128
    n_blocks: int = 6
    kernel_size: int = 3
    n_heads: int = 4
    attention_window: int | None = None
    pooling_size: int = 64
    dropout: float = 0.1
    normalization: str = "utterance"
    front_end: Mapping[str, Any] = field(default_factory=_default_front_end)

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
        return FEATURE_ORDERS * int(self.front_end["n_mels"])

    @property
    def head_size(self) -> int:
        """Width `D` of one attention head."""
        return self.channels // self.n_heads

    @property
    def receptive_field(self) -> int:
        """Frames that one TCN output can see, itself included (two convolutions per block)."""
        return 1 + 2 * (self.kernel_size - 1) * ((1 << self.n_blocks) - 1)


PRESETS: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {"channels": 256, "n_blocks": 8, "pooling_size": 128},
    "edge": {"channels": 64, "n_blocks": 5, "attention_window": 100, "normalization": "running"},
    "micro": {
        "channels": 32,
        "n_blocks": 5,
        "n_heads": 2,
        "attention_window": 50,
        "pooling_size": 32,
        "normalization": "running",
    },
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
    if not 0.0 <= config.dropout < 1.0:
        raise ValueError(f"dropout is {config.dropout!r}; choose a probability in [0, 1)")
    if config.normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is {config.normalization!r}; choose one of {', '.join(NORMALIZATIONS)}")
    if "n_mels" not in config.front_end:
        raise ValueError("front_end has no n_mels; give the keyword arguments of satn_fast.LogMel")
    _check_positive_integer("front_end['n_mels']", config.front_end["n_mels"])
    if not config.front_end.get("deltas", True):
        raise ValueError("front_end has deltas = False; the model needs deltas and delta-deltas")


def _check_positive_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; choose a whole number from 1")
