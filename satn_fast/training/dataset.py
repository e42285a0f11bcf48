"""Features in memory, and padded batches of utterances of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satn_fast.audio import Audio, AudioError, read_audio
from satn_fast.data import Utterance
from satn_fast.frontend import LogMel

Progress = Callable[[int, int], None]

# Utterances that are sorted by length together. Larger wastes less padding, smaller mixes batches better.
BATCHES_PER_BUCKET = 8


@dataclass(frozen=True)
class FeatureDataset:
    """Features with one target each.

    Attributes:
        features: (T, F) float32 for every utterance.
        targets: int64 for every utterance: a class index of shape (), or symbol indices of shape (S,).
    """

    features: Sequence[Tensor]
    targets: Sequence[Tensor]

    def __post_init__(self) -> None:
        if len(self.features) != len(self.targets):
            raise ValueError(
                f"targets has {len(self.targets)} entries, features has {len(self.features)}; give one each"
            )

    def __len__(self) -> int:
        return len(self.features)


class Batch(NamedTuple):
    """Utterances padded to the longest of them."""

    features: Tensor
    """(B, T, F), zeros after each utterance."""
    lengths: Tensor
    """(B,) frames of each utterance."""
    targets: Tensor
    """(B,) class indices, or (B, S) symbol indices padded with zeros."""
    target_lengths: Tensor
    """(B,) symbols of each utterance; 1 for class indices."""


def extract_features(
    utterances: Sequence[Utterance],
    front_end: LogMel,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[Tensor]:
    """Computes the features of every utterance.

    Args:
        utterances: What to read; `start` and `end` (seconds) choose a part of the file.
        front_end: The log-Mel front end; files at another rate are resampled to its rate.
        progress: Called with (done, total) after each utterance.
        notify: Told in one sentence how many utterances were resampled, if any were.

    Returns:
        (T, F) float32 tensors.

    Raises:
        AudioError: A file cannot be read, or is too short for a single frame; the message names it.
    """
    features, n_resampled = [], 0
    for done, utterance in enumerate(utterances, start=1):
        audio = read_audio(utterance.file, front_end.sample_rate)
        n_resampled += audio.resampled
        frames = torch.from_numpy(front_end(_part(utterance, audio)))
        if not len(frames):
            raise AudioError(f"{utterance.file}: is too short, give at least {front_end.frame_length} samples")
        features.append(frames.float())
        if progress is not None:
            progress(done, len(utterances))
    if n_resampled and notify is not None:
        notify(f"{n_resampled} of {len(utterances)} utterances resampled to {front_end.sample_rate} Hz")
    return features


def _part(utterance: Utterance, audio: Audio) -> NDArray[np.float32]:
    """The samples between the utterance's start and end."""
    sample_rate = audio.sample_rate
    start = round((utterance.start or 0.0) * sample_rate)
    end = None if utterance.end is None else round(utterance.end * sample_rate)
    if start >= len(audio.waveform):
        raise AudioError(f"{utterance.file}: lasts {audio.duration:g} s, but the part starts at {utterance.start:g} s")
    return audio.waveform[start:end]


def batches(dataset: FeatureDataset, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
    """Yields every utterance once, in batches of similar length.

    Args:
        dataset: The utterances.
        batch_size: Utterances per batch; the last ones may be fewer.
        generator: Shuffles the utterances and the batches; `None` keeps utterances sorted by length.
    """
    for indices in _bucketed(dataset, batch_size, generator):
        yield collate([(dataset.features[i], dataset.targets[i]) for i in indices])


def _bucketed(dataset: FeatureDataset, batch_size: int, generator: torch.Generator | None) -> list[list[int]]:
    """Indices of each batch: shuffled, then sorted by length inside buckets of a few batches."""
    count = len(dataset)
    order = list(range(count)) if generator is None else torch.randperm(count, generator=generator).tolist()
    bucket = count if generator is None else batch_size * BATCHES_PER_BUCKET
    groups = []
    for start in range(0, count, max(bucket, 1)):
        part = sorted(order[start : start + bucket], key=lambda index: len(dataset.features[index]))
        groups += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    if generator is None:
        return groups
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Pads (features, target) pairs into a batch."""
    features, targets = zip(*items, strict=True)
    return Batch(
        features=pad_sequence(list(features), batch_first=True),
        lengths=torch.tensor([len(x) for x in features]),
        targets=torch.stack(targets) if targets[0].dim() == 0 else pad_sequence(list(targets), batch_first=True),
        target_lengths=torch.tensor([target.numel() for target in targets]),
    )
