"""What every task has in common: augmentation, the optimizer and its schedule, figures over all processes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from satn_fast.config import SATNConfig
from satn_fast.reference import Encoded
from satn_fast.training.dataset import Batch, Crops
from satn_fast.training.loading import Share, TrainingBatch
from satn_fast.training.options import TrainingOptions

EpochRecord = dict[str, float]
"""What is known of an epoch: its number from 1, its mean `loss`, and the validation figures."""

# The share of all steps in which the learning rate rises.
WARM_UP = 0.15


class Task(LightningModule):
    """A model with its loss and its validation figures.

    Subclasses say what the loss of a batch is, what to count in validation, and what figures follow from the counts.
    Means in a loss are multiplied by their `Share`, so that the gradient over several processes is that of the whole
    batch.

    Args:
        model: What is trained.
        options: How; resolved, so that the number of epochs is known.
        crop_frames: Frames of the crops that it is trained on; `None` for whole utterances.
    """

    def __init__(self, model: nn.Module, options: TrainingOptions, crop_frames: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.crop_frames = crop_frames
        self.validates = False
        self._counts: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._figures: EpochRecord = {}
        self._groups: list[tuple[Sequence[nn.Parameter], float, int]] = []

    @abstractmethod
    def loss(self, features: Tensor, batch: Batch | Crops, share: Share) -> Tensor:
        """The loss of one process's part of a batch.

        Args:
            features: (B, T, F) augmented ones.
            batch: The batch, with the features as they were.
            share: For means over utterances and over frames.
        """

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """What validation adds up over batches and processes: numbers of any shape."""

    @abstractmethod
    def figures(self, counts: Tensor) -> EpochRecord:
        """Validation figures from what was added up."""

    @abstractmethod
    def merit(self, record: EpochRecord) -> tuple[float, ...]:
        """The epoch with the greatest of these is the best."""

    def parameter_groups(self) -> list[tuple[Sequence[nn.Parameter], float, int]]:
        """Parameters, the factor of their learning rate, and for how many epochs they are frozen."""
        return [(list(self.model.parameters()), 1.0, 0)]

    def training_step(self, loaded: TrainingBatch) -> Tensor:
        """The loss of a batch."""
        batch = loaded.batch
        features = batch.features
        for augmentation in self.options.augmentation:
            features = augmentation.keyed(features, batch.lengths, loaded.keys, batch.targets)
        loss = self.loss(features, batch, loaded.share)
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, loaded: TrainingBatch) -> None:
        """Adds up what the figures need."""
        assert isinstance(loaded.batch, Batch), "validation is on whole utterances"
        if loaded.share.utterances:
            self._counts.append(self.count(loaded.batch))
        else:
            self._counts.append(torch.zeros_like(self.count(loaded.batch)))

    def on_validation_epoch_end(self) -> None:
        """Computes the figures from the counts of all processes, which are the same on each."""
        self._figures = self.figures(self.trainer.strategy.reduce(torch.stack(self._counts).sum(0), reduce_op="sum"))
        self._counts.clear()

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:
        """Sets the learning rates of this step, and makes its random numbers depend on nothing that came before.

        So a run can be taken up at any epoch.
        """
        _set_seed(_seed(self.options.seed, self.current_epoch, batch_idx, self.global_rank))
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        epochs = (self.current_epoch + batch_idx / self._steps_of_epoch()) / self.options.n_epochs
        rate = self.options.learning_rate * _warm_up_and_cosine(epochs)
        for group, (_, factor, frozen_epochs) in zip(optimizer.param_groups, self._groups, strict=True):
            group["lr"] = 0.0 if self.current_epoch < frozen_epochs else rate * factor

    def on_after_backward(self) -> None:
        """Frozen parameters have no gradient: they take no part in clipping, and gather no momentum."""
        for parameters, _, frozen_epochs in self._groups:
            if self.current_epoch < frozen_epochs:
                for parameter in parameters:
                    parameter.grad = None

    def finish_epoch(self) -> EpochRecord:
        """The figures of the epoch that ends, which are logged, too.

        Raises:
            FloatingPointError: The mean loss is not finite.
        """
        # The mean over steps, each of which is a mean over processes.
        loss = float(self.trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        self._losses.clear()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {self.current_epoch + 1}; lower the learning rate, or look for features "
                "that are not finite"
            )
        record = {"epoch": self.current_epoch + 1.0, "loss": loss} | self._figures
        for name, value in record.items():
            if name != "epoch":
                self.log(name, value)
        return record

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the schedule sets its rates at every step."""
        self._groups = self.parameter_groups()
        groups = [{"params": parameters} for parameters, _, _ in self._groups]
        # With mixed precision, Lightning clips gradients before a step that is not fused.
        fused = self.trainer.precision == "32-true"
        options = self.options
        return torch.optim.AdamW(groups, options.learning_rate, weight_decay=options.weight_decay, fused=fused)

    def _steps_of_epoch(self) -> int:
        return int(self.trainer.num_training_batches)


def mean_activity(encoded: Encoded, lengths: Tensor | None) -> Tensor:
    """Mean square of the TCN's output over the real frames."""
    squares = encoded.convolved.square()
    if lengths is None:
        return squares.mean()
    return squares.sum() / (lengths.sum().clamp(min=1) * squares.shape[-1])


def crop_frames(config: SATNConfig, options: TrainingOptions, lengths: Sequence[int]) -> int | None:
    """Frames of a crop, by the front end's hop; `None` where utterances are whole.

    Where most utterances are shorter, the middle one's length: the rest of a crop is repetition, which is never heard
    when utterances are judged.

    Args:
        config: Of the model.
        options: With `crop_seconds`.
        lengths: Frames of the training utterances.

    Raises:
        ValueError: A crop would be shorter than a frame.
    """
    if not options.crop_seconds:
        return None
    hop = config.hop_seconds
    frames = round(options.crop_seconds / hop)
    if not frames:
        raise ValueError(f"crop_seconds is {options.crop_seconds}, frames come every {hop} s; give more, or 0 for none")
    return min(frames, max(1, round(median(lengths))))


def _seed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _set_seed(seed: int) -> None:
    """What `torch.manual_seed` does, without its looks at the stack where no GPU is in use: they took 2 ms a step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def _warm_up_and_cosine(progress: float) -> float:
    """Factor of the highest learning rate after that share of all steps."""
    if progress < WARM_UP:
        # Not from zero, with which the first step would do nothing.
        return 0.04 + 0.96 * progress / WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))
