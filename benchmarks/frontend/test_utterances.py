"""Whole utterances on one thread, against the tools that the presets equal; parity first."""

import numpy as np
import pytest

from benchmarks import roofline
from benchmarks.frontend.peers import COARSE_FILTERS, OPENSMILE, PEERS, Peer, checked_error, gliding_tones
from benchmarks.peers import peer_module
from satn_fast import LogMel
from satn_fast.frontend import supported_isas
from satn_fast.timing import TimedElsewhere
from tests.frontend.opensmile_process import OpenSmile

bands = pytest.mark.parametrize("n_mels", [40, 80])
lengths = pytest.mark.parametrize("seconds", [3, 60])
# openSMILE takes long, and the longer its file is.
opensmile_lengths = pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.full)])
with_deltas = pytest.mark.parametrize("deltas", [False, True], ids=["log-Mel", "with deltas"])

# At 80 bands psf's lowest, whose edges stand on whole bins, has none; here as there.
pytestmark = pytest.mark.filterwarnings(
    "ignore:1 of 80 Mel bands:UserWarning", "ignore:n_fft=512 is too large:UserWarning"
)


def against(compare, peer: Peer, n_mels: int, seconds: int, deltas: bool) -> None:
    front_end, extract, audio = peer.front_end(n_mels, deltas), peer.extractor(n_mels, deltas), gliding_tones(seconds)
    compare(
        lambda: front_end(audio),
        lambda: extract(audio),
        peer_name=peer.name,
        max_error=checked_error(front_end(audio), extract(audio), front_end),
        allowed=peer.allowed,
        isa=front_end.isa,
        work=roofline.log_mel(front_end, len(extract(audio))),
    )


@with_deltas
@lengths
@bands
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_utterance(compare, peer, n_mels, seconds, deltas):
    against(compare, peer, n_mels, seconds, deltas)


@with_deltas
@lengths
@pytest.mark.parametrize("isa", supported_isas()[:-1])
def test_asrfront_on_lesser_instruction_sets(compare, monkeypatch, isa, seconds, deltas):
    monkeypatch.setenv("SATN_FAST_ISA", isa)
    against(compare, PEERS[0], 40, seconds, deltas)


@with_deltas
@opensmile_lengths
@bands
def test_opensmile(compare, tmp_path, n_mels, seconds, deltas):
    peer_module("opensmile", "opensmile")
    front_end, audio = LogMel(n_mels=n_mels, preset="htk", deltas=deltas), gliding_tones(seconds)
    audio = np.round(audio * 32768).astype(np.int16)
    with OpenSmile(tmp_path, n_mels, deltas) as process:
        compare(
            lambda: front_end(audio),
            TimedElsewhere(lambda calls: process.timed_features(audio, calls)[1]),
            peer_name=OPENSMILE,
            max_error=checked_error(front_end(audio), process.features(audio), front_end),
            allowed=COARSE_FILTERS,
            isa=front_end.isa,
            work=roofline.log_mel(front_end, len(front_end(audio))),
        )
