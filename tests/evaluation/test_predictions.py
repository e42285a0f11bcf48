import csv
from pathlib import Path

import numpy as np
import pytest

from satn_fast.data import Utterance
from satn_fast.evaluation import (
    Predictions,
    PredictionsError,
    join,
    per_speaker,
    read_predictions,
    score,
    summarise,
    utterance_name,
    write_predictions,
)

from .making import drawn

rng = np.random.default_rng(0)
HEADER = "file,label,speaker,fold,seed,decision,score:a,score:b\n"


def assert_equal(one: Predictions, other: Predictions):
    for name in ("files", "labels", "speakers", "folds", "seeds"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.truth, other.truth)
    np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-8)


def test_what_is_written_is_read_back(tmp_path):
    folds = join([drawn(rng, seeds=(0, 7), fold="anna, the first"), drawn(rng, seeds=(0,), fold='"b"')])
    for number, predictions in enumerate((folds, drawn(rng))):
        write_predictions(tmp_path / f"{number}.csv", predictions)
        assert_equal(read_predictions(tmp_path / f"{number}.csv"), predictions)


def test_odd_names_survive(tmp_path):
    files = ["a,b.wav", 'quo"te.wav', "ü\r.wav"]
    predictions = Predictions.plain(files, ["a"], [0, 0, 0], ["x", "y", "ž"], [[1.0]] * 3)
    write_predictions(tmp_path / "odd.csv", predictions)
    assert read_predictions(tmp_path / "odd.csv").files == tuple(files)


def test_float32_probabilities_keep_every_bit(tmp_path):
    some = rng.dirichlet([1, 1, 1], size=50).astype(np.float32)
    write_predictions(tmp_path / "p.csv", Predictions.plain([*map(str, range(50))], "abc", [0] * 50, ["x"] * 50, some))
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.csv").probabilities.astype(np.float32), some)


def test_the_columns_are_those_that_others_read(tmp_path):
    write_predictions(tmp_path / "p.csv", drawn(rng, seeds=(3,), fold="anna"))
    row = next(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert list(row) == [
        "file",
        "label",
        "speaker",
        "fold",
        "seed",
        "decision",
        "score:angry",
        "score:happy",
        "score:sad",
    ]
    scores = {label: float(row[f"score:{label}"]) for label in ("angry", "happy", "sad")}
    assert row["decision"] == max(scores, key=scores.get)
    assert (row["fold"], row["seed"], row["label"]) == ("anna", "3", "angry")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no predictions"),
        (HEADER, "holds no predictions"),
        ("file,label\n1.wav,a\n", "needs one column score:<label>|column speaker is missing"),
        (HEADER + "1.wav,a,x,,,a,0.5\n", "line 2: has 7 cells, the header has 8"),
        (HEADER + "1.wav,c,x,,,a,0.6,0.4\n", "line 2, column label: 'c' has no column score:c"),
        (HEADER + "1.wav,a,x,,,c,0.6,0.4\n", "line 2, column decision: 'c' has no column"),
        (HEADER + "1.wav,a,x,,,b,0.6,0.4\n", "line 2, column decision: 'b' has not the highest score"),
        (HEADER + "1.wav,a,x,,,a,much,0.4\n", "line 2, column score:a: 'much' is no number"),
        (HEADER + "1.wav,a,x,,one,a,0.6,0.4\n", "line 2, column seed: 'one' is no number"),
        (HEADER + "1.wav,a,x,,,a,0.6,0.6\n", "1.wav: 0.6, 0.6 are no probabilities"),
        (HEADER + "1.wav,a,x,,,a,nan,nan\n", "has not the highest score|are no probabilities"),
        (HEADER + "1.wav,a,x,,,a,1.5,-0.5\n", "are no probabilities"),
        (HEADER + "1.wav,a,x,,,a,1,0\n1.wav,a,x,,,a,1,0\n", "line 3: repeats line 2"),
        (HEADER + '1.wav,"a\n', "is not valid CSV"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, content, message):
    (tmp_path / "damaged.csv").write_text(content)
    with pytest.raises(PredictionsError, match=message) as caught:
        read_predictions(tmp_path / "damaged.csv")
    assert "damaged.csv" in str(caught.value)


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(PredictionsError, match="satn-fast evaluate --output"):
        read_predictions(tmp_path / "nowhere.csv")


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"file,label\n\xff\xfe")
    with pytest.raises(PredictionsError, match="is not UTF-8"):
        read_predictions(tmp_path / "p.csv")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(PredictionsError, match="files has 2 entries"):
        Predictions.plain(["1", "2"], ["a", "b"], [0], ["x"], [[0.5, 0.5]])
    with pytest.raises(PredictionsError, match="at least one utterance"):
        Predictions.plain([], ["a"], [], [], np.zeros((0, 1)))
    with pytest.raises(PredictionsError, match="truth reaches beyond the 1 labels"):
        Predictions.plain(["1"], ["a"], [1], ["x"], [[1.0]])


def test_summary_agrees_with_each_part_by_itself():
    predictions = join([drawn(rng, fold=fold, seeds=(10, 9)) for fold in ("b", "a")])
    summary = summarise(predictions)
    assert list(summary.folds) == ["a", "b"]
    assert list(summary.seeds) == [9, 10]
    for fold, metrics in summary.folds.items():
        rows = np.array([name == fold for name in predictions.folds])
        assert metrics.ua == score(predictions.truth[rows], predictions.decisions[rows], predictions.labels).ua
    uas = [metrics.ua for metrics in summary.seeds.values()]
    assert summary.over_seeds["ua"].mean == pytest.approx(sum(uas) / 2)
    assert summary.over_seeds["ua"].deviation == pytest.approx(abs(uas[0] - uas[1]) / np.sqrt(2))
    assert summary.over_folds["wa"].count == 2
    assert int(summary.pooled.confusion.sum()) == len(predictions) == 240


def test_one_training_has_no_deviation():
    assert summarise(drawn(rng)).over_seeds["ua"].deviation is None


def test_speakers_have_figures_of_their_own():
    predictions = drawn(rng)
    found = per_speaker(predictions)
    rows = np.array([speaker == "speaker1" for speaker in predictions.speakers])
    assert list(found) == ["speaker0", "speaker1", "speaker2"]
    assert found["speaker1"].wa == predictions.right[rows].mean()


def test_labels_of_joined_parts_must_agree():
    with pytest.raises(PredictionsError, match="labels are a and b"):
        join(Predictions.plain(["1"], [label], [0], ["x"], [[1.0]]) for label in "ab")


def test_parts_of_one_recording_have_different_names():
    parts = [(None, None), (0.5, None), (None, 2.25), (0.5, 2.25)]
    names = [utterance_name(Utterance(Path("/d/x.wav"), "a", "s", start=start, end=end)) for start, end in parts]
    assert names == ["/d/x.wav", "/d/x.wav#t=0.5", "/d/x.wav#t=,2.25", "/d/x.wav#t=0.5,2.25"]
