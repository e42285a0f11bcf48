"""A corpus ready to be trained on: utterances, their features in every version, and who is for what."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from satn_fast.data import ManifestError, Utterance, draw_speakers
from satn_fast.frontend import LogMel
from satn_fast.training.cache import FeatureCache
from satn_fast.training.dataset import FeatureDataset, Utterances
from satn_fast.training.extraction import extract_features
from satn_fast.training.loading import Versions
from satn_fast.training.normalization import normalize_per_speaker
from satn_fast.training.perturbation import Perturbation
from satn_fast.training.settings import Settings
from satn_fast.training.stores import MappedFeatures, ResidentFeatures

StartStage: TypeAlias = Callable[[str], Callable[..., None]]
"""Called with what begins; gives the function that is told `(done, total, note)` as it goes on."""

Notify: TypeAlias = Callable[[str], None]
"""Told in one sentence what somebody should know."""

# With fewer speakers, those who choose the epoch are missed more in training than a better epoch gains.
_LEAST_SPEAKERS = 8
_VALIDATION_SHARE = 1 / 8


Version: TypeAlias = tuple[float, tuple[str, ...]]
"""A speed, and the kinds of recording conditions of which one is drawn."""

RECORDED: Version = (1.0, ())

Keep: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], Utterances]
"""Takes features and targets, and gives the dataset that holds them while training."""


@dataclass(frozen=True)
class Corpus:
    """Utterances with their features, which are there once, whatever is trained on them.

    Attributes:
        utterances: Those whose audio could be used.
        data: Features in every version: all utterances as they were recorded, then all at the next speed, and so on;
            then, where the training asks for recording conditions, at each speed under a random one.
        drawn: Which of these versions training draws from.
    """

    utterances: Sequence[Utterance]
    data: Utterances
    drawn: Sequence[int]

    def where(self, chosen: Callable[[Utterance], bool]) -> list[int]:
        """Rows of the utterances that are chosen."""
        return [row for row, utterance in enumerate(self.utterances) if chosen(utterance)]

    def features(self, rows: Sequence[int]) -> list[Tensor]:
        """(T, F) float32 of those utterances as they were recorded."""
        features = self.data.features
        return [features[row].float() for row in rows]

    def recorded(self, rows: Sequence[int]) -> FeatureDataset:
        """Those utterances as they were recorded, with their targets."""
        return FeatureDataset(self.features(rows), [self.data.targets[row] for row in rows])

    def versioned(self, rows: Sequence[int]) -> Versions:
        """Those utterances in the versions of the training, with their targets."""
        return Versions(self.data, len(self.data) // len(self.utterances), drawn=self.drawn, chosen=rows)


def read_corpus(
    utterances: Sequence[Utterance],
    target: Callable[[Utterance], Tensor],
    front_end: LogMel,
    settings: Settings,
    *,
    keep: Keep,
    per_speaker: bool = False,
    start: StartStage,
    notify: Notify,
) -> Corpus:
    """Computes features of every utterance in every version, or finds them in the cache.

    Args:
        utterances: What to read.
        target: Gives what is to be learned of an utterance.
        front_end: The log-Mel front end.
        settings: Speeds, recording conditions, cache, and what to do about files that cannot be used.
        keep: Where features are while training, see `on_device` and `in_file`.
        per_speaker: Standardise per speaker; uses unlabelled data of everybody.
        start: Starts a progress bar.
        notify: Told of resampled and skipped files.

    Raises:
        AudioError: A file cannot be used, and is not to be skipped; or none can.
        CacheError: The cache cannot be written.
    """
    cache = None if settings.cache is None else FeatureCache(settings.cache, front_end)
    names = list(dict.fromkeys((RECORDED, *settings.versions())))
    found = [
        _extract(utterances, front_end, version, cache, settings.on_error == "skip", start, notify) for version in names
    ]
    usable = [row for row in range(len(utterances)) if all(frames[row] is not None for frames in found)]
    kept = [utterances[row] for row in usable]
    versions = [[x for row in usable if (x := frames[row]) is not None] for frames in found]
    if per_speaker:
        speakers = [utterance.speaker for utterance in kept]
        versions = [
            normalize_per_speaker(frames, speakers, _ignore if number else notify)
            for number, frames in enumerate(versions)
        ]
    targets = [target(utterance) for utterance in kept]
    data = keep([x for frames in versions for x in frames], targets * len(versions))
    return Corpus(kept, data, [names.index(version) for version in settings.versions()])


def _extract(
    utterances: Sequence[Utterance],
    front_end: LogMel,
    version: Version,
    cache: FeatureCache | None,
    skip: bool,
    start: StartStage,
    notify: Notify,
) -> Sequence[Tensor | None]:
    """Features of every utterance in one version; what is wrong with a file is said once, as it was recorded."""
    speed, kinds = version
    recorded = version == RECORDED
    perturbation = None if recorded else Perturbation((speed,), conditions=kinds, condition_share=1.0)
    what = f" at {speed:g}{', recorded otherwise' if kinds else ''}"
    advance = start("log-Mel features" + ("" if recorded else what))
    tell = notify if recorded else _ignore
    if skip:
        return extract_features(
            utterances, front_end, advance, tell, cache=cache, perturbation=perturbation, on_error="skip"
        )
    return extract_features(utterances, front_end, advance, tell, cache=cache, perturbation=perturbation)


def _ignore(what: str) -> None:
    pass


def on_device(settings: Settings) -> Keep:
    """Keeps features on the device that trains."""
    return lambda features, targets: ResidentFeatures(features, targets, _device(settings.accelerator))


def in_file(path: Path) -> Keep:
    """Keeps features in a memory-mapped file, which several processes can share."""

    def keep(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Utterances:
        path.parent.mkdir(parents=True, exist_ok=True)
        MappedFeatures.write(path, features)
        return MappedFeatures(path, targets)

    return keep


def choose_validation(settings: Settings, utterances: Sequence[Utterance]) -> set[str]:
    """Speakers that choose the best epoch; maybe none.

    Raises:
        ValueError: `settings.validation` names nobody, or everybody.
    """
    speakers = sorted({utterance.speaker for utterance in utterances})
    wish = settings.validation
    if wish == "none" or (wish == "auto" and len(speakers) < _LEAST_SPEAKERS):
        return set()
    share = _VALIDATION_SHARE if wish == "auto" else _share(wish)
    chosen = draw_speakers(utterances, share, settings.seed) if share is not None else _named(wish, speakers)
    if len(chosen) == len(speakers):
        raise ValueError(f"validation is {wish!r}, which leaves nobody of {', '.join(speakers)} to train on")
    return chosen


def check_labels(utterances: Sequence[Utterance], manifest: Path) -> tuple[str, ...]:
    """The labels of a corpus, sorted.

    Raises:
        ManifestError: There is but one.
    """
    labels = tuple(sorted({utterance.label for utterance in utterances}))
    if len(labels) < 2:
        raise ManifestError(f"{manifest}: every utterance is labelled {labels[0]!r}; there is nothing to tell apart")
    return labels


def _share(wish: str) -> float | None:
    try:
        share = float(wish)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise ValueError(f"validation is {wish!r}; a share must lie between 0 and 1")
    return share


def _named(wish: str, speakers: Sequence[str]) -> set[str]:
    chosen = {name.strip() for name in wish.split(",")}
    if unknown := sorted(chosen - set(speakers)):
        raise ValueError(
            f"validation names {', '.join(unknown)}, but the speakers are {', '.join(speakers)}; or say auto, none, "
            "or a share such as 0.2"
        )
    return chosen


def _device(accelerator: str) -> torch.device:
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
