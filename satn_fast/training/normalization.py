"""Normalisation per speaker, which needs recordings of every speaker beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from satn_fast.reference import SMALLEST_STD

_LOG = logging.getLogger(__name__)


def normalize_per_speaker(
    features: Sequence[Tensor], speakers: Sequence[str], notify: Callable[[str], None] | None = None
) -> list[Tensor]:
    """Standardises features by the mean and deviation of all frames of their speaker.

    **This uses unlabelled data of every speaker, those of the evaluation included**: whoever is to be recognised must
    have been recorded before, and results are not comparable with those for speakers never heard. It also follows how
    emotions are distributed among a speaker's recordings. The model's own normalisation (`SATNConfig.normalization`)
    needs none of this, and is the default everywhere.

    Args:
        features: (T, F) of every utterance.
        speakers: Who speaks in each.
        notify: Told the warning above in one sentence; the log of `satn_fast.training.normalization` is, if `None`.

    Returns:
        (T, F) float32, mean 0 and deviation 1 for every speaker and feature; 0 where a feature is constant.

    Raises:
        ValueError: The numbers of features and speakers differ, or a speaker has no frame.

    Example:
        >>> features = [torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0], [30.0]])]
        >>> for frames in normalize_per_speaker(features, ["anna", "otto"], notify=print):
        ...     print(frames.flatten().tolist())
        features are normalised per speaker: this uses unlabelled data of all 2 speakers, those of the evaluation
        included
        [-1.0, 1.0]
        [-1.0, 1.0]
    """
    if len(features) != len(speakers):
        raise ValueError(f"speakers has {len(speakers)} entries, features has {len(features)}; give one each")
    said = (
        f"features are normalised per speaker: this uses unlabelled data of all {len(set(speakers))} speakers, "
        "those of the evaluation included"
    )
    (notify or _LOG.warning)(said)
    spoken: dict[str, list[Tensor]] = {name: [] for name in speakers}
    for x, name in zip(features, speakers, strict=True):
        spoken[name].append(x)
    statistics = {name: _statistics(name, utterances) for name, utterances in spoken.items()}
    return [
        ((x.double() - mean) / std).float()
        for x, (mean, std) in ((x, statistics[name]) for x, name in zip(features, speakers, strict=True))
    ]


def _statistics(name: str, utterances: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over all frames, (F,) float64."""
    frames = torch.cat([x.double() for x in utterances])
    if not len(frames):
        raise ValueError(f"speaker {name!r} has no frame; leave the speaker out")
    return frames.mean(0), frames.std(0, correction=0).clamp(min=SMALLEST_STD)
