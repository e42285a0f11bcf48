"""What a model says of utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satn_fast.data.manifest import Utterance
from satn_fast.evaluation.metrics import logits_of
from satn_fast.evaluation.predictions import Predictions, utterance_name
from satn_fast.reference import SATN

__all__ = ["Recogniser", "UnknownLabelError", "class_indices", "evaluate_utterances"]

Progress: TypeAlias = Callable[[int, int], None]


class UnknownLabelError(ValueError):
    """Utterances are labelled with what the model cannot say."""


class Recogniser(Protocol):
    """What recognises one utterance at a time: `satn_fast.export.ExportedModel`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, F) features, or (n_samples,) audio if it takes that, to (n_labels,) probabilities."""


def class_indices(utterances: Sequence[Utterance], labels: Sequence[str]) -> NDArray[np.int64]:
    """Indices (N,) of the utterances' labels.

    Raises:
        UnknownLabelError: A label is none of `labels`; the message says how to rename it.

    Example:
        >>> from pathlib import Path
        >>> class_indices([Utterance(Path("1.wav"), "sad", "anna")], ["calm", "sad"]).tolist()
        [1]
    """
    unknown = sorted({utterance.label for utterance in utterances} - set(labels))
    if unknown:
        changes = ",".join(f"{label}=" for label in unknown)
        raise UnknownLabelError(
            f"the model does not know {', '.join(unknown)}; it knows {', '.join(labels)}. Rename them, or leave "
            f"them out, with: satn-fast prepare manifest MANIFEST --output NEW --labels {changes}"
        )
    return np.array([labels.index(utterance.label) for utterance in utterances], dtype=np.int64)


def evaluate_utterances(
    model: SATN | Recogniser,
    utterances: Sequence[Utterance],
    features: Sequence[Tensor],
    *,
    fold: str = "",
    seed: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Recognises every utterance.

    Args:
        model: A SATN, which takes several utterances at once, on its own device; or an exported model.
        utterances: What was said, by whom, with labels of the model.
        features: (T, F) float32 of each; (n_samples,) audio for a model that takes audio.
        fold: To be noted in the predictions: the part of a cross-validation.
        seed: To be noted in the predictions.
        progress: Called with (done, total).

    Raises:
        UnknownLabelError: The model does not know a label.
        ValueError: There are no utterances, or not as many features.

    Example:
        >>> from pathlib import Path
        >>> from satn_fast import SATN, SATNConfig
        >>> model = SATN(SATNConfig.preset("micro", labels=("calm", "sad")))
        >>> predictions = evaluate_utterances(model, [Utterance(Path("1.wav"), "sad", "anna")], [torch.zeros(30, 192)])
        >>> predictions.files, predictions.truth.tolist(), predictions.probabilities.shape
        (('1.wav',), [1], (1, 2))
    """
    if not utterances or len(utterances) != len(features):
        raise ValueError(
            f"there are {len(utterances)} utterances and {len(features)} features; give one each, at least one"
        )
    labels = model.config.labels if isinstance(model, SATN) else model.labels
    truth = class_indices(utterances, labels)
    if isinstance(model, SATN):
        probabilities = _softmax(logits_of(model, _Labelled(features, truth), progress=progress).logits)
    else:
        probabilities = np.array(_one_by_one(model, features, progress), dtype=np.float64)
    return Predictions.plain(
        [utterance_name(utterance) for utterance in utterances],
        labels,
        truth,
        [utterance.speaker for utterance in utterances],
        probabilities,
        fold=fold,
        seed=seed,
    )


class _Batch(NamedTuple):
    features: Tensor
    lengths: Tensor
    targets: Tensor


@dataclass(frozen=True)
class _Labelled:
    """Features with their class indices."""

    features: Sequence[Tensor]
    truth: NDArray[np.int64]

    @property
    def lengths(self) -> list[int]:
        return [len(frames) for frames in self.features]

    def batch(self, indices: Sequence[int]) -> _Batch:
        chosen = [self.features[i] for i in indices]
        lengths = torch.tensor([len(frames) for frames in chosen])
        return _Batch(pad_sequence(chosen, batch_first=True), lengths, torch.from_numpy(self.truth[indices]))

    def __len__(self) -> int:
        return len(self.features)


def _one_by_one(model: Recogniser, features: Sequence[Tensor], progress: Progress | None) -> list[NDArray[np.float32]]:
    probabilities = []
    for frames in features:
        probabilities.append(model.probabilities(frames.numpy()))
        if progress is not None:
            progress(len(probabilities), len(features))
    return probabilities


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))
