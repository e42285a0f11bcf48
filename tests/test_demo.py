"""The whole story on a small scale: every joint is the real one, only voices and epochs are few."""

import json
import re
from functools import partial

import pytest

from satn_fast import SATN, LogMel, SourceModel, data, demo
from satn_fast.audio import read_audio
from satn_fast.export import load, verify
from satn_fast.export.names import MICRO

pytest.importorskip("espeakng_loader")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

EXPORTED = {
    "model.onnx",
    "model.int8.onnx",
    "model.tflite",
    "model.int8.tflite",
    "model.stream.onnx",
    "model.stream.int8.onnx",
    "model.mcu.tflite",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    stages = {}

    def start(description):
        stages[description] = []
        return lambda done, total, note="": stages[description].append((done, total))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "render_corpus", partial(data.render_corpus, n_voices=4, sentences_per_emotion=3))
        patch.setattr(demo, "SOURCE_EPOCHS", 2)
        patch.setattr(demo, "EMOTION_STEPS", 40)
        result = demo.run_demo(folder, preset="micro", transfer="both", seed=0, start=start)
    return folder, result, stages


def test_writes_what_scripts_rely_on(run):
    folder, result, _ = run
    names = {"corpus", "export", "metrics.json", "model", "report.html", "source"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "metrics.json").read_text()) == result
    assert 0 <= result["ua"] <= 1
    assert result["labels"] == ["angry", "happy", "neutral", "sad"]
    assert SATN.from_pretrained(folder / "model").config.labels == tuple(result["labels"])
    assert len(SourceModel.from_pretrained(folder / "source").symbols) == result["source"]["symbols"]
    files = {file["name"]: file for file in json.loads((folder / "export" / "manifest.json").read_text())["files"]}
    assert set(files) == EXPORTED


def test_no_speaker_is_in_two_parts(run):
    _, result, _ = run
    parts = result["speakers"]
    assert sorted(sum(parts.values(), [])) == sorted(set(sum(parts.values(), [])))
    assert all(parts.values())


def test_confusion_counts_every_test_utterance(run):
    _, result, _ = run
    assert sum(map(sum, result["confusion"])) == result["utterances"]["test"]


def test_every_model_predicted_the_clip(run):
    folder, result, _ = run
    predictions = {row["model"]: row for row in result["clip"]["predictions"]}
    assert set(predictions) == {"model", *EXPORTED}
    for name in ("model.onnx", "model.tflite"):
        for label, probability in predictions["model"]["scores"].items():
            assert predictions[name]["scores"][label] == pytest.approx(probability, abs=1e-4)
    assert load(folder / "export" / "model.int8.tflite").front_end["preset"] == "kaldi"


def test_fast_model_equals_the_reference(run):
    assert all(row["max_error"] < 1e-4 for row in run[1]["parity"])


def test_report_needs_nothing_beside_it(run):
    page = (run[0] / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("<img") == 3
    for name in ("model.int8.onnx", "model.int8.tflite"):
        assert name in page


def test_progress_reaches_its_end_in_every_stage(run):
    stages = run[2]
    assert len(stages) >= 7
    for description, calls in stages.items():
        assert calls, description
        assert calls[-1][0] == calls[-1][1], description


def test_unknown_transfer_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="mode is 'magic'"):
        demo.run_demo(tmp_path / "demo", preset="micro", transfer="magic", seed=0, start=lambda _: None)
    assert not (tmp_path / "demo").exists()


def test_int8_decides_like_float_on_real_speech(run, real_speech):
    model = SATN.from_pretrained(run[0] / "model")
    front_end = LogMel(**model.config.front_end)
    clips = sorted(real_speech.glob("*/*.wav"))
    features = [front_end(read_audio(clip, front_end.sample_rate).waveform) for clip in clips]
    reports = {report.name: report for report in verify(run[0] / "export", model, features)}
    # Its integers are further off on speech unlike that of the calibration, here a few sentences of a synthesiser.
    micro = reports.pop(MICRO)
    assert micro.agreement >= 0.9
    assert [report.complaint for report in reports.values()] == [""] * (len(EXPORTED) - 1)
    assert all(report.agreement >= 0.95 for report in reports.values())
