"""The commands `pretrain` and `train` as functions: from a manifest to a run folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

from satn_fast.config import SATNConfig
from satn_fast.data import (
    ManifestError,
    Utterance,
    character_inventory,
    column_folds,
    phoneme_inventory,
    read_characters,
    read_folds,
    read_manifest,
    read_phonemes,
)
from satn_fast.evaluation import (
    Predictions,
    apply_temperature,
    evaluate_utterances,
    expected_calibration_error,
    figures,
    fit_temperature,
    join,
    logits_of,
    summarise,
    write_predictions,
)
from satn_fast.files import atomic_write
from satn_fast.frontend import LogMel
from satn_fast.models import SATN, AutoencoderModel, SourceModel
from satn_fast.training.callbacks import Progress
from satn_fast.training.corpus import (
    Corpus,
    Keep,
    Notify,
    StartStage,
    check_labels,
    choose_validation,
    in_file,
    on_device,
    read_corpus,
)
from satn_fast.training.dataset import FeatureDataset, Utterances
from satn_fast.training.emotion import train_emotion
from satn_fast.training.jobs import JobError, in_processes
from satn_fast.training.run import RunFolder, describe_data, is_first_process
from satn_fast.training.settings import EmotionSettings, Settings, SourceSettings
from satn_fast.training.source import train_autoencoder, train_source
from satn_fast.training.task import EpochRecord
from satn_fast.training.trainer import TrainingResult
from satn_fast.training.transfer import Source, load_source

__all__ = ["pretrain", "train"]

# Figures that a progress bar shows.
_SHOWN = ("loss", "ua", "error_rate", "error")


@dataclass(frozen=True)
class _Training:
    """One of the trainings that a command asks for.

    Attributes:
        seed: Of the training.
        fold: What is left out; empty outside a cross-validation.
        heard: Rows of the corpus to train on, those who choose the epoch included.
        left_out: Rows to evaluate on.
        place: Its folder, relative to the run's.
    """

    seed: int
    fold: str
    heard: list[int]
    left_out: list[int]
    place: str

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}" if self.fold else f"seed {self.seed}"


def train(
    manifest: Path,
    settings: EmotionSettings,
    folder: Path,
    *,
    restart: bool = False,
    start: StartStage,
    notify: Notify,
) -> Predictions | None:
    """Learns to recognise the emotions of a manifest; several times for a cross-validation, or for several seeds.

    Writes run folders (`satn_fast.training.run`): `folder` itself for one training, `<fold>/seed-<n>` or `seed-<n>`
    below it for several. A cross-validation also writes `predictions.csv` and `metrics.json` of all that was left out.
    What is there already is taken up.

    Args:
        manifest: Utterances with labels and speakers.
        settings: Everything that can be chosen.
        folder: Where to write.
        restart: Forget what is there.
        start: Starts a progress bar.
        notify: Told what somebody should know.

    Returns:
        Predictions of what was left out; `None` without a cross-validation.

    Raises:
        ManifestError: The manifest cannot be used.
        FoldsError: The folds cannot be used.
        JobError: One of several trainings failed; the message names fold and seed.
        RunError: The folder holds another run, or another process writes to it.
        ValueError: A setting does not fit the data, or the source does not fit the model.
    """
    source = None if settings.source is None else load_source(settings.source)
    utterances = read_manifest(manifest, check_files=settings.on_error == "stop")
    config = _emotion_config(settings, check_labels(utterances, manifest), source)
    folds = _folds(settings, utterances)
    labels = {label: torch.tensor(number) for number, label in enumerate(config.labels)}
    with _kept(settings, folder, shared=settings.jobs > 1) as keep:
        corpus = read_corpus(
            utterances,
            lambda utterance: labels[utterance.label],
            LogMel(**config.front_end),
            settings,
            keep=keep,
            per_speaker=config.normalization == "speaker",
            start=start,
            notify=notify,
        )
        experiment = _Experiment(settings, corpus, config, _described_data(manifest, corpus, folds), folder, restart)
        trainings = _plan(settings, corpus, folds)
        if len(trainings) == 1:
            experiment.train(trainings[0], folder, _progress(start("training")), notify)
            return None
        run = RunFolder(folder)
        about = {"data": experiment.data, "trainings": [training.place for training in trainings]}
        with run.open("train", settings, about, restart=restart):
            parts = [part for part in _train_all(experiment, trainings, start, notify) if part is not None]
            predictions = join(parts) if parts else None
            if predictions is not None and is_first_process():
                _write_results(folder, predictions)
            run.finish({})
    return predictions


def _train_all(
    experiment: _Experiment, trainings: Sequence[_Training], start: StartStage, notify: Notify
) -> list[Predictions | None]:
    """Every training's predictions, one after the other, or several at a time."""
    if experiment.settings.jobs == 1:
        advance, parts = start("training"), []
        for number, training in enumerate(trainings):
            progress = _progress(advance, number, len(trainings), training.place)
            try:
                parts.append(experiment(training, progress, notify))
            except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
                raise JobError(f"{training}: {error}") from error
        return parts
    overall, ended = start("trainings"), Counter[str]()
    n_jobs = min(experiment.settings.jobs, len(trainings))
    bars = [start(f"training, job {slot + 1}") for slot in range(n_jobs)]
    overall(0, len(trainings))

    def started(slot: int, training: _Training) -> Progress:
        told = _progress(bars[slot], what=training.place)

        def progress(done: int, total: int, record: EpochRecord | None) -> None:
            told(done, total, record)
            if done >= total:
                ended[training.place] += 1
                overall(len(ended), len(trainings))

        return progress

    return in_processes(experiment, trainings, n_jobs, started=started, notify=notify)


