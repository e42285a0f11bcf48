"""Time and memory against the length of audio, utterances, channels, threads and processes; parity first.

Everything else stays as `Point` has it. `ideal` is the exponent of a perfect implementation: 1 where twice as much is
to be done, -1 where twice as many do it, 0 where twice as many do twice as much.
"""

import copy
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.scaling import CHUNK_FRAMES, Point, config_of, logits, measure
from satn_fast import SATN, LogMel, Stream, reference

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
SOME = [2**i for i in range(CORES.bit_length())]  # 1, 2, 4, ... up to the cores

# Axis, its values, what else differs from the defaults, and the ideal exponent.
AXES = {
    "seconds": ([0.1, 1, 10, 60, 600, 3600], {}, 1),
    "batch": ([1, 4, 16, 64], {}, 1),
    "channels": ([16, 32, 64, 128, 256], {}, 2),
    "threads": (SOME, {"batch": 16, "seconds": 10}, -1),
    "processes": (SOME, {"batch": 4, "seconds": 10}, 0),
}
CASES = [
    *((subject, axis) for subject in ("front end", "model", "streaming") for axis in AXES),
    ("model without a window", "seconds"),
    ("plain reference", "seconds"),
]
# The work of the front end's Mel bands does not grow with their number: every bin of the spectrum is in two of them.
IDEAL = {("front end", "channels"): 0}
VALUES = {
    ("front end", "channels"): [20, 40, 80],
    ("model without a window", "seconds"): [0.1, 1, 10, 60, 600],
    ("plain reference", "seconds"): [0.1, 1, 10, 60],  # of a gigabyte of attention maps
}

# The order of sums in float32.
ALLOWED = 1e-4


@pytest.mark.full
@pytest.mark.parametrize(("subject", "axis"), CASES)
def test_scaling(benchmark, subject, axis):
    error = parity(subject)
    assert error <= ALLOWED, f"{subject} is off by {error:.3g}"
    values, others, ideal = AXES[axis]
    values, ideal = VALUES.get((subject, axis), values), IDEAL.get((subject, axis), ideal)
    usual = {"channels": 40} if subject == "front end" else {}
    fixed = Point(subject, **(usual | others))
    costs = benchmark.pedantic(lambda: [measure(replace(fixed, **{axis: value})) for value in values], rounds=1)
    series = {"values": values, "seconds": [c.seconds for c in costs], "memory": [c.memory for c in costs]}
    benchmark.extra_info.update(
        max_error=error, allowed=ALLOWED, axis=axis, ideal=ideal, series=series, **asdict(fixed)
    )
    for value, cost in zip(values, costs, strict=True):
        print(f"  {subject}, {axis} {value}: {cost.seconds * 1e3:.3g} ms, {cost.memory / 2**20:.1f} MiB")


def parity(subject: str) -> float:
    """Error of 30 s against what cannot be wrong in the same way."""
    generator = np.random.default_rng(0)
    if subject == "front end":
        waveforms = list(generator.normal(0, 0.1, (3, 30 * 16000)).astype(np.float32))
        batch, _ = LogMel(deltas=False).batch(waveforms, CORES)
        exact = [LogMel(deltas=False, precision="float64")(waveform) for waveform in waveforms]
        # Energies relative to the highest of their frame; see `benchmarks.frontend.peers.error_of_energies`.
        energies, wanted = np.exp(batch.astype(np.float64)), np.exp(np.stack(exact))
        return float((np.abs(energies - wanted).max(-1) / wanted.max(-1)).max())
    torch.manual_seed(0)
    model = SATN(config_of(subject)).eval()
    plain = reference.SATN(model.config).eval()
    plain.load_state_dict(model.state_dict())
    features = torch.from_numpy(generator.standard_normal((2, 3000, model.config.n_features), dtype=np.float32))
    exact = logits(copy.deepcopy(plain).double(), features.double())
    if subject != "streaming":
        return float((logits(plain if subject == "plain reference" else model, features) - exact).abs().max())
    stream = Stream(model, batch_size=2)
    for chunk in features.split(CHUNK_FRAMES, 1):
        found = stream.push(chunk)
    return float((found - exact).abs().max())
