"""What an audio file holds, without keeping it in memory: length, rate, channels, level, clipping."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from satn_fast.audio import AudioError, check_length, check_samples, open_audio

__all__ = ["Inspection", "inspect_audio"]

# Samples read at once, in all channels together.
_BLOCK = 1 << 18

# This many samples in a row at full scale are clipped: a loud recording touches it, a clipped one stays there.
_CLIPPED_RUN = 3
_FULL_SCALE = 0.999

# Nothing above -60 dB of full scale is no speech.
_SILENCE = 1e-3


@dataclass(frozen=True)
class Inspection:
    """What is known of an audio file.

    Attributes:
        duration: Seconds.
        sample_rate: Hz.
        channels: How many.
        peak: The largest magnitude; `None` if the samples were not read.
        clipped: Samples in runs of three and more at full scale; `None` if the samples were not read.
    """

    duration: float
    sample_rate: int
    channels: int
    peak: float | None = None
    clipped: int | None = None

    @property
    def silent(self) -> bool:
        """Whether no sample reaches -60 dB of full scale."""
        return self.peak is not None and self.peak < _SILENCE


def inspect_audio(path: str | os.PathLike[str], *, headers_only: bool = False) -> Inspection:
    """Look at an audio file, block by block.

    Args:
        path: The file.
        headers_only: Whether to believe the header and read no samples.

    Raises:
        AudioError: If the file is damaged: whatever `satn_fast.audio.read_audio` refuses, except several channels.

    Example:
        >>> import tempfile, pathlib
        >>> from satn_fast.audio import write_wav
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "loud.wav"
        >>> write_wav(path, np.clip(np.sin(np.arange(8000)) * 3, -1, 1).astype(np.float32), 16000)
        >>> found = inspect_audio(path)
        >>> found.duration, found.sample_rate, found.clipped > 1000, found.silent
        (0.5, 16000, True, False)
    """
    name = os.fspath(path)
    with open_audio(path) as file:
        declared, rate, channels = int(file.frames), int(file.samplerate), int(file.channels)
        if declared <= 0:
            raise AudioError(f"{name}: holds no samples; remove it from the list or record it again")
        if headers_only:
            return Inspection(declared / rate, rate, channels)
        frames, clipped, peak = 0, 0, 0.0
        tail: NDArray[np.bool_] = np.zeros((0, channels), dtype=bool)
        while len(block := file.read(max(1, _BLOCK // channels), dtype="float32", always_2d=True)):
            check_samples(block.ravel(), name)
            magnitude = np.abs(block)
            peak = max(peak, float(magnitude.max()))
            loud = np.concatenate([tail, magnitude >= _FULL_SCALE])
            # The run that reaches the end of this block is counted with the next one.
            kept = _open_run(loud)
            clipped += _in_runs(loud[: len(loud) - kept])
            tail = loud[len(loud) - kept :]
            frames += len(block)
    check_length(frames, declared, name)
    return Inspection(declared / rate, rate, channels, peak, clipped + _in_runs(tail))


def _open_run(loud: NDArray[np.bool_]) -> int:
    """How many rows at the end belong to a run in any channel."""
    quiet = np.flatnonzero(~loud.any(axis=1))
    return len(loud) - 1 - int(quiet[-1]) if len(quiet) else len(loud)


def _in_runs(loud: NDArray[np.bool_]) -> int:
    """How many elements of (time, channels) are in runs, along time, of `_CLIPPED_RUN` and more."""
    if not loud.any():
        return 0
    edges = np.diff(np.pad(loud.T, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lengths = np.nonzero(edges < 0)[1] - np.nonzero(edges > 0)[1]
    return int(lengths[lengths >= _CLIPPED_RUN].sum())
