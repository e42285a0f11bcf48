import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.evaluation import Predictions, Run, TrainingRecord, compare_runs, figures, join, reliability_curve
from satn_fast.report import (
    attention_over_time,
    comparison_page,
    confusion_matrix,
    evaluation_page,
    example_clips,
    learning_curves,
    reliability_diagram,
    render_report,
    training_curves,
)

from .evaluation.making import drawn, sure_of
from .evaluation.test_confidence import rerun

rng = np.random.default_rng(0)


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("n_frames", [1, 2, 300])
def test_attention_picture_of_any_length(n_frames):
    shares = rng.random((2, n_frames)).astype(np.float32)
    features = rng.normal(size=(n_frames, 12)).astype(np.float32)
    assert size_of(attention_over_time(features, *shares, seconds_per_frame=0.01, title="a < b"))[0] > 500


def test_confusion_picture_shows_empty_rows():
    assert size_of(confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], title="t"))[0] > 100


def test_curves_leave_out_runs_without_the_figure():
    histories = {"source": [{"epoch": 1.0, "loss": 2.0}], "ser": [{"epoch": 1.0, "loss": 1.0, "ua": 0.5}]}
    assert training_curves(histories, {"loss": "loss", "ua": "UA"})


def content(**changes):
    file = {"name": "model.onnx", "bytes": 2048, "milliseconds": 1.0, "is_int8": False, "agreement": 1.0}
    file |= {"ua": None, "ua_loss": None, "max_logit_error": 1e-6}
    picture = confusion_matrix(np.eye(2, dtype=int), ["a", "b"], title="t")
    return {
        "title": "A <b>title</b>",
        "subtitle": "s",
        "headline": {"UA": "50 %"},
        "data_note": "d",
        "attention_picture": picture,
        "confusion_picture": picture,
        "curves_picture": picture,
        "runs": [{"name": "none", "wa": 0.5, "ua": 0.5, "macro_f1": 0.5, "best_epoch": 1}],
        "files": [file],
        "files_note": "f",
        "clip_note": "c",
        "labels": ["a", "b"],
        "predictions": [{"model": "model", "label": "a", "scores": {"a": 0.75, "b": 0.25}}],
        "parity": [{"what": "w", "max_error": 1e-6, "peer": 0.002, "ours": 0.001, "speedup": 2.0}],
        "machine_note": "m",
    } | changes


def test_report_is_self_contained_and_escapes_what_it_shows():
    page = render_report(**content())
    assert "A &lt;b&gt;title&lt;/b&gt;" in page
    assert "75.0%" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_report_refuses_missing_content():
    incomplete = content()
    del incomplete["files_note"]
    with pytest.raises(Exception, match="files_note"):
        render_report(**incomplete)


def shown(page: str) -> str:
    """The page without its pictures."""
    return re.sub(r"data:image/png;base64,[\w+/=]+", "", page)


def is_self_contained(page: str) -> bool:
    return re.findall(r'(?:src|href)="(?!data:)|url\(|@import|<script', page) == []


@pytest.mark.parametrize("adaptive", [False, True])
def test_reliability_picture_of_few_and_of_many_bins(adaptive):
    for bins in (1, 15):
        curve = reliability_curve([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], [0, 1, 1], bins, adaptive=adaptive)
        assert size_of(reliability_diagram(curve))[0] > 300


def test_curves_of_trainings_that_stop_at_different_epochs():
    histories = [[{"epoch": float(e), "loss": 1 / e} for e in range(1, last)] for last in (3, 6)]
    assert size_of(learning_curves({"a": histories, "b": []}, {"loss": "loss"}, best_epoch=2))[0] > 500


def test_evaluation_page_shows_the_figures_and_escapes_names():
    rng = np.random.default_rng(0)
    predictions = drawn(rng, labels=("angry", "<b>happy", "sad"))
    page = evaluation_page(predictions, title="A <i>title</i>", warnings=["<b>mind</b>"], facts={"model": "<m>"})
    assert is_self_contained(page)
    text = shown(page)
    assert "A &lt;i&gt;title&lt;/i&gt;" in text
    assert "&lt;b&gt;mind&lt;/b&gt;" in text
    assert "<b>happy" not in text
    found = figures(predictions)
    interval = found["ua_interval"]
    for share in (found["ua"], found["wa"], found["macro_f1"], found["ece"], interval["low"], interval["high"]):
        assert f"{share:.1%}" in text
    assert "Where the model looks" not in text
    assert "<h2>Training</h2>" not in text


