"""One interface for checkpoints and exported files, and one-line errors for what is neither."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from satn_fast.export import ExportError, load
from satn_fast.export.flatbuffer import FlatbufferError, metadata_entry
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.onnx import graph as onnx_graph
from satn_fast.export.tflite import graph as tflite_graph
from satn_fast.export.tflite.file import finished
from satn_fast.export.weights import folded
from tests.export import speechlike
from tests.export.conftest import FILES


@pytest.mark.parametrize("name", FILES)
def test_file_alone_says_all_that_prediction_needs(exported, name):
    model = load(exported.folder / name)
    assert model.labels == speechlike.LABELS
    assert model.front_end == {"preset": "kaldi", "sample_rate": 16000, "n_mels": speechlike.N_MELS}
    assert model.config == exported.model.config
    assert model.quantization == ("int8" if "int8" in name or "mcu" in name else "float32")
    assert model.kind == ("tflite-micro" if "mcu" in name else name.rpartition(".")[2])
    assert model.name == str(exported.folder / name)


@pytest.mark.parametrize("name", FILES)
def test_logits_and_probabilities(exported, name):
    model, features = load(exported.folder / name), exported.features[0]
    logits, probabilities = model(features), model.probabilities(features)
    assert logits.dtype == probabilities.dtype == np.float32
    assert logits.shape == probabilities.shape == (len(speechlike.LABELS),)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)
    np.testing.assert_array_equal(model(features.astype(np.float64)), logits)
    np.testing.assert_array_equal(model(np.asfortranarray(features)), logits)


def test_checkpoint_is_loaded_through_the_same_interface(exported, tmp_path):
    exported.model.save_pretrained(tmp_path / "model")
    model = load(tmp_path / "model")
    assert (model.kind, model.labels, model.config) == ("torch", speechlike.LABELS, exported.model.config)
    expected = load(exported.folder / "model.onnx")(exported.features[0])
    np.testing.assert_allclose(model(exported.features[0]), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.tflite"])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((5, 120)), r"features has shape \(5, 120\), \(frames, 48\) is expected"),
        (np.zeros(48), r"features has shape \(48,\)"),
        (np.zeros((1, 5, 48)), r"features has shape \(1, 5, 48\)"),
        (np.zeros((0, 48)), "features holds no frame"),
        (np.full((5, 48), np.nan), "features holds NaN or infinity"),
    ],
)
def test_features_that_do_not_fit_are_refused(exported, name, features, message):
    with pytest.raises(ExportError, match=message):
        load(exported.folder / name)(features)


def test_missing_file_and_unknown_kind(tmp_path):
    with pytest.raises(ExportError, match=r"nowhere\.onnx: no such file"):
        load(tmp_path / "nowhere.onnx")
    (tmp_path / "model.pt").write_bytes(b"abc")
    with pytest.raises(ExportError, match=r"model\.pt: unknown kind of model"):
        load(tmp_path / "model.pt")
    with pytest.raises(ExportError, match=r"config\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.98])
def test_truncated_file_is_refused_in_one_line(copied, name, share):
    path = copied / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_foreign_models_are_refused(exported, tmp_path):
    weights = folded(exported.model)
    onnx.save(onnx_graph.build(weights), tmp_path / "foreign.onnx")
    (tmp_path / "foreign.tflite").write_bytes(tflite_graph.convert(weights))
    for name in ("foreign.onnx", "foreign.tflite"):
        with pytest.raises(ExportError, match=rf"{name}: holds no satn_fast metadata"):
            load(tmp_path / name)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"config": 3}', '{"config": {"labels": []}, "quantization": "int8"}'])
def test_damaged_metadata_is_refused(exported, tmp_path, text):
    weights = folded(exported.model)
    (tmp_path / "model.onnx").write_bytes(onnx_graph.finished(onnx_graph.build(weights), {ENTRY: text}))
    with pytest.raises(ExportError, match=r"model\.onnx: has damaged satn_fast metadata"):
        load(tmp_path / "model.onnx")


def test_metadata_from_before_there_were_streams_is_that_of_whole_utterances(exported):
    content = json.loads(Metadata(exported.model.config, "int8").to_json())
    del content["streaming"]
    assert Metadata.from_json(json.dumps(content), "file") == Metadata(exported.model.config, "int8")


def test_graph_that_does_not_fit_its_metadata_is_refused(exported, tmp_path):
    other = Metadata(speechlike.config(labels=("one", "two")), "float32").to_json()
    onnx_model = onnx_graph.finished(onnx_graph.build(folded(exported.model)), {ENTRY: other})
    (tmp_path / "model.onnx").write_bytes(onnx_model)
    (tmp_path / "model.tflite").write_bytes(finished(tflite_graph.convert(folded(exported.model)), other))
    for name in ("model.onnx", "model.tflite"):
        with pytest.raises(ExportError, match="does not fit its metadata"):
            load(tmp_path / name)


@pytest.mark.parametrize(("runtime", "name"), [("onnxruntime", "model.onnx"), ("ai_edge_litert", "model.tflite")])
def test_missing_runtime_says_what_to_install(exported, monkeypatch, runtime, name):
    for module in (runtime, "ai_edge_litert.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    extra = name.rpartition(".")[2]
    with pytest.raises(ImportError, match=rf'pip install "satn-fast\[{extra}\]"'):
        load(exported.folder / name)


WITHOUT_TORCH = """
import json, sys
for name in ("torch", "tensorflow", "onnx", "flatbuffers", "scipy", "sklearn"):
    sys.modules[name] = None
import numpy as np
import satn_fast.export
assert len([name for name in sys.modules if name.split(".")[0] in ("onnxruntime", "ai_edge_litert")]) == 0
model = satn_fast.export.load(sys.argv[1])
features = np.linspace(-1, 9, 30 * 48, dtype=np.float32).reshape(30, 48)
print(json.dumps({"labels": model.labels, "logits": model(features).tolist()}))
"""


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.int8.tflite", "model.mcu.tflite"])
def test_prediction_needs_numpy_and_the_runtime_only(exported, name):
    # LiteRT itself imports flatbuffers in some versions; what is tested is our own appetite.
    script = WITHOUT_TORCH.replace(', "flatbuffers"', "") if name.endswith(".tflite") else WITHOUT_TORCH
    command = [sys.executable, "-c", script, str(exported.folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the runtime's chatter must not reach the terminal"
    answer = json.loads(done.stdout)
    features = np.linspace(-1, 9, 30 * 48, dtype=np.float32).reshape(30, 48)
    np.testing.assert_allclose(answer["logits"], load(exported.folder / name)(features), atol=1e-6)
    assert answer["labels"] == list(speechlike.LABELS)


def test_metadata_reader_survives_every_damage(exported):
    content = (exported.folder / "model.tflite").read_bytes()
    assert json.loads(metadata_entry(content, ENTRY))["labels"] == list(speechlike.LABELS)
    assert metadata_entry(content, "another") is None
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(
            content[: int(generator.integers(0, len(content)))] if generator.random() < 0.3 else content
        )
        for position in generator.integers(0, max(1, min(len(damaged), 64)), 3 if damaged else 0):
            damaged[position] = int(generator.integers(0, 256))
        try:
            metadata_entry(bytes(damaged), ENTRY)
        except FlatbufferError:
            continue
