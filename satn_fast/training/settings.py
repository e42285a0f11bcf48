"""Every setting of a training run: what the command line, a YAML file and a run folder hold.

A setting is plain data, and its `Annotated` text is its help. The values are this project's choices. PyTorch is
imported only where settings are used, so that the command line can show them without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from satn_fast.config import SATNConfig

if TYPE_CHECKING:
    from satn_fast.training.options import Hardware, TrainingOptions, TransferOptions

DATA, MODEL, TRAINING, TRANSFER, HARDWARE = "Data", "Model", "Training", "Attention transfer", "Hardware"


@dataclass(frozen=True)
class Help:
    """What a setting is for, and the panel of the help that shows it."""

    text: str
    panel: str


# Passes of a source task that was given no length.
SOURCE_EPOCHS = 12

# Of the settings whose defaults differ between the tasks.
_VALIDATION = Help(
    "Who chooses the best epoch: `none` keeps the last one; `auto` draws an eighth of the speakers where there are at"
    " least 8, else nobody; a share such as 0.2; or names of speakers between commas.",
    DATA,
)
_SPEEDS = Help("Every pass draws one of these factors of tempo and pitch for each utterance.", DATA)
_EQUALIZER = Help(
    "Other microphones: a random curve over the bands, of this deviation (natural logarithm), is added; 0 adds none.",
    DATA,
)
_STYLE_MIXING = Help(
    "Other voices and rooms: this share of the utterances takes over something of the mean and the deviation of each"
    " band of another utterance, for train of one with its label (MixStyle).",
    DATA,
)
_STEPS = Help(
    "Steps in all; by default by the number of training utterances (3000 for 450), for train. An epoch is then about"
    " 250 steps: after each come validation and a checkpoint.",
    TRAINING,
)
_EPOCHS = Help(
    "Passes over the training utterances, in place of steps; 12 for pretrain, unless steps are given.", TRAINING
)
_BATCH_SIZE = Help("Utterances per step, over all devices.", TRAINING)
_CROP_SECONDS = Help(
    "Train on random stretches of that length, or of the middle utterance's if that is shorter, without padding; 0"
    " takes whole utterances.",
    TRAINING,
)
_LEARNING_RATE = Help("The highest; reached after 15 % of the steps.", TRAINING)
_WEIGHT_DECAY = Help("Of AdamW.", TRAINING)
_MASKED_BANDS = Help("SpecAugment hides two times up to this share of the bands.", DATA)
_MASKED_TIME = Help("And two times up to this share of the frames.", DATA)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What both tasks have in common.

    Raises:
        ValueError: A value cannot be used; the message names it and the remedy.
    """

    validation: Annotated[str, _VALIDATION] = "auto"
    speeds: Annotated[str, _SPEEDS] = "0.85,0.92,1,1.08,1.17"
    mel_warp: Annotated[
        float, Help("Vocal tracts of other lengths: the frequency axis is stretched by up to this share.", DATA)
    ] = 0.1
    equalizer: Annotated[float, _EQUALIZER] = 0.3
    style_mixing: Annotated[float, _STYLE_MIXING] = 0.5
    spec_augment: Annotated[
        bool | None, Help("Hide bands and stretches of time; by default for everything but ctc.", DATA)
    ] = None
    masked_bands: Annotated[float, _MASKED_BANDS] = 0.1
    masked_time: Annotated[float, _MASKED_TIME] = 0.1
    conditions: Annotated[
        str,
        Help(
            "Every utterance is heard as often otherwise recorded as it is, in one way drawn for each speed: none; all;"
            " or some of noise, reverberation, telephone, codec between commas.",
            DATA,
        ),
    ] = "none"
    cache: Annotated[str | None, Help("Folder that keeps features for the next run.", DATA)] = None
    keep: Annotated[
        Literal["device", "disk"],
        Help("Where features are while training: on the device, or in a file that is mapped to memory.", DATA),
    ] = "device"
    on_error: Annotated[
        Literal["stop", "skip"], Help("At an audio file that cannot be used: stop, or skip it and name it.", DATA)
    ] = "stop"
    model: Annotated[
        str | None,
        Help('Fields of the configuration to change, as JSON: \'{"channels": 48, "dropout": 0.2}\'.', MODEL),
    ] = None
    steps: Annotated[int | None, _STEPS] = None
    epochs: Annotated[int | None, _EPOCHS] = None
    batch_size: Annotated[int, _BATCH_SIZE] = 32
    crop_seconds: Annotated[float, _CROP_SECONDS] = 0.0
    learning_rate: Annotated[float, _LEARNING_RATE] = 2e-3
    weight_decay: Annotated[float, _WEIGHT_DECAY] = 0.02
    weight_average: Annotated[
        float,
        Help(
            "Share that the moving average of the weights keeps in a step; it is what is validated, and the model. 0:"
            " no average.",
            TRAINING,
        ),
    ] = 0.995
    gradient_norm: Annotated[float, Help("Gradients are scaled down to this norm.", TRAINING)] = 5.0
    activity_penalty: Annotated[
        float, Help("Factor of the mean square of what the TCN gives; without it attention saturates.", TRAINING)
    ] = 1e-3
    patience: Annotated[
        int | None, Help("Stop after so many epochs in which validation got no better; none by default.", TRAINING)
    ] = None
    seed: Annotated[int, Help("Decides weights, order, dropout, augmentation and drawn speakers.", TRAINING)] = 0
    accelerator: Annotated[Literal["auto", "cpu", "gpu"], Help("auto: a GPU where there is one.", HARDWARE)] = "auto"
    devices: Annotated[int, Help("Processes per machine, one GPU each.", HARDWARE)] = 1
    nodes: Annotated[int, Help("Machines; start each with torchrun.", HARDWARE)] = 1
    precision: Annotated[Literal["32-true", "bf16-mixed", "16-mixed"], Help("Of the arithmetic.", HARDWARE)] = "32-true"

    def __post_init__(self) -> None:
        self.training_options()
        self.hardware()
        self.versions()
        self.model_changes()

    def training_options(self, front_end: Mapping[str, Any] | None = None) -> TrainingOptions:
        """How to train, on features of that front end (as `LogMel.describe` gives it)."""
        from satn_fast.training.augmentation import Augmentation, Equalizer, MelWarp, SpecAugment, StyleMixing
        from satn_fast.training.options import TrainingOptions

        known = ("low_hz", "high_hz", "mel_scale")
        bands = {name: value for name, value in (front_end or {}).items() if name in known}
        warps: list[Augmentation] = [MelWarp(self.mel_warp, **bands)] if self.mel_warp else []
        colours: list[Augmentation] = [Equalizer(self.equalizer)] if self.equalizer else []
        styles: list[Augmentation] = [StyleMixing(self.style_mixing)] if self.style_mixing else []
        masks = SpecAugment(band_share=self.masked_bands, time_share=self.masked_time)
        hidden: list[Augmentation] = [masks] if self.hides() else []
        return TrainingOptions(
            steps=self.steps,
            epochs=self.passes(),
            batch_size=self.batch_size,
            crop_seconds=self.crop_seconds,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            weight_average=self.weight_average,
            gradient_norm=self.gradient_norm,
            activity_penalty=self.activity_penalty,
            augmentation=(*warps, *colours, *styles, *hidden),
            patience=self.patience,
            seed=self.seed,
        )

    def passes(self) -> int | None:
        """How many epochs, where training is counted in passes."""
        return self.epochs

    def hides(self) -> bool:
        """Whether SpecAugment is used."""
        return self.spec_augment is not False

    def hardware(self) -> Hardware:
        """Where to train."""
        from satn_fast.training.options import Hardware

        return Hardware(self.accelerator, self.devices, self.nodes, self.precision)

    def speed_factors(self) -> tuple[float, ...]:
        """The speeds as numbers."""
        return _numbers("speeds", self.speeds)

    def versions(self) -> list[tuple[float, tuple[str, ...]]]:
        """In what versions an utterance is heard: speeds, each with the kinds of conditions one of which is drawn."""
        from satn_fast.training.conditions import condition_kinds

        speeds, kinds = self.speed_factors(), condition_kinds(self.conditions)
        return [(speed, chosen) for chosen in ((), kinds)[: 1 + bool(kinds)] for speed in speeds]

    def model_changes(self) -> dict[str, Any]:
        """Fields of the configuration that were set by hand."""
        if self.model is None:
            return {}
        try:
            changes = json.loads(self.model)
        except ValueError as error:
            raise ValueError(f"model is {self.model!r}, which is no JSON ({error})") from error
        known = {field.name for field in fields(SATNConfig)} - {"labels"}
        if not isinstance(changes, dict) or not changes.keys() <= known:
            raise ValueError(f"model is {self.model!r}; give a JSON object with fields of {', '.join(sorted(known))}")
        return changes

    def plain(self) -> dict[str, Any]:
        """All settings by name, as plain data."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain data.

        Raises:
            ValueError: A name is no setting; the message names it.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class EmotionSettings(Settings):
    """Settings of `satn-fast train`."""

    validation: Annotated[str, _VALIDATION] = "none"

    preset: Annotated[
        Literal["auto", "base", "large", "edge", "micro"],
        Help("The model; auto is that of the source, or edge without one.", MODEL),
    ] = "auto"
    normalization: Annotated[
        Literal["auto", "global", "level", "running_level", "utterance", "running", "speaker"],
        Help(
            "What is removed from features; auto is what the model has. speaker uses unlabelled recordings of "
            "everybody who is to be recognised, those of the evaluation included.",
            MODEL,
        ),
    ] = "auto"
    crop_seconds: Annotated[float, _CROP_SECONDS] = 2.0
    label_smoothing: Annotated[float, Help("Share of the probability given to the other labels.", TRAINING)] = 0.1
    class_weights: Annotated[
        Literal["balanced", "none"],
        Help("balanced: rare labels count as much as frequent ones; none: every utterance counts alike.", TRAINING),
    ] = "balanced"
    quantization_aware: Annotated[
        int, Help("In so many epochs at the end, compute with the rounding of the int8 files.", TRAINING)
    ] = 0
    calibrate: Annotated[
        bool, Help("Fit a temperature on the validation speakers, and divide the classifier by it.", TRAINING)
    ] = True
    leave_out: Annotated[
        str,
        Help(
            "Cross-validation by a column of the manifest (speaker, session, or any other): train once without each of"
            " its values, and evaluate on what was left out; `none` trains on everything.",
            DATA,
        ),
    ] = "none"
    folds: Annotated[
        str | None,
        Help("Cross-validation by a CSV file with the columns speaker,fold or file,fold.", DATA),
    ] = None
    seeds: Annotated[int, Help("Train with so many seeds, from --seed on.", TRAINING)] = 1
    jobs: Annotated[
        int, Help("Train so many folds and seeds at a time, each in a process of its own, on one thread.", HARDWARE)
    ] = 1
    source: Annotated[
        str | None, Help("Checkpoint to transfer from: of `pretrain`, or any other with an encoder.", TRANSFER)
    ] = None
    transfer: Annotated[
        Literal["auto", "none", "init", "map", "both"],
        Help("init: start from its weights; map: follow its attention maps; auto: both with a source.", TRANSFER),
    ] = "auto"
    part: Annotated[
        Literal["attention", "tcn", "encoder"],
        Help("What starts from the source's weights; encoder is both.", TRANSFER),
    ] = "attention"
    frozen_epochs: Annotated[int, Help("Epochs in which that part stays as it was.", TRANSFER)] = 0
    learning_rate_factor: Annotated[float, Help("That part learns at the learning rate times this.", TRANSFER)] = 1.0
    map_loss: Annotated[Literal["mse", "kl", "at"], Help("Distance between attention maps.", TRANSFER)] = "kl"
    map_weight: Annotated[float, Help("Its factor beside the cross-entropy.", TRANSFER)] = 1.0
    map_schedule: Annotated[
        Literal["constant", "falling"], Help("Whether that factor stays, or falls to zero.", TRANSFER)
    ] = "constant"
    heads: Annotated[
        str | None, Help("The source's heads that the model's follow, between commas; default: in order.", TRANSFER)
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.transfer_options()
        for name in ("seeds", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from 1")
        if self.jobs > 1 and self.devices * self.nodes > 1:
            raise ValueError(f"jobs is {self.jobs}, devices {self.devices}, nodes {self.nodes}; give one of them only")
        if self.folds is not None and self.leave_out != "none":
            raise ValueError(
                f"leave_out is {self.leave_out!r}, folds is {self.folds!r}: both part the corpus; leave one of them out"
            )
        self._check_quantization_aware()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; give a share in [0, 1)")
        if self.source is None and self.transfer not in ("auto", "none"):
            raise ValueError(f"transfer is {self.transfer!r}, but there is no source; give one, or transfer none")

    def _check_quantization_aware(self) -> None:
        """What is known before the number of utterances is."""
        epochs = self.training_options().n_epochs if self.steps or self.epochs else None
        if self.quantization_aware < 0 or (epochs is not None and self.quantization_aware > epochs):
            limit = "from 0" if epochs is None else f"from 0 to {epochs}"
            raise ValueError(f"quantization_aware is {self.quantization_aware}; give a number of epochs {limit}")
        if self.quantization_aware and self.patience is not None:
            raise ValueError(
                f"patience is {self.patience}: training may stop before its quantization-aware epochs; leave one out"
            )

    def transfer_options(self) -> TransferOptions:
        """What to transfer."""
        from satn_fast.training.options import TransferOptions

        mode = self.transfer if self.transfer != "auto" else "none" if self.source is None else "both"
        return TransferOptions(
            mode=mode,
            part=self.part,
            frozen_epochs=self.frozen_epochs,
            learning_rate_factor=self.learning_rate_factor,
            map_loss=self.map_loss,
            map_weight=self.map_weight,
            map_schedule=self.map_schedule,
            heads=None if self.heads is None else tuple(int(head) for head in _numbers("heads", self.heads)),
        )


@dataclass(frozen=True, kw_only=True)
class SourceSettings(Settings):
    """Settings of `satn-fast pretrain`."""

    preset: Annotated[Literal["base", "large", "edge", "micro"], Help("The model.", MODEL)] = "edge"
    task: Annotated[
        Literal["ctc", "autoencoder"],
        Help("Recognise speech, or rebuild hidden features.", TRAINING),
    ] = "ctc"
    targets: Annotated[
        Literal["auto", "phonemes", "characters"],
        Help("What ctc recognises: the manifest's column phonemes, or the letters of text; auto: what is there.", DATA),
    ] = "auto"
    speeds: Annotated[str, _SPEEDS] = "0.9,1,1.1"
    equalizer: Annotated[float, _EQUALIZER] = 0.0
    style_mixing: Annotated[float, _STYLE_MIXING] = 0.0
    # An autoencoder learns from what is hidden.
    masked_bands: Annotated[float, _MASKED_BANDS] = 0.2
    masked_time: Annotated[float, _MASKED_TIME] = 0.15
    # CTC is slow to get going: symbols take smaller steps, a higher rate than emotions, and nothing hidden.
    batch_size: Annotated[int, _BATCH_SIZE] = 16
    learning_rate: Annotated[float, _LEARNING_RATE] = 4e-3
    weight_decay: Annotated[float, _WEIGHT_DECAY] = 1e-2

    def passes(self) -> int | None:
        """How many epochs, where training is counted in passes: 12, unless something else is said."""
        return SOURCE_EPOCHS if self.steps is None and self.epochs is None else self.epochs

    def hides(self) -> bool:
        """Whether SpecAugment is used."""
        return self.task == "autoencoder" if self.spec_augment is None else self.spec_augment


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}; give numbers between commas") from error
