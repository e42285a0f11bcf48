"""Exported files in their runtimes, int8 against float32 in the same runtime, on one thread.

Both are held against the checkpoint first: what is wrong in both would not show between them.
"""

import numpy as np
import pytest
import torch

from satn_fast.export import MicroModel, load

# Of the logits: on speech, on a microcontroller, and of the float32 files.
ALLOWED, MICRO, EXACT = 0.25, 0.5, 1e-4


@torch.no_grad()
def logits_of(model, features: np.ndarray) -> np.ndarray:
    return model(torch.from_numpy(features)[None]).logits[0].numpy()


# Of a stream, before what is timed: 4.8 s.
HEARD = 120


@pytest.fixture(params=[1, 5, 30], ids=["1 s", "5 s", "30 s"])
def features(request, shipped) -> np.ndarray:
    """(T, F): the evaluation clips one after the other, as many seconds of them."""
    return shipped.frames(round(request.param / shipped.model.config.hop_seconds))


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_int8(compare, shipped, features, runtime):
    int8, exact = (load(shipped.exported / f"model.{kind}{runtime}") for kind in ("int8.", ""))
    wanted = logits_of(shipped.model, features)
    assert np.abs(exact(features) - wanted).max() <= EXACT, "the float32 file is wrong"
    compare(
        lambda: int8(features),
        lambda: exact(features),
        peer_name={"onnx": "float32 in ONNX Runtime", "tflite": "float32 in LiteRT"}[runtime],
        max_error=float(np.abs(int8(features) - wanted).max()),
        allowed=ALLOWED,
    )


@pytest.mark.parametrize("chunk_frames", [1, 5])
def test_int8_step(compare, shipped, chunk_frames):
    """One step of a stream."""
    int8, exact = (load(shipped.exported / f"model.stream.{kind}onnx") for kind in ("int8.", ""))
    heard = shipped.frames(HEARD)
    for chunk in np.split(heard, HEARD // 10):
        found, float32 = int8.push(chunk), exact.push(chunk)
    wanted = logits_of(shipped.model, heard)
    assert np.abs(float32 - wanted).max() <= EXACT, "the float32 file is wrong"
    chunk = heard[:chunk_frames]
    compare(
        lambda: int8.push(chunk),
        lambda: exact.push(chunk),
        peer_name="float32 in ONNX Runtime",
        max_error=float(np.abs(found - wanted).max()),
        allowed=ALLOWED,
    )


def test_micro_step(compare, shipped):
    """One step of TFLite Micro's reference kernels, without Python's copying of states, which a device does in C."""
    pytest.importorskip("tflite_micro", reason="the package tflite-micro is not installed")
    micro, exact = MicroModel(shipped.exported / "model.mcu.tflite"), load(shipped.exported / "model.stream.onnx")
    # One clip at a time, as in calibration: in one after the other, more varies than was measured there.
    errors = [np.abs(micro(clip) - exact(clip)).max() for clip in shipped.features]
    chunk = shipped.frames(micro.chunk_frames)
    compare(
        micro._interpreter.invoke,
        lambda: exact.push(chunk),
        peer_name="float32 in ONNX Runtime",
        max_error=float(np.max(errors)),
        allowed=MICRO,
        audio_seconds=micro.chunk_frames * micro.config.hop_seconds,
    )
