"""Streams in pieces of 10 and 100 ms, against the one peer that streams; parity first."""

import numpy as np
import pytest

from benchmarks import roofline
from benchmarks.frontend.peers import COARSE_FILTERS, RATE, checked_error, gliding_tones, kaldi_options
from satn_fast import LogMel


@pytest.mark.parametrize("milliseconds", [10, 100])
@pytest.mark.parametrize("n_mels", [40, 80])
def test_stream(compare, n_mels, milliseconds):
    front_end = LogMel(preset="kaldi", n_mels=n_mels, deltas=False)
    knf, options = kaldi_options(n_mels)
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

    error = checked_error(ours(), peer(), front_end)
    work = roofline.log_mel(front_end, len(ours()))
    conditions = {"allowed": COARSE_FILTERS, "isa": front_end.isa, "work": work}
    compare(ours, peer, peer_name="kaldi-native-fbank", max_error=error, **conditions)
