import csv
import json
from pathlib import Path

import numpy as np
import pytest

from satn_fast import SATN, LogMel
from satn_fast.audio import write_wav
from satn_fast.data import Utterance, read_manifest, write_manifest
from satn_fast.evaluation import evaluate_utterances, read_predictions
from satn_fast.export.names import MODEL_FILES, is_int8
from satn_fast.training import extract_features

from .conftest import waveform

LABELS = ("calm", "angry", "sad")


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Eight clips of two speakers, two of the model's three labels."""
    rng = np.random.default_rng(5)
    utterances = []
    for i in range(8):
        path = tmp_path / "clips" / f"{i}.wav"
        write_wav(path, waveform(rng), 16000)
        utterances.append(Utterance(path, LABELS[i % 2], f"speaker{i // 4}"))
    write_manifest(tmp_path / "test.csv", utterances)
    return tmp_path / "test.csv"


@pytest.fixture
def run(checkpoint, tmp_path) -> Path:
    """The checkpoint as training leaves it, with its record."""
    SATN.from_pretrained(checkpoint).save_pretrained(tmp_path / "run")
    record = {
        "command": "satn-fast train",
        "seed": 3,
        "transfer": "map",
        "speakers": {"train": ["speaker1", "anna"], "validation": ["ben"]},
        "best_epoch": 2,
        "history": [{"epoch": float(e), "loss": 1 / e, "ua": 0.4} for e in (1, 2, 3)],
    }
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    return tmp_path / "run"


def expected(checkpoint, manifest):
    utterances = read_manifest(manifest)
    features = extract_features(utterances, LogMel())
    return evaluate_utterances(SATN.from_pretrained(checkpoint), utterances, features)


def test_json_is_one_object_with_the_models_own_figures(satn_fast, checkpoint, manifest):
    result = satn_fast("evaluate", checkpoint, manifest, "--json")
    assert result.code == 0, result.errors
    found = json.loads(result.output)
    metrics = expected(checkpoint, manifest).metrics()
    assert {name: found[name] for name in metrics.as_dict()} == metrics.as_dict()
    assert found["labels"] == list(LABELS)
    assert found["per_class"]["sad"]["support"] == 0
    assert found["ua_interval"]["low"] <= found["ua"] <= found["ua_interval"]["high"]
    assert (found["utterances"], found["skipped"], found["known_speakers"]) == (8, 0, [])
    assert set(found["speakers"]) == {"speaker0", "speaker1"}
    assert 0 <= found["ece"] <= 1


def test_table_says_the_same_as_json(satn_fast, checkpoint, manifest):
    found = json.loads(satn_fast("evaluate", checkpoint, manifest, "--json").output)
    table = satn_fast("evaluate", checkpoint, manifest).output
    for share in (found["ua"], found["wa"], found["macro_f1"], found["ece"], found["per_class"]["calm"]["recall"]):
        assert f"{share:.1%}" in table
    assert "says nothing about other speakers" in table


