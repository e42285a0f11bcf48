"""One small trained model, exported once, for all tests of this folder."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from satn_fast.export.names import BATCH, MICRO, STREAM, UTTERANCE, is_int8
from tests.export import speechlike

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_quantizer")
pytest.importorskip("tensorflow")

# Those that a model which can be streamed is exported to, unless more are asked for.
FILES = (*UTTERANCE, *STREAM, MICRO)


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Models this small are slower on several threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def exported(_one_thread, tmp_path_factory):
    from satn_fast.export import export

    model = speechlike.trained()
    folder = tmp_path_factory.mktemp("exported") / "export"
    calibration = speechlike.corpus(11, 24)[0]
    features, truth = speechlike.corpus(12, 60)
    calls = []
    manifest = export(
        model,
        folder,
        calibration=calibration,
        evaluation=features,
        truth=truth,
        progress=lambda *call: calls.append(call),
    )
    return SimpleNamespace(
        model=model,
        folder=folder,
        calibration=calibration,
        features=features,
        truth=truth,
        manifest=manifest,
        progress=calls,
    )


@pytest.fixture(scope="package")
def pooled(_one_thread, tmp_path_factory):
    """The files of a model that pools mean and deviation of all layers."""
    from satn_fast.export import to_onnx, to_tflite

    model, folder = speechlike.trained(**speechlike.STATISTICS), tmp_path_factory.mktemp("pooled")
    hop_seconds = model.config.hop_seconds
    calibration = speechlike.corpus(11, 24, hop_seconds)[0]
    features, truth = speechlike.corpus(12, 60, hop_seconds)
    for name in (*UTTERANCE, *STREAM, *BATCH):
        options = {"int8": True, "calibration": calibration} if is_int8(name) else {}
        if name.endswith(".tflite"):
            to_tflite(model, folder / name, **options)
        else:
            to_onnx(model, folder / name, streaming=name in STREAM, batched=name in BATCH, **options)
    return SimpleNamespace(model=model, folder=folder, calibration=calibration, features=features, truth=truth)


@pytest.fixture(scope="package")
def spoken(_one_thread, tmp_path_factory):
    """Every file that there is, of a model that heard waveforms."""
    from satn_fast import LogMel
    from satn_fast.export import export

    front_end, audio = LogMel(**speechlike.FRONT_END), speechlike.spoken(3, 12)
    features = [front_end(samples) for samples in audio]
    model = speechlike.untrained()
    model.encoder.normalization.fit([torch.from_numpy(x) for x in features])
    folder = tmp_path_factory.mktemp("spoken") / "export"
    manifest = export(
        model,
        folder,
        calibration=features,
        evaluation=features,
        evaluation_audio=audio,
        batched=True,
    )
    return SimpleNamespace(model=model, folder=folder, audio=audio, features=features, manifest=manifest)


@pytest.fixture
def copied(exported, tmp_path):
    """The exported folder, free to be damaged."""
    return shutil.copytree(exported.folder, tmp_path / "copy")
