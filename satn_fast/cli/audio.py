"""Reading audio files for a front end, telling the person when a file had another rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from satn_fast.audio import Audio, AudioError, read_audio
from satn_fast.cli.terminal import warn
from satn_fast.frontend import LogMel

if TYPE_CHECKING:
    from satn_fast.data import Utterance


def audio_of(file: Path, front_end: LogMel, *, mix: bool = False) -> Audio:
    """An audio file at the front end's rate, resampled where needed.

    Raises:
        AudioError: The file cannot be read.
    """
    audio = read_audio(file, front_end.sample_rate, mix=mix)
    if audio.resampled:
        warn(f"{file}: resampled from {audio.original_rate} Hz to {audio.sample_rate} Hz")
    return audio


def features_of(file: Path, front_end: LogMel, *, mix: bool = False) -> NDArray[np.float32]:
    """Features (T, F) of an audio file, resampled where needed.

    Raises:
        AudioError: The file cannot be read, or is too short for one frame.
    """
    audio = audio_of(file, front_end, mix=mix)
    features = front_end(audio.waveform)
    if not len(features):
        raise AudioError(
            f"{file}: lasts {audio.duration * 1000:.0f} ms, too short for one frame; "
            f"give at least {1000 * front_end.frame_length / front_end.sample_rate:.0f} ms"
        )
    return np.asarray(features, dtype=np.float32)


def waveforms_of(utterances: "Sequence[Utterance]", front_end: LogMel) -> list[NDArray[np.float32]]:
    """Audio (n_samples,) of each utterance at the front end's rate, for a model that takes audio.

    Raises:
        AudioError: A file cannot be read.
    """
    from satn_fast.training.extraction import part_of

    return [part_of(utterance, read_audio(utterance.file, front_end.sample_rate)) for utterance in utterances]