def pretrain(
    manifest: Path,
    settings: SourceSettings,
    folder: Path,
    *,
    restart: bool = False,
    start: StartStage,
    notify: Notify,
) -> dict[str, float]:
    """Learns the source task of a manifest, and writes a run folder; what is there already is taken up.

    Arguments and errors are those of `train`.

    Returns:
        The figures of the best epoch.
    """
    utterances = read_manifest(manifest, check_files=settings.on_error == "stop")
    config = _described(replace(SATNConfig.preset(settings.preset), **settings.model_changes()))
    symbols, read = _symbols(settings, utterances, manifest)
    # Counted from 1, because 0 is CTC's blank.
    index = {symbol: number for number, symbol in enumerate(symbols, start=1)}

    def target(utterance: Utterance) -> torch.Tensor:
        return torch.tensor([index[symbol] for symbol in read(utterance)], dtype=torch.int64)

    with _kept(settings, folder) as keep:
        front_end = LogMel(**config.front_end)
        corpus = read_corpus(utterances, target, front_end, settings, keep=keep, start=start, notify=notify)
    choosing = choose_validation(settings, corpus.utterances)
    learning = corpus.where(lambda utterance: utterance.speaker not in choosing)
    validation = corpus.recorded(corpus.where(lambda utterance: utterance.speaker in choosing))
    about = {
        "seed": settings.seed,
        "data": describe_data(manifest, corpus.utterances),
        "speakers": _speakers(corpus, learning, choosing),
        "symbols": list(symbols),
    }
    run = RunFolder(folder)
    with run.open("pretrain", settings, about, restart=restart):
        if run.has_finished(notify):
            return dict(run.record["best"])
        training = corpus.versioned(learning)
        options, chosen = settings.training_options(config.front_end), validation if len(validation) else None
        place: dict[str, Any] = {"hardware": settings.hardware(), "folder": folder}
        place["progress"] = _progress(start("source task"))
        result: TrainingResult[SourceModel] | TrainingResult[AutoencoderModel]
        if settings.task == "ctc":
            result = train_source(config, symbols, training, chosen, options, **place)
        else:
            result = train_autoencoder(config, training, chosen, options, **place)
        if is_first_process():
            result.model.save_pretrained(folder)
        run.finish(_results(result))
        if is_first_process():
            result.model.write_model_card(folder)
        return _best(result.history, result.best_epoch)


