"""`satn-fast export` and `satn-fast verify`: INT8 files for the edge, and whether they can be trusted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import Progress

from satn_fast.cli.audio import waveforms_of
from satn_fast.cli.terminal import bar, output, progress_bars, results, warn

if TYPE_CHECKING:
    from satn_fast.data import Utterance
    from satn_fast.export import FileReport, LayerError
    from satn_fast.frontend import LogMel
    from satn_fast.models import SATN

MISSED_TOLERANCE = 3

Checkpoint = Annotated[Path, typer.Argument(help="Folder written by training (model.safetensors, config.json).")]
Agreement = Annotated[float, typer.Option(help="Least share of utterances on which an int8 file decides alike.")]
Loss = Annotated[float, typer.Option(help="Largest loss of unweighted accuracy, as a fraction.")]


class CalibrationMethod(StrEnum):
    """How int8 ranges follow from the calibration."""

    minmax = "minmax"
    percentile = "percentile"


def export(
    checkpoint: Checkpoint,
    calibration: Annotated[Path, typer.Option(help="Manifest of training utterances, for the int8 ranges.")],
    destination: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("exported"),
    evaluation: Annotated[
        Path | None, typer.Option(help="Manifest of other utterances to verify with; default: the calibration's.")
    ] = None,
    calibration_size: Annotated[
        int, typer.Option(min=1, help="Utterances to calibrate with, drawn from all speakers and labels alike.")
    ] = 64,
    calibration_method: Annotated[
        CalibrationMethod,
        typer.Option(help="minmax never clips; percentile leaves out the outermost ten-thousandth of the values."),
    ] = CalibrationMethod.minmax,
    audio_input: Annotated[
        bool, typer.Option("--audio-input", help="Also write model.audio.*, which take audio: the front end is inside.")
    ] = False,
    batched: Annotated[
        bool, typer.Option("--batched", help="Also write model.batch.*.onnx, which take several utterances at once.")
    ] = False,
    min_agreement: Agreement = 0.95,
    max_ua_loss: Loss = 0.02,
) -> None:
    """Export a checkpoint to ONNX and TFLite, float32 and int8, and verify every file.

    Nothing is written, and the exit code is 3, when a file misses its tolerance.

    **Examples**

        satn-fast export runs/demo/model --calibration runs/demo/corpus/manifest.csv --output exported
    """
    from satn_fast import SATN, LogMel
    from satn_fast.card import training_record
    from satn_fast.data import read_manifest
    from satn_fast.export import ToleranceError, Tolerances, choose_calibration
    from satn_fast.export import export as export_model

    model = SATN.from_pretrained(checkpoint)
    front_end = LogMel(**model.config.front_end)
    if evaluation is None:
        warn("no --evaluation: verifying with the calibration utterances, which flatters the int8 files")
    with progress_bars() as bars:
        training = read_manifest(calibration, check_files=True)
        chosen = [training[row] for row in choose_calibration(training, calibration_size)]
        examples = _features(calibration, chosen, model, front_end, bars)
        compared = examples if evaluation is None else _read(evaluation, model, front_end, bars)
        try:
            manifest = export_model(
                model,
                destination,
                calibration=examples.features,
                evaluation=compared.features,
                truth=compared.truth,
                evaluation_audio=waveforms_of(compared.utterances, front_end) if audio_input else None,
                batched=batched,
                calibration_method=calibration_method.value,
                tolerances=Tolerances(int8_agreement=min_agreement, ua_loss=max_ua_loss),
                training=training_record(checkpoint),
                progress=_advance(bars, "exporting and verifying"),
            )
        except ToleranceError as error:
            reports: Sequence[FileReport] = error.reports
        else:
            reports = manifest.reports
            for name, reason in manifest.left_out.items():
                warn(f"{name} is left out: {reason}")
    _show(reports, {file.name: file.bytes for file in manifest.files} if _all_ok(reports) else {})


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder written by `satn-fast export`.")],
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint that the files were exported from.")],
    manifest: Annotated[Path, typer.Option(help="Manifest of utterances to compare on.")],
    min_agreement: Agreement = 0.95,
    max_ua_loss: Loss = 0.02,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Also show the error of every layer of the int8 files, the worst first."),
    ] = False,
) -> None:
    """Check that exported files are whole and compute what the checkpoint computes. Exit code 3 if one does not.

    Whole means that not a bit has changed of manifest.json and the files that it lists. README.md, the model card, may
    be edited. Labels that the model does not know are fine: then decisions are compared, and no accuracy is computed.

    **Examples**

        satn-fast verify runs/demo/export --checkpoint runs/demo/model --manifest speech.csv

        satn-fast verify runs/demo/export --checkpoint runs/demo/model --manifest speech.csv --layers
    """
    from satn_fast import SATN, LogMel
    from satn_fast.export import Manifest, Tolerances, layer_errors
    from satn_fast.export import verify as verify_folder
    from satn_fast.export.names import AUDIO, BATCH, is_int8

    model = SATN.from_pretrained(checkpoint)
    front_end = LogMel(**model.config.front_end)
    with progress_bars() as bars:
        compared = _read(manifest, model, front_end, bars)
        reports = verify_folder(
            folder,
            model,
            compared.features,
            compared.truth,
            audio=waveforms_of(compared.utterances, front_end) if _takes_audio(folder) else None,
            tolerances=Tolerances(int8_agreement=min_agreement, ua_loss=max_ua_loss),
            progress=_advance(bars, "verifying"),
        )
    if layers:
        for report in reports:
            # Behind the front end, and in a batch, the layers are those of the file for one utterance.
            shown = is_int8(report.name) and report.name not in (*AUDIO, *BATCH)
            if shown and report.agreement is not None:
                _show_layers(report.name, layer_errors(folder / report.name, model, compared.features))
    _show(reports, {file.name: file.bytes for file in Manifest.read(folder).files})


@dataclass(frozen=True)
class _Utterances:
    """Features (T, F) of each utterance, and its class index where the model knows all labels."""

    utterances: "Sequence[Utterance]"
    features: list[NDArray[np.float32]]
    truth: list[int] | None


def _read(manifest: Path, model: "SATN", front_end: "LogMel", bars: Progress) -> _Utterances:
    from satn_fast.data import read_manifest

    return _features(manifest, read_manifest(manifest, check_files=True), model, front_end, bars)


def _features(
    manifest: Path, utterances: "Sequence[Utterance]", model: "SATN", front_end: "LogMel", bars: Progress
) -> _Utterances:
    from satn_fast.training import extract_features

    labels = model.config.labels
    progress = bar(bars, f"features of {manifest.name}")
    features = extract_features(utterances, front_end, progress, notify=lambda what: warn(f"{manifest}: {what}"))
    unknown = sorted({utterance.label for utterance in utterances} - set(labels))
    if unknown:
        warn(f"{manifest}: the model does not know {', '.join(unknown)}; comparing decisions only, not accuracy")
    truth = None if unknown else [labels.index(utterance.label) for utterance in utterances]
    return _Utterances(utterances, [frames.numpy() for frames in features], truth)


def _takes_audio(folder: Path) -> bool:
    from satn_fast.export import Manifest

    return any(tensor["name"] == "audio" for file in Manifest.read(folder).files for tensor in file.inputs)


def _advance(bars: Progress, description: str) -> Callable[[int, int, str], None]:
    update = bar(bars, description)
    return lambda done, total, what: update(done, total, note=what)


def _all_ok(reports: "Sequence[FileReport]") -> bool:
    return all(report.ok for report in reports)


def _show(reports: "Sequence[FileReport]", sizes: dict[str, int]) -> None:
    table = results("file", "size", "latency", "error", "alike", "UA", "lost", "")
    for report in reports:
        size = f"{sizes[report.name] / 1024:.0f} KB" if report.name in sizes else "–"
        table.add_row(
            report.name,
            size,
            _figure(report.milliseconds, "{:.2f} ms"),
            _figure(report.max_logit_error, "{:.2g}"),
            _figure(report.agreement, "{:.1%}"),
            _figure(report.ua, "{:.1%}"),
            _figure(report.ua_loss, "{:.1%}"),
            "[green]good" if report.ok else "[red]refused",
        )
    output.print(table)
    output.print(
        "error: largest logit error; alike: share of decisions like the checkpoint's; lost: UA, to the checkpoint",
        style="dim",
    )
    for report in reports:
        if not report.ok:
            warn(report.complaint)
    if not _all_ok(reports):
        raise typer.Exit(MISSED_TOLERANCE)


def _show_layers(name: str, errors: "Sequence[LayerError]") -> None:
    table = results("layer", "tensor", "error", "largest", "in clip")
    for error in errors:
        table.add_row(
            error.layer, error.tensor, f"{error.relative_error:.2%}", f"{error.max_error:.2g}", str(error.utterance + 1)
        )
    output.print(f"Layers of {name}")
    output.print(table)
    output.print("error: root mean square, relative to the checkpoint's; in clip: where the largest is", style="dim")


def _figure(value: float | None, pattern: str) -> str:
    return "–" if value is None else pattern.format(value)