def test_evaluation_page_draws_learning_curves_where_there_are_some():
    predictions = drawn(np.random.default_rng(0))
    for history, drawn_ in (([{"epoch": 1.0, "loss": 2.0, "ua": 0.5}], True), ([], False), ([{"epoch": 1.0}], False)):
        page = evaluation_page(predictions, title="t", record=TrainingRecord(history=history, best_epoch=1))
        assert ("<h2>Training</h2>" in page) == drawn_


def test_one_label_alone_makes_a_page():
    page = evaluation_page(Predictions.plain(["1.wav"], ["a", "b"], [0], ["x"], [[0.9, 0.1]]), title="t")
    assert "guessing reaches" in page


def test_examples_are_the_most_confident_right_and_wrong_of_each_label():
    labels = ("a", "b")
    model = SATN(SATNConfig.preset("micro", labels=labels, front_end=LogMel().describe())).eval()
    truth, decision, confidence = [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], np.array([0.6, 0.9, 0.7, 0.8, 0.99, 0.8])
    names = [f"/c/anna/{i}.wav" for i in range(6)]
    predictions = Predictions.plain(names, labels, truth, ["x"] * 6, sure_of(np.array(decision), 2, confidence))
    # The most confident of label b is too long to be shown.
    features = [torch.randn(3001 if i == 4 else 20, 120) for i in range(6)]
    clips = example_clips(model, predictions, features)
    assert [(clip.name, clip.said, clip.decided, clip.right) for clip in clips] == [
        ("1.wav", "a", "a", True),
        ("3.wav", "a", "b", False),
        ("5.wav", "b", "b", True),
    ]
    assert [clip.confidence for clip in clips] == pytest.approx([0.9, 0.8, 0.8])
    page = evaluation_page(predictions, title="t", clips=clips)
    assert shown(page).count("<figcaption>") == 3
    assert "recognised as <b>b</b>" in page


def test_comparison_page_has_every_run_fold_and_test():
    rng = np.random.default_rng(2)
    first = join(moved(drawn(rng, speakers=2, seeds=(0, 1), fold=fold), fold) for fold in ("one", "two"))
    history = [{"epoch": float(e), "loss": 1 / e, "ua": e / 10} for e in (1, 2, 3)]
    runs = {
        name: Run(Path(name), predictions, [TrainingRecord(transfer=name, history=history)] * 2)
        for name, predictions in (("none", first), ("<map>", rerun(rng, first, 0.95)), ("init", rerun(rng, first)))
    }
    compared = compare_runs(runs)
    page = comparison_page(compared, title="t")
    assert is_self_contained(page)
    text = shown(page)
    assert "<map>" not in text
    assert text.count("Confusion matrix of") == 3
    for fold in ("one", "two"):
        assert f"<td>{fold}</td>" in text
    for run in compared:
        assert f"{run.interval.value:.1%}" in text
        for fold in run.summary.folds:
            assert f"{np.mean([*uas_of(run, fold)]):.1%}" in text
    assert compared[1].verdict("none").startswith("<map>: UA ")
    assert "may be chance" in compared[2].verdict("none")
    assert "<h2>Folds</h2>" in text


def moved(predictions: Predictions, folder: str) -> Predictions:
    """The same with other files, so that no utterance is in two folds."""
    files = tuple(file.replace("/corpus", f"/corpus/{folder}") for file in predictions.files)
    return Predictions(**(vars(predictions) | {"files": files}))


def uas_of(run, fold):
    predictions = run.run.predictions
    for seed in (0, 1):
        rows = [f == fold and s == seed for f, s in zip(predictions.folds, predictions.seeds, strict=True)]
        yield predictions.take(np.array(rows)).metrics().ua


def test_parts_show_how_the_seeds_differ(monkeypatch):
    predictions = drawn(np.random.default_rng(2), speakers=2, seeds=(0, 1), fold="one")
    run = Run(Path("a"), predictions, [])
    shown_parts = {}

    def record(parts, runs):
        shown_parts.update({name: dict(zip(parts, values, strict=True)) for name, values in runs.items()})
        return b""

    monkeypatch.setattr("satn_fast.report.comparison.recalls_of_parts", record)
    compared = compare_runs({"a": run, "b": run})
    comparison_page(compared, title="t")
    assert shown_parts["a"] == {"one": [*uas_of(compared[0], "one")]}
    assert len(set(shown_parts["a"]["one"])) == 2