@contextmanager
def _kept(settings: Settings, folder: Path, *, shared: bool = False) -> Iterator[Keep]:
    """Where features are while training; a file is there for as long as the block runs, if several processes share it.

    Otherwise it goes at once: the map keeps the content, and nothing is left behind, whatever happens to this process.
    """
    if settings.keep == "device" and not shared:
        yield on_device(settings)
        return
    path = folder / f".features-{os.getpid()}.npy"

    def keep(features: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> Utterances:
        data = in_file(path)(features, targets)
        if not shared:
            path.unlink()
        return data

    try:
        yield keep
    finally:
        path.unlink(missing_ok=True)


def _folds(settings: EmotionSettings, utterances: Sequence[Utterance]) -> Mapping[Utterance, str]:
    """The fold of every utterance; nothing without a cross-validation."""
    if settings.folds is not None:
        return dict(zip(utterances, read_folds(settings.folds, utterances), strict=True))
    if settings.leave_out != "none":
        return dict(zip(utterances, column_folds(utterances, settings.leave_out), strict=True))
    return {}


def _plan(settings: EmotionSettings, corpus: Corpus, folds: Mapping[Utterance, str]) -> list[_Training]:
    """Every training that the settings ask for."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    if not folds:
        everything = corpus.where(lambda utterance: True)
        return [_Training(seed, "", everything, [], f"seed-{seed}") for seed in seeds]
    names = [folds[utterance] for utterance in corpus.utterances]
    if len(set(names)) < 2:
        raise ManifestError(f"only fold {names[0]} has utterances that can be used; without it, nothing is left")
    trainings = []
    for fold in sorted(set(names)):
        heard = [row for row, name in enumerate(names) if name != fold]
        left_out = [row for row, name in enumerate(names) if name == fold]
        place = quote(fold, safe=" ")
        trainings += [_Training(seed, fold, heard, left_out, f"{place}/seed-{seed}") for seed in seeds]
    return trainings


def _described_data(manifest: Path, corpus: Corpus, folds: Mapping[Utterance, str]) -> dict[str, Any]:
    """What identifies the data, the folds included."""
    described = describe_data(manifest, corpus.utterances)
    if folds:
        names = json.dumps([folds[utterance] for utterance in corpus.utterances])
        described["folds"] = hashlib.sha256(names.encode()).hexdigest()
    return described


@dataclass(frozen=True)
class _Experiment:
    """What all trainings of a command share; goes to other processes, which map the features and load the source."""

    settings: EmotionSettings
    corpus: Corpus
    config: SATNConfig
    data: Mapping[str, Any]
    folder: Path
    restart: bool

    @cached_property
    def source(self) -> Source | None:
        """Where attention is transferred from."""
        return None if self.settings.source is None else load_source(self.settings.source)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "source"}

    def __call__(self, training: _Training, progress: Progress, notify: Notify) -> Predictions | None:
        """One of several trainings, and what its model says of whoever it did not hear."""
        model = self.train(training, self.folder / training.place, progress, notify)
        return self.predict_left_out(model, training) if training.left_out else None

    def train(self, training: _Training, folder: Path, progress: Progress, notify: Notify) -> SATN:
        """One training into a run folder; a finished one is read from there."""
        settings = replace(self.settings, leave_out="none", folds=None, seeds=1, jobs=1, seed=training.seed)
        said = self.corpus.utterances
        choosing = choose_validation(settings, [said[row] for row in training.heard])
        learning = [row for row in training.heard if said[row].speaker not in choosing]
        validation = self.corpus.recorded([row for row in training.heard if said[row].speaker in choosing])
        about = {
            "seed": training.seed,
            "left_out": training.fold or None,
            "transfer": settings.transfer_options().mode,
            "source": settings.source,
            "data": self.data,
            "speakers": _speakers(self.corpus, learning, choosing),
        }
        run = RunFolder(folder)
        with run.open("train", settings, about, restart=self.restart):
            if run.has_finished(notify):
                return SATN.from_pretrained(folder)
            self._tell_of_missing_labels(training, learning, notify)
            result = train_emotion(
                self.config,
                self.corpus.versioned(learning),
                validation if len(validation) else None,
                settings.training_options(self.config.front_end),
                source=self.source,
                transfer=settings.transfer_options(),
                label_smoothing=settings.label_smoothing,
                class_weights=settings.class_weights,
                quantization_aware=settings.quantization_aware,
                hardware=settings.hardware(),
                folder=folder,
                progress=progress,
            )
            calibration = _calibrate(result.model, validation) if settings.calibrate and len(validation) else None
            if is_first_process():
                result.model.save_pretrained(folder)
            run.finish(_results(result) | {"calibration": calibration})
            if is_first_process():
                result.model.write_model_card(folder)
        return result.model

    def _tell_of_missing_labels(self, training: _Training, learning: Sequence[int], notify: Notify) -> None:
        heard = {self.corpus.utterances[row].label for row in learning}
        if missing := [label for label in self.config.labels if label not in heard]:
            notify(
                f"{training}: nobody who is trained on says {', '.join(missing)}, which is never recognised there; "
                "other folds, or no such label, would make the figures easier to read"
            )

    def predict_left_out(self, model: SATN, training: _Training) -> Predictions:
        """What a model says of whoever it did not hear."""
        return evaluate_utterances(
            model,
            [self.corpus.utterances[row] for row in training.left_out],
            self.corpus.features(training.left_out),
            fold=training.fold,
            seed=training.seed,
        )


def _calibrate(model: SATN, validation: FeatureDataset) -> dict[str, float]:
    """Divides the classifier by the temperature that fits the validation speakers, and says what that changed."""
    scored = logits_of(model, validation)
    temperature = fit_temperature(scored.logits, scored.truth)
    apply_temperature(model, temperature)

    def error(logits: Any) -> float:
        return expected_calibration_error(torch.from_numpy(logits).softmax(-1).numpy(), scored.truth)

    return {
        "temperature": temperature,
        "ece_before": error(scored.logits),
        "ece_after": error(scored.logits / np.float32(temperature)),
    }


def _write_results(folder: Path, predictions: Predictions) -> None:
    """`predictions.csv`, and `metrics.json` with the figures over all folds and seeds, per fold and per seed."""
    write_predictions(folder / "predictions.csv", predictions)
    summary = summarise(predictions).as_dict()
    found = figures(predictions) | {"folds": summary["folds"], "seeds": summary["seeds"], "summary": summary}
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2), encoding="utf-8")


def _emotion_config(settings: EmotionSettings, labels: tuple[str, ...], source: Source | None) -> SATNConfig:
    """The model: as is said, else like the source's, else the default one."""
    if settings.preset == "auto" and source is not None:
        config = replace(source.config, labels=labels)
    else:
        preset = SourceSettings.preset if settings.preset == "auto" else settings.preset
        config = SATNConfig.preset(preset, labels=labels)
    if settings.normalization != "auto":
        config = replace(config, normalization=settings.normalization)
    return _described(replace(config, **settings.model_changes()))


def _described(config: SATNConfig) -> SATNConfig:
    """The configuration with every setting of its front end, so that later defaults change nothing."""
    return replace(config, front_end=LogMel(**config.front_end).describe())


def _symbols(
    settings: SourceSettings, utterances: Sequence[Utterance], manifest: Path
) -> tuple[tuple[str, ...], Callable[[Utterance], list[str]]]:
    """The inventory of the source task, and what reads the symbols of an utterance; nothing for an autoencoder."""
    if settings.task == "autoencoder":
        return (), lambda utterance: []
    with_phonemes = all(utterance.extra.get("phonemes") for utterance in utterances)
    with_text = any(utterance.text for utterance in utterances)
    if settings.targets == "auto" and not with_phonemes and not with_text:
        raise ManifestError(
            f"{manifest}: has neither phonemes nor text, which ctc needs; add a column text, or use --task autoencoder"
        )
    if settings.targets == "phonemes" or (settings.targets == "auto" and with_phonemes):
        return tuple(phoneme_inventory(utterances)), read_phonemes
    return tuple(character_inventory(utterances)), read_characters


def _speakers(corpus: Corpus, learning: Sequence[int], choosing: set[str]) -> dict[str, list[str]]:
    return {"train": sorted({corpus.utterances[row].speaker for row in learning}), "validation": sorted(choosing)}


def _results(result: TrainingResult[Any]) -> dict[str, Any]:
    """What `run.json` says of a training that has ended."""
    return {
        "best_epoch": result.best_epoch,
        "best": _best(result.history, result.best_epoch),
        "history": result.history,
        "throughput": result.throughput,
    }


def _best(history: Sequence[EpochRecord], best_epoch: int) -> EpochRecord:
    return history[best_epoch - 1]


def _progress(advance: Callable[..., None], number: int = 0, count: int = 1, what: str = "") -> Progress:
    """Passes progress on to a bar, as that of one of several trainings."""

    def told(done: int, total: int, record: EpochRecord | None) -> None:
        shown = [what] if what else []
        shown += [f"{name.replace('_', ' ')} {record[name]:.2f}" for name in _SHOWN if record and name in record]
        advance(number * total + done, count * total, note=", ".join(shown))

    return told
