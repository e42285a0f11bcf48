"""From a dataset to the batches that one process trains on: which version of what, which part, how much it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from satn_fast.training.augmentation import DRAWS_OF_CROP, DRAWS_OF_VERSION, uniform, utterance_keys
from satn_fast.training.dataset import Batch, Crops, Utterances, by_length
from satn_fast.training.options import TrainingOptions
from satn_fast.training.sampler import LengthBuckets

# Full batches matter more to training than a little padding; utterances were sorted by length inside buckets anyway.
_MAX_PADDING = 0.5

Numbers: TypeAlias = NDArray[np.int64]


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

    batch: Batch | Crops
    keys: Tensor
    """(B,) int64, one for each utterance in this pass, for `SpecAugment.keyed`."""
    share: Share


@dataclass(frozen=True)
class Versions:
    """Utterances in several versions each, at other speeds for one: every pass draws one of each.

    Attributes:
        utterances: All utterances in the first version, then all in the second, and so on.
        count: Versions of each utterance.
        drawn: Versions to draw from, numbers below `count`; `None` draws from all.
        chosen: Which utterances to train on, whatever their version, as numbers below `len(utterances) // count`;
            `None` takes all. What is drawn of an utterance depends on its number, not on who else is chosen.

    Raises:
        ValueError: The number of utterances is no multiple of `count`, or a number is out of range.

    Example:
        >>> from satn_fast.training import FeatureDataset
        >>> slow, fast = torch.zeros(9, 6), torch.zeros(6, 6)
        >>> data = FeatureDataset([slow, slow, fast, fast], [torch.tensor(0), torch.tensor(1)] * 2)
        >>> [len(x) for x in Versions(data, 2, chosen=[1]).features]
        [9, 6]
    """

    utterances: Utterances
    count: int = 1
    drawn: Sequence[int] | None = None
    chosen: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or len(self.utterances) % self.count:
            raise ValueError(f"{len(self.utterances)} utterances are not {self.count} versions of equally many")
        for name, numbers, limit in (("drawn", self.drawn, self.count), ("chosen", self.chosen, self.size)):
            if numbers is not None and not all(0 <= number < limit for number in numbers):
                raise ValueError(f"{name} reaches from {min(numbers)} to {max(numbers)}, there are {limit}")

    @property
    def size(self) -> int:
        """Utterances of the dataset, whatever their versions."""
        return len(self.utterances) // self.count

    @property
    def numbers(self) -> Numbers:
        """(N,) which utterances there are to train on."""
        return np.arange(self.size) if self.chosen is None else np.asarray(self.chosen, dtype=np.int64)

    @property
    def versions(self) -> Numbers:
        """Versions to draw from."""
        return np.arange(self.count) if self.drawn is None else np.asarray(self.drawn, dtype=np.int64)

    @property
    def features(self) -> list[Tensor]:
        """(T, F) of what there is to train on, in every version: views, where the dataset gives views."""
        features = self.utterances.features
        return [features[row] for row in self._rows()]

    @property
    def lengths(self) -> list[int]:
        """Frames of what there is to train on, in every version."""
        lengths = self.utterances.lengths
        return [lengths[row] for row in self._rows()]

    @property
    def targets(self) -> list[Tensor]:
        """The target of each utterance to train on."""
        return [self.utterances.targets[number] for number in self.numbers.tolist()]

    @property
    def targets_of_features(self) -> list[Tensor]:
        """The target of each of `features`."""
        return self.targets * len(np.unique(self.versions))

    def _rows(self) -> list[int]:
        versions = np.unique(self.versions)
        rows: list[int] = (versions[:, None] * self.size + self.numbers[None]).reshape(-1).tolist()
        return rows

    def __len__(self) -> int:
        """Utterances to train on, whatever their versions."""
        return self.size if self.chosen is None else len(self.chosen)


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

    rows: Tensor
    """Of the dataset, versions included."""
    keys: Tensor
    starts: Tensor | None
    """The first frame of each crop; `None` for whole utterances."""
    share: Share


class TrainingBatches:
    """What one process trains on, epoch after epoch.

    An epoch depends on the options and its number alone. See `TrainingOptions` for what an epoch is. A pass is cut into
    batches that are equally large, but for one utterance, if crops are taken, else into batches of similar length.

    Args:
        data: The utterances.
        options: Length, batch size and seed; resolved.
        crop_frames: Frames of every crop; `None` takes whole utterances.
        rank: Which process.
        world_size: Of how many. All together see every utterance of a pass once.

    Raises:
        ValueError: An utterance is empty.
    """

    def __init__(
        self,
        data: Versions,
        options: TrainingOptions,
        crop_frames: int | None = None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._data, self._options, self._crop_frames = data, options, crop_frames
        self._rank, self._world_size = rank, world_size
        self._numbers, self._versions = data.numbers, data.versions
        self._lengths = np.asarray(data.utterances.lengths, np.int64)
        if (self._lengths < 1).any():
            raise ValueError("an utterance has no frame; leave out empty utterances")
        self._passes = _Passes(self._cut_whole if crop_frames is None else self._cut_evenly)

    def loader(self, epoch: int) -> DataLoader[TrainingBatch]:
        """The batches of an epoch, counted from 0."""
        if self._options.epochs is not None:
            batches = self._passes.of(epoch)
        else:
            batches = self._passes.between(self._options.steps_before(epoch), self._options.steps_before(epoch + 1))
        return _loader(self._data.utterances, self._parts(batches), self._crop_frames)

    def _parts(self, batches: Sequence[tuple[int, Numbers]]) -> list[_Part]:
        """This process's part of each batch; what is drawn, is drawn for all of them at once."""
        sizes = [len(batch) for _, batch in batches]
        numbers = np.concatenate([batch for _, batch in batches])
        passes = torch.tensor([number for number, _ in batches]).repeat_interleave(torch.tensor(sizes))
        keys = self._keys(numbers, passes)
        rows = torch.from_numpy(self._rows(numbers, keys))
        lengths = torch.from_numpy(self._lengths)[rows]
        starts = torch.zeros_like(rows) if self._crop_frames is None else crop_starts(keys, lengths, self._crop_frames)
        whole = zip(*(torch.split(x, sizes) for x in (rows, keys, starts, lengths)), strict=True)
        return [self._part(*batch) for batch in whole]

    def _cut_evenly(self, number: int) -> list[Numbers]:
        order = np.random.default_rng((self._options.seed, number)).permutation(self._numbers)
        count = -(-len(order) // self._options.batch_size)
        if self._options.batch_size > 1:
            count = max(1, min(count, len(order) // 2))  # nobody alone: batch normalisation needs two
        return np.array_split(order, count)

    def _cut_whole(self, number: int) -> list[Numbers]:
        lengths = self._lengths[self._rows(self._numbers, self._keys(self._numbers, number))].tolist()
        batch_size = self._options.batch_size
        buckets = LengthBuckets(lengths, batch_size, max_padding=_MAX_PADDING, seed=self._options.seed)
        buckets.set_epoch(number)
        return [self._numbers[batch] for batch in (_in_company(list(buckets)) if batch_size > 1 else buckets)]

    def _keys(self, numbers: Numbers, passes: int | Tensor) -> Tensor:
        return utterance_keys(torch.from_numpy(numbers), passes, self._options.seed)

    def _rows(self, numbers: Numbers, keys: Tensor) -> Numbers:
        """Of the dataset, in the versions that are drawn."""
        drawn = _below(keys, DRAWS_OF_VERSION, torch.tensor(len(self._versions))).numpy()
        rows: Numbers = self._versions[drawn] * self._data.size + numbers
        return rows

    def _part(self, rows: Tensor, keys: Tensor, starts: Tensor, lengths: Tensor) -> _Part:
        mine = slice(self._rank, None, self._world_size)
        share = Share()
        if self._world_size > 1:
            utterances = len(rows[mine]) * self._world_size / len(rows)
            frames = int(lengths[mine].sum()) * self._world_size / int(lengths.sum())
            share = Share(utterances, frames if self._crop_frames is None else utterances)
        if not len(rows[mine]):
            # Every process takes every step; one without an utterance takes somebody's, and counts it as nothing.
            mine = slice(0, 1)
        return _Part(rows[mine], keys[mine], None if self._crop_frames is None else starts[mine], share)


class _Passes:
    """Batches of an endless sequence of passes.

    Args:
        cut: Gives the batches of a pass by its number.
    """

    def __init__(self, cut: Callable[[int], Sequence[Numbers]]) -> None:
        self._cut = cut
        self._number, self._before = 0, 0  # where `between` was last: the pass, and steps before it

    def of(self, number: int) -> list[tuple[int, Numbers]]:
        """The batches of one pass, each with the pass's number."""
        return [(number, batch) for batch in self._cut(number)]

    def between(self, first: int, last: int) -> list[tuple[int, Numbers]]:
        """The steps from `first` to before `last`: batches with the numbers of their passes."""
        if first < self._before:
            self._number, self._before = 0, 0
        found: list[tuple[int, Numbers]] = []
        while True:
            batches = self.of(self._number)
            after = self._before + len(batches)
            found += batches[max(0, first - self._before) : max(0, last - self._before)]
            if after >= last:
                return found
            self._number, self._before = self._number + 1, after


def crop_starts(keys: Tensor, lengths: Tensor, n_frames: int) -> Tensor:
    """(B,) the first frame of each crop: anywhere where the crop fits, and anywhere at all in a shorter utterance.

    Args:
        keys: (B,) from `utterance_keys`.
        lengths: (B,) frames of each utterance.
        n_frames: Frames of a crop.
    """
    places = torch.where(lengths >= n_frames, lengths - n_frames + 1, lengths)
    return _below(keys, DRAWS_OF_CROP, places)


def _below(keys: Tensor, index: int, limits: Tensor) -> Tensor:
    """(B,) int64, drawn uniformly from the whole numbers below each limit."""
    return (uniform(keys, index, 1)[:, 0].double() * limits).long()


def _in_company(batches: list[list[int]]) -> list[list[int]]:
    """Joins batches of a single utterance to the one before, or after: batch normalisation needs two."""
    found: list[list[int]] = []
    for batch in batches:
        if found and (len(batch) == 1 or len(found[-1]) == 1):
            found[-1] = [*found[-1], *batch]
        else:
            found.append(batch)
    return found


class _Loaded(Dataset[TrainingBatch]):
    """The dataset, asked for whole parts."""

    def __init__(self, utterances: Utterances, crop_frames: int | None) -> None:
        self._utterances, self._crop_frames = utterances, crop_frames

    def __getitems__(self, part: Any) -> TrainingBatch:
        if part.starts is None or self._crop_frames is None:
            return TrainingBatch(self._utterances.batch(part.rows.tolist()), part.keys, part.share)
        return TrainingBatch(self._utterances.crops(part.rows, part.starts, self._crop_frames), part.keys, part.share)


def validation_loader(
    utterances: Utterances, batch_size: int, *, rank: int = 0, world_size: int = 1
) -> DataLoader[TrainingBatch]:
    """Batches from the shortest utterances to the longest, the part of one process.

    All processes together have every utterance once, with shares of 1; shares of 0 are nobody's, and only there because
    every process needs a batch.
    """
    indices = range(len(utterances))[rank::world_size]
    share = Share() if indices else Share(0.0, 0.0)
    batches = by_length(utterances.lengths, indices or range(1), batch_size)
    rows = [torch.tensor(batch) for batch in batches]
    return _loader(utterances, [_Part(batch, torch.zeros_like(batch), None, share) for batch in rows], None)


def _loader(utterances: Utterances, parts: Any, crop_frames: int | None) -> DataLoader[TrainingBatch]:
    return DataLoader(_Loaded(utterances, crop_frames), batch_sampler=parts, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch
