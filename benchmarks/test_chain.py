"""The whole chain on the same real clips, from samples to a microcontroller's int8: what each joint loses.

Every stage is compared with the one that it is made from, by the largest error of a logit (the first by that of a Mel
energy, see `error_of_energies`) and by the share of clips on which the two decide alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmarks.conftest import Shipped
from benchmarks.frontend.peers import error_of_energies
from benchmarks.speech import NO_REAL_SPEECH
from satn_fast import LogMel, Stream, reference
from satn_fast.audio import read_audio
from satn_fast.export import load
from tests.frontend import oracles

CHUNK_FRAMES = 10

# Another order of the same sums in float32, beside logits of up to ten units.
FLOAT32 = 2e-5
# int8 steps; the exporter itself asks for 95 % of the decisions. A microcontroller pools deviations in int8, too.
INT8, MICRO, INT8_AGREEMENT = 0.25, 0.5, 0.9
# What all links together may lose, from the definition on, in float32.
EXACT = 1e-4

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Joint:
    """Where one form of the model becomes the next."""

    before: str
    after: str
    allowed: float = FLOAT32
    agreement: float = 1.0

    def __str__(self) -> str:
        return f"{self.before} to {self.after}"


NUMPY = "numpy features, reference in float64"

JOINTS = [
    Joint(NUMPY, "reference in float64", 1e-4),
    Joint("reference in float64", "reference"),
    Joint("reference", "SATN"),
    Joint("SATN", "model.onnx"),
    Joint("SATN", "model.tflite"),
    Joint("model.onnx", "model.int8.onnx", INT8, INT8_AGREEMENT),
    Joint("model.tflite", "model.int8.tflite", INT8, INT8_AGREEMENT),
    Joint("SATN", "Stream"),
    Joint("Stream", "model.stream.onnx"),
    # A value between two of 256 steps may fall to either side, by the order of a sum.
    Joint("model.int8.onnx", "model.stream.int8.onnx", 0.02, INT8_AGREEMENT),
    Joint("Stream", "model.mcu.tflite", MICRO, INT8_AGREEMENT),
]


@pytest.fixture(scope="module")
def chain(shipped) -> Shipped:
    if not shipped.clips.real:
        pytest.skip(NO_REAL_SPEECH)
    return shipped


@pytest.fixture(scope="module")
def logits(chain) -> Callable[[str], np.ndarray]:
    """(clips, labels) of a stage, computed once."""
    known: dict[str, np.ndarray] = {}

    def of(stage: str) -> np.ndarray:
        if stage not in known:
            run, inputs = stage_of(chain, stage), exact_features(chain) if stage == NUMPY else chain.features
            known[stage] = np.stack([run(features) for features in inputs])
        return known[stage]

    return of


def stage_of(chain: Shipped, stage: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns (T, F) features into (labels,) logits."""
    if stage in chain.left_out:
        pytest.skip(f"{stage} is left out: {chain.left_out[stage]}")
    if stage == "SATN":
        return on_torch(chain.model, torch.float32)
    if "reference" in stage:
        dtype = torch.float64 if stage.endswith("float64") else torch.float32
        plain = reference.SATN(chain.model.config)
        plain.load_state_dict(chain.model.state_dict())
        return on_torch(plain.eval().to(dtype), dtype)
    if stage == "Stream":
        return lambda features: in_chunks(Stream(chain.model), features)
    model = load(chain.exported / stage)
    return (lambda features: in_chunks(model, features)) if stage == "model.stream.onnx" else model


def exact_features(chain: Shipped) -> list[np.ndarray]:
    """(T, F) float64 of each clip, by the definition of the preset in numpy."""
    front_end = LogMel(**chain.model.config.front_end)
    waveforms = [read_audio(file, front_end.sample_rate).waveform for file in chain.clips.evaluation]
    return [oracles.log_mel(waveform.astype(np.float64), front_end.describe()) for waveform in waveforms]


def on_torch(model: reference.SATN, dtype: torch.dtype) -> Callable[[np.ndarray], np.ndarray]:
    @torch.no_grad()
    def run(features: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(features).to(dtype)[None]).logits[0].numpy()

    return run


def in_chunks(stream, features: np.ndarray) -> np.ndarray:
    stream.reset()
    for start in range(0, len(features), CHUNK_FRAMES):
        logits = stream.push(features[start : start + CHUNK_FRAMES])
    return np.asarray(logits).reshape(-1)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_features(benchmark, chain, precision):
    """The C++ front end against the definition of its preset in numpy, in float64."""
    front_end = LogMel(**(chain.model.config.front_end | {"precision": precision, "deltas": False}))
    waveforms = [read_audio(file, front_end.sample_rate).waveform for file in chain.clips.evaluation]
    exact = [oracles.log_mel(waveform.astype(np.float64), front_end.describe()) for waveform in waveforms]
    found = benchmark.pedantic(lambda: [front_end(waveform) for waveform in waveforms], rounds=3, warmup_rounds=1)
    errors = [error_of_energies(ours, theirs, front_end) for ours, theirs in zip(found, exact, strict=True)]
    # float32 beyond the rounding of one FFT; see `error_of_energies`.
    keep(benchmark, "numpy in float64", f"LogMel in {precision}", errors, {"float64": 1e-9, "float32": 1e-5}[precision])


@pytest.mark.parametrize("joint", JOINTS, ids=str)
def test_joint(benchmark, chain, logits, joint):
    before, after = logits(joint.before), logits(joint.after)
    so_far = float(np.abs(before - logits(NUMPY)).max())
    assert so_far <= (INT8 if "int8" in joint.before else EXACT), f"{joint.before} is off by {so_far:.3g} already"
    alike = float((before.argmax(1) == after.argmax(1)).mean())
    keep(benchmark, joint.before, joint.after, np.abs(after - before).ravel(), joint.allowed, agreement=alike)
    assert alike >= joint.agreement, f"{joint}: {alike:.1%} of the decisions alike, {joint.agreement:.0%} is asked for"
    stage = stage_of(chain, joint.after)
    benchmark.pedantic(stage, args=(chain.features[0],), rounds=5, warmup_rounds=1)


def keep(benchmark, before: str, after: str, errors: Sequence[float], allowed: float, **further: float) -> None:
    """Prints what the joint loses, and refuses too much of it."""
    worst, mean = float(np.max(errors)), float(np.mean(errors))
    figures = {"max_error": worst, "mean_error": mean, "allowed": allowed} | further
    benchmark.extra_info.update(before=before, after=after, **figures)
    print(f"  {before} -> {after}: " + ", ".join(f"{name} {value:.2g}" for name, value in figures.items()))
    assert worst <= allowed, f"{after} differs from {before} by {worst:.3g}, {allowed:.3g} is allowed"
