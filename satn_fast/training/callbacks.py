"""What training remembers and tells: every epoch's figures, the best weights, and where its time went."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from satn_fast.training.loading import TrainingBatch
from satn_fast.training.task import EpochRecord, Task

Progress: TypeAlias = Callable[[int, int, EpochRecord | None], None]
"""Told (steps done, steps in all, the record of the epoch before), after every step."""

_STAGES = ("data", "forward", "backward", "optimizer")


class KeepBest(Callback):
    """Remembers all figures, and the weights of the best epoch; stops when nothing got better for long.

    Both are part of the checkpoint, so that a run that is taken up knows them. Without validation the last epoch is
    the best.

    Args:
        patience: Epochs without a better one after which training stops; `None` never stops early.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.history: list[EpochRecord] = []
        self.best_epoch = 0
        self.weights: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the epoch with the best so far."""
        task = cast("Task", pl_module)
        self.history.append(task.finish_epoch())
        if self._is_best(task):
            self.best_epoch = len(self.history)
            self.weights = copy.deepcopy(task.model.state_dict())
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
        options = cast("Task", pl_module).options
        steps = int(trainer.num_training_batches)
        done = trainer.current_epoch * steps + trainer.fit_loop.batch_idx + 1
        self._progress(done, options.epochs * steps, self._kept.history[-1] if self._kept.history else None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's figures are known."""
        steps, epochs = int(trainer.num_training_batches), cast("Task", pl_module).options.epochs
        self._progress((trainer.current_epoch + 1) * steps, epochs * steps, self._kept.history[-1])


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
