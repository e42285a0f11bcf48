"""How well emotions are recognised: WA, UA, macro-F1 and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from satn_fast.reference import SATN
from satn_fast.training.dataset import Utterances, batches


@dataclass(frozen=True)
class Metrics:
    """Recognition figures of one model on one set of utterances.

    Attributes:
        wa: Weighted accuracy: the share of utterances recognised.
        ua: Unweighted accuracy, that is unweighted average recall: the mean over the labels present of the share of
            their utterances recognised.
        macro_f1: Mean F1 over the labels present.
        confusion: (n_labels, n_labels) counts; rows are the truth, columns the decision.
        labels: Names, in the order of the rows.
    """

    wa: float
    ua: float
    macro_f1: float
    confusion: NDArray[np.int64]
    labels: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return {
            "wa": self.wa,
            "ua": self.ua,
            "macro_f1": self.macro_f1,
            "confusion": self.confusion.tolist(),
            "labels": list(self.labels),
        }


def score(truth: ArrayLike, decision: ArrayLike, labels: Sequence[str]) -> Metrics:
    """Compares decisions with the truth.

    Args:
        truth: (N,) class indices.
        decision: (N,) class indices.
        labels: Names of the classes.

    Raises:
        ValueError: There is nothing to compare.

    Example:
        >>> metrics = score([0, 0, 0, 1], [0, 0, 1, 1], ["calm", "angry"])
        >>> metrics.wa, round(metrics.ua, 3)
        (0.75, 0.833)
    """
    truth, decision = np.asarray(truth, dtype=np.int64), np.asarray(decision, dtype=np.int64)
    if not truth.size or truth.shape != decision.shape:
        raise ValueError(f"truth has shape {truth.shape}, decision {decision.shape}; give equally many, at least one")
    present = np.unique(truth)
    every = np.arange(len(labels))
    return Metrics(
        wa=float(accuracy_score(truth, decision)),
        ua=float(recall_score(truth, decision, labels=present, average="macro", zero_division=0.0)),
        macro_f1=float(f1_score(truth, decision, labels=present, average="macro", zero_division=0.0)),
        confusion=confusion_matrix(truth, decision, labels=every).astype(np.int64),
        labels=tuple(labels),
    )


@torch.no_grad()
def logits_of(model: SATN, dataset: Utterances, batch_size: int = 32) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, n_labels) of every utterance and its class index (N,), sorted by length."""
    model.eval()
    logits, truth = [], []
    for batch in batches(dataset, batch_size):
        logits.append(model(batch.features, batch.lengths).logits.float().numpy())
        truth.append(batch.targets.numpy())
    return np.concatenate(logits), np.concatenate(truth)


def evaluate(model: SATN, dataset: Utterances, batch_size: int = 32) -> Metrics:
    """Scores a model on utterances with class indices of `model.config.labels`.

    Raises:
        ValueError: There are no utterances.
    """
    if not len(dataset):
        raise ValueError("dataset is empty; give at least one utterance")
    logits, truth = logits_of(model, dataset, batch_size)
    return score(truth, logits.argmax(-1), model.config.labels)
