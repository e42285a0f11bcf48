from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.audio import write_wav
from satn_fast.cli import main


@dataclass
class Result:
    code: int
    output: str
    errors: str


@pytest.fixture
def satn_fast(capfd) -> Callable[..., Result]:
    """Runs the command line and gives exit code, standard output and standard error."""

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        code = exit_.value.code
        # What Python does when a string is given to sys.exit.
        message = f"{code}\n" if isinstance(code, str) else ""
        return Result(code if isinstance(code, int) else 1 if message else 0, captured.out, captured.err + message)

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A model with random weights whose decisions differ between clips."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    config = SATNConfig.preset("micro", labels=("calm", "angry", "sad"), front_end=LogMel().describe())
    model = SATN(config).eval()
    rng = np.random.default_rng(0)
    model.encoder.normalization.fit([_features(rng) for _ in range(4)])
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exported_files(checkpoint, tmp_path_factory) -> Path:
    """A folder with every file that the checkpoint can be exported to; accuracy is not judged."""
    for runtime in ("onnxruntime", "ai_edge_litert", "litert_quantizer", "tflite_micro"):
        pytest.importorskip(runtime)
    from satn_fast.export import export

    rng = np.random.default_rng(2)
    audio = [waveform(rng) for _ in range(3)]
    folder, features = tmp_path_factory.mktemp("exported") / "export", [LogMel()(samples) for samples in audio]
    export(
        SATN.from_pretrained(checkpoint),
        folder,
        calibration=features,
        evaluation=features,
        evaluation_audio=audio,
        batched=True,
        tolerances=None,
    )
    return folder


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [tmp_path / "clips" / f"{name}.wav" for name in ("first", "second")]
    for path in paths:
        write_wav(path, waveform(rng), 16000)
    return paths


def waveform(rng) -> np.ndarray:
    time = np.arange(12000) / 16000
    tone = np.sin(2 * np.pi * rng.uniform(100, 900) * time) * np.sin(2 * np.pi * rng.uniform(1, 5) * time)
    return (0.3 * tone + 0.02 * rng.normal(size=len(time))).astype(np.float32)


def _features(rng):
    import torch

    return torch.from_numpy(LogMel()(waveform(rng)))
