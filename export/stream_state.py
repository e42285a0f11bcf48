"""What an exported stream remembers from chunk to chunk: names, shapes and types of its state tensors."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.config import SPECTRAL_FRAMES, STREAMABLE_NORMALIZATIONS, SATNConfig

# A graph takes `keys` and gives `next_keys`, and so on.
NEXT = "next_"

# An update that feels immediate.
UPDATE_SECONDS = 0.1


class StateTensor(NamedTuple):
    """One tensor of the state. All of them are zero before the first frame."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """A name that numpy knows."""

    @property
    def next_name(self) -> str:
        """Name of the output that takes its place."""
        return NEXT + self.name

    def zeros(self) -> NDArray[Any]:
        """The tensor before the first frame."""
        return np.zeros(self.shape, self.dtype)

    def described(self, name: str) -> dict[str, Any]:
        """The entry of a manifest."""
        return {"name": name, "shape": list(self.shape), "dtype": self.dtype}


def is_streamable(config: SATNConfig) -> bool:
    """Whether a model of this configuration can hear an utterance in chunks."""
    return config.attention_window is not None and config.normalization in STREAMABLE_NORMALIZATIONS


def update_frames(config: SATNConfig) -> int:
    """Frames that a stream hears at a time, unless somebody pushes more or fewer: those of a tenth of a second.

    Example:
        >>> update_frames(SATNConfig()), update_frames(SATNConfig(front_end={"n_mels": 64, "hop_seconds": 0.04}))
        (10, 2)
    """
    return max(1, round(UPDATE_SECONDS / config.hop_seconds))


def history_name(convolution: str) -> str:
    """Name of the state tensor that holds a convolution's last input frames."""
    return f"{convolution}_history"


def stream_state(config: SATNConfig) -> tuple[StateTensor, ...]:
    """The state of a stream, for a configuration that is streamable.

    Sums over the whole utterance are in float64: in float32 single frames would stop counting in the end.

    Example:
        >>> [state.name for state in stream_state(SATNConfig.preset("edge", n_blocks=1))][:5]
        ['frames', 'feature_sum', 'spectral_history', 'block0_conv1_history', 'block0_conv2_history']
    """
    assert config.attention_window is not None
    states = [StateTensor("frames", (1,), "int64")]
    if config.running_sums:
        states.append(StateTensor("feature_sum", (1, 1, config.running_sums), "float64"))
    if config.spectral_channels:
        states.append(StateTensor(history_name("spectral"), (1, config.n_features, SPECTRAL_FRAMES - 1), "float32"))
    for block in range(config.n_blocks):
        reach, width = (config.kernel_size - 1) * 2**block, config.channels
        for index, n_inputs in enumerate((config.tcn_inputs if block == 0 else width, width)):
            name = history_name(f"block{block}_conv{index + 1}")
            states.append(StateTensor(name, (1, n_inputs, reach), "float32"))
    kept = (config.attention_window - 1, config.channels)
    states += [StateTensor("keys", kept, "float32"), StateTensor("values", kept, "float32")]
    states += [
        StateTensor("largest_score", (1, 1), "float32"),
        StateTensor("weighted_sum", (1, config.pooled_channels), "float64"),
        StateTensor("weighted_squares", (1, config.pooled_channels * (config.pooling == "statistics")), "float64"),
        StateTensor("normalizer", (1, 1), "float64"),
    ]
    # With a window or a kernel of one frame there is nothing to remember, nor are squares without the deviation.
    return tuple(state for state in states if 0 not in state.shape)
