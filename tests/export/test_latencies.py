"""The command that measures docs/edge.md times every file, for the audio that it hears."""

import itertools

import pytest

from benchmarks import edge, timing
from satn_fast.export.names import BATCH, MICRO, MODEL_FILES, STREAM


def test_every_file_is_timed_for_the_audio_that_it_hears(spoken, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(seconds))  # a call takes one
    monkeypatch.setattr(edge, "ROUNDS", 2)
    latencies = edge.measured_latencies(spoken.folder, spoken.manifest, spoken.audio[0])
    assert list(latencies) == list(MODEL_FILES)
    for name, latency in latencies.items():
        assert latency.milliseconds == (125 if name in BATCH else 1000)
        assert latency.seconds == (pytest.approx(0.1) if name in (*STREAM, MICRO) else 3.0)
