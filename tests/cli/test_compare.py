import json

import numpy as np
import pytest

from satn_fast.evaluation import compare, holm, write_predictions

from ..evaluation.making import drawn
from ..evaluation.test_confidence import rerun

SEEDS = (0, 1)


@pytest.fixture
def runs(tmp_path):
    """Two cross-validations on the same utterances, the second better; each with the records of its trainings."""
    rng = np.random.default_rng(7)
    first = drawn(rng, speakers=3, utterances=40, seeds=SEEDS, fold="all")
    second = rerun(rng, first, 0.93)
    folders = []
    for name, predictions in (("none", first), ("map", second)):
        folders.append(tmp_path / name)
        write_predictions(folders[-1] / "predictions.csv", predictions)
        for seed in SEEDS:
            history = [{"epoch": float(e), "loss": 1 / (e + seed), "ua": 0.3 + e / 10} for e in range(1, 4 + seed)]
            path = folders[-1] / "all" / f"seed-{seed}" / "run.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"seed": seed, "transfer": name, "history": history}))
    return folders, first, second


def test_json_gives_figures_and_paired_tests(satn_fast, runs):
    folders, first, second = runs
    result = satn_fast("compare", *folders, "--json")
    assert result.code == 0, result.errors
    assert result.errors == ""
    none, other = json.loads(result.output)["runs"]
    assert (none["name"], none["transfer"], none["comparison"]) == ("none", ["none"], None)
    assert other["comparison"] == json.loads(json.dumps(compare(first, second).as_dict()))
    assert other["p_adjusted"] == other["comparison"]["p_value"] < 0.05
    assert other["over_seeds"]["ua"]["count"] == 2
    assert sum(map(sum, other["pooled"]["confusion"])) == 240


def test_p_values_are_adjusted_for_how_many_runs_there_are(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    write_predictions(tmp_path / "again" / "predictions.csv", rerun(np.random.default_rng(1), first))
    found = json.loads(satn_fast("compare", *folders, tmp_path / "again", "--json").output)["runs"][1:]
    assert [run["p_adjusted"] for run in found] == holm([run["comparison"]["p_value"] for run in found])
    assert found[0]["p_adjusted"] == 2 * found[0]["comparison"]["p_value"]


def test_table_and_page_say_the_same_as_json(satn_fast, runs, tmp_path):
    folders, *_ = runs
    found = json.loads(satn_fast("compare", *folders, "--json").output)["runs"][1]
    result = satn_fast("compare", *folders, "--output", tmp_path / "comparison.html")
    assert result.code == 0, result.errors
    page = (tmp_path / "comparison.html").read_text()
    difference = found["comparison"]["difference"]["value"] * 100
    assert f"UA {difference:.1f} points above none" in result.output
    assert f"UA {difference:.1f} points above none" in page
    assert f"{found['ua_interval']['value'] * 100:.1f}%" in page
    assert "Learning curves of all runs" in page
    assert "may be chance" not in page


def test_a_difference_that_may_be_chance_is_called_so(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    write_predictions(tmp_path / "again" / "predictions.csv", rerun(np.random.default_rng(1), first))
    assert "may be chance" in satn_fast("compare", folders[0], tmp_path / "again").output


def test_a_run_against_itself_is_the_same(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    write_predictions(tmp_path / "again" / "predictions.csv", first)
    assert "again: recognises the same as none." in satn_fast("compare", folders[0], tmp_path / "again").output


def test_evaluations_of_one_model_are_compared_by_speaker(satn_fast, tmp_path):
    rng = np.random.default_rng(0)
    first = drawn(rng)
    for name, predictions in (("a", first), ("b", rerun(rng, first))):
        write_predictions(tmp_path / name / "predictions.csv", predictions)
    assert satn_fast("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c.html").code == 0
    page = (tmp_path / "c.html").read_text()
    assert "<h2>Speakers</h2>" in page
    assert "<h2>Training</h2>" not in page


def test_runs_of_the_same_name_are_told_apart(satn_fast, tmp_path):
    folders = [tmp_path / name / "test" for name in "ab"]
    for folder in folders:
        write_predictions(folder / "predictions.csv", drawn(np.random.default_rng(0)))
    found = json.loads(satn_fast("compare", *folders, "--json").output)["runs"]
    assert [run["name"] for run in found] == ["a/test", "b/test"]


def test_a_run_that_is_not_finished_is_named(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    write_predictions(tmp_path / "killed" / "predictions.csv", first.take(np.arange(len(first) - 5)))
    result = satn_fast("compare", folders[0], tmp_path / "killed")
    assert result.code == 1
    assert "killed: seed 1 has no prediction for" in result.errors


def test_different_numbers_of_seeds_are_said(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    rows = np.array([seed == 0 for seed in first.seeds])
    write_predictions(tmp_path / "one" / "predictions.csv", first.take(rows))
    said = satn_fast("compare", folders[0], tmp_path / "one").errors
    assert "different numbers of seeds (1, 2)" in said
    assert "a run has one seed only" in said


def test_different_utterances_are_one_line(satn_fast, runs, tmp_path):
    folders, first, _ = runs
    rows = np.array([file != first.files[0] for file in first.files])
    write_predictions(tmp_path / "fewer" / "predictions.csv", first.take(rows))
    result = satn_fast("compare", folders[0], tmp_path / "fewer")
    assert result.code == 1
    assert result.errors.count("\n") == 1
    assert "fewer: the runs were evaluated on different utterances: 1 are in one only" in result.errors


@pytest.mark.parametrize("given", [["none"], ["none", "none"]])
def test_two_runs_are_needed(satn_fast, runs, tmp_path, given):
    assert satn_fast("compare", *(tmp_path / name for name in given)).code == 2


def test_a_folder_without_predictions_is_named(satn_fast, runs, tmp_path):
    (tmp_path / "empty").mkdir()
    result = satn_fast("compare", runs[0][0], tmp_path / "empty")
    assert result.code == 1
    assert "empty" in result.errors
