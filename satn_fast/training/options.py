"""How to train, what to transfer, and on what machine. The values are this project's choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from satn_fast.training.augmentation import Augmentation, SpecAugment

TRANSFERS = ("none", "init", "map", "both")
INITIALISED_PARTS = ("encoder", "tcn", "attention")
MAP_LOSSES = ("mse", "kl", "at")
MAP_SCHEDULES = ("constant", "falling")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. The values are this project's choices.

    Attributes:
        epochs: Passes over the training utterances.
        batch_size: Utterances per step, over all processes.
        learning_rate: Highest rate of AdamW, reached after a tenth of the steps, then falling to zero on a cosine.
        weight_decay: Of AdamW.
        gradient_norm: Gradients are scaled down to this norm.
        activity_penalty: Factor of the mean square of the TCN's output, added to the loss. Nothing else bounds that
            output, because the LayerNorm after attention hides its scale: without the penalty it grew to an r.m.s. of
            1600 in the demo's source task, attention saturated, and int8 files decided otherwise on 70 % of the
            utterances; phoneme errors after 20 epochs were 85 %. With it the r.m.s. stays near 1 and errors are 24 %
            after 10 (preset edge, synthetic corpus, one seed).
        augmentation: What is done to features while training, one after the other; nothing if empty.
        patience: Epochs without a better validation figure after which training stops; `None` never stops early.
        seed: Decides initial weights, order, dropout and augmentation. Equal seeds give equal numbers on the same
            machine with the same number of threads.

    Raises:
        ValueError: A value is out of range; the message names it and the remedy.
    """

    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    gradient_norm: float = 5.0
    activity_penalty: float = 1e-3
    augmentation: Sequence[Augmentation] = (SpecAugment(),)
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("epochs", self.epochs, 1)
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("seed", self.seed, 0)
        check_at_least("weight_decay", self.weight_decay, 0)
        check_at_least("activity_penalty", self.activity_penalty, 0)
        if self.patience is not None:
            check_at_least("patience", self.patience, 1)
        for name in ("learning_rate", "gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number")


@dataclass(frozen=True)
class TransferOptions:
    """How attention is transferred from a source model. The values are this project's choices.

    Attributes:
        mode: `"none"`; `"init"` starts from the source's weights; `"map"` pulls the student's attention maps towards
            those of the frozen source on the same utterance; `"both"`.
        part: With `init`, what starts from the source: its `"attention"`, its `"tcn"`, or `"encoder"` for both. A TCN
            that recognises phonemes has learned to be deaf to how something is said, and starting from it cost UA on
            speakers never heard (`docs/results.md`).
        frozen_epochs: With `init`, epochs in which that part stays as the source left it.
        learning_rate_factor: With `init`, that part learns at the learning rate times this.
        map_loss: `"mse"`, `"kl"` or `"at"`, see `satn_fast.functional.attention_transfer_loss`.
        map_weight: Factor of the map loss beside the cross-entropy.
        map_schedule: `"constant"`, or `"falling"` from `map_weight` to zero on a cosine over all epochs.
        heads: For `map`, the source's head that each head of the student follows; `None` pairs them in order.

    Raises:
        ValueError: A word is unknown or a number out of range; the message names it and the remedy.
    """

    mode: str = "none"
    part: str = "attention"
    frozen_epochs: int = 0
    learning_rate_factor: float = 1.0
    map_loss: str = "kl"
    map_weight: float = 1.0
    map_schedule: str = "constant"
    heads: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, TRANSFERS)
        check_choice("part", self.part, INITIALISED_PARTS)
        check_choice("map_loss", self.map_loss, MAP_LOSSES)
        check_choice("map_schedule", self.map_schedule, MAP_SCHEDULES)
        for name in ("frozen_epochs", "learning_rate_factor", "map_weight"):
            check_at_least(name, getattr(self, name), 0)
        if self.heads is not None:
            object.__setattr__(self, "heads", tuple(self.heads))

    @property
    def initialises(self) -> bool:
        """Whether the student starts from the source's weights."""
        return self.mode in ("init", "both")

    @property
    def compares_maps(self) -> bool:
        """Whether attention maps are compared while training."""
        return self.mode in ("map", "both")

    def map_weight_at(self, progress: float) -> float:
        """Factor of the map loss after that share of the epochs."""
        if self.map_schedule == "constant":
            return self.map_weight
        return self.map_weight * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Hardware:
    """Where training runs: by PyTorch Lightning, on one process per device.

    Several processes are started by Lightning itself, or by `torchrun`, which is what several machines need.

    Attributes:
        accelerator: `"auto"` (a GPU where there is one), `"cpu"` or `"gpu"`.
        devices: Processes per machine; one GPU each.
        nodes: Machines.
        precision: `"32-true"`, `"bf16-mixed"` or `"16-mixed"`.

    Raises:
        ValueError: A word is unknown or a number out of range; the message names it and the remedy.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"

    def __post_init__(self) -> None:
        check_choice("accelerator", self.accelerator, ACCELERATORS)
        check_choice("precision", self.precision, PRECISIONS)
        check_at_least("devices", self.devices, 1)
        check_at_least("nodes", self.nodes, 1)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a word that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises ValueError for a number that is less."""
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} is {value}; give a number from {least}")
