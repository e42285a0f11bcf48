"""`satn-fast predict`: the emotion of audio files."""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from satn_fast.cli.audio import features_of
from satn_fast.cli.terminal import output, results, warn
from satn_fast.frontend import LogMel

Prediction = dict[str, Any]


def predict(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder, .onnx or .tflite.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files (WAV, FLAC, OGG, MP3, ...).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: file, label, a probability per label.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="Average the channels of stereo files.")] = False,
) -> None:
    """Recognise the emotion of audio files.

    A file that cannot be used is named on standard error; the others are still recognised, and the exit code is 1.

    **Examples**

        satn-fast predict runs/demo/model clip.wav

        satn-fast predict runs/demo/export/model.int8.onnx speech/*.wav --json
    """
    from satn_fast.export import load

    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    recogniser = load(model)
    front_end = LogMel(**recogniser.front_end)
    predictions: list[Prediction] = []
    for file in files:
        try:
            prediction = recogniser.predict(features_of(file, front_end, mix=mix))
        except (ValueError, OSError) as error:
            warn(" ".join(str(error).split()))
            continue
        predictions.append({"file": str(file)} | prediction._asdict())
    _print(predictions, recogniser.labels, as_json=as_json, as_csv=as_csv)
    if len(predictions) < len(files):
        raise typer.Exit(1)


def _print(predictions: list[Prediction], labels: tuple[str, ...], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(predictions, indent=2) + "\n")
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "label", *labels])
        for row in predictions:
            writer.writerow([row["file"], row["label"], *(f"{row['scores'][label]:.6f}" for label in labels)])
    elif predictions:
        table = results("file", "label", *labels)
        for row in predictions:
            table.add_row(row["file"], f"[bold]{row['label']}", *(f"{row['scores'][label]:.2f}" for label in labels))
        output.print(table)
