"""Audio for the tests: synthetic signals that need nothing, and real speech where it is at hand."""

import os
import wave
from pathlib import Path

import numpy as np
import pytest

PRESETS = ("kaldi", "kaldi-hamming", "htk", "psf", "torchaudio", "librosa")

_ROOT = Path(__file__).resolve().parents[2]
_SPEECH = Path(os.environ.get("SATN_FAST_DATA", _ROOT.parent / "shared" / "data"))


def voice_like(n_samples: int, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """Gliding harmonics with pauses and noise, as int16: as dynamic as speech, and on every machine the same."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / rate
    pitch = 120 + 40 * np.sin(2 * np.pi * 1.3 * t + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 25))
    loudness = np.clip(np.sin(2 * np.pi * 2.1 * t + seed), 0, None) ** 2
    noise = rng.standard_normal(n_samples) * (0.002 + 0.05 * np.clip(np.sin(2 * np.pi * 3.3 * t), 0, None))
    return np.round(8000 * (loudness * tone / 2 + noise)).clip(-32768, 32767).astype(np.int16)


def speech_files() -> list[Path]:
    librivox = sorted((_SPEECH / "librivox").glob("*.wav"))
    emotions = sorted((_SPEECH / "polish-emotions").glob("*.wav"))[::30]
    if not librivox or not emotions:
        pytest.skip(f"no real speech in {_SPEECH}: set SATN_FAST_DATA to the folder that holds it")
    return librivox + emotions


def read_int16(path: Path) -> np.ndarray:
    """16 kHz mono WAV, int16 or float32, as int16 (the grid on which every tool agrees)."""
    data = path.read_bytes()
    if int.from_bytes(data[20:22], "little") == 1:
        with wave.open(str(path)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    import soundfile

    audio, _ = soundfile.read(path, dtype="float32")
    return np.round(audio * 32767).astype(np.int16)
