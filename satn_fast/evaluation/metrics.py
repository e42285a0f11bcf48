"""How well emotions are recognised: WA, UA, macro-F1, figures of every label, and the confusion matrix."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from satn_fast.reference import SATN


class LabelledBatch(Protocol):
    """Padded utterances with their class indices, as the batches of `satn_fast.training` are."""

    @property
    def features(self) -> Tensor:
        """(B, T, F)."""

    @property
    def lengths(self) -> Tensor:
        """(B,) frames of each utterance."""

    @property
    def targets(self) -> Tensor:
        """(B,) class indices."""


class LabelledUtterances(Protocol):
    """What evaluation needs of a dataset; all those of `satn_fast.training` have it."""

    @property
    def lengths(self) -> Sequence[int]:
        """Frames of every utterance."""

    def batch(self, indices: Sequence[int]) -> LabelledBatch:
        """Those utterances, in this order, padded to the longest of them."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ClassFigures:
    """How well one label is recognised.

    Attributes:
        precision: Share of the decisions for the label that are right; 0 where there is none.
        recall: Share of the label's utterances that are recognised; 0 where there is none.
        f1: Harmonic mean of both.
        support: Utterances of the label.
    """

    precision: float
    recall: float
    f1: float
    support: int


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
        per_class: Figures of each label, in the same order.
    """

    wa: float
    ua: float
    macro_f1: float
    confusion: NDArray[np.int64]
    labels: tuple[str, ...]
    per_class: tuple[ClassFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values; `per_class` by label."""
        return {
            "wa": self.wa,
            "ua": self.ua,
            "macro_f1": self.macro_f1,
            "confusion": self.confusion.tolist(),
            "labels": list(self.labels),
            "per_class": {label: asdict(figures) for label, figures in zip(self.labels, self.per_class, strict=True)},
        }


def score(truth: ArrayLike, decision: ArrayLike, labels: Sequence[str]) -> Metrics:
    """Compares decisions with the truth.

    Args:
        truth: (N,) class indices.
        decision: (N,) class indices.
        labels: Names of the classes.

    Raises:
        ValueError: There is nothing to compare, or an index is out of range.

    Example:
        >>> metrics = score([0, 0, 0, 1], [0, 0, 1, 1], ["calm", "angry"])
        >>> metrics.wa, round(metrics.ua, 3), metrics.per_class[1].precision
        (0.75, 0.833, 0.5)
    """
    truth, decision = np.asarray(truth, dtype=np.int64), np.asarray(decision, dtype=np.int64)
    if not truth.size or truth.shape != decision.shape:
        raise ValueError(f"truth has shape {truth.shape}, decision {decision.shape}; give equally many, at least one")
    for name, indices in (("truth", truth), ("decision", decision)):
        if indices.min() < 0 or indices.max() >= len(labels):
            raise ValueError(f"{name} reaches from {indices.min()} to {indices.max()}, there are {len(labels)} labels")
    every = np.arange(len(labels))
    columns = precision_recall_fscore_support(truth, decision, labels=every, zero_division=0.0)
    per_class = tuple(
        ClassFigures(float(precision), float(recall), float(f1), int(support))
        for precision, recall, f1, support in zip(*columns, strict=True)
    )
    present = [figures for figures in per_class if figures.support]
    return Metrics(
        wa=float(accuracy_score(truth, decision)),
        ua=float(np.mean([figures.recall for figures in present])),
        macro_f1=float(np.mean([figures.f1 for figures in present])),
        confusion=confusion_matrix(truth, decision, labels=every).astype(np.int64),
        labels=tuple(labels),
        per_class=per_class,
    )


class Scored(NamedTuple):
    """What a model says of utterances, in their order."""

    logits: NDArray[np.float32]
    """(N, n_labels)."""
    truth: NDArray[np.int64]
    """(N,) class indices."""


@torch.no_grad()
def logits_of(
    model: SATN,
    dataset: LabelledUtterances,
    batch_size: int = 32,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Runs a model over utterances, those of similar length together; the model is in evaluation mode afterwards.

    Args:
        model: Runs on the device of its weights.
        dataset: Utterances with class indices.
        batch_size: Utterances that are recognised together.
        progress: Called with (done, total) after each batch.

    Raises:
        ValueError: There are no utterances.
    """
    if not len(dataset):
        raise ValueError("dataset is empty; give at least one utterance")
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(dataset.lengths, kind="stable")
    logits, truth = [], []
    for start in range(0, len(order), batch_size):
        batch = dataset.batch(order[start : start + batch_size].tolist())
        logits.append(model(batch.features.to(device), batch.lengths.to(device)).logits.float().cpu().numpy())
        truth.append(batch.targets.cpu().numpy())
        if progress is not None:
            progress(min(start + batch_size, len(order)), len(order))
    back = np.argsort(order)
    return Scored(np.concatenate(logits)[back], np.concatenate(truth)[back])


def evaluate(model: SATN, dataset: LabelledUtterances, batch_size: int = 32) -> Metrics:
    """Scores a model on utterances with class indices of `model.config.labels`.

    Raises:
        ValueError: There are no utterances.
    """
    logits, truth = logits_of(model, dataset, batch_size)
    return score(truth, logits.argmax(-1), model.config.labels)
