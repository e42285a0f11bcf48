"""How to train, what to transfer, and on what machine. The values are this project's choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from satn_fast.training.augmentation import Augmentation, SpecAugment

TRANSFERS = ("none", "init", "map", "both")
INITIALISED_PARTS = ("encoder", "tcn", "attention")
MAP_LOSSES = ("mse", "kl", "at")
MAP_SCHEDULES = ("constant", "falling")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu")


# Steps of an epoch where training is counted in steps: enough that validation, checkpoint and logs cost next to nothing
# beside them, few enough that a killed run loses little.
STEPS_PER_EPOCH = 250


def default_steps(n_utterances: int) -> int:
    """Steps of a training that was given neither steps nor epochs: more for a larger corpus, less than in proportion.

    Example:
        >>> default_steps(450), default_steps(10), default_steps(1_000_000)
        (1500, 500, 30000)
    """
    return min(30_000, max(500, round(1500 * math.pow(n_utterances / 450, 0.75))))


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. The values are this project's choices.

    How long is counted in `steps`, or in `epochs`, passes over the training utterances. Counted in steps, utterances
    come from an endless sequence of shuffled passes, and an epoch is a stretch of about 250 steps (all are equally
    long, but for one step): what happens after every epoch (validation, checkpoint, logs), and what is counted in
    epochs (patience, frozen and quantization-aware epochs), goes by these.

    Attributes:
        steps: Steps in all; `None` takes `default_steps` of the number of utterances, unless `epochs` is given.
        epochs: Passes over the training utterances, in place of `steps`.
        batch_size: Utterances per step, over all processes; fewer where a pass does not divide by it.
        crop_seconds: A step looks at a random stretch of that length of each utterance, so that batches have no
            padding; shorter utterances are repeated. Where most are shorter, a crop is as long as the middle one of
            them. 0 takes whole utterances.
        learning_rate: Highest rate of AdamW, reached after 15 % of the steps, then falling to zero on a cosine.
        weight_decay: Of AdamW.
        weight_average: Validation and the final model use an exponential moving average of the weights, which keeps
            this share of itself in a step (less in the first ones); 0 uses the weights as they are.
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
        ValueError: A value is out of range, or both `steps` and `epochs` are given; the message names the remedy.

    Example:
        >>> options = TrainingOptions().resolved(n_utterances=450)
        >>> options.steps, options.n_epochs, options.steps_of_epoch(0)
        (1500, 6, 250)
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 32
    crop_seconds: float = 0.0
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    weight_average: float = 0.995
    gradient_norm: float = 5.0
    activity_penalty: float = 1e-3
    augmentation: Sequence[Augmentation] = (SpecAugment(),)
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_length(self.steps, self.epochs)
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("seed", self.seed, 0)
        for name in ("crop_seconds", "weight_decay", "activity_penalty"):
            check_at_least(name, getattr(self, name), 0)
        if not 0 <= self.weight_average < 1:
            raise ValueError(f"weight_average is {self.weight_average}; give a share in [0, 1), 0 for no average")
        if self.patience is not None:
            check_at_least("patience", self.patience, 1)
        for name in ("learning_rate", "gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number")

    def resolved(self, n_utterances: int) -> Self:
        """The same with the length that so many training utterances are trained for."""
        if self.steps is not None or self.epochs is not None:
            return self
        return replace(self, steps=default_steps(n_utterances))

    @property
    def n_epochs(self) -> int:
        """Epochs: passes, or stretches of about 250 steps.

        Raises:
            ValueError: The length is not known before `resolved`.
        """
        if self.epochs is not None:
            return self.epochs
        if self.steps is None:
            raise ValueError("neither steps nor epochs is given; resolve the options for a number of utterances")
        return max(1, round(self.steps / STEPS_PER_EPOCH))

    def steps_before(self, epoch: int) -> int:
        """Steps in all epochs before this one, counted from 0, of a training that is counted in steps."""
        assert self.steps is not None, "passes have as many steps as there are batches"
        return self.steps * epoch // self.n_epochs

    def steps_of_epoch(self, epoch: int) -> int:
        """Steps of one epoch of a training that is counted in steps."""
        return self.steps_before(epoch + 1) - self.steps_before(epoch)


@dataclass(frozen=True)
class TransferOptions:
    """How attention is transferred from a source model. The values are this project's choices.

    Attributes:
        mode: `"none"`; `"init"` starts from the source's weights; `"map"` pulls the student's attention maps towards
            those of the frozen source on the same utterance; `"both"`.
        part: With `init`, what starts from the source: its `"attention"`, its `"tcn"`, or `"encoder"` for both. A TCN
            that recognises phonemes has learned to be deaf to how something is said, and starting from it cost UA on
            speakers never heard (`docs/results.md`).
        frozen_epochs: With `init`, epochs in which that part stays as the source left it; what an epoch is,
            `TrainingOptions` says.
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


def check_length(steps: int | None, epochs: int | None) -> None:
    """Raises ValueError where both are given, or one is no positive number."""
    if steps is not None and epochs is not None:
        raise ValueError(f"steps is {steps}, epochs is {epochs}: both say how long to train; leave one of them out")
    if steps is not None:
        check_at_least("steps", steps, 1)
    if epochs is not None:
        check_at_least("epochs", epochs, 1)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a word that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises ValueError for a number that is less."""
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{name} is {value}; give a number from {least}")
