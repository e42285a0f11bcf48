import json
from pathlib import Path

import numpy as np
import pytest
import torch

from satn_fast import SATN
from satn_fast.data import Utterance
from satn_fast.evaluation import RunError, UnknownLabelError, evaluate_utterances, figures, read_record, read_run
from satn_fast.evaluation import write_predictions as write
from satn_fast.export import load

from ..models.test_reference import small_config
from .making import drawn

LABELS = ("angry", "happy", "neutral", "sad")


def corpus(lengths=(9, 30, 3, 12)):
    utterances = [Utterance(Path(f"/c/{i}.wav"), LABELS[-i % 4], f"s{i % 2}") for i in range(len(lengths))]
    return utterances, [torch.randn(n, 6) for n in lengths]


def test_rows_are_in_the_order_of_the_utterances_with_the_models_probabilities():
    model = SATN(small_config()).eval()
    utterances, features = corpus()
    predictions = evaluate_utterances(model, utterances, features, fold="f", seed=3)
    assert predictions.files == tuple(f"/c/{i}.wav" for i in range(4))
    assert predictions.truth.tolist() == [0, 3, 2, 1]
    assert set(predictions.folds) == {"f"}
    assert set(predictions.seeds) == {3}
    for row, x in zip(predictions.probabilities, features, strict=True):
        np.testing.assert_allclose(row, model(x[None]).logits[0].softmax(0).detach(), atol=1e-6)


def test_exported_models_are_evaluated_alike(tmp_path):
    model = SATN(small_config()).eval()
    model.save_pretrained(tmp_path)
    utterances, features = corpus()
    seen = []
    direct = evaluate_utterances(model, utterances, features)
    through = evaluate_utterances(load(tmp_path), utterances, features, progress=lambda *counts: seen.append(counts))
    np.testing.assert_allclose(direct.probabilities, through.probabilities, atol=1e-6)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_unknown_labels_come_with_the_remedy():
    utterances = [Utterance(Path("1.wav"), "bored", "x"), Utterance(Path("2.wav"), "sad", "x")]
    with pytest.raises(UnknownLabelError, match="does not know bored; .*--labels bored="):
        evaluate_utterances(SATN(small_config()), utterances, [torch.zeros(3, 6)] * 2)


def test_a_missing_feature_is_refused():
    utterances, features = corpus()
    with pytest.raises(ValueError, match="4 utterances and 3 features"):
        evaluate_utterances(SATN(small_config()), utterances, features[1:])


def test_figures_are_json_and_survive_a_probability_of_zero():
    predictions = drawn(np.random.default_rng(0))
    predictions.probabilities[0] = np.eye(3)[(predictions.truth[0] + 1) % 3]
    found = json.loads(json.dumps(figures(predictions)))
    assert found["utterances"] == 60
    assert np.isfinite(found["nll"])
    assert found["ua_interval"]["low"] < found["ua"] == found["ua_interval"]["value"] < found["ua_interval"]["high"]
    assert sum(share["utterances"] for share in found["speakers"].values()) == 60


def test_a_run_is_read_with_the_records_of_all_its_trainings(tmp_path):
    predictions = drawn(np.random.default_rng(0), seeds=(0, 1), fold="anna")
    write(tmp_path / "predictions.csv", predictions)
    for seed in (0, 1):
        folder = tmp_path / "anna" / f"seed-{seed}"
        folder.mkdir(parents=True)
        record = {"seed": seed, "transfer": "map", "history": [{"epoch": 1, "ua": 0.5, "note": "x"}], "new": 1}
        (folder / "run.json").write_text(json.dumps(record))
    run = read_run(tmp_path)
    assert [(record.name, record.seed) for record in run.records] == [("anna/seed-0", 0), ("anna/seed-1", 1)]
    assert run.transfers == ["map"]
    assert run.records[0].history == [{"epoch": 1.0, "ua": 0.5}]


def test_speakers_of_both_parts_are_known(tmp_path):
    (tmp_path / "run.json").write_text(
        '{"speakers": {"train": ["a"], "validation": ["b"], "test": ["c"]}, "history": null}'
    )
    assert read_record(tmp_path / "run.json").known_speakers == {"a", "b"}
    assert read_record(tmp_path / "nowhere.json") is None


@pytest.mark.parametrize("content", ["{", "[]", '{"history": [1]}', '{"speakers": 3}'])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json"):
        read_record(tmp_path / "run.json")


def test_a_run_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        read_run(tmp_path / "nowhere")
