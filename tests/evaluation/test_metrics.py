import json

import numpy as np
import pytest
import torch

from satn_fast import SATN
from satn_fast.evaluation import evaluate, logits_of, score
from satn_fast.training import FeatureDataset

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


def test_figures_of_every_label_by_hand():
    metrics = score([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2], ["a", "b", "c"])
    a, b, c = metrics.per_class
    assert (a.precision, a.recall, a.support) == (1.0, 0.75, 4)
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.f1, c.support) == (0.0, 0.0, 0.0, 0)
    assert a.f1 == pytest.approx(2 * 0.75 / 1.75)
    assert list(metrics.as_dict()["per_class"]) == ["a", "b", "c"]
    assert metrics.as_dict()["per_class"]["b"]["support"] == 2


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="decision reaches from 0 to 2"):
        score([0, 1], [0, 2], ["a", "b"])


def test_logits_come_in_the_order_of_the_utterances():
    model = SATN(small_config()).eval()
    features = [torch.randn(n, 6) for n in (9, 30, 3, 12)]
    found = logits_of(model, FeatureDataset(features, [torch.tensor(i) for i in (3, 1, 0, 2)]), batch_size=2)
    assert found.truth.tolist() == [3, 1, 0, 2]
    for logits, x in zip(found.logits, features, strict=True):
        np.testing.assert_allclose(logits, model(x[None]).logits[0].detach(), atol=1e-5)
