import json

import numpy as np
import pytest
import torch

from satn_fast import SATN
from satn_fast.training import FeatureDataset, evaluate, score

from ..models.test_reference import small_config


def test_figures_of_a_small_example_by_hand():
    #        said a: 3 of 4 right; said b: 1 of 2 right; c is never said
    metrics = score([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2], ["a", "b", "c"])
    assert metrics.wa == pytest.approx(4 / 6)
    assert metrics.ua == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert metrics.macro_f1 == pytest.approx((2 * 3 / (3 + 4) + 2 * 1 / (2 + 2)) / 2)
    assert metrics.confusion.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert json.loads(json.dumps(metrics.as_dict()))["confusion"] == metrics.confusion.tolist()


@pytest.mark.parametrize(("truth", "decision"), [([], []), ([0, 1], [0])])
def test_nothing_to_compare_is_refused(truth, decision):
    with pytest.raises(ValueError, match="truth has shape"):
        score(truth, decision, ["a", "b"])


def test_evaluation_does_not_depend_on_batches():
    model = SATN(small_config()).eval()
    features = [torch.randn(n, 6) for n in (4, 30, 11, 7, 19)]
    truth = torch.tensor([0, 1, 2, 3, 0])
    decision = [int(model(x[None]).logits.argmax()) for x in features]
    expected = score(truth, decision, model.config.labels)
    for batch_size in (1, 2, 5):
        metrics = evaluate(model, FeatureDataset(features, list(truth)), batch_size)
        np.testing.assert_array_equal(metrics.confusion, expected.confusion)


def test_no_utterances_are_refused():
    with pytest.raises(ValueError, match="dataset is empty"):
        evaluate(SATN(small_config()), FeatureDataset([], []))
