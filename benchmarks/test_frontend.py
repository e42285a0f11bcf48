"""The C++ front end against the tools that its presets equal, in turn, one thread; parity first."""

import os
from collections.abc import Callable

import numpy as np
import pytest

from satn_fast import LogMel
from satn_fast.frontend import supported_isas

RATE = 16000
lengths = pytest.mark.parametrize("seconds", [3, 60])
with_deltas = pytest.mark.parametrize("deltas", [False, True], ids=["log-Mel", "with deltas"])
chunks = pytest.mark.parametrize("milliseconds", [10, 100])


def gliding_tones(seconds: int) -> np.ndarray:
    """Harmonics with a gliding pitch, pauses and noise, float32 within +-1."""
    time = np.arange(RATE * seconds) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.3 * time)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(0).normal(size=len(time))
    return (0.1 * tones * np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) + 0.01 * noise).astype(np.float32)


def append_deltas(log_mel: np.ndarray) -> np.ndarray:
    """What a user of a tool without deltas writes in numpy."""

    def delta(x: np.ndarray) -> np.ndarray:
        padded, n = np.pad(x, ((2, 2), (0, 0)), mode="edge"), len(x)
        ahead, behind = padded[3 : n + 3] + 2 * padded[4 : n + 4], padded[1 : n + 1] + 2 * padded[:n]
        return (ahead - behind) * x.dtype.type(0.1)

    first = delta(log_mel)
    return np.concatenate([log_mel, first, delta(first)], axis=1)


def in_turn(compare: Callable[..., None], front_end: LogMel, peer: Callable[[np.ndarray], np.ndarray], **how) -> None:
    audio = gliding_tones(how.pop("seconds"))
    whole = append_deltas if front_end.n_features > front_end.n_mels else np.asarray
    error = float(np.abs(front_end(audio) - whole(peer(audio))).max())
    compare(lambda: front_end(audio), lambda: whole(peer(audio)), max_error=error, **how)


@with_deltas
@lengths
@pytest.mark.parametrize("isa", supported_isas())
def test_asrfront(compare, monkeypatch, isa, seconds, deltas):
    asrfront = pytest.importorskip("asrfront.sensevoice", reason="asrfront is not installed")
    monkeypatch.setenv("SATN_FAST_ISA", isa)
    front_end = LogMel(preset="kaldi-hamming", deltas=deltas)

    def peer(audio: np.ndarray) -> np.ndarray:
        return np.asarray(asrfront.fbank_raw(audio, n_mels=front_end.n_mels))

    in_turn(compare, front_end, peer, seconds=seconds, peer_name="asrfront", allowed=2e-3)


def kaldi_options(n_mels: int):
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = n_mels
    return knf, options


@with_deltas
def test_kaldi_native_fbank(compare, deltas):
    front_end = LogMel(preset="kaldi", deltas=deltas)
    knf, options = kaldi_options(front_end.n_mels)

    def peer(audio: np.ndarray) -> np.ndarray:
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(RATE, (audio * 32768).tolist())
        fbank.input_finished()
        return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    in_turn(compare, front_end, peer, seconds=10, peer_name="kaldi-native-fbank", allowed=2e-3)


@chunks
def test_kaldi_native_fbank_streaming(compare, milliseconds):
    front_end = LogMel(preset="kaldi", deltas=False)
    knf, options = kaldi_options(front_end.n_mels)
    audio, step = gliding_tones(10), RATE * milliseconds // 1000
    pieces = [audio[i : i + step] for i in range(0, len(audio), step)]
    scaled = [(piece * 32768).tolist() for piece in pieces]

    def ours() -> np.ndarray:
        stream = front_end.stream()
        return np.concatenate([*(stream.push(piece) for piece in pieces), stream.finish()])

    def peer() -> np.ndarray:
        fbank, frames = knf.OnlineFbank(options), []
        for piece in scaled:
            fbank.accept_waveform(RATE, piece)
            frames += [fbank.get_frame(i) for i in range(len(frames), fbank.num_frames_ready)]
        return np.stack(frames)

    error = float(np.abs(ours() - peer()).max())
    compare(ours, peer, peer_name="kaldi-native-fbank", max_error=error, allowed=2e-3)


@with_deltas
@pytest.mark.filterwarnings("ignore:n_fft=512 is too large:UserWarning")
def test_librosa(compare, deltas):
    librosa = pytest.importorskip("librosa")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        pytest.skip("librosa's threads go on spinning into our turn: set OMP_NUM_THREADS=1")
    front_end = LogMel(preset="librosa", deltas=deltas)

    def peer(audio: np.ndarray) -> np.ndarray:
        mel = librosa.feature.melspectrogram(
            y=audio, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=40, pad_mode="constant"
        )
        return librosa.power_to_db(mel).T

    in_turn(compare, front_end, peer, seconds=10, peer_name="librosa", allowed=1e-2)


def test_python_speech_features(compare):
    psf = pytest.importorskip("python_speech_features")
    front_end = LogMel(preset="psf", deltas=False, precision="float64")

    def peer(audio: np.ndarray) -> np.ndarray:
        return psf.logfbank(audio.astype(np.float64), RATE, nfilt=front_end.n_mels)

    in_turn(compare, front_end, peer, seconds=10, peer_name="python_speech_features", allowed=1e-9)
