"""What a dataset is, the one in memory, and batches: padded utterances of similar length, or crops of one length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Utterances(Protocol):
    """What training needs of a dataset: here in memory, or `ResidentFeatures` and `MappedFeatures`."""

    @property
    def features(self) -> Sequence[Tensor]:
        """(T, F) of every utterance, unpadded."""

    @property
    def targets(self) -> Sequence[Tensor]:
        """int64 of every utterance: a class index of shape (), or symbol indices of shape (S,)."""

    @property
    def lengths(self) -> Sequence[int]:
        """Frames of every utterance."""

    def batch(self, indices: Sequence[int]) -> "Batch":
        """Those utterances, in this order, padded to the longest of them."""

    def crops(self, indices: Tensor, starts: Tensor, n_frames: int) -> "Crops":
        """A stretch of each of those utterances: frame `t` of a crop is frame `(start + t) % length`."""

    def __len__(self) -> int: ...


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

    @property
    def lengths(self) -> list[int]:
        """Frames of every utterance."""
        return [len(features) for features in self.features]

    def batch(self, indices: Sequence[int]) -> "Batch":
        """Those utterances, in this order, padded to the longest of them."""
        return collate([(self.features[i], self.targets[i]) for i in indices])

    def crops(self, indices: Tensor, starts: Tensor, n_frames: int) -> "Crops":
        """A stretch of each of those utterances, see `ResidentFeatures.crops`."""
        rows, position = indices.tolist(), torch.arange(n_frames)
        cut = [
            self.features[row][(start + position) % len(self.features[row])]
            for row, start in zip(rows, starts, strict=True)
        ]
        targets = collate([(torch.zeros(1, 1), self.targets[row]) for row in rows])
        return Crops(torch.stack(cut), targets.targets, targets.target_lengths)

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


class Crops(NamedTuple):
    """Stretches of utterances, all of one length: nothing is padding."""

    features: Tensor
    """(B, T, F)."""
    targets: Tensor
    """(B,) class indices, or (B, S) symbol indices, of the whole utterance."""
    target_lengths: Tensor
    """(B,) symbols of each utterance; 1 for class indices."""

    @property
    def lengths(self) -> None:
        """As a model takes it: all frames are real."""
        return None


def batches(dataset: Utterances, batch_size: int) -> Iterator[Batch]:
    """Yields every utterance once, in batches of similar length: from the shortest to the longest.

    Args:
        dataset: The utterances.
        batch_size: Utterances per batch; the last one may have fewer.
    """
    for indices in by_length(dataset.lengths, range(len(dataset)), batch_size):
        yield dataset.batch(indices)


def by_length(lengths: Sequence[int], indices: Sequence[int], batch_size: int) -> list[list[int]]:
    """Those indices, sorted by length and cut into batches."""
    order = sorted(indices, key=lengths.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Pads (features, target) pairs into a batch."""
    features, targets = zip(*items, strict=True)
    return Batch(
        features=pad_sequence(list(features), batch_first=True),
        lengths=torch.tensor([len(x) for x in features]),
        targets=torch.stack(targets) if targets[0].dim() == 0 else pad_sequence(list(targets), batch_first=True),
        target_lengths=torch.tensor([target.numel() for target in targets]),
    )
