"""Emotion recognition, with or without attention transferred from a source model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from satn_fast.config import SATNConfig
from satn_fast.evaluation.metrics import logits_of, score
from satn_fast.functional import attention_transfer_loss
from satn_fast.models import SATN
from satn_fast.reference import SourceModel
from satn_fast.training.dataset import Batch, Utterances
from satn_fast.training.loop import (
    EpochProgress,
    EpochRecord,
    TrainingOptions,
    TrainingResult,
    fit,
    mean_activity,
    seeded,
)

TRANSFERS = ("none", "init", "map", "both")

# What must agree between a source and a student, because their weights or their attention maps are compared.
SHARED_BY_INIT = ("channels", "n_blocks", "kernel_size", "n_heads", "attention_window", "normalization", "front_end")
SHARED_BY_MAP = ("n_heads", "attention_window", "front_end")


@dataclass(frozen=True)
class TransferOptions:
    """How attention is transferred from a source model. The values are this project's choices.

    Attributes:
        mode: `"none"`; `"init"` starts from the source's encoder; `"map"` pulls the student's attention maps
            towards those of the frozen source on the same utterance; `"both"`.
        frozen_epochs: With `init`, epochs in which the encoder stays as the source left it.
        map_loss: `"mse"`, `"kl"` or `"at"`, see `satn_fast.functional.attention_transfer_loss`.
        map_weight: Factor of the map loss beside the cross-entropy.
    """

    mode: str = "none"
    frozen_epochs: int = 2
    map_loss: str = "kl"
    map_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in TRANSFERS:
            raise ValueError(f"mode is {self.mode!r}; choose one of {', '.join(TRANSFERS)}")

    @property
    def initialises(self) -> bool:
        """Whether the student starts from the source's encoder."""
        return self.mode in ("init", "both")

    @property
    def compares_maps(self) -> bool:
        """Whether attention maps are compared while training."""
        return self.mode in ("map", "both")


def train_emotion(
    config: SATNConfig,
    training: Utterances,
    validation: Utterances,
    options: TrainingOptions | None = None,
    *,
    source: SourceModel | None = None,
    transfer: TransferOptions | None = None,
    label_smoothing: float = 0.1,
    progress: EpochProgress | None = None,
) -> TrainingResult[SATN]:
    """Learns to recognise emotions, keeping the epoch with the best UA on `validation` (ties: lowest loss).

    Args:
        config: The model.
        training: Utterances with class indices of `config.labels`.
        validation: Utterances of speakers that are neither in training nor in any evaluation.
        options: How to train.
        source: The source model; needed for every transfer but `"none"`.
        transfer: How to transfer.
        label_smoothing: Share of the probability given to the other labels.
        progress: Called with each epoch's `loss`, `ua` and `validation_loss`.

    Returns:
        The model and its history.

    Raises:
        ValueError: No utterances, no epochs, no source for a transfer, or a source that does not fit.
    """
    options, transfer = options or TrainingOptions(), transfer or TransferOptions()
    if not (len(training) and len(validation) and options.epochs > 0):
        raise ValueError("training and validation need at least one utterance each, and options at least one epoch")
    _check_source(config, source, transfer)
    with seeded(options.seed) as generator:
        model = SATN(config)
        if source is not None and transfer.initialises:
            model.encoder.load_state_dict(source.encoder.state_dict())
        else:
            model.encoder.normalization.fit(training.features)

        def validate() -> EpochRecord:
            logits, truth = logits_of(model, validation)
            loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth))
            return {"ua": score(truth, logits.argmax(-1), config.labels).ua, "validation_loss": float(loss)}

        def freeze(epoch: int) -> None:
            frozen = transfer.initialises and epoch <= transfer.frozen_epochs
            model.encoder.requires_grad_(not frozen)

        return fit(
            model,
            training,
            options,
            generator,
            loss_of=_loss(model, source, transfer, label_smoothing, options.activity_penalty),
            validate=validate,
            better=lambda record: (record["ua"], -record["validation_loss"]),
            before_epoch=freeze,
            progress=progress,
        )


def _loss(
    model: SATN, source: SourceModel | None, transfer: TransferOptions, label_smoothing: float, penalty: float
) -> Callable[[Batch], Tensor]:
    """Cross-entropy and activity penalty, and the distance from the source's attention maps where compared."""

    def loss_of(batch: Batch) -> Tensor:
        student = model.encoder(batch.features, batch.lengths)
        logits = model.classify(student, batch.lengths).logits
        loss = F.cross_entropy(logits, batch.targets, label_smoothing=label_smoothing)
        loss = loss + penalty * mean_activity(student, batch.lengths)
        if source is None or not transfer.compares_maps:
            return loss
        with torch.no_grad():
            teacher = source.encoder(batch.features, batch.lengths)
        return loss + transfer.map_weight * attention_transfer_loss(
            student.query,
            student.key,
            teacher.query,
            teacher.key,
            lengths=batch.lengths,
            window=model.config.attention_window,
            loss=transfer.map_loss,
        )

    return loss_of


def _check_source(config: SATNConfig, source: SourceModel | None, transfer: TransferOptions) -> None:
    if transfer.mode == "none":
        return
    if source is None:
        raise ValueError(f"source is None, but transfer is {transfer.mode!r}; give a source model or transfer 'none'")
    source.eval()
    names = SHARED_BY_INIT if transfer.initialises else SHARED_BY_MAP
    for name in names:
        theirs, ours = getattr(source.config, name), getattr(config, name)
        if theirs != ours:
            raise ValueError(
                f"source has {name} = {theirs!r}, the model {ours!r}; transfer {transfer.mode!r} needs both equal"
            )
