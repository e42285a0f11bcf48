"""`satn-fast evaluate`: how well a model recognises the utterances of a manifest."""

import csv
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.markup import escape
from rich.progress import Progress

from satn_fast.cli.audio import waveforms_of
from satn_fast.cli.prepare import OnError
from satn_fast.cli.terminal import bar, messages, output, progress_bars, results, warn

if TYPE_CHECKING:
    from torch import Tensor

    from satn_fast.data import Utterance
    from satn_fast.evaluation import Predictions, TrainingRecord
    from satn_fast.export import ExportedModel
    from satn_fast.models import SATN

_SHOWN_SPEAKERS = 12


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Run or checkpoint folder, .onnx or .tflite.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="CSV of utterances, with labels that the model knows.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    destination: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write metrics.json, predictions.csv, confusion.png, confusion.csv and report.html.",
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where features are kept, and looked for first.")
    ] = None,
    on_error: Annotated[OnError, typer.Option(help="At a file that cannot be used: stop, or skip and name it.")] = (
        OnError.stop
    ),
) -> None:
    """Say how well a model recognises the utterances of a manifest, and how sure that is.

    WA, UA with its 95 % confidence interval, macro-F1, recall and precision of each label, the confusion matrix,
    figures of each speaker, and the calibration error. Warns when the model was trained on a speaker of the manifest.

    **Examples**

        satn-fast evaluate runs/emotion test.csv

        satn-fast evaluate runs/emotion test.csv --output runs/emotion/test

        satn-fast evaluate runs/demo/export/model.int8.onnx test.csv --json
    """
    from satn_fast.evaluation import evaluate_utterances, figures, read_record

    recogniser = _load(model)
    utterances = _utterances(manifest, recogniser.config.labels, on_error)
    record = read_record(model / "run.json") if model.is_dir() else None
    overlap, said = _known_speakers(record, utterances)
    with progress_bars() as bars:
        config = recogniser.config
        per_speaker = config.normalization == "speaker"
        read = _read(utterances, config.front_end, cache, on_error, manifest, bars, per_speaker=per_speaker)
        advance = bar(bars, "recognising")
        predictions = evaluate_utterances(recogniser, read.utterances, _heard(recogniser, read), progress=advance)
    found = figures(predictions) | {
        "model": str(model),
        "manifest": str(manifest),
        "skipped": len(utterances) - len(read.utterances),
        "known_speakers": overlap,
    }
    if destination is not None:
        _write(destination, recogniser, predictions, read, found, record, [said] if said else [])
        messages.print(f"wrote {destination}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(found)


@dataclass(frozen=True)
class _Read:
    """Utterances whose audio could be used, with their features (T, F)."""

    utterances: "list[Utterance]"
    features: "list[Tensor]"


def _load(model: Path) -> "SATN | ExportedModel":
    from satn_fast import SATN
    from satn_fast.export import load

    if (model / "predictions.csv").is_file() and not (model / "config.json").exists():
        raise ValueError(
            f"{model}: is a cross-validation, not a model; evaluate one of its trainings, {model}/FOLD/seed-N, or see "
            "all of its predictions with satn-fast compare"
        )
    # A checkpoint recognises several utterances at once, and shows its attention.
    if model.is_dir():
        return SATN.from_pretrained(model)
    return load(model)


def _utterances(manifest: Path, labels: Sequence[str], on_error: OnError) -> "list[Utterance]":
    from satn_fast.data import read_manifest
    from satn_fast.evaluation import UnknownLabelError, class_indices

    utterances = read_manifest(manifest, check_files=on_error is OnError.stop)
    try:
        class_indices(utterances, labels)
    except UnknownLabelError as error:
        raise UnknownLabelError(f"{manifest}: {error}") from error
    return utterances


def _known_speakers(record: "TrainingRecord | None", utterances: "Sequence[Utterance]") -> tuple[list[str], str]:
    """Speakers that the model knows from training, and what to say about them."""
    from satn_fast.data import check_speaker_overlap

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        overlap = check_speaker_overlap(sorted(record.known_speakers) if record else [], utterances)
    said = " ".join(f"The model was trained on speakers of this manifest: {warning.message}" for warning in caught)
    if said:
        warn(f"WARNING: {said}")
    return overlap, said


def _read(
    utterances: "list[Utterance]",
    front_end: Any,
    cache: Path | None,
    on_error: OnError,
    manifest: Path,
    bars: Progress,
    *,
    per_speaker: bool,
) -> _Read:
    from satn_fast import LogMel
    from satn_fast.training import FeatureCache, extract_features, normalize_per_speaker

    log_mel = LogMel(**front_end)
    features = extract_features(
        utterances,
        log_mel,
        bar(bars, f"features of {manifest.name}"),
        notify=lambda what: warn(f"{manifest}: {what}"),
        cache=None if cache is None else FeatureCache(cache, log_mel),
        on_error=cast(Literal["skip"], "skip" if on_error is OnError.skip else "raise"),
    )
    pairs = [(said, frames) for said, frames in zip(utterances, features, strict=True) if frames is not None]
    usable = _Read([said for said, _ in pairs], [frames for _, frames in pairs])
    if not per_speaker:
        return usable
    speakers = [said.speaker for said in usable.utterances]
    return replace(usable, features=normalize_per_speaker(usable.features, speakers, notify=warn))


def _heard(model: "SATN | ExportedModel", read: _Read) -> "list[Tensor]":
    """What the model takes of each utterance: features, or audio."""
    import torch

    from satn_fast import SATN, LogMel

    if isinstance(model, SATN) or not model.takes_audio:
        return read.features
    return [torch.from_numpy(audio) for audio in waveforms_of(read.utterances, LogMel(**model.front_end))]


def _write(
    folder: Path,
    model: "SATN | ExportedModel",
    predictions: "Predictions",
    read: _Read,
    found: dict[str, Any],
    record: "TrainingRecord | None",
    complaints: Sequence[str],
) -> None:
    import numpy as np

    from satn_fast import SATN
    from satn_fast.evaluation import write_predictions
    from satn_fast.files import atomic_folder
    from satn_fast.report import confusion_matrix, evaluation_page, example_clips
    from satn_fast.report.evaluation import training_facts

    facts = {"model": found["model"], "manifest": found["manifest"]}
    if found["skipped"]:
        facts["utterances skipped"] = str(found["skipped"])
    page = evaluation_page(
        predictions,
        title=f"Evaluation on {Path(found['manifest']).stem}",
        subtitle=f"Model {found['model']}",
        clips=example_clips(model, predictions, read.features) if isinstance(model, SATN) else (),
        record=record,
        warnings=complaints,
        known_speakers=found["known_speakers"],
        facts=facts | (training_facts(record) if record is not None else {}),
    )
    with atomic_folder(folder, last="metrics.json") as temporary:
        (temporary / "report.html").write_text(page, encoding="utf-8")
        (temporary / "confusion.png").write_bytes(confusion_matrix(np.array(found["confusion"]), found["labels"]))
        _write_confusion(temporary / "confusion.csv", found["confusion"], found["labels"])
        write_predictions(temporary / "predictions.csv", predictions)
        kept = found | {"training": None if record is None else record.as_dict()}
        (temporary / "metrics.json").write_text(json.dumps(kept, indent=2), encoding="utf-8")


def _write_confusion(path: Path, confusion: list[list[int]], labels: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["said", *labels])
        writer.writerows([label, *row] for label, row in zip(labels, confusion, strict=True))


def _print(found: dict[str, Any]) -> None:
    interval = found["ua_interval"]
    table = results("", "UA", f"{interval['level']:.0%} interval", "WA", "macro-F1", "calibration error")
    table.add_row(
        f"{found['utterances']} utterances, {len(found['speakers'])} speakers",
        f"[bold]{found['ua']:.1%}",
        f"{interval['low']:.1%} to {interval['high']:.1%}",
        f"{found['wa']:.1%}",
        f"{found['macro_f1']:.1%}",
        f"{found['ece']:.1%}",
    )
    output.print(table)
    labels = found["labels"]
    table = results("said", "recall", "precision", "F1", *(f"→ {escape(label)}" for label in labels))
    for label, row in zip(labels, found["confusion"], strict=True):
        figures = found["per_class"][label]
        recall = f"{figures['recall']:.1%}" if figures["support"] else "–"
        counts = (f"[bold]{count}" if other == label else str(count) for other, count in zip(labels, row, strict=True))
        table.add_row(escape(label), recall, f"{figures['precision']:.1%}", f"{figures['f1']:.1%}", *counts)
    output.print(table)
    table = results("speaker", "UA", "WA", "utterances")
    for speaker, figures in list(found["speakers"].items())[:_SHOWN_SPEAKERS]:
        table.add_row(escape(speaker), f"{figures['ua']:.1%}", f"{figures['wa']:.1%}", str(figures["utterances"]))
    if len(found["speakers"]) > _SHOWN_SPEAKERS:
        table.add_row(f"and {len(found['speakers']) - _SHOWN_SPEAKERS} more")
    output.print(table)
    if interval["unit"] == "utterances":
        said = "The interval is over utterances of these speakers: it says nothing about other speakers."
        output.print(said, style="dim", soft_wrap=True)
