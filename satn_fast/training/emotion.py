"""Emotion recognition, with or without attention transferred from a source model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from satn_fast.config import SATNConfig
from satn_fast.models import SATN
from satn_fast.training.augmentation import fitted
from satn_fast.training.callbacks import Progress
from satn_fast.training.dataset import Batch, Crops, Utterances
from satn_fast.training.loading import Share, Versions, as_versions
from satn_fast.training.options import Hardware, TrainingOptions, TransferOptions, check_at_least, check_choice
from satn_fast.training.quantization import fake_quantized
from satn_fast.training.settings import EmotionSettings
from satn_fast.training.task import EpochRecord, Task, crop_frames, mean_activity
from satn_fast.training.trainer import TrainingResult, fit, with_seed
from satn_fast.training.transfer import (
    Source,
    check_source,
    initialise,
    initialised_parameters,
    map_loss,
    share_of_maps,
)

CLASS_WEIGHTS = ("balanced", "none")


class EmotionTask(Task):
    """Cross-entropy with label smoothing, the activity penalty, and the map loss where maps are compared.

    Args:
        model: The student.
        options: How to train.
        label_smoothing: Share of the probability given to the other labels.
        source: Where attention is transferred from.
        transfer: How.
        quantization_aware: In so many epochs at the end, the model computes with the rounding of its int8 files.
        class_weights: (n_labels,) factor of the cross-entropy of each label's utterances; `None` for 1.
        crop_frames: See `Task`.
    """

    model: SATN
    class_weights: Tensor | None

    def __init__(
        self,
        model: SATN,
        options: TrainingOptions,
        label_smoothing: float,
        source: Source | None,
        transfer: TransferOptions,
        quantization_aware: int = 0,
        *,
        class_weights: Tensor | None = None,
        crop_frames: int | None = None,
    ) -> None:
        super().__init__(model, options, crop_frames)
        self._label_smoothing = label_smoothing
        self._first_rounded_epoch = options.n_epochs - quantization_aware
        # No part of the checkpoint: they follow from the data.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._transfer = transfer
        # In a list, because it is no part of what is trained or saved.
        self._sources = [source] if source is not None and transfer.compares_maps else []

    def loss(self, features: Tensor, batch: Batch | Crops, share: Share) -> Tensor:
        """See `Task.loss`."""
        with self._arithmetic():
            student = self.model.encoder(features, batch.lengths)
            logits = self.model.classify(student, batch.lengths).logits
        summed = F.cross_entropy(
            logits, batch.targets, self.class_weights, label_smoothing=self._label_smoothing, reduction="sum"
        )
        # Not over the weights of this batch: the mean over all batches, and processes, is that of the whole.
        loss = share.utterances * summed / len(logits)
        loss = loss + share.frames * self.options.activity_penalty * mean_activity(student, batch.lengths)
        for source in self._sources:
            weight = self._transfer.map_weight_at(self.current_epoch / self.options.n_epochs)
            distance = map_loss(student, source, features, batch, self._transfer)
            loss = loss + share_of_maps(share, self._transfer) * weight * distance
        return loss

    def count(self, batch: Batch) -> Tensor:
        """(L + 1, L) decisions for every label, and in the last row the summed cross-entropy."""
        with self._arithmetic():
            logits = self.model(batch.features, batch.lengths).logits.float()
        n_labels = logits.shape[1]
        cells = batch.targets * n_labels + logits.argmax(-1)
        counts = torch.zeros(n_labels + 1, n_labels, dtype=torch.float64, device=logits.device)
        counts[:-1] = torch.bincount(cells, minlength=n_labels**2).view(n_labels, n_labels)
        counts[-1, 0] = F.cross_entropy(logits, batch.targets, reduction="sum")
        return counts

    def figures(self, counts: Tensor) -> EpochRecord:
        """`ua` and `validation_loss`."""
        confusion = counts[:-1].cpu()
        spoken = confusion.sum(1)
        recalls = (confusion.diagonal() / spoken)[spoken > 0]
        return {"ua": float(recalls.mean()), "validation_loss": float(counts[-1, 0].cpu() / spoken.sum())}

    def merit(self, record: EpochRecord) -> tuple[float, ...]:
        """The best UA, of equal ones that with the lowest loss; epochs that rounded come before all that did not."""
        return float(record["epoch"] > self._first_rounded_epoch), record["ua"], -record["validation_loss"]

    def parameter_groups(self) -> list[tuple[Sequence[nn.Parameter], float, int]]:
        """What starts from the source apart from the rest."""
        started = initialised_parameters(self.model, self._transfer)
        if not started:
            return super().parameter_groups()
        theirs = {id(parameter) for parameter in started}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in theirs]
        transfer = self._transfer
        return [(started, transfer.learning_rate_factor, transfer.frozen_epochs), (others, 1.0, 0)]

    def _arithmetic(self) -> AbstractContextManager[None]:
        return fake_quantized(self.model) if self.current_epoch >= self._first_rounded_epoch else nullcontext()

    def on_fit_start(self) -> None:
        """The source goes where the student is."""
        for source in self._sources:
            source.encoder.to(self.device).eval()


def train_emotion(
    config: SATNConfig,
    training: Utterances | Versions,
    validation: Utterances | None,
    options: TrainingOptions | None = None,
    *,
    source: Source | None = None,
    transfer: TransferOptions | None = None,
    label_smoothing: float = 0.1,
    class_weights: str = "balanced",
    quantization_aware: int = 0,
    hardware: Hardware | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainingResult[SATN]:
    """Learns to recognise emotions, keeping the epoch with the best UA on `validation` (ties: lowest loss).

    Args:
        config: The model.
        training: Utterances with class indices of `config.labels`, in one version or several.
        validation: Utterances of speakers that are neither in training nor in any evaluation; `None` keeps the last
            epoch.
        options: How to train; `None` trains as `satn-fast train` does.
        source: The source model; needed for every transfer but `"none"`. Any model with an encoder will do.
        transfer: How to transfer.
        label_smoothing: Share of the probability given to the other labels.
        class_weights: `"balanced"` weighs utterances by the inverse frequency of their label, `"none"` all alike.
        quantization_aware: In so many epochs at the end, where the learning rate is small, the model computes with the
            rounding of its int8 files, in validation, too; one of them is kept. The result is an ordinary float model.
        hardware: On what; `None` takes one device, a GPU where there is one.
        folder: Where a checkpoint and logs are kept; a checkpoint that is there is taken up.
        progress: Told after every step; each epoch's record has `loss`, `ua` and `validation_loss`.

    Returns:
        The model and its history.

    Raises:
        ValueError: No utterances, no source for a transfer, a source that does not fit, or more `quantization_aware`
            epochs than there are.
        CheckpointError: The checkpoint in `folder` is damaged.
        FloatingPointError: The loss is not finite.
    """
    transfer, versions = transfer or TransferOptions(), as_versions(training, validation)
    options = (options or EmotionSettings().training_options(config.front_end)).resolved(len(versions))
    check_choice("class_weights", class_weights, CLASS_WEIGHTS)
    check_source(config, source, transfer)
    check_quantization_aware(quantization_aware, options)
    n_frames = crop_frames(config, options, versions.lengths)
    augmentation = fitted(options.augmentation, versions.features, versions.targets_of_features, n_frames)
    options = replace(options, augmentation=augmentation)
    model = with_seed(options.seed, lambda: SATN(config))
    model.encoder.normalization.fit(versions.features)
    if source is not None and transfer.initialises:
        initialise(model, source, transfer)
    weights = balanced_weights(versions.targets, len(config.labels)) if class_weights == "balanced" else None
    task = EmotionTask(
        model,
        options,
        label_smoothing,
        source,
        transfer,
        quantization_aware,
        class_weights=weights,
        crop_frames=n_frames,
    )
    return fit(task, model, versions, validation, hardware=hardware, folder=folder, progress=progress)


def balanced_weights(targets: Sequence[Tensor], n_labels: int) -> Tensor:
    """(n_labels,) weights by inverse frequency, whose mean over the utterances is 1; 0 for labels that nobody says.

    Example:
        >>> balanced_weights([torch.tensor(0), torch.tensor(0), torch.tensor(0), torch.tensor(2)], 3).tolist()
        [0.6666666865348816, 0.0, 2.0]
    """
    counts = torch.bincount(torch.stack(list(targets)), minlength=n_labels).to(torch.get_default_dtype())
    n_present = (counts > 0).sum()
    return torch.where(counts > 0, counts.sum() / (n_present * counts.clamp(min=1)), 0.0)


def check_quantization_aware(epochs: int, options: TrainingOptions) -> None:
    """Raises ValueError where there are not so many epochs, or training may stop before them."""
    check_at_least("quantization_aware", epochs, 0)
    if epochs > options.n_epochs:
        raise ValueError(f"quantization_aware is {epochs}, there are {options.n_epochs} epochs; give at most so many")
    if epochs and options.patience is not None:
        raise ValueError(
            f"patience is {options.patience}, quantization_aware is {epochs}: training may stop before its last "
            "epochs; leave one of the two out"
        )
