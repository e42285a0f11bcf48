"""Forty utterances of 3 s on two threads: `LogMel.batch` against each tool in a pool of two threads, or for torch.stft,
which takes them all at once, on two threads of its own; parity first."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from benchmarks.frontend.peers import PEERS, append_deltas, checked_error, gliding_tones

THREADS = 2

pytestmark = pytest.mark.filterwarnings("ignore:n_fft=512 is too large")


@pytest.mark.parametrize("deltas", [False, True], ids=["log-Mel", "with deltas"])
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_batch(compare, peer, deltas):
    front_end = peer.front_end(40, deltas)
    waveforms = [gliding_tones(3, seed) for seed in range(40)]

    with ThreadPoolExecutor(THREADS) as pool:
        if peer.name == "torch.stft":
            torch.set_num_threads(THREADS)
            extract = peer.extractor(40, False)
            batch = np.stack(waveforms)

            def theirs() -> np.ndarray:
                log_mel = extract(batch)
                return np.stack(list(pool.map(append_deltas, log_mel))) if deltas else log_mel
        else:
            extract = peer.extractor(40, deltas)

            def theirs() -> np.ndarray:
                return np.stack(list(pool.map(extract, waveforms)))

        features, _ = front_end.batch(waveforms, THREADS)
        compare(
            lambda: front_end.batch(waveforms, THREADS),
            theirs,
            peer_name=f"{peer.name}, {THREADS} threads",
            max_error=float(np.max([checked_error(a, b, front_end) for a, b in zip(features, theirs(), strict=True)])),
            allowed=peer.allowed,
            isa=front_end.isa,
            threads=THREADS,
        )
