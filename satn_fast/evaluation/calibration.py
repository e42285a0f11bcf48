"""Whether probabilities can be believed, and one temperature that makes them so.

Guo, Pleiss, Sun & Weinberger (2017), *On calibration of modern neural networks*, ICML; bins of equal mass: Nguyen &
O'Connor (2015), *Posterior calibration and exploratory analysis for natural language processing models*, EMNLP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from satn_fast.reference import SATN

__all__ = [
    "ReliabilityCurve",
    "apply_temperature",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability_curve",
]

BINS = 15

# Temperatures that make sense; without a bound, a validation set without errors would ask for 0.
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class ReliabilityCurve:
    """How often decisions of a certain confidence are right, for the bins that hold any.

    Attributes:
        confidence: (bins,) mean probability of the decisions.
        accuracy: (bins,) share of them that is right.
        counts: (bins,) how many.
        edges: (bins, 2) between which probabilities the bin lies.
        adaptive: Whether the bins have equal mass rather than equal width.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    adaptive: bool

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of accuracy and confidence, weighted by the counts."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.counts))


def reliability_curve(
    probabilities: ArrayLike, truth: ArrayLike, bins: int = BINS, *, adaptive: bool = False
) -> ReliabilityCurve:
    """Compares the confidence of decisions with how often they are right.

    Args:
        probabilities: (N, n_labels), rows summing to 1.
        truth: (N,) class indices.
        bins: How many bins; some may be empty, and are left out.
        adaptive: Whether each bin holds equally many decisions, rather than being equally wide: steadier with few
            utterances, and where most decisions are confident.

    Raises:
        ValueError: Shapes differ, there is nothing, or `bins` is not positive.

    Example:
        >>> curve = reliability_curve([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], [0, 1, 1])
        >>> curve.confidence.round(3).tolist(), curve.accuracy.tolist(), curve.counts.tolist()
        ([0.6, 0.9], [1.0, 0.5], [1, 2])
    """
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    if probabilities.ndim != 2 or not len(truth) or truth.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities has shape {probabilities.shape}, truth {truth.shape}; give (N, labels), (N,)")
    if bins < 1:
        raise ValueError(f"bins is {bins}; choose a whole number from 1")
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    if adaptive:
        edges = np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1))
        # By rank, so that equal confidences do not leave bins empty.
        ranks = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
        bin_of = ranks * bins // len(ranks)
    else:
        edges = np.linspace(0.0, 1.0, bins + 1)
        # A bin holds its upper edge, as in Guo et al.
        bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0
    return ReliabilityCurve(
        confidence=np.bincount(bin_of, confidence, bins)[filled] / counts[filled],
        accuracy=np.bincount(bin_of, right, bins)[filled] / counts[filled],
        counts=counts[filled],
        edges=np.stack([edges[:-1], edges[1:]], axis=1)[filled],
        adaptive=adaptive,
    )


def expected_calibration_error(
    probabilities: ArrayLike, truth: ArrayLike, bins: int = BINS, *, adaptive: bool = False
) -> float:
    """Mean distance between confidence and accuracy (ECE), a fraction; arguments as for `reliability_curve`.

    Example:
        >>> round(expected_calibration_error([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], [0, 1, 1]), 3)
        0.4
    """
    return reliability_curve(probabilities, truth, bins, adaptive=adaptive).error


def negative_log_likelihood(logits: ArrayLike, truth: ArrayLike, temperature: float = 1.0) -> float:
    """Mean cross-entropy in nats of logits (N, n_labels), divided by the temperature, against class indices (N,).

    Example:
        >>> round(negative_log_likelihood([[0.0, 0.0]], [0]), 4)
        0.6931
    """
    scores, truth = _checked(logits, truth)
    scores = scores / temperature
    return float((_log_sum_exp(scores) - scores[np.arange(len(truth)), truth]).mean())


def fit_temperature(logits: ArrayLike, truth: ArrayLike) -> float:
    """Finds the temperature that the logits must be divided by for the least negative log-likelihood.

    That is convex in the inverse temperature, so its slope is bisected: the answer is exact, and the same on every
    machine. Give logits of utterances that were not trained on.

    Args:
        logits: (N, n_labels).
        truth: (N,) class indices.

    Returns:
        Between 0.05 and 20. The ends are what you get where every utterance is recognised (no temperature would be
        cold enough), or the logits say nothing.

    Raises:
        ValueError: Shapes differ, there is nothing, or a logit is not finite.

    Example:
        >>> round(fit_temperature([[8.0, 0.0]] * 4, [0, 0, 0, 1]), 3)  # right 3 times of 4: the odds should be 3
        7.282
    """
    scores, truth = _checked(logits, truth)
    # Seen from the score of what was said: the slope loses no digits where nearly all of the probability is there.
    scores = scores - scores[np.arange(len(truth)), truth][:, None]

    def slope(inverse: float) -> float:
        scaled = inverse * scores
        shares = np.exp(scaled - _log_sum_exp(scaled)[:, None])
        return float((shares * scores).sum(1).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    # No slope anywhere: every logit of an utterance is the same, or all probabilities are 0 and 1 at any temperature.
    if slope(low) == slope(high) == 0.0:
        return 1.0
    while high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


@torch.no_grad()
def apply_temperature(model: SATN, temperature: float) -> None:
    """Divides the classifier's weight and bias, so that the model itself, and every export of it, is calibrated.

    The decisions stay the same.

    Raises:
        ValueError: The temperature is not a positive number.

    Example:
        >>> from satn_fast import SATN, SATNConfig
        >>> model = SATN(SATNConfig.preset("micro")).eval()
        >>> features = torch.randn(1, 20, 192)
        >>> before = model(features).logits
        >>> apply_temperature(model, 2.0)
        >>> bool(torch.allclose(model(features).logits, before / 2, atol=1e-6))
        True
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature}; choose a positive number")
    model.classifier.weight.div_(temperature)
    model.classifier.bias.div_(temperature)


def _checked(logits: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scores, indices = np.asarray(logits, np.float64), np.asarray(truth, np.int64)
    if scores.ndim != 2 or not len(indices) or indices.shape != scores.shape[:1]:
        raise ValueError(f"logits has shape {scores.shape}, truth {indices.shape}; give (N, labels) and (N,)")
    if not np.isfinite(scores).all():
        raise ValueError("logits holds NaN or infinity; train with a lower learning rate")
    return scores, indices


def _log_sum_exp(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = scores.max(1)
    return np.asarray(largest + np.log(np.exp(scores - largest[:, None]).sum(1)))
