"""`satn-fast predict`: the emotion of audio files."""

import csv
import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from satn_fast.cli.audio import audio_of, features_of
from satn_fast.cli.terminal import output, results, warn
from satn_fast.frontend import LogMel

Prediction = dict[str, Any]


class SampleFormat(StrEnum):
    """How raw samples come; little-endian."""

    s16le = "s16le"
    f32le = "f32le"


def predict(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder, .onnx or .tflite.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Audio files (WAV, FLAC, OGG, MP3, ...).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list; with --stream, a JSON object per line.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: file, label, a probability per label.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="Average the channels of stereo files.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Listen: raw mono PCM on standard input, a line per update.")
    ] = False,
    rate: Annotated[
        int | None, typer.Option(min=1, help="With --stream, Hz of the input; the model's own if not given.")
    ] = None,
    sample_format: Annotated[
        SampleFormat, typer.Option("--format", help="With --stream, what a sample is.")
    ] = SampleFormat.s16le,
    update_seconds: Annotated[
        float, typer.Option(help="With --stream, seconds of audio from one line to the next.")
    ] = 0.5,
) -> None:
    """Recognise the emotion of audio files, or of what comes in while it is spoken.

    A file that cannot be used is named on standard error; the others are still recognised, and the exit code is 1.

    With `--stream`, every line says how many seconds were heard, the emotion of all of it with its probability, and how
    long after its last sample the line came. The end of the input, or Ctrl-C, brings the final line. The model must be
    a checkpoint with an attention window, or its exported model.stream.onnx, model.stream.int8.onnx or model.mcu.tflite
    (which hears the last 10 s).

    **Examples**

        satn-fast predict runs/demo/model clip.wav

        satn-fast predict runs/demo/export/model.int8.onnx speech/*.wav --json

        arecord -t raw -f S16_LE -r 16000 -c 1 | satn-fast predict runs/demo/model --stream
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    if stream:
        if files or as_csv or mix:
            raise typer.BadParameter("--stream reads standard input; leave out files, --csv and --mix")
        _listen(model, rate, sample_format, update_seconds, as_json=as_json)
    elif files:
        _predict_files(model, files, as_json=as_json, as_csv=as_csv, mix=mix)
    else:
        raise typer.BadParameter("give audio files, or --stream to listen to standard input")


def _listen(
    model: Path, rate: int | None, sample_format: SampleFormat, update_seconds: float, *, as_json: bool
) -> None:
    from satn_fast.cli.listening import listen

    if not (math.isfinite(update_seconds) and update_seconds > 0.0):
        raise typer.BadParameter("--update-seconds must be a positive number of seconds")
    if sys.stdin.isatty():
        raise typer.BadParameter(
            "standard input is the keyboard; send samples, for one with: "
            "arecord -t raw -f S16_LE -r 16000 -c 1 | satn-fast predict MODEL --stream"
        )
    listen(
        model,
        rate=rate,
        sample_format=sample_format.value,
        update_seconds=update_seconds,
        as_json=as_json,
        file=sys.stdin.buffer,
    )


def _predict_files(model: Path, files: list[Path], *, as_json: bool, as_csv: bool, mix: bool) -> None:
    from satn_fast.export import load

    recogniser = load(model)
    front_end = LogMel(**recogniser.front_end)
    predictions: list[Prediction] = []
    for file in files:
        try:
            if recogniser.takes_audio:
                prediction = recogniser.predict(audio_of(file, front_end, mix=mix).waveform)
            else:
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
