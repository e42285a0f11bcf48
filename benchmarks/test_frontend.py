"""The C++ front end against the tools that its presets equal, log-Mel without deltas, one thread."""

import numpy as np
import pytest

from satn_fast import LogMel

RATE = 16000
SECONDS = 10


def gliding_tones() -> np.ndarray:
    """Harmonics with a gliding pitch, pauses and noise, float32 within +-1."""
    time = np.arange(RATE * SECONDS) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.3 * time)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(0).normal(size=len(time))
    return (0.1 * tones * np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) + 0.01 * noise).astype(np.float32)


def test_kaldi(compare):
    knf = pytest.importorskip("kaldi_native_fbank")
    audio, front_end = gliding_tones(), LogMel(preset="kaldi", deltas=False)
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = front_end.n_mels
    scaled = (audio * 32768).tolist()

    def peer() -> np.ndarray:
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(RATE, scaled)
        fbank.input_finished()
        return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    error = float(np.abs(front_end(audio) - peer()).max())
    compare(lambda: front_end(audio), peer, peer_name="kaldi-native-fbank", max_error=error, allowed=2e-3)


def test_psf(compare):
    psf = pytest.importorskip("python_speech_features")
    audio, front_end = gliding_tones(), LogMel(preset="psf", deltas=False, precision="float64")

    def peer() -> np.ndarray:
        return psf.logfbank(audio.astype(np.float64), RATE, nfilt=front_end.n_mels)

    error = float(np.abs(front_end(audio) - peer()).max())
    compare(lambda: front_end(audio), peer, peer_name="python_speech_features", max_error=error, allowed=1e-9)
