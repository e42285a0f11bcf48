"""The whole story on synthetic speech, from a waveform to a verified INT8 model and a report.

Written to `folder`: `corpus/`, `source/` (the source-task checkpoint), `model/` (the emotion checkpoint), `export/`
(every exported file with its manifest), `metrics.json` and `report.html`.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from satn_fast import SATN, LogMel, SATNConfig, reference
from satn_fast.data import Split, Utterance, phoneme_inventory, read_phonemes, render_corpus, split_by_speaker
from satn_fast.export import FileReport, Manifest, choose_calibration, export, load
from satn_fast.files import atomic_write
from satn_fast.report import attention_over_time, confusion_matrix, render_report, training_curves
from satn_fast.timing import compare_in_turn
from satn_fast.training import (
    FeatureDataset,
    Metrics,
    TrainingOptions,
    TrainingResult,
    TransferOptions,
    evaluate,
    extract_features,
    train_emotion,
    train_source,
)
from satn_fast.training.callbacks import Progress
from satn_fast.training.corpus import StartStage
from satn_fast.training.settings import EmotionSettings
from satn_fast.training.task import EpochRecord

SOURCE_EPOCHS = 12
# Fewer than `satn-fast train` takes for so many utterances: the emotions of a synthesiser are soon learned.
EMOTION_STEPS = 1000


@dataclass(frozen=True)
class Corpus:
    """Utterances and features of the three parts, whose speakers are different."""

    split: Split
    features: Mapping[str, Sequence[Tensor]]

    def emotions(self, part: str, labels: Sequence[str]) -> FeatureDataset:
        """Features of a part with the index of each label."""
        utterances: list[Utterance] = getattr(self.split, part)
        return FeatureDataset(self.features[part], [torch.tensor(labels.index(u.label)) for u in utterances])

    def phonemes(self, part: str, symbols: Sequence[str]) -> FeatureDataset:
        """Features of a part with its phonemes, counted from 1 (0 is CTC's blank)."""
        index = {symbol: i for i, symbol in enumerate(symbols, start=1)}
        utterances: list[Utterance] = getattr(self.split, part)
        return FeatureDataset(
            self.features[part], [torch.tensor([index[s] for s in read_phonemes(u)]) for u in utterances]
        )


def run_demo(folder: Path, *, preset: str, transfer: str, seed: int, start: StartStage) -> dict[str, Any]:
    """Runs every stage and writes everything; see the module's docstring.

    Args:
        folder: Where to write; made where it is missing.
        preset: Of `SATNConfig`.
        transfer: `"none"`, `"init"`, `"map"` or `"both"`.
        seed: Decides the split and the training; the corpus is always the same.
        start: StartStage bars.

    Returns:
        What is written to `metrics.json`.

    Raises:
        ValueError: Unknown preset or transfer.
        ImportError: An extra is not installed; the message says which.
    """
    transfer_options = TransferOptions(mode=transfer)
    utterances = render_corpus(folder / "corpus", progress=start("speaking"))
    labels = tuple(sorted({utterance.label for utterance in utterances}))
    config = SATNConfig.preset(preset, labels=labels)
    front_end = LogMel(**config.front_end)
    config = replace(config, front_end=front_end.describe())
    corpus = _prepare(utterances, front_end, seed, start)

    source = _learn_phonemes(config, corpus, phoneme_inventory(utterances), seed, start)
    source.model.save_pretrained(folder / "source")
    runs = {
        mode: train_emotion(
            config,
            corpus.emotions("train", labels),
            corpus.emotions("validation", labels),
            EmotionSettings(steps=EMOTION_STEPS, seed=seed).training_options(config.front_end),
            source=source.model,
            transfer=TransferOptions(mode=mode),
            progress=_steps(start, f"emotions, transfer {mode}", "ua"),
        )
        for mode in dict.fromkeys(("none", transfer_options.mode))
    }
    model = runs[transfer].model
    model.save_pretrained(folder / "model")
    test = corpus.emotions("test", labels)
    metrics = {mode: evaluate(run.model, test) for mode, run in runs.items()}

    calibration = [corpus.features["train"][row].numpy() for row in choose_calibration(corpus.split.train)]
    advance = start("exporting and verifying")
    manifest = export(
        model,
        folder / "export",
        calibration=calibration,
        evaluation=[features.numpy() for features in test.features],
        truth=[int(target) for target in test.targets],
        progress=lambda done, total, what: advance(done, total, note=what),
    )
    clip = next(u for u in corpus.split.test if u.label == labels[0])
    clip_features = test.features[corpus.split.test.index(clip)]
    predictions = _predict_with_every_model(folder, manifest, clip_features.numpy())
    parity = _fast_against_reference(model, start)

    result = metrics[transfer].as_dict() | {
        "transfer": transfer,
        "seed": seed,
        "preset": preset,
        "runs": {mode: metrics[mode].as_dict() for mode in runs},
        "source": {"error_rate": _best(source)["error_rate"], "symbols": len(source.model.symbols)},
        "speakers": {part: sorted({u.speaker for u in getattr(corpus.split, part)}) for part in corpus.features},
        "utterances": {part: len(features) for part, features in corpus.features.items()},
        "clip": {"file": str(clip.file), "label": clip.label, "predictions": predictions},
        "parity": parity,
    }
    with atomic_write(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2), encoding="utf-8")
    page = _report(result, runs, source, metrics, manifest, model, clip, clip_features)
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return result


def _prepare(utterances: list[Utterance], front_end: LogMel, seed: int, start: StartStage) -> Corpus:
    split = split_by_speaker(utterances, seed=seed)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    ordered = [utterance for part in parts.values() for utterance in part]
    features = iter(extract_features(ordered, front_end, start("log-Mel features")))
    return Corpus(split, {name: [next(features) for _ in part] for name, part in parts.items()})


