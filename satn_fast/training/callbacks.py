"""What training remembers and tells: the average of its weights, every epoch's figures, the best, where time went."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from satn_fast.training.loading import TrainingBatch
from satn_fast.training.options import TrainingOptions
from satn_fast.training.task import EpochRecord, Task

Progress: TypeAlias = Callable[[int, int, EpochRecord | None], None]
"""Told (steps done, steps in all, the record of the epoch before), after every step."""

_STAGES = ("data", "forward", "backward", "optimizer")


class WeightAverage(Callback):
    """The exponential moving average of a model's weights and statistics, which validation and the result use.

    It is part of the checkpoint. After step `n`, counted from 0, it keeps `min(decay, (1 + n) / (10 + n))` of itself:
    what was drawn at the start is soon forgotten. Counters (integers) are those of the model.

    Args:
        decay: The share that the average keeps of itself in a step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._averages: dict[str, Tensor] = {}
        self._followed: dict[str, Tensor] = {}
        self._aside: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The weights are where they stay."""
        state = cast("Task", pl_module).model.state_dict()
        self._followed = {name: value for name, value in state.items() if value.is_floating_point()}
        begun = self._averages or self._followed
        self._averages = {name: begun[name].to(value.device).clone() for name, value in self._followed.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Moves towards the new weights."""
        step = trainer.global_step - 1
        kept = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self._averages.values()], [*self._followed.values()], 1.0 - kept)

    @torch.no_grad()
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average in the place of the weights, which are set aside."""
        self._aside = [value.clone() for value in self._followed.values()]
        torch._foreach_copy_([*self._followed.values()], [*self._averages.values()])

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Brings the weights back."""
        torch._foreach_copy_([*self._followed.values()], self._aside)
        self._aside = []

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"averages": self._averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._averages = state_dict["averages"]

    def weights(self) -> dict[str, Tensor]:
        """The averages by their names in the model's `state_dict`."""
        return self._averages


class KeepBest(Callback):
    """Remembers all figures, and the weights of the best epoch; stops when nothing got better for long.

    Both are part of the checkpoint, so that a run that is taken up knows them. Without validation the last epoch is
    the best.

    Args:
        patience: Epochs without a better one after which training stops; `None` never stops early.
        average: Whose weights to keep; `None` keeps the model's own.
    """

    def __init__(self, patience: int | None = None, average: WeightAverage | None = None) -> None:
        self.patience = patience
        self.history: list[EpochRecord] = []
        self.best_epoch = 0
        self.weights: dict[str, Tensor] = {}
        self._average = average

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the epoch with the best so far."""
        task = cast("Task", pl_module)
        self.history.append(task.finish_epoch())
        if self._is_best(task):
            self.best_epoch = len(self.history)
            averages = {} if self._average is None else self._average.weights()
            self.weights = {name: value.clone() for name, value in (task.model.state_dict() | averages).items()}
        if self.patience is not None and len(self.history) - self.best_epoch >= self.patience:
            trainer.should_stop = True

    def _is_best(self, task: Task) -> bool:
        if not self.best_epoch or not task.validates:
            return True
        return task.merit(self.history[-1]) > task.merit(self.history[self.best_epoch - 1])

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"history": self.history, "best_epoch": self.best_epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.history, self.best_epoch = state_dict["history"], state_dict["best_epoch"]
        self.weights = state_dict["weights"]


class TellProgress(Callback):
    """Passes on how far training is.

    Args:
        progress: Told after every step.
        kept: Knows the figures.
    """

    def __init__(self, progress: Progress, kept: KeepBest) -> None:
        self._progress, self._kept = progress, kept

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """One step more."""
        self._tell(trainer, cast("Task", pl_module).options)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's figures are known."""
        self._tell(trainer, cast("Task", pl_module).options)

    def _tell(self, trainer: Trainer, options: TrainingOptions) -> None:
        steps = options.n_epochs * int(trainer.num_training_batches) if options.steps is None else options.steps
        self._progress(trainer.global_step, steps, self._kept.history[-1] if self._kept.history else None)


class Stopwatch(Callback):
    """Measures how many utterances are trained on per second, and which share of the time goes where.

    On a GPU, work is only handed over while the clock runs: there the shares say what the host waits for, and the
    rates alone are those of training.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(_STAGES, 0.0)
        self._utterances = 0
        self._last: float | None = None

    def throughput(self) -> dict[str, float]:
        """Utterances per second of this process, and the share of time in each stage; validation is not counted."""
        total = sum(self._seconds.values())
        if not total:
            return {}
        shares = {stage: seconds / total for stage, seconds in self._seconds.items()}
        return {"utterances_per_second": self._utterances / total} | shares

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first batch is being loaded."""
        self._last = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        self._stop("data")
        loaded = cast("TrainingBatch", batch)
        self._utterances += len(loaded.keys)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """The loss is there."""
        self._stop("forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The gradients are there."""
        self._stop("backward")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The weights are new."""
        self._stop("optimizer")

    def _stop(self, stage: str) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self._seconds[stage] += now - self._last
        self._last = now
