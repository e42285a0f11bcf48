"""Batches of utterances of similar length, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

# Batches whose utterances are sorted by length together. More waste less padding, fewer mix batches better.
BATCHES_PER_BUCKET = 8


class LengthBuckets(Sampler[list[int]]):
    """Lists of indices, one per batch: every utterance once per epoch, and little padding.

    Utterances are shuffled, sorted by length inside buckets of a few batches, and cut into batches; a batch ends early
    where another utterance would make more of it padding than is allowed. Serves as `batch_sampler` of PyTorch's
    `DataLoader`, too: call `set_epoch` before each pass.

    Args:
        lengths: Frames of every utterance, at least 1 each.
        batch_size: Most utterances in a batch.
        max_padding: Most padded frames in a batch, as a share of its frames. Small values make small batches.
        seed: Decides the order, together with the epoch.

    Raises:
        ValueError: There is an empty utterance, `batch_size` is not positive, or `max_padding` is outside [0, 1).

    Example:
        >>> buckets = LengthBuckets([100, 210, 105, 200], batch_size=2, max_padding=0.1)
        >>> sorted(sorted(batch) for batch in buckets)
        [[0, 2], [1, 3]]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, max_padding: float = 0.2, seed: int = 0) -> None:
        self._lengths = np.asarray(lengths, np.int64)
        if self._lengths.ndim != 1 or (self._lengths < 1).any():
            raise ValueError("lengths must be frames of each utterance, at least 1; leave out empty utterances")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
        if not 0 <= max_padding < 1:
            raise ValueError(f"max_padding is {max_padding}, but must be at least 0 and below 1")
        self.batch_size = batch_size
        self.max_padding = max_padding
        self.seed = seed
        self._epoch = 0
        self._batches: list[list[int]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, None

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._current())

    def __len__(self) -> int:
        """Batches of this epoch; epochs may differ by a few."""
        return len(self._current())

    def _current(self) -> list[list[int]]:
        if self._batches is None:
            self._batches = self._cut()
        return self._batches

    def _cut(self) -> list[list[int]]:
        generator = np.random.default_rng((self.seed, self._epoch))
        order = generator.permutation(len(self._lengths))
        bucket = self.batch_size * BATCHES_PER_BUCKET
        found: list[list[int]] = []
        for start in range(0, len(order), bucket):
            part = order[start : start + bucket]
            found += self._cut_bucket(part[np.argsort(self._lengths[part], kind="stable")])
        return [found[i] for i in generator.permutation(len(found))]

    def _cut_bucket(self, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[list[int]]:
        """Batches of utterances that come sorted by length."""
        found: list[list[int]] = []
        frames = 0
        for index, length in zip(indices.tolist(), self._lengths[indices].tolist(), strict=True):
            count = len(found[-1]) + 1 if found else 0
            fits = 1 < count <= self.batch_size and frames + length >= (1 - self.max_padding) * count * length
            if fits:
                found[-1].append(index)
                frames += length
            else:
                found.append([index])
                frames = length
        return found