def test_everything_is_written(satn_fast, checkpoint, manifest, tmp_path):
    folder = tmp_path / "out"
    result = satn_fast("evaluate", checkpoint, manifest, "--output", folder, "--json")
    assert result.code == 0, result.errors
    assert {file.name for file in folder.iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "confusion.png",
        "confusion.csv",
        "report.html",
    }
    printed, kept = json.loads(result.output), json.loads((folder / "metrics.json").read_text())
    assert kept == printed | {"training": None}
    predictions = read_predictions(folder / "predictions.csv")
    np.testing.assert_allclose(predictions.probabilities, expected(checkpoint, manifest).probabilities, atol=1e-6)
    assert predictions.metrics().confusion.tolist() == printed["confusion"]
    rows = list(csv.reader((folder / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["said", *LABELS]
    assert [[row[0], *map(int, row[1:])] for row in rows[1:]] == [
        [label, *counts] for label, counts in zip(LABELS, printed["confusion"], strict=True)
    ]
    page = (folder / "report.html").read_text()
    assert "Where the model looks" in page
    assert "Take care" not in page


def test_speakers_that_were_trained_on_are_a_loud_warning(satn_fast, run, manifest, tmp_path):
    result = satn_fast("evaluate", run, manifest, "--json", "--output", tmp_path / "out")
    assert result.code == 0, result.errors
    assert "WARNING: The model was trained on speakers of this manifest: 1 speakers are in both parts: speaker1" in (
        result.errors
    )
    assert json.loads(result.output)["known_speakers"] == ["speaker1"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Take care" in page
    assert "(known to the model)" in page
    assert "Learning curves" in page
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["training"]["transfer"] == "map"


def test_speakers_that_chose_the_model_count_as_known(satn_fast, run, manifest):
    record = json.loads((run / "run.json").read_text()) | {"speakers": {"train": ["x"], "validation": ["speaker0"]}}
    (run / "run.json").write_text(json.dumps(record))
    assert json.loads(satn_fast("evaluate", run, manifest, "--json").output)["known_speakers"] == ["speaker0"]


def test_unknown_labels_are_refused_with_the_remedy_before_any_audio_is_read(satn_fast, checkpoint, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    write_manifest(tmp_path / "test.csv", [Utterance(tmp_path / "bad.wav", "bored", "x")])
    result = satn_fast("evaluate", checkpoint, tmp_path / "test.csv")
    assert result.code == 1
    assert result.output == ""
    assert f"{tmp_path / 'test.csv'}: the model does not know bored; it knows calm, angry, sad" in result.errors
    assert "--labels bored=" in result.errors


def test_a_bad_file_stops_or_is_skipped_and_named(satn_fast, checkpoint, manifest):
    (manifest.parent / "clips" / "3.wav").write_bytes(b"no audio")
    stopped = satn_fast("evaluate", checkpoint, manifest, "--json")
    assert stopped.code == 1
    assert stopped.output == ""
    assert "3.wav" in stopped.errors
    skipped = satn_fast("evaluate", checkpoint, manifest, "--json", "--on-error", "skip")
    assert skipped.code == 0
    assert "3.wav" in skipped.errors
    found = json.loads(skipped.output)
    assert (found["utterances"], found["skipped"]) == (7, 1)


def test_a_missing_file_can_be_skipped(satn_fast, checkpoint, manifest):
    (manifest.parent / "clips" / "3.wav").unlink()
    assert satn_fast("evaluate", checkpoint, manifest).code == 1
    assert (
        json.loads(satn_fast("evaluate", checkpoint, manifest, "--json", "--on-error", "skip").output)["skipped"] == 1
    )


def test_a_cache_gives_the_same_figures(satn_fast, checkpoint, manifest, tmp_path):
    first, second = (
        satn_fast("evaluate", checkpoint, manifest, "--json", "--cache", tmp_path / "cache").output for _ in range(2)
    )
    assert first == second == satn_fast("evaluate", checkpoint, manifest, "--json").output
    assert any((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("name", MODEL_FILES)
def test_exported_files_are_evaluated_alike(satn_fast, checkpoint, exported_files, manifest, tmp_path, name):
    result = satn_fast("evaluate", exported_files / name, manifest, "--json", "--output", tmp_path / "out")
    assert result.code == 0, result.errors
    found = json.loads(result.output)
    assert found["utterances"] == 8
    through = read_predictions(tmp_path / "out" / "predictions.csv")
    tolerance = 0.1 if is_int8(name) else 1e-3
    np.testing.assert_allclose(through.probabilities, expected(checkpoint, manifest).probabilities, atol=tolerance)
    assert "Where the model looks" not in (tmp_path / "out" / "report.html").read_text()


def test_a_bad_file_is_skipped_for_a_model_that_takes_audio_too(satn_fast, exported_files, manifest):
    (manifest.parent / "clips" / "3.wav").write_bytes(b"no audio")
    model = exported_files / "model.audio.int8.tflite"
    assert satn_fast("evaluate", model, manifest).code == 1
    skipped = satn_fast("evaluate", model, manifest, "--json", "--on-error", "skip")
    assert skipped.code == 0
    assert "3.wav" in skipped.errors
    assert json.loads(skipped.output)["skipped"] == 1


def test_a_failure_leaves_what_was_there(satn_fast, checkpoint, manifest, tmp_path):
    satn_fast("evaluate", checkpoint, manifest, "--output", tmp_path / "out")
    before = (tmp_path / "out" / "metrics.json").read_bytes()
    (manifest.parent / "clips" / "3.wav").write_bytes(b"no audio")
    assert satn_fast("evaluate", checkpoint, manifest, "--output", tmp_path / "out").code == 1
    assert (tmp_path / "out" / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("name", ["nowhere", "nowhere.onnx", "empty"])
def test_a_bad_model_is_one_line(satn_fast, manifest, tmp_path, name):
    (tmp_path / "empty").mkdir()
    result = satn_fast("evaluate", tmp_path / name, manifest)
    assert result.code == 1
    assert result.errors.count("\n") == 1
    assert name in result.errors


def test_a_damaged_record_is_one_line(satn_fast, run, manifest):
    (run / "run.json").write_text("{")
    result = satn_fast("evaluate", run, manifest)
    assert result.code == 1
    assert "run.json" in result.errors


def test_a_cross_validation_is_no_model(satn_fast, manifest, tmp_path):
    (tmp_path / "predictions.csv").write_text("file,label")
    result = satn_fast("evaluate", tmp_path, manifest)
    assert result.code == 1
    assert "is a cross-validation, not a model; evaluate one of its trainings" in result.errors