def _learn_phonemes(
    config: SATNConfig, corpus: Corpus, symbols: Sequence[str], seed: int, start: StartStage
) -> TrainingResult[Any]:
    return train_source(
        config,
        tuple(symbols),
        corpus.phonemes("train", symbols),
        corpus.phonemes("validation", symbols),
        # Symbols take a higher rate than emotions and no augmentation: CTC is slow enough to get going.
        TrainingOptions(epochs=SOURCE_EPOCHS, batch_size=16, learning_rate=4e-3, augmentation=(), seed=seed),
        progress=_steps(start, "phonemes (source task)", "error_rate"),
    )


def _steps(start: StartStage, description: str, figure: str) -> Progress:
    """A progress bar over steps that shows one figure of merit."""
    update = start(description)

    def after_step(done: int, total: int, record: EpochRecord | None) -> None:
        update(done, total, note=f"{figure.replace('_', ' ')} {record[figure]:.2f}" if record else "")

    return after_step


def _predict_with_every_model(folder: Path, manifest: Manifest, features: NDArray[np.float32]) -> list[dict[str, Any]]:
    """What the checkpoint and every exported file say about one utterance."""
    predictions = []
    for path in (folder / "model", *(folder / "export" / file.name for file in manifest.files)):
        predictions.append({"model": path.name} | load(path).predict(features)._asdict())
    return predictions


def _fast_against_reference(model: SATN, start: StartStage) -> list[dict[str, Any]]:
    """Parity and speed of the fast model and the plain one, same weights, on this machine."""
    plain = reference.SATN(model.config).eval()
    plain.load_state_dict(model.state_dict())
    n_frames = round(5.0 / model.config.hop_seconds)
    cases = {"one utterance of 5 s": 1, "32 utterances of 5 s": 32}
    update = start("fast against reference")
    rows = []
    for done, (what, batch) in enumerate(cases.items(), start=1):
        features = torch.randn(batch, n_frames, model.config.n_features)
        with torch.inference_mode():
            error = float((model(features).logits - plain(features).logits).abs().max())
            comparison = compare_in_turn(lambda x=features: model(x), lambda x=features: plain(x))  # type: ignore[misc]
        rows.append({"what": what, "max_error": error} | vars(comparison))
        update(done, len(cases), note=f"{comparison.speedup:.2f}x")
    return rows


def _best(result: TrainingResult[Any]) -> EpochRecord:
    return result.history[result.best_epoch - 1]


def _report(
    result: dict[str, Any],
    runs: Mapping[str, TrainingResult[SATN]],
    source: TrainingResult[Any],
    metrics: Mapping[str, Metrics],
    manifest: Manifest,
    model: SATN,
    clip: Utterance,
    clip_features: Tensor,
) -> str:
    transfer, labels = result["transfer"], model.config.labels
    smallest = min(manifest.files, key=lambda file: file.bytes)
    counts, speakers = result["utterances"], result["speakers"]
    return render_report(
        title="From speech to a verified INT8 model",
        subtitle=f"satn_fast demo: preset {result['preset']}, transfer {transfer}, seed {result['seed']}",
        headline={
            "UA, voices never heard": f"{result['ua']:.1%}",
            "WA": f"{result['wa']:.1%}",
            "phoneme errors (source task)": f"{result['source']['error_rate']:.1%}",
            "smallest file": f"{smallest.bytes / 1024:.0f} KB",
        },
        data_note=(
            f"Synthetic speech (espeak-ng): {counts['train']} utterances of {len(speakers['train'])} voices to learn "
            f"from, {counts['validation']} of {len(speakers['validation'])} to choose the model, {counts['test']} of "
            f"{len(speakers['test'])} to evaluate; no voice is in two parts. The four emotions are prosody settings: "
            "these figures say that the whole chain works, nothing about human speech."
        ),
        attention_picture=_clip_picture(model, clip, clip_features),
        confusion_picture=confusion_matrix(metrics[transfer].confusion, labels, title=f"transfer: {transfer}"),
        runs=[{"name": mode, "best_epoch": run.best_epoch} | vars(metrics[mode]) for mode, run in runs.items()],
        curves_picture=training_curves(
            {"phonemes": source.history} | {f"emotions, {mode}": run.history for mode, run in runs.items()},
            {"loss": "training loss", "error_rate": "phoneme error rate, validation", "ua": "UA, validation"},
        ),
        files=[_file_row(manifest, report) for report in manifest.reports],
        files_note=(
            f"Compared with the PyTorch checkpoint on the {counts['test']} evaluation utterances, each file in its own "
            "runtime, one thread. Agreement: share of utterances with the same decision."
        ),
        clip_note=f"{clip.file.name}, said as {clip.label}.",
        labels=labels,
        predictions=result["clip"]["predictions"],
        parity=result["parity"],
        machine_note=(
            f"{platform.machine()}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads, measured in turn, "
            "medians."
        ),
    )


def _file_row(manifest: Manifest, report: FileReport) -> dict[str, Any]:
    """One line of the report's table of exported files."""
    entry = next(file for file in manifest.files if file.name == report.name)
    return vars(report) | {"bytes": entry.bytes, "is_int8": entry.quantization == "int8"}


def _clip_picture(model: SATN, clip: Utterance, features: Tensor) -> bytes:
    with torch.inference_mode():
        output = model(features[None], return_weights=True)
    assert output.attention is not None
    assert output.pooling is not None
    return attention_over_time(
        features.numpy(),
        output.attention[0].mean((0, 1)).numpy(),
        output.pooling[0].numpy(),
        seconds_per_frame=model.config.hop_seconds,
        title=f"{clip.file.name}: {clip.text}",
    )
