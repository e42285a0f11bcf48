"""What the host of a `.mcu.tflite` file does around its steps: normalise and quantize features.

It is a dozen operations on a row of features, here with numpy and in `examples/edge/microcontroller/satn_host.c` in C;
both give the same integers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.config import LARGEST_LEVEL, SATNConfig
from satn_fast.export.errors import ExportError

Array = NDArray[np.float32]
Int8 = NDArray[np.int8]

_LARGEST_LEVEL = np.float32(LARGEST_LEVEL)

# The entry of the file's metadata that holds `HostTables`: (2, F) float32, little-endian.
ENTRY = "satn_fast.features"


class HostTables(NamedTuple):
    """Features become the model's input by `(feature - mean - running mean) * factor`, rounded, plus the zero point.

    With normalisation "running_level" the running mean is one number, the level of all bands, and deltas have none.
    """

    mean: Array
    """(F,) average of the training set."""
    factor: Array
    """(F,) reciprocal of deviation and of the input's scale."""

    def to_bytes(self) -> bytes:
        """What stands in the file."""
        return np.stack(self).astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes, n_features: int, source: str) -> "HostTables":
        """Reads it back; `source` is the file, for the message.

        Raises:
            ExportError: It is not of `n_features`, or not finite.
        """
        if len(content) != 2 * n_features * np.dtype("<f4").itemsize:
            raise ExportError(f"{source}: its {ENTRY} are not of {n_features} features; export the model again")
        tables = np.frombuffer(content, "<f4").astype(np.float32)
        if not np.isfinite(tables).all():
            raise ExportError(f"{source}: its {ENTRY} are not finite; export the model again")
        return cls(*tables.reshape(2, n_features))


class Host:
    """Makes one utterance's features into the model's input, frame by frame.

    Args:
        config: Of the model.
        tables: Of the file.
        zero_point: Of the file's input.
    """

    def __init__(self, config: SATNConfig, tables: HostTables, zero_point: int) -> None:
        self._normalization = config.normalization
        self._prior_frames = config.running_prior_frames
        self._n_bands = config.n_bands
        self._loudness_exponent = np.float32(config.loudness_exponent)
        self._tables = tables
        self._zero_point = np.float32(zero_point)
        self.reset()

    def reset(self) -> None:
        """Begins a new utterance."""
        self._frames = 0
        self._running_mean = np.zeros_like(self._tables.mean)
        self._running_level = self._loudness = np.float32(0)

    def quantized(self, features: Array) -> Int8:
        """(T, F) features of the next frames to (T, F) int8.

        All in float32, and in the order of the C code: the mean moves by a share of the difference, which loses nothing
        in a long stream where a sum would.
        """
        normalised = features - self._tables.mean
        n_bands = self._n_bands
        if self._normalization == "running":
            for row in normalised:
                self._running_mean += (row - self._running_mean) / self._frames_with_next()
                row -= self._running_mean
        elif self._normalization == "running_level":
            for heard, bands in zip(features[:, :n_bands], normalised[:, :n_bands], strict=True):
                # A sum from left to right, as in C; that of numpy is in pairs.
                level = heard.cumsum()[-1] / np.float32(n_bands)
                loudness = _exp(self._loudness_exponent * np.clip(level, -_LARGEST_LEVEL, _LARGEST_LEVEL))
                self._loudness += loudness
                self._running_level += (level - self._running_level) * (loudness / self._loudness)
                bands -= self._running_level
        integers = np.rint(normalised * self._tables.factor) + self._zero_point
        result: Int8 = np.clip(integers, -128, 127).astype(np.int8)
        return result

    def _frames_with_next(self) -> np.float32:
        """Frames so far, and the next one, and those that the mean started from."""
        self._frames += 1
        return np.float32(self._frames + self._prior_frames)


def _exp(x: np.float32) -> np.float32:
    """The exponential to 3e-6 of itself, as `satn_host.c` has it: those of libraries differ in the last bit."""
    n = np.rint(x * np.float32(1.44269504))
    r = x - n * np.float32(0.693145752) - n * np.float32(1.42860677e-6)
    p = np.float32(1 / 120)
    for coefficient in (1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        p = np.float32(coefficient) + r * p
    result: np.float32 = np.ldexp(p, int(n))
    return result
