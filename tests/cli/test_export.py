import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from satn_fast import SATN, SourceModel
from satn_fast.audio import read_audio, write_wav
from satn_fast.data import Utterance, read_manifest, write_manifest
from satn_fast.export.names import MICRO, STREAM, UTTERANCE

from .conftest import waveform

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
FILES = {*UTTERANCE, *STREAM, MICRO}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng, utterances = np.random.default_rng(5), []
    for index in range(9):  # in larger sets one decision may differ
        write_wav(folder / f"{index}.wav", waveform(rng), 16000)
        label = ("calm", "angry", "sad")[index % 3]
        utterances.append(Utterance(folder / f"{index}.wav", label, f"speaker {index % 4}"))
    write_manifest(folder / "manifest.csv", utterances)
    return folder / "manifest.csv"


@pytest.fixture
def exported(satn_fast, checkpoint, corpus, tmp_path):
    # Untrained decisions hang in the balance: accuracy is not judged here.
    options = ["--calibration", corpus, "--evaluation", corpus, "-o", tmp_path / "out"]
    result = satn_fast("export", checkpoint, *options, "--min-agreement", 0.5, "--max-ua-loss", 0.5)
    assert result.code == 0, result.errors
    return tmp_path / "out", result


def test_export_writes_every_file_and_shows_its_figures(exported, checkpoint):
    folder, result = exported
    assert {path.name for path in folder.iterdir()} == FILES | {"manifest.json", "README.md"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["labels"] == ["calm", "angry", "sad"]
    assert manifest["front_end"] == SATN.from_pretrained(checkpoint).config.front_end
    for file in manifest["files"]:
        assert file["name"] in result.output
        assert file["ua"] is not None


def test_the_model_card_says_what_is_known_of_the_training(satn_fast, checkpoint, corpus, tmp_path):
    trained = shutil.copytree(checkpoint, tmp_path / "trained")
    data = {"manifest": "/somewhere/speech.csv", "sha256": "0" * 64, "utterances": 7}
    (trained / "run.json").write_text(json.dumps({"data": data}))
    options = ["--calibration", corpus, "--evaluation", corpus, "--min-agreement", 0.0, "--max-ua-loss", 1.0]
    assert satn_fast("export", trained, *options, "-o", tmp_path / "out").code == 0
    assert "`speech.csv`, 7 utterances" in (tmp_path / "out" / "README.md").read_text()


def test_size_and_method_of_the_calibration_can_be_chosen(satn_fast, checkpoint, corpus, tmp_path):
    options = ["--calibration", corpus, "--evaluation", corpus, "--min-agreement", 0.0, "--max-ua-loss", 1.0]

    def digest(name, *more):
        result = satn_fast("export", checkpoint, *options, *more, "-o", tmp_path / name)
        assert result.code == 0, result.errors
        return json.loads((tmp_path / name / "manifest.json").read_text())["files"][1]["sha256"]

    few = digest("few", "--calibration-size", 2)
    assert few != digest("all", "--calibration-size", 9)
    assert few != digest("percentile", "--calibration-size", 2, "--calibration-method", "percentile")
    assert satn_fast("export", checkpoint, *options, "--calibration-size", 0).code == 2


def test_verify_accepts_whole_files_and_names_a_damaged_one(satn_fast, exported, checkpoint, corpus):
    folder, _ = exported
    command = ["verify", folder, "--checkpoint", checkpoint, "--manifest", corpus]
    options = ["--min-agreement", 0.5, "--max-ua-loss", 0.5]
    result = satn_fast(*command, *options)
    assert result.code == 0
    assert result.output.count("good") == len(FILES)

    content = bytearray((folder / "model.int8.tflite").read_bytes())
    content[-100] ^= 1
    (folder / "model.int8.tflite").write_bytes(content)
    result = satn_fast(*command, *options)
    assert result.code == 3
    assert result.output.count("good") == len(FILES) - 1
    assert "satn-fast: model.int8.tflite: " in result.errors


def test_verify_shows_the_error_of_every_layer(satn_fast, exported, checkpoint, corpus):
    folder, _ = exported
    command = ["verify", folder, "--checkpoint", checkpoint, "--manifest", corpus, "--layers"]
    result = satn_fast(*command, "--min-agreement", 0.5, "--max-ua-loss", 0.5)
    assert result.code == 0
    shown = ("model.int8.onnx", "model.int8.tflite", "model.stream.int8.onnx", "model.mcu.tflite")
    assert re.findall(r"Layers of (\S+)", result.output) == list(shown)
    assert result.output.count("encoder.tcn.blocks.4.conv1") == 4
    for tensor, files in (("block4_relu1", 2), ("tcn/Relu_12", 1), ("block4_conv1", 1)):
        assert result.output.count(tensor) == files


def test_labels_that_the_model_does_not_know_leave_accuracy_out(satn_fast, exported, checkpoint, corpus, tmp_path):
    folder, _ = exported
    other = tmp_path / "other.csv"
    rows = [dataclasses.replace(u, label="bored") for u in read_manifest(corpus)]
    write_manifest(other, rows)
    result = satn_fast("verify", folder, "--checkpoint", checkpoint, "--manifest", other, "--min-agreement", 0.5)
    assert result.code == 0
    assert "does not know bored" in result.errors


def test_resampling_is_said(satn_fast, exported, checkpoint, corpus, tmp_path):
    folder, _ = exported
    first = read_manifest(corpus)[0]
    write_wav(tmp_path / "slow.wav", read_audio(first.file, 8000).waveform, 8000)
    mixed = tmp_path / "mixed.csv"
    write_manifest(mixed, [first, dataclasses.replace(first, file=tmp_path / "slow.wav")])
    result = satn_fast("verify", folder, "--checkpoint", checkpoint, "--manifest", mixed, "--min-agreement", 0.0)
    assert "1 of 2 utterances resampled to 16000 Hz" in result.errors


def test_a_missed_tolerance_writes_nothing(satn_fast, checkpoint, corpus, tmp_path):
    options = ["--calibration", corpus, "--evaluation", corpus, "-o", tmp_path / "out"]
    result = satn_fast("export", checkpoint, *options, "--max-ua-loss", -1.0)
    assert result.code == 3
    assert "unweighted accuracy" in result.errors
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("what", ["no manifest", "no checkpoint", "a source model"])
def test_bad_input_is_said_in_one_line(satn_fast, checkpoint, corpus, tmp_path, what):
    model, manifest = checkpoint, corpus
    if what == "no manifest":
        manifest = tmp_path / "nowhere.csv"
    if what == "no checkpoint":
        model = tmp_path / "nowhere"
    if what == "a source model":
        model = tmp_path / "source"
        SourceModel(SATN.from_pretrained(checkpoint).config, ("a", "b")).save_pretrained(model)
    result = satn_fast("export", model, "--calibration", manifest, "--evaluation", manifest, "-o", tmp_path / "out")
    assert result.code == 1
    assert "Traceback" not in result.errors
    assert result.errors.strip().splitlines()[-1].startswith("satn-fast: ")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_not_exported_is_refused(satn_fast, checkpoint, corpus, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "model")
    result = satn_fast("verify", tmp_path / "model", "--checkpoint", checkpoint, "--manifest", corpus)
    assert result.code == 1
    assert "manifest.json" in result.errors


def test_audio_input_gives_files_that_predict_from_audio(satn_fast, checkpoint, corpus, tmp_path):
    options = ["--calibration", corpus, "--evaluation", corpus, "-o", tmp_path / "out", "--audio-input"]
    result = satn_fast("export", checkpoint, *options, "--min-agreement", 0.5, "--max-ua-loss", 0.5)
    assert result.code == 0, result.errors
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.audio.onnx", "model.audio.int8.onnx", "model.audio.tflite", "model.audio.int8.tflite"} < written
    command = ["verify", tmp_path / "out", "--checkpoint", checkpoint, "--manifest", corpus, "--layers"]
    assert satn_fast(*command, "--min-agreement", 0.5, "--max-ua-loss", 0.5).code == 0
    clip = corpus.parent / "0.wav"
    predicted = [
        json.loads(satn_fast("predict", tmp_path / "out" / name, clip, "--json").output)[0]["scores"]
        for name in ("model.audio.onnx", "model.onnx")
    ]
    assert predicted[0] == pytest.approx(predicted[1], abs=1e-3)
