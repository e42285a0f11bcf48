import numpy as np
import pytest
import torch

from satn_fast import SATN
from satn_fast.evaluation import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)

from ..models.test_reference import small_config

rng = np.random.default_rng(0)


def softmax(logits):
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def calibrated(count: int, scale: float = 2.0):
    """Logits, and truths drawn with exactly their probabilities."""
    logits = scale * rng.normal(size=(count, 4))
    truth = (rng.random((count, 1)) > softmax(logits).cumsum(1)).sum(1)
    return logits, truth


def test_error_by_hand():
    probabilities = [[0.95, 0.05], [0.95, 0.05], [0.45, 0.55], [0.3, 0.7]]
    truth = [0, 1, 1, 1]
    assert expected_calibration_error(probabilities, truth, bins=10) == pytest.approx(
        (2 * abs(0.5 - 0.95) + abs(1 - 0.55) + abs(1 - 0.7)) / 4
    )
    assert expected_calibration_error(probabilities, truth, bins=1) == pytest.approx(abs(0.75 - 0.7875))


def test_bins_hold_their_upper_edge():
    curve = reliability_curve([[0.5, 0.5], [1.0, 0.0]], [0, 0], bins=2)
    assert curve.edges.tolist() == [[0.0, 0.5], [0.5, 1.0]]
    assert curve.counts.tolist() == [1, 1]


def test_adaptive_bins_hold_equally_many_even_where_all_are_equal():
    confident = np.tile([0.99, 0.01], (50, 1))
    assert reliability_curve(confident, [0] * 50, bins=5, adaptive=True).counts.tolist() == [10] * 5
    logits, truth = calibrated(100)
    curve = reliability_curve(softmax(logits), truth, bins=15, adaptive=True)
    assert set(curve.counts.tolist()) == {6, 7}
    assert (np.diff(curve.confidence) >= 0).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_probabilities_that_are_true_have_a_small_error(adaptive):
    logits, truth = calibrated(20000)
    assert expected_calibration_error(softmax(logits), truth, adaptive=adaptive) < 0.015
    assert expected_calibration_error(softmax(3 * logits), truth, adaptive=adaptive) > 0.1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_was_applied_is_found(temperature):
    logits, truth = calibrated(20000)
    assert fit_temperature(temperature * logits, truth) == pytest.approx(temperature, rel=0.04)


def test_no_other_temperature_is_better():
    logits, truth = calibrated(60)
    best = fit_temperature(5 * logits, truth)
    for temperature in np.geomspace(0.05, 20, 400):
        assert negative_log_likelihood(5 * logits, truth, best) <= (
            negative_log_likelihood(5 * logits, truth, temperature) + 1e-12
        )


def test_extremes_end_at_the_bounds():
    all_right = np.eye(3)[[0, 1, 2]] * 4
    assert fit_temperature(all_right, [0, 1, 2]) == pytest.approx(0.05)
    assert fit_temperature(all_right, [1, 2, 0]) == pytest.approx(20)
    assert fit_temperature(np.full((3, 2), 7.0), [0, 1, 1]) == 1.0
    assert np.isfinite(fit_temperature(1e6 * all_right, [0, 1, 1]))


@pytest.mark.parametrize(
    ("logits", "truth"), [([], []), ([[1.0, 2.0]], [0, 1]), ([[np.nan, 0.0]], [0]), ([[np.inf, 0.0]], [0])]
)
def test_nothing_to_fit_is_refused(logits, truth):
    with pytest.raises(ValueError, match="logits"):
        fit_temperature(logits, truth)


def test_the_model_itself_is_calibrated_and_decides_alike(tmp_path):
    model = SATN(small_config()).eval()
    features = torch.randn(40, 20, 6)
    before = model(features).logits.detach()
    apply_temperature(model, 2.5)
    model.save_pretrained(tmp_path / "model")
    after = SATN.from_pretrained(tmp_path / "model")(features).logits.detach()
    np.testing.assert_allclose(after, before / 2.5, atol=1e-6)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert model.classifier.weight.requires_grad


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        apply_temperature(SATN(small_config()), temperature)


@pytest.mark.parametrize("bins", [0, -1])
def test_there_must_be_a_bin(bins):
    with pytest.raises(ValueError, match="bins is"):
        reliability_curve([[1.0]], [0], bins)
