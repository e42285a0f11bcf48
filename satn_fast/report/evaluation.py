"""The page of one evaluation."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from satn_fast.evaluation.calibration import reliability_curve
from satn_fast.evaluation.confidence import Interval
from satn_fast.evaluation.figures import figures as figures_of
from satn_fast.evaluation.predictions import Predictions
from satn_fast.evaluation.runs import TrainingRecord
from satn_fast.reference import SATN
from satn_fast.report.html import render
from satn_fast.report.plots import History, attention_over_time, confusion_matrix, learning_curves, reliability_diagram

__all__ = ["Clip", "curves", "evaluation_page", "example_clips", "training_facts"]

# Keys of an epoch's record that are worth a panel.
PANELS = {"loss": "loss, training", "validation_loss": "loss, validation", "ua": "UA, validation"}

# The attention of an utterance is a map of T x T for each head: longer ones (30 s) are no examples.
_LONGEST_EXAMPLE = 3000


@dataclass(frozen=True)
class Clip:
    """An utterance with where the model looked.

    Attributes:
        name: Of the audio file.
        said: Its label.
        decided: The model's decision.
        confidence: Its probability.
        picture: PNG: log-Mel, attention, pooling.
    """

    name: str
    said: str
    decided: str
    confidence: float
    picture: bytes

    @property
    def right(self) -> bool:
        """Whether the decision is the label."""
        return self.said == self.decided


def example_clips(model: SATN, predictions: Predictions, features: Sequence[Tensor]) -> list[Clip]:
    """For each label the most confident right and the most confident wrong decision, where there are such.

    Args:
        model: The SATN that made the predictions.
        predictions: One row for each of the utterances.
        features: (T, F) of each; of more than 3000 frames none is an example.
    """
    clips = []
    for row in _examples(predictions, [len(frames) for frames in features]):
        decision = predictions.decisions[row]
        clips.append(
            Clip(
                name=PurePosixPath(predictions.files[row]).name,
                said=predictions.labels[predictions.truth[row]],
                decided=predictions.labels[decision],
                confidence=float(predictions.probabilities[row, decision]),
                picture=_attention_picture(model, features[row]),
            )
        )
    return clips


def evaluation_page(
    predictions: Predictions,
    *,
    title: str,
    subtitle: str = "",
    clips: Sequence[Clip] = (),
    record: TrainingRecord | None = None,
    warnings: Sequence[str] = (),
    known_speakers: Collection[str] = (),
    facts: Mapping[str, str] | None = None,
) -> str:
    """Everything about an evaluation on one page, pictures embedded.

    Args:
        predictions: What was recognised.
        title: Of the page.
        subtitle: Below it.
        clips: Examples of where the model looks, see `example_clips`.
        record: How the model was trained: gives the learning curves.
        warnings: Shown before everything else.
        known_speakers: Speakers the model was trained on or chosen with.
        facts: What was evaluated, by name.

    Raises:
        ImportError: jinja2 is not installed.
    """
    found = figures_of(predictions)
    labels_present = sum(row["support"] > 0 for row in found["per_class"].values())
    return render(
        "evaluation.html",
        title=title,
        subtitle=subtitle,
        warnings=warnings,
        figures=found,
        chance=1 / labels_present,
        guessing_nll=math.log(len(predictions.labels)),
        interval_method=Interval(**found["ua_interval"]).method,
        known_speakers=known_speakers,
        confusion_picture=confusion_matrix(np.array(found["confusion"]), predictions.labels),
        reliability_picture=reliability_diagram(reliability_curve(predictions.probabilities, predictions.truth)),
        clips=clips,
        curves_picture=curves({"": [record.history]}, record.best_epoch) if record is not None else None,
        facts=facts or {},
    )


def curves(runs: Mapping[str, Sequence[History]], best_epoch: int | None = None) -> bytes | None:
    """Learning curves of what the histories hold; `None` where they hold nothing that is drawn."""
    keys = {key for histories in runs.values() for history in histories for epoch in history for key in epoch}
    panels = {key: title for key, title in PANELS.items() if key in keys}
    return learning_curves(runs, panels, best_epoch=best_epoch) if panels and "epoch" in keys else None


def _examples(predictions: Predictions, lengths: Sequence[int]) -> Iterator[int]:
    confidence = predictions.probabilities.max(1)
    usable = np.array(lengths) <= _LONGEST_EXAMPLE
    for label in range(len(predictions.labels)):
        for right in (True, False):
            rows = np.flatnonzero((predictions.truth == label) & (predictions.right == right) & usable)
            if len(rows):
                yield int(rows[confidence[rows].argmax()])


@torch.inference_mode()
def _attention_picture(model: SATN, features: Tensor) -> bytes:
    device = next(model.parameters()).device
    output = model(features[None].to(device), return_weights=True)
    assert output.attention is not None
    assert output.pooling is not None
    return attention_over_time(
        features.numpy(),
        output.attention[0].mean((0, 1)).cpu().numpy(),
        output.pooling[0].cpu().numpy(),
        seconds_per_frame=model.config.hop_seconds,
        size=(5.8, 3.6),
    )


def training_facts(record: TrainingRecord) -> dict[str, str]:
    """What is known of a training, for the eye."""
    return {
        name: str(value)
        for name, value in {
            "transfer": record.transfer,
            "seed": record.seed,
            "best epoch": record.best_epoch,
        }.items()
        if value is not None
    }
