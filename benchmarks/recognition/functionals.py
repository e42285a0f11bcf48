"""What a whole recording is like, in one vector: openSMILE's functionals, and those of our own log-Mel features.

Sources: Eyben et al. 2016, *The Geneva Minimalistic Acoustic Parameter Set* (eGeMAPSv02, 88 values); Schuller et al.
2016, *The INTERSPEECH 2016 computational paralinguistics challenge* (ComParE_2016, 6373 values). What was computed is
kept, by the content of the audio file.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from satn_fast import LogMel
from satn_fast.audio import read_audio
from satn_fast.data import Utterance
from satn_fast.files import atomic_write
from satn_fast.training.extraction import part_of

SAMPLE_RATE = 16000

Vector: TypeAlias = NDArray[np.float32]
Describe: TypeAlias = Callable[[Vector], Vector]
"""A waveform at `SAMPLE_RATE` to its functionals."""

OPENSMILE = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}
FEATURES = {"logmel": "log-Mel functionals", "egemaps": "eGeMAPSv02", "compare": "ComParE 2016"}
"""Name of a feature set to its title."""


def functionals(
    utterances: Sequence[Utterance], features: str, cache: Path, progress: Callable[[int, int], None]
) -> Vector:
    """(N, D) functionals of every utterance; kept in the cache as they come.

    Args:
        utterances: What to describe.
        features: One of `FEATURES`.
        cache: A folder.
        progress: Called with (done, total).

    Raises:
        AudioError: A file cannot be read.
        ImportError: openSMILE is needed and not installed.
    """
    describe: Describe | None = None
    rows = []
    for utterance in utterances:
        kept = cache / features / f"{_key(utterance)}.npy"
        if not kept.exists():
            describe = describe or _describer(features)
            audio = read_audio(utterance.file, SAMPLE_RATE, mix=True)
            with atomic_write(kept, durable=False) as temporary:
                np.save(temporary, describe(part_of(utterance, audio)))
        rows.append(np.load(kept))
        progress(len(rows), len(utterances))
    # Some functionals have no value where nothing is voiced.
    return np.nan_to_num(np.stack(rows), nan=0.0, posinf=0.0, neginf=0.0)


def _key(utterance: Utterance) -> str:
    content = hashlib.sha256(utterance.file.read_bytes())
    content.update(repr((utterance.start, utterance.end)).encode())
    return content.hexdigest()


def _describer(features: str) -> Describe:
    return _of_log_mel() if features == "logmel" else _of_opensmile(OPENSMILE[features])


def _of_log_mel() -> Describe:
    front_end = LogMel(sample_rate=SAMPLE_RATE)

    def describe(waveform: Vector) -> Vector:
        frames = front_end(waveform)
        return np.r_[frames.mean(0), frames.std(0)].astype(np.float32)

    return describe


def _of_opensmile(name: str) -> Describe:
    try:
        import opensmile
    except ImportError as error:
        raise ImportError('openSMILE is needed for this baseline: pip install "satn-fast[bench]"') from error
    smile = opensmile.Smile(opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals)
    return lambda waveform: np.asarray(smile.process_signal(waveform, SAMPLE_RATE).to_numpy()[0], dtype=np.float32)
