"""Model cards say what is known, leave open what is not, and are not taken from whoever edited them."""

import json
import re
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard

from satn_fast import SATN, SATNConfig, SourceModel
from satn_fast.audio import write_wav
from satn_fast.card import is_edited, model_card
from satn_fast.export.manifest import FileEntry, Manifest
from satn_fast.export.verification import FileReport

CONFIG = SATNConfig.preset("micro", labels=("calm", "angry"))
RECORD = {
    "command": "train",
    "seed": 3,
    "transfer": "both",
    "data": {"manifest": "/home/somebody/emotions.csv", "sha256": "ab" * 32, "utterances": 480},
    "speakers": {"train": ["s1", "s2", "s3"], "validation": ["s4"]},
    "best": {"epoch": 7.0, "ua": 0.8125},
}


def an_export(**figures):
    def entry(name, quantization, **more):
        return FileEntry(name, 123456, "0" * 64, [], [], quantization, 10, None, **more)

    files = (
        entry("model.onnx", "float32", max_logit_error=1e-6, agreement=1.0, ua=0.75, ua_loss=0.0),
        entry("model.int8.onnx", "int8", max_logit_error=0.04, agreement=0.995, ua=0.744, ua_loss=0.006),
    )
    reports = tuple(FileReport(file.name, milliseconds=ms) for file, ms in zip(files, (3.25, 1.5), strict=True))
    return Manifest(CONFIG.labels, dict(CONFIG.front_end), 3.0, files, {}, reports)


def test_front_matter_is_what_the_hub_reads():
    data = ModelCard(model_card("calls", CONFIG)).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "satn_fast", "audio-classification")
    assert "speech-emotion-recognition" in data.tags
    assert data.metrics == ["recall", "accuracy", "f1"]
    assert data.language is None


def test_the_card_of_a_training_says_on_what_and_how_well():
    card = model_card("calls", CONFIG, training=RECORD)
    for said in ("`calm`, `angry`", "`emotions.csv`, 480 utterances", "ab" * 32, "3 speakers to learn from, 1 others"):
        assert said in card
    assert "81.2%" in card
    assert "/home/somebody" not in card, "no paths of a person's machine"
    assert '"preset": "kaldi"' in card


def test_what_is_not_known_is_left_to_fill_in():
    card = model_card("calls", CONFIG)
    assert card.count("**To be filled in:**") == 3
    assert "licence of the data" in model_card("calls", CONFIG, training=RECORD, exported=an_export())


def test_the_card_of_an_export_has_the_figures_of_every_file():
    card = model_card("calls", CONFIG, training=RECORD, exported=an_export())
    assert "| `model.int8.onnx` | 123,456 | 1.50 ms | 99.5% | 0.04 |" in card
    assert "| int8 | 74.4% | 0.6% | model.int8.onnx |" in card
    assert "| float32 | 75.0% | 0.0% | model.onnx |" in card
    assert 'load("model.int8.onnx")' in card
    assert ".tflite" not in card, "a file that is not there"


def test_every_card_names_its_limits():
    for card in (model_card("calls", CONFIG), model_card("calls", CONFIG, exported=an_export())):
        assert "decisions about people" in card


def test_a_source_model_has_a_card_without_emotions(tmp_path):
    SourceModel(CONFIG, ("a", "b")).save_pretrained(tmp_path / "source")
    card = (tmp_path / "source" / "README.md").read_text()
    assert "# source\n" in card
    assert "calm" not in card
    assert "```python" not in card


def test_saving_brings_the_card_up_to_date(tmp_path):
    model = SATN(CONFIG)
    model.save_pretrained(tmp_path / "calls")
    assert "no record beside the checkpoint" in (tmp_path / "calls" / "README.md").read_text()
    (tmp_path / "calls" / "run.json").write_text(json.dumps(RECORD))
    model.write_model_card(tmp_path / "calls")
    written = (tmp_path / "calls" / "README.md").read_text()
    assert written == model_card("calls", CONFIG, training=RECORD)
    model.save_pretrained(tmp_path / "calls")
    assert (tmp_path / "calls" / "README.md").read_text() == written


@pytest.mark.parametrize(
    "edit", [lambda text: text.replace("**To be filled in:** the licence", "CC-BY"), lambda _: "Mine."]
)
def test_a_card_that_a_person_edited_stays_and_that_is_said(tmp_path, caplog, edit):
    model = SATN(CONFIG)
    model.save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    assert not is_edited(tmp_path)
    card.write_text(edited := edit(card.read_text()))
    assert edited != model_card(tmp_path.name, CONFIG)
    model.save_pretrained(tmp_path)
    model.write_model_card(tmp_path)
    assert card.read_text() == edited
    assert caplog.text.count("was edited and stays as it is") == 2


def run_snippets(folder, monkeypatch, capsys):
    """Runs every Python block of a folder's card there, beside a clip."""
    speech = np.random.default_rng(0).normal(size=16000).astype(np.float32) / 20
    write_wav(folder / "clip.wav", speech, 16000)
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    return len(blocks), capsys.readouterr().out


def test_the_snippet_of_a_checkpoint_runs(tmp_path, monkeypatch, capsys):
    SATN(CONFIG).save_pretrained(tmp_path)
    count, printed = run_snippets(tmp_path, monkeypatch, capsys)
    assert count == 1
    assert "calm" in printed


def test_the_snippets_of_an_export_run_and_an_edited_card_stays(tmp_path, monkeypatch, capsys):
    for module in ("onnxruntime", "ai_edge_litert", "litert_quantizer", "tensorflow"):
        pytest.importorskip(module)
    from satn_fast.export import export

    model, rng = SATN(CONFIG).eval(), np.random.default_rng(0)
    features = [rng.normal(size=(60, CONFIG.n_features)).astype(np.float32) for _ in range(3)]
    everything = {"calibration": features, "evaluation": features, "tolerances": None}
    manifest = export(model, tmp_path / "out", training=RECORD, **everything)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card == model_card("out", CONFIG, training=RECORD, exported=manifest)
    count, printed = run_snippets(tmp_path / "out", monkeypatch, capsys)
    assert count == 2
    assert printed.count("Prediction(label=") == 2
    shutil.copy(tmp_path / "out" / "README.md", tmp_path / "before.md")
    (tmp_path / "out" / "README.md").write_text("Mine.")
    export(model, tmp_path / "out", **everything)
    assert (tmp_path / "out" / "README.md").read_text() == "Mine."
