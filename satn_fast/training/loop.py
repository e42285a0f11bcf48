"""The loop that both tasks share: epochs over shuffled batches, and keeping the best model."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from satn_fast.reference import Encoded
from satn_fast.training.augmentation import SpecAugment
from satn_fast.training.dataset import Batch, Utterances, batches

ModelT = TypeVar("ModelT", bound=nn.Module)

EpochRecord = dict[str, float]
EpochProgress = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. The values are this project's choices.

    Attributes:
        epochs: Passes over the training utterances.
        batch_size: Utterances per step.
        learning_rate: Highest rate of AdamW, reached after a tenth of the steps, then falling to zero on a cosine.
        weight_decay: Of AdamW.
        gradient_norm: Gradients are scaled down to this norm.
        activity_penalty: Factor of the mean square of the TCN's output, added to the loss. Nothing else bounds that
            output, because the LayerNorm after attention hides its scale: without the penalty it grew to an r.m.s. of
            1600 in the demo's source task, attention saturated, and int8 files decided otherwise on 70 % of the
            utterances; phoneme errors after 20 epochs were 85 %. With it the r.m.s. stays near 1 and errors are 24 %
            after 10 (preset edge, synthetic corpus, one seed).
        augmentation: SpecAugment, or `None`.
        seed: Decides initial weights, order, dropout and augmentation. Equal seeds give equal numbers on the same
            machine with the same number of threads.
    """

    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    gradient_norm: float = 5.0
    activity_penalty: float = 1e-3
    augmentation: SpecAugment | None = field(default_factory=SpecAugment)
    seed: int = 0


@dataclass(frozen=True)
class TrainingResult(Generic[ModelT]):
    """The best model on the validation utterances, and a record of every epoch.

    Attributes:
        model: In evaluation mode.
        history: For each epoch `epoch`, `loss` and the validation figures.
        best_epoch: The epoch that `model` is from.
    """

    model: ModelT
    history: list[EpochRecord]
    best_epoch: int


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Fixes PyTorch's random numbers inside the block, leaves those outside alone, and gives a generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def mean_activity(encoded: Encoded, lengths: Tensor) -> Tensor:
    """Mean square of the TCN's output over the real frames."""
    n_values = lengths.sum().clamp(min=1) * encoded.convolved.shape[-1]
    return encoded.convolved.square().sum() / n_values


def fit(
    model: ModelT,
    training: Utterances,
    options: TrainingOptions,
    generator: torch.Generator,
    *,
    loss_of: Callable[[Batch], Tensor],
    validate: Callable[[], EpochRecord],
    better: Callable[[EpochRecord], tuple[float, ...]],
    before_epoch: Callable[[int], None] = lambda epoch: None,
    progress: EpochProgress | None = None,
) -> TrainingResult[ModelT]:
    """Trains `model` and keeps its best epoch.

    Args:
        model: Trained in place; in evaluation mode afterwards, with the weights of the best epoch.
        training: The training utterances.
        options: How to train.
        generator: Order and augmentation.
        loss_of: Gives the loss of a batch.
        validate: Gives validation figures, with the model in evaluation mode and without gradients.
        better: The epoch with the greatest of these is kept; the first of equals.
        before_epoch: Called with the epoch's number, from 1.
        progress: Called with the record of each finished epoch.

    Raises:
        FloatingPointError: The loss is not finite; the message says when.
    """
    steps = options.epochs * math.ceil(len(training) / options.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=max(steps, 2), pct_start=0.1, cycle_momentum=False
    )
    history: list[EpochRecord] = []
    best: tuple[tuple[float, ...], int, dict[str, Tensor]] | None = None
    for epoch in range(1, options.epochs + 1):
        before_epoch(epoch)
        model.train()
        losses = []
        for batch in batches(training, options.batch_size, generator):
            if options.augmentation is not None:
                augmented = options.augmentation(batch.features, batch.lengths, generator)
                batch = batch._replace(features=augmented)
            loss = loss_of(batch)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} in epoch {epoch}; lower the learning rate")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), options.gradient_norm)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        record = {"epoch": float(epoch), "loss": sum(losses) / len(losses)} | _validated(model, validate)
        history.append(record)
        if best is None or better(record) > best[0]:
            best = (better(record), epoch, copy.deepcopy(model.state_dict()))
        if progress is not None:
            progress(record)
    assert best is not None, "options.epochs is checked by the callers"
    model.load_state_dict(best[2])
    return TrainingResult(model.eval(), history, best[1])


@torch.no_grad()
def _validated(model: nn.Module, validate: Callable[[], EpochRecord]) -> EpochRecord:
    model.eval()
    return validate()
