import csv
import io
import json

import numpy as np
import pytest
import soundfile
import torch

from satn_fast import SATN, LogMel
from satn_fast.audio import read_audio, write_wav
from satn_fast.export.names import MODEL_FILES, is_int8


def test_json_gives_the_models_own_probabilities(satn_fast, checkpoint, clips):
    result = satn_fast("predict", checkpoint, *clips, "--json")
    assert result.code == 0
    assert result.errors == ""
    predictions = json.loads(result.output)
    assert [row["file"] for row in predictions] == [str(clip) for clip in clips]
    model = SATN.from_pretrained(checkpoint)
    for row, clip in zip(predictions, clips, strict=True):
        features = torch.from_numpy(LogMel()(read_audio(clip).waveform))
        expected = model(features[None]).logits[0].softmax(0)
        assert list(row["scores"]) == ["calm", "angry", "sad"]
        np.testing.assert_allclose(list(row["scores"].values()), expected.detach(), atol=1e-5)
        assert row["label"] == max(row["scores"], key=row["scores"].get)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_every_exported_file_recognises_like_the_checkpoint(satn_fast, checkpoint, exported_files, clips, name):
    expected, found = (
        [row["scores"] for row in json.loads(satn_fast("predict", model, *clips, "--json").output)]
        for model in (checkpoint, exported_files / name)
    )
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, abs=0.1 if is_int8(name) else 1e-3)


def test_csv_and_table_say_the_same_as_json(satn_fast, checkpoint, clips):
    expected = json.loads(satn_fast("predict", checkpoint, *clips, "--json").output)
    rows = list(csv.DictReader(io.StringIO(satn_fast("predict", checkpoint, *clips, "--csv").output)))
    table = satn_fast("predict", checkpoint, *clips).output
    for row, other in zip(rows, expected, strict=True):
        assert (row["file"], row["label"]) == (other["file"], other["label"])
        assert float(row["calm"]) == pytest.approx(other["scores"]["calm"], abs=1e-6)
        assert other["label"] in table


def test_other_rates_are_resampled_and_said(satn_fast, checkpoint, clips, tmp_path):
    slow = tmp_path / "slow.wav"
    write_wav(slow, read_audio(clips[0], 8000).waveform, 8000)
    result = satn_fast("predict", checkpoint, slow, "--json")
    assert result.code == 0
    assert f"{slow}: resampled from 8000 Hz to 16000 Hz" in result.errors
    assert len(json.loads(result.output)) == 1


def empty(path):
    path.write_bytes(b"")


def no_samples(path):
    soundfile.write(path, np.zeros(0, np.float32), 16000)


def not_audio(path):
    path.write_text("this is a letter")


def not_a_number(path):
    soundfile.write(path, np.array([0.1, np.nan] * 4000, np.float32), 16000, subtype="FLOAT")


def stereo(path):
    soundfile.write(path, np.zeros((8000, 2), np.float32), 16000)


def too_short(path):
    soundfile.write(path, np.zeros(100, np.float32), 16000)


def cut_off(path):
    soundfile.write(path, np.zeros(8000, np.float32), 16000)
    path.write_bytes(path.read_bytes()[:-1000])


def missing(path):
    pass


@pytest.mark.parametrize(
    "spoil", [empty, no_samples, not_audio, not_a_number, stereo, too_short, cut_off, missing], ids=lambda f: f.__name__
)
def test_a_bad_file_is_one_line_and_the_others_are_still_recognised(satn_fast, checkpoint, clips, tmp_path, spoil):
    bad = tmp_path / "bad.wav"
    spoil(bad)
    result = satn_fast("predict", checkpoint, clips[0], bad, clips[1], "--json")
    assert result.code == 1
    assert result.errors.count("\n") == 1
    assert result.errors.startswith(f"satn-fast: {bad}: ")
    assert [row["file"] for row in json.loads(result.output)] == [str(clip) for clip in clips]


def test_stereo_is_mixed_on_request(satn_fast, checkpoint, tmp_path):
    stereo(tmp_path / "two.wav")
    assert satn_fast("predict", checkpoint, tmp_path / "two.wav", "--mix", "--json").code == 0


@pytest.mark.parametrize("name", ["nowhere", "nowhere.onnx", "clips", "model.txt", "broken.onnx", "broken.tflite"])
def test_a_bad_model_is_one_line(satn_fast, clips, tmp_path, name):
    for broken in ("model.txt", "broken.onnx", "broken.tflite"):
        (tmp_path / broken).write_bytes(b"no model at all")
    result = satn_fast("predict", tmp_path / name, clips[0])
    assert result.code == 1
    assert result.output == ""
    assert result.errors.count("\n") == 1
    assert name in result.errors


def test_debug_shows_the_traceback(tmp_path):
    from satn_fast.cli import main
    from satn_fast.export import ExportError

    with pytest.raises(ExportError):
        main(["predict", str(tmp_path / "nowhere"), "clip.wav", "--debug"])


@pytest.mark.parametrize("arguments", [["predict"], ["predict", "a", "b", "--json", "--csv"], ["sing"], ["--loud"]])
def test_wrong_usage_has_its_own_exit_code(satn_fast, checkpoint, arguments):
    arguments = [str(checkpoint) if word == "a" else word for word in arguments]
    result = satn_fast(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.errors
