"""From a dataset to the batches that one process trains on: which version of what, and how much it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from satn_fast.training.augmentation import utterance_keys
from satn_fast.training.dataset import Batch, Utterances, by_length
from satn_fast.training.sampler import LengthBuckets

# Full batches matter more to training than a little padding; utterances were sorted by length inside buckets anyway.
_MAX_PADDING = 0.5


class Share(NamedTuple):
    """What a loss over a batch is multiplied by, so that the mean over all processes is that of the whole batch.

    Both are 1 with one process, and 0 for a process that has nothing to do in a step but to keep the others company.
    """

    utterances: float = 1.0
    """For means over utterances."""
    frames: float = 1.0
    """For means over frames."""


class TrainingBatch(NamedTuple):
    """A batch, and what training needs to know beside it."""

    batch: Batch
    keys: Tensor
    """(B,) int64, one for each utterance in this epoch, for `SpecAugment.keyed`."""
    share: Share


@dataclass(frozen=True)
class Versions:
    """Utterances in several versions each, at other speeds for one: every epoch draws one of each.

    Attributes:
        utterances: All utterances in the first version, then all in the second, and so on.
        count: Versions of each utterance.

    Raises:
        ValueError: The number of utterances is no multiple of `count`.
    """

    utterances: Utterances
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or len(self.utterances) % self.count:
            raise ValueError(f"{len(self.utterances)} utterances are not {self.count} versions of equally many")

    def __len__(self) -> int:
        """Utterances, whatever their versions."""
        return len(self.utterances) // self.count


def as_versions(training: Utterances | Versions, validation: Utterances | None) -> Versions:
    """The training utterances as versions, of which there may be one.

    Raises:
        ValueError: There are no utterances to train on, or none to validate on.
    """
    versions = training if isinstance(training, Versions) else Versions(training)
    if not len(versions) or (validation is not None and not len(validation)):
        raise ValueError("training and validation need at least one utterance each")
    return versions


class _Part(NamedTuple):
    """What a loader is asked for: one process's part of a batch."""

    rows: list[int]
    """Of the dataset, versions included."""
    numbers: list[int]
    """Of the utterances, whatever their version."""
    epoch: int
    share: Share


class _Epoch(Sampler[_Part]):
    """The parts of one process, in an order that depends on seed and epoch alone."""

    def __init__(self, data: Versions, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        self.sampler = self  # where Lightning looks for set_epoch
        self.rank, self.world_size, self.batch_size, self.seed = rank, world_size, batch_size, seed
        self._lengths = np.asarray(data.utterances.lengths, np.int64).reshape(data.count, len(data))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draws versions and order of the next pass."""
        self.epoch = epoch
        count, size = self._lengths.shape
        version = np.random.default_rng((self.seed, epoch)).integers(count, size=size)
        self._rows = version * size + np.arange(size)
        lengths = self._lengths[version, np.arange(size)]
        buckets = LengthBuckets(lengths.tolist(), self.batch_size, max_padding=_MAX_PADDING, seed=self.seed)
        buckets.set_epoch(epoch)
        self._batches = list(buckets)

    def __iter__(self) -> Iterator[_Part]:
        for batch in self._batches:
            yield self._part(batch)

    def __len__(self) -> int:
        return len(self._batches)

    def _part(self, batch: list[int]) -> _Part:
        lengths = self._lengths.reshape(-1)[self._rows[batch]]
        mine = slice(self.rank, None, self.world_size)
        share = Share(
            len(batch[mine]) * self.world_size / len(batch),
            int(lengths[mine].sum()) * self.world_size / int(lengths.sum()),
        )
        # Every process takes every step; one without an utterance takes somebody's, and counts it as nothing.
        numbers = batch[mine] or batch[:1]
        return _Part(self._rows[numbers].tolist(), numbers, self.epoch, share)


class _Loaded(Dataset[TrainingBatch]):
    """The dataset, asked for whole parts."""

    def __init__(self, utterances: Utterances, seed: int) -> None:
        self._utterances = utterances
        self._seed = seed

    def __getitems__(self, part: Any) -> TrainingBatch:
        keys = utterance_keys(torch.tensor(part.numbers), part.epoch, self._seed)
        return TrainingBatch(self._utterances.batch(part.rows), keys, part.share)


def training_loader(
    data: Versions, batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1
) -> DataLoader[TrainingBatch]:
    """Shuffled batches of similar length, the part of one process.

    Lightning sets the epoch. All processes together see every utterance once per epoch.

    Args:
        data: The utterances.
        batch_size: Most utterances in a step, over all processes.
        seed: Decides order and versions, together with the epoch.
        rank: Which process.
        world_size: Of how many.
    """
    return _loader(data.utterances, _Epoch(data, batch_size, seed, rank, world_size), seed)


def validation_loader(
    utterances: Utterances, batch_size: int, *, rank: int = 0, world_size: int = 1
) -> DataLoader[TrainingBatch]:
    """Batches from the shortest utterances to the longest, the part of one process.

    All processes together have every utterance once, with shares of 1; shares of 0 are nobody's, and only there because
    every process needs a batch.
    """
    indices = range(len(utterances))[rank::world_size]
    share = Share() if indices else Share(0.0, 0.0)
    parts = [_Part(rows, rows, 0, share) for rows in by_length(utterances.lengths, indices or range(1), batch_size)]
    return _loader(utterances, parts, seed=0)


def _loader(utterances: Utterances, parts: Any, seed: int) -> DataLoader[TrainingBatch]:
    return DataLoader(_Loaded(utterances, seed), batch_sampler=parts, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch
