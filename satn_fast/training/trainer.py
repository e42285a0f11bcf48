"""One training run on PyTorch Lightning: one process or many, with checkpoints to take it up from."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader

from satn_fast.training.callbacks import KeepBest, Progress, Stopwatch, TellProgress, WeightAverage
from satn_fast.training.checkpoint import SafetensorsCheckpointIO
from satn_fast.training.dataset import Utterances
from satn_fast.training.loading import TrainingBatch, TrainingBatches, Versions, validation_loader
from satn_fast.training.options import Hardware
from satn_fast.training.task import EpochRecord, Task

ModelT = TypeVar("ModelT", bound=nn.Module)

CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class TrainingResult(Generic[ModelT]):
    """The best model on the validation utterances, and a record of every epoch.

    Attributes:
        model: In evaluation mode, on the CPU; with averaged weights, if there is an average.
        history: For each epoch (`TrainingOptions` says what one is) `epoch`, `loss` and the validation figures.
        best_epoch: The epoch that `model` is from; without validation the last one.
        throughput: `utterances_per_second` of this process, and the share of time in `data`, `forward`, `backward` and
            `optimizer`.
    """

    model: ModelT
    history: list[EpochRecord]
    best_epoch: int
    throughput: dict[str, float] = field(default_factory=dict)


def fit(
    task: Task,
    model: ModelT,
    training: Versions,
    validation: Utterances | None,
    *,
    hardware: Hardware | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainingResult[ModelT]:
    """Trains a task's model and keeps its best epoch.

    Args:
        task: What to train.
        model: The task's model.
        training: The training utterances.
        validation: Choose the epoch; `None` keeps the last.
        hardware: On what; `None` takes one device, a GPU where there is one.
        folder: Where a checkpoint is kept after every epoch, and logs (CSV, and TensorBoard where that is installed).
            A checkpoint that is there already is taken up: the numbers are those of a run that was never interrupted.
        progress: Told after every step.

    Returns:
        The model with the weights of its best epoch, on every process.

    Raises:
        CheckpointError: The checkpoint in `folder` is damaged.
        FloatingPointError: The loss is not finite; the message says when.
        KeyboardInterrupt: Somebody stopped it.
    """
    hardware, options = hardware or Hardware(), task.options
    average = WeightAverage(options.weight_average) if options.weight_average else None
    kept, stopwatch = KeepBest(options.patience, average), Stopwatch()
    callbacks: list[Callback] = [stopwatch, kept] if average is None else [stopwatch, average, kept]
    if progress is not None:
        callbacks.append(TellProgress(progress, kept))
    checkpoint = None if folder is None else folder / CHECKPOINT
    if checkpoint is not None:
        callbacks.append(_every_epoch(checkpoint))
    task.validates = validation is not None
    several = hardware.devices * hardware.nodes > 1
    with _undisturbed():
        trainer = Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy="ddp" if several else "auto",
            # PyTorch has it for GPUs alone.
            sync_batchnorm=several and hardware.accelerator != "cpu" and torch.cuda.is_available(),
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=options.n_epochs,
            gradient_clip_val=options.gradient_norm,
            callbacks=callbacks,
            logger=[] if folder is None else _loggers(folder),
            # Figures are logged when an epoch ends, nothing in between.
            log_every_n_steps=sys.maxsize,
            # Each epoch has a loader of its own, which knows its length.
            reload_dataloaders_every_n_epochs=1,
            plugins=[SafetensorsCheckpointIO()],
            enable_checkpointing=checkpoint is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(
                task,
                datamodule=_Batches(task, training, validation),
                ckpt_path=checkpoint if checkpoint is not None and checkpoint.exists() else None,
            )
        except SystemExit:  # how Lightning answers Ctrl-C
            raise KeyboardInterrupt from None
        finally:
            _let_go(trainer, task)
    model.load_state_dict(kept.weights)
    return TrainingResult(model.cpu().eval(), kept.history, kept.best_epoch, stopwatch.throughput())


class _Batches(LightningDataModule):
    """Gives the trainer the batches of each epoch, for this process."""

    def __init__(self, task: Task, training: Versions, validation: Utterances | None) -> None:
        super().__init__()
        self._task, self._training_data, self._validation = task, training, validation
        self._training: TrainingBatches | None = None

    def train_dataloader(self) -> DataLoader[TrainingBatch]:
        """The batches of the epoch that begins."""
        if self._training is None:
            task = self._task
            self._training = TrainingBatches(self._training_data, task.options, task.crop_frames, **self._place())
        assert self.trainer is not None
        return self._training.loader(self.trainer.current_epoch)

    def val_dataloader(self) -> DataLoader[TrainingBatch] | list[DataLoader[TrainingBatch]]:
        """Whole utterances; nothing where nobody validates."""
        if self._validation is None:
            return []
        return validation_loader(self._validation, self._task.options.batch_size, **self._place())

    def _place(self) -> dict[str, int]:
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}


def _let_go(trainer: Trainer, task: Task) -> None:
    """Ends what a training holds: Lightning's objects refer to each other, and would keep features for long."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.close()
    trainer.fit_loop._combined_loader = None
    task.trainer = None
    gc.collect()


def with_seed(seed: int, build: Callable[[], ModelT]) -> ModelT:
    """Builds a model whose initial weights depend on the seed alone; random numbers outside are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _every_epoch(checkpoint: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=checkpoint.parent,
        filename=checkpoint.stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _loggers(folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, name="", version="logs")]
    try:
        loggers.append(TensorBoardLogger(folder, name="", version="logs"))
    except ModuleNotFoundError:
        logging.getLogger(__name__).info("no TensorBoard logs: tensorboard is not installed")
    return loggers


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leaves the random numbers outside alone, and keeps Lightning from talking about itself."""
    devices = list(range(torch.cuda.device_count()))
    talk = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in talk]
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
        for logger in talk:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(talk, levels, strict=True):
                logger.setLevel(level)
