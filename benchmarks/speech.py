"""Clips of speech and a small model that learned from them: what the suites of the whole chain run on."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.audio import read_audio, write_wav

REAL_SPEECH = Path(os.environ.get("SATN_FAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
NO_REAL_SPEECH = f"no real speech at {REAL_SPEECH}; set SATN_FAST_DATA to its folder"

RATE, STEPS, BATCH_SIZE = 16000, 60, 16


@dataclass(frozen=True)
class Clips:
    """Audio files and the class of each.

    Attributes:
        real: Whether people speak; computed tones otherwise.
        training: Files to learn from, and to calibrate with.
        evaluation: Files of another speaker, or with another noise.
        classes: Class index of each training file.
        labels: Names of the classes.
    """

    real: bool
    training: list[Path]
    evaluation: list[Path]
    classes: list[int]
    labels: tuple[str, ...]


def clips(folder: Path) -> Clips:
    """Real speech where it is at hand, of other speakers to evaluate on; else tones, written to `folder`."""
    files = sorted((REAL_SPEECH / "polish-emotions").glob("*.wav"))
    if not files:
        return _tones(folder)
    emotions = {"a": "angry", "n": "neutral", "s": "fearful"}
    training = [file for file in files if not file.name.startswith("m3.")]
    evaluation = [file for file in files if file.name.startswith("m3.")][::3]
    classes = [list(emotions).index(file.name[3]) for file in training]
    return Clips(True, training, evaluation, classes, tuple(emotions.values()))


def _tones(folder: Path) -> Clips:
    """Harmonics in syllables, whose rate is the class."""
    generator, files = np.random.default_rng(0), []
    for index in range(90):
        seconds = np.arange(int(generator.uniform(0.8, 1.6) * RATE)) / RATE
        pitch = generator.uniform(90, 200) * (1 + 0.1 * np.sin(2 * np.pi * seconds))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        syllables = np.clip(np.sin(2 * np.pi * (2.0, 4.5, 9.0)[index % 3] * seconds), 0, 1)
        tones = sum(np.sin(k * phase) / k for k in range(1, 20))
        audio = 0.1 * tones * syllables + 0.01 * generator.normal(size=len(seconds))
        files.append(folder / f"{index:02}.wav")
        write_wav(files[-1], audio.astype(np.float32), RATE)
    return Clips(False, files[:60], files[60:], [i % 3 for i in range(60)], ("slow", "even", "fast"))


def features_of(files: list[Path], front_end: LogMel) -> list[np.ndarray]:
    """(T, F) features of each file."""
    return [front_end(read_audio(file, front_end.sample_rate).waveform) for file in files]


def trained_model(found: Clips) -> SATN:
    """The preset `edge` after a few seconds of training on one thread: sure enough of its decisions to compare them."""
    config = SATNConfig.preset("edge", labels=found.labels)
    front_end = LogMel(**config.front_end)
    features = [torch.from_numpy(array) for array in features_of(found.training, front_end)]
    torch.manual_seed(0)
    model = SATN(config)
    model.encoder.normalization.fit(features)
    optimizer, generator = torch.optim.AdamW(model.parameters(), 3e-3), np.random.default_rng(0)
    for _ in range(STEPS):
        chosen = generator.choice(len(features), BATCH_SIZE)
        batch = pad_sequence([features[i] for i in chosen], batch_first=True)
        lengths = torch.tensor([len(features[i]) for i in chosen])
        loss = F.cross_entropy(model(batch, lengths).logits, torch.tensor([found.classes[i] for i in chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
