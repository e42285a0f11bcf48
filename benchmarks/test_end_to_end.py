"""An audio file to its label, on one thread: reading, features, model; parity first."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.frontend.peers import append_deltas, kaldi_native_fbank
from satn_fast import LogMel, reference
from satn_fast.audio import read_audio
from satn_fast.export import load

pytestmark = pytest.mark.usefixtures("one_thread")

N_FILES = 5

# Of the logits: float32 with the features of another tool, and int8.
FLOAT32, INT8 = 1e-4, 0.25

Recogniser = Callable[[Path], np.ndarray]


def ours(path: Path) -> Recogniser:
    """File to logits, with what `satn_fast` has for a checkpoint, an ONNX or a TFLite file."""
    model = load(path)
    front_end = LogMel(**model.front_end)
    return lambda file: model(front_end(read_audio(file, front_end.sample_rate).waveform))


def plain(model: reference.SATN) -> Recogniser:
    """The same with soundfile, kaldi-native-fbank, deltas in numpy and the plain PyTorch model."""
    import soundfile

    settings = model.config.front_end
    timing = {name: settings[name] for name in ("window_seconds", "hop_seconds")}
    log_mel = kaldi_native_fbank(settings["n_mels"], **timing)
    twin = reference.SATN(model.config).eval()
    twin.load_state_dict(model.state_dict())

    @torch.no_grad()
    def run(file: Path) -> np.ndarray:
        audio, _ = soundfile.read(file, dtype="float32")
        return twin(torch.from_numpy(append_deltas(log_mel(audio)))[None]).logits[0].numpy()

    return run


def race(compare, shipped, one: Recogniser, other: Recogniser, peer_name: str, allowed: float) -> None:
    files = shipped.clips.evaluation[:: max(1, len(shipped.clips.evaluation) // N_FILES)][:N_FILES]
    compare(
        lambda: [one(file) for file in files],
        lambda: [other(file) for file in files],
        peer_name=peer_name,
        max_error=float(np.max([np.abs(one(file) - other(file)) for file in files])),
        allowed=allowed,
        files=len(files),
        real_speech=shipped.clips.real,
    )


def test_checkpoint(compare, shipped):
    name = "soundfile, kaldi-native-fbank, plain PyTorch"
    race(compare, shipped, ours(shipped.checkpoint), plain(shipped.model), name, FLOAT32)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite"])
def test_exported(compare, shipped, name):
    allowed = INT8 if "int8" in name else FLOAT32
    race(compare, shipped, ours(shipped.exported / name), ours(shipped.checkpoint), "the checkpoint", allowed)
