"""The tools that the presets equal, each as its user would call it, and what equal means."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.peers import peer_module
from satn_fast import LogMel
from tests.frontend import oracles

RATE = 16000

Extractor = Callable[[np.ndarray], np.ndarray]


def gliding_tones(seconds: int, seed: int = 0) -> np.ndarray:
    """Harmonics with a gliding pitch, pauses and noise, float32 within +-1."""
    time = np.arange(RATE * seconds) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.3 * time + seed)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.1 * tones * np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) + 0.01 * noise).astype(np.float32)


def append_deltas(log_mel: np.ndarray) -> np.ndarray:
    """What a user of a tool without deltas writes in numpy."""

    def delta(x: np.ndarray) -> np.ndarray:
        padded, n = np.pad(x, ((2, 2), (0, 0)), mode="edge"), len(x)
        ahead, behind = padded[3 : n + 3] + 2 * padded[4 : n + 4], padded[1 : n + 1] + 2 * padded[:n]
        return (ahead - behind) * x.dtype.type(0.1)

    first = delta(log_mel)
    return np.concatenate([log_mel, first, delta(first)], axis=1)


def asrfront(n_mels: int) -> Extractor:
    tool = peer_module("asrfront.sensevoice", "asrfront")
    return lambda audio: np.asarray(tool.fbank_raw(audio, n_mels=n_mels))


def kaldi_options(n_mels: int, window_seconds: float = 0.025, hop_seconds: float = 0.01):
    """kaldi-native-fbank, and its options for what the `kaldi` preset computes."""
    knf = peer_module("kaldi_native_fbank", "kaldi-native-fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = 1e3 * window_seconds, 1e3 * hop_seconds
    options.mel_opts.num_bins = n_mels
    return knf, options


def kaldi_native_fbank(n_mels: int, **timing: float) -> Extractor:
    knf, options = kaldi_options(n_mels, **timing)

    def log_mel(audio: np.ndarray) -> np.ndarray:
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(RATE, (audio * 32768).tolist())
        fbank.input_finished()
        return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    return log_mel


def librosa(n_mels: int) -> Extractor:
    tool = peer_module("librosa", "librosa")

    def log_mel(audio: np.ndarray) -> np.ndarray:
        mel = tool.feature.melspectrogram(
            y=audio, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=n_mels, pad_mode="constant"
        )
        return tool.power_to_db(mel).T

    return log_mel


def torch_stft(n_mels: int) -> Extractor:
    """torchaudio's MelSpectrogram step by step, of one utterance or of several of the same length."""
    window = torch.hann_window(400)
    filters = oracles.mel_matrix(n_mels, 512, RATE, 0, RATE / 2, scale="htk", filters="hz", norm="none")
    filters = torch.from_numpy(filters.astype(np.float32))

    def log_mel(audio: np.ndarray) -> np.ndarray:
        spectrum = torch.stft(torch.from_numpy(audio), 512, 160, 400, window, return_complex=True)
        return (filters @ spectrum.abs().square()).clamp_min(1e-10).log().mT.numpy()

    return log_mel


def python_speech_features(n_mels: int) -> Extractor:
    psf = peer_module("python_speech_features", "python_speech_features")
    return lambda audio: psf.logfbank(audio.astype(np.float64), RATE, nfilt=n_mels)


# Kaldi and openSMILE compute their triangles in float32, so that the energies of narrow bands are off by this much.
COARSE_FILTERS = 3e-5


@dataclass(frozen=True)
class Peer:
    """A tool, the preset that equals it, and the largest error allowed (see `error_of_energies`)."""

    name: str
    make: Callable[[int], Extractor]
    preset: str
    allowed: float = 1e-5
    precision: str = "float32"

    def front_end(self, n_mels: int, deltas: bool) -> LogMel:
        return LogMel(n_mels=n_mels, preset=self.preset, precision=self.precision, deltas=deltas)

    def extractor(self, n_mels: int, deltas: bool) -> Extractor:
        log_mel = self.make(n_mels)
        return (lambda audio: append_deltas(log_mel(audio))) if deltas else log_mel


PEERS = [
    Peer("asrfront", asrfront, "kaldi-hamming"),
    Peer("kaldi-native-fbank", kaldi_native_fbank, "kaldi", allowed=COARSE_FILTERS),
    Peer("librosa", librosa, "librosa"),
    Peer("torch.stft", torch_stft, "torchaudio"),
    Peer("python_speech_features", python_speech_features, "psf", allowed=1e-10, precision="float64"),
]
OPENSMILE = "openSMILE in a process of its own"


def error_of_energies(ours: np.ndarray, theirs: np.ndarray, front_end: LogMel) -> float:
    """The largest error of a Mel energy, relative to the highest of its frame.

    Not of its logarithm: any FFT in float32 errs by 1e-7 of the highest energy in every band, and in a band that is
    nearly silent beside a loud one, that is no small part of it.
    """
    assert ours.shape == theirs.shape
    decibel = front_end.describe()["log"] == "db"
    ours, theirs = (
        np.exp(log_mel.astype(np.float64) * (np.log(10) / 10 if decibel else 1)) for log_mel in (ours, theirs)
    )
    return float((np.abs(ours - theirs).max(axis=-1) / theirs.max(axis=-1)).max())


def checked_error(ours: np.ndarray, theirs: np.ndarray, front_end: LogMel) -> float:
    """The error of the energies; our deltas must be those of our energies."""
    static = ours[:, : front_end.n_mels]
    if front_end.n_features > front_end.n_mels:
        np.testing.assert_allclose(ours, append_deltas(static), rtol=0, atol=1e-6 * np.abs(static).max())
    return error_of_energies(static, theirs[:, : front_end.n_mels], front_end)
