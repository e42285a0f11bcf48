"""Features computed in loader workers, from waveforms that are changed anew in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from satn_fast.data import Utterance
from satn_fast.frontend import LogMel
from satn_fast.training.cache import FeatureCache
from satn_fast.training.dataset import Batch, collate
from satn_fast.training.extraction import extract_features
from satn_fast.training.perturbation import Perturbation
from satn_fast.training.sampler import LengthBuckets


class PerturbedUtterances(Dataset[Batch]):
    """Utterances whose features the workers of a `DataLoader` compute, batch by batch.

    Each worker calls `LogMel.batch` on one thread. What an utterance becomes in an epoch does not depend on the number
    of workers.

    Args:
        utterances: What to read.
        targets: int64 for every utterance, as for `FeatureDataset`.
        front_end: The log-Mel front end.
        perturbation: Draws speed and gain of every utterance in every epoch.
        cache: Where features of the speeds are kept (those of another gain are not).

    Raises:
        ValueError: The numbers of utterances and targets differ.

    Example:
        >>> import tempfile, torch, numpy as np
        >>> from pathlib import Path
        >>> from satn_fast.audio import write_wav
        >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
        >>> write_wav(file, np.sin(np.arange(8000) / 5).astype(np.float32) / 2, 16000)
        >>> data = PerturbedUtterances(
        ...     [Utterance(file, "sad", "anna")] * 2, [torch.tensor(0)] * 2, LogMel(), Perturbation((1.0, 1.25), seed=6)
        ... )
        >>> for epoch in range(2):
        ...     for batch in data.loader(LengthBuckets([48, 48], batch_size=2), epoch):
        ...         print(sorted(batch.lengths.tolist()))
        [38, 48]
        [38, 48]
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        targets: Sequence[Tensor],
        front_end: LogMel,
        perturbation: Perturbation,
        cache: FeatureCache | None = None,
    ) -> None:
        if len(utterances) != len(targets):
            raise ValueError(f"targets has {len(targets)} entries, utterances has {len(utterances)}; give one each")
        self.utterances = utterances
        self.targets = targets
        self.front_end = front_end
        self.perturbation = perturbation
        self.cache = cache
        self.epoch = 0

    def loader(self, buckets: LengthBuckets, epoch: int, n_workers: int = 0, **options: Any) -> DataLoader[Batch]:
        """The batches of one epoch.

        Args:
            buckets: Which utterances go together; lengths without perturbation will do.
            epoch: Chooses the order and the perturbations.
            n_workers: Processes; 0 computes in this one.
            **options: Further ones of `torch.utils.data.DataLoader`; `persistent_workers` is of no use here, because
                every epoch has a loader of its own.
        """
        buckets.set_epoch(epoch)
        self.epoch = epoch
        return DataLoader(self, batch_sampler=buckets, num_workers=n_workers, collate_fn=_as_it_is, **options)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitems__(self, indices: list[int]) -> Batch:
        """One batch; an audio file that cannot be used raises `AudioError` with its name."""
        features = extract_features(
            [self.utterances[i] for i in indices],
            self.front_end,
            cache=self.cache,
            perturbation=self.perturbation,
            epoch=self.epoch,
            numbers=indices,
            n_threads=1,
        )
        return collate(list(zip(features, [self.targets[i] for i in indices], strict=True)))


def _as_it_is(batch: Any) -> Any:
    return batch
