"""Every figure of an evaluation in one dictionary: what `satn-fast evaluate --json` prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from satn_fast.evaluation.calibration import expected_calibration_error
from satn_fast.evaluation.confidence import ua_interval
from satn_fast.evaluation.predictions import Predictions, per_speaker

__all__ = ["figures"]


def figures(predictions: Predictions) -> dict[str, Any]:
    """All figures as JSON-able values.

    Returns:
        `wa`, `ua`, `macro_f1`, `confusion`, `labels` and `per_class` of `Metrics.as_dict`; `ua_interval`, see
        `Interval`; `ece` and `ece_adaptive` (15 bins of equal width, and of equal mass), fractions; `nll`, the mean
        negative log-likelihood in nats; `utterances`, how many; `speakers`, for each `wa`, `ua` and `utterances`.

    Example:
        >>> predictions = Predictions.plain(["1.wav"], ["calm", "angry"], [0], ["anna"], [[0.75, 0.25]])
        >>> found = figures(predictions)
        >>> found["ua"], found["ece"], found["speakers"]
        (1.0, 0.25, {'anna': {'wa': 1.0, 'ua': 1.0, 'utterances': 1}})
    """
    probabilities, truth = predictions.probabilities, predictions.truth
    said = probabilities[np.arange(len(truth)), truth]
    return predictions.metrics().as_dict() | {
        "ua_interval": ua_interval(predictions).as_dict(),
        "ece": expected_calibration_error(probabilities, truth),
        "ece_adaptive": expected_calibration_error(probabilities, truth, adaptive=True),
        # A probability that was rounded to 0 must not make the mean infinite.
        "nll": float(-np.log(np.maximum(said, np.finfo(np.float32).tiny)).mean()),
        "utterances": len(predictions),
        "speakers": {
            speaker: {"wa": metrics.wa, "ua": metrics.ua, "utterances": int(metrics.confusion.sum())}
            for speaker, metrics in per_speaker(predictions).items()
        },
    }
