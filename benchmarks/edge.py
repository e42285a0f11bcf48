"""Sizes, latencies, memory and accuracy of exported files: one table, in docs/edge.md.

    python -m benchmarks.edge --model runs/demo/model --manifest runs/demo/corpus/manifest.csv \\
        --held-out f03,f04,m03,m04

The model is exported anew to every file that there is, calibrated with the other speakers and verified with those held
out; then all files are timed in turn, on one thread. The figures are kept in `benchmarks/results/edge/NAME.json`, and
the table of all that is kept there is written between two comments of docs/edge.md. Without `--model`, only the table
is written.
"""

import json
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks import markdown
from benchmarks.timing import median_seconds
from satn_fast import SATN, LogMel
from satn_fast.cli.audio import waveforms_of
from satn_fast.cli.terminal import bar, progress_bars, warn
from satn_fast.data import read_manifest
from satn_fast.export import (
    ExportedBatch,
    ExportedModel,
    ExportedStream,
    Manifest,
    MicroModel,
    choose_calibration,
    export,
    load,
)
from satn_fast.export.names import BATCH, MICRO, STREAM, float_twin
from satn_fast.files import atomic_write
from satn_fast.training import extract_features

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results" / "edge"
DOCUMENT = REPOSITORY / "docs" / "edge.md"
BEGIN, END = "<!-- table of python -m benchmarks.edge -->", "<!-- end of table -->"

COLUMNS = (
    "model",
    "file",
    "KB",
    "ms",
    "speed-up",
    "real-time factor",
    "arena, KB",
    "largest logit error",
    "decides alike",
    "UA",
    "UA lost",
)
ROUNDS = 100
BATCH_SIZE = 8
# Who listens all day has the weights of one model in the caches.
WARM_UP = 5

TOOLS = {"onnxruntime": "ONNX Runtime", "ai-edge-litert": "LiteRT", "tflite-micro": "TFLite Micro"}

Figures = dict[str, Any]


def main(
    model: Annotated[Path | None, typer.Option(help="Folder of a checkpoint.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Utterances to calibrate and to verify with.")] = None,
    held_out: Annotated[str, typer.Option(help="Speakers to verify with, between commas.")] = "",
    name: Annotated[str, typer.Option(help="Of the model in the table.")] = "edge",
) -> None:
    """Measures a model, and writes the table of all that were measured."""
    if (model is None) != (manifest is None):
        raise typer.BadParameter("give both --model and --manifest, or neither")
    if model is not None and manifest is not None:
        measured = measure(model, manifest, tuple(filter(None, held_out.split(","))), name)
        with atomic_write(RESULTS / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(measured, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic_write(DOCUMENT) as temporary:
        temporary.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), kept()), encoding="utf-8")


def measure(checkpoint: Path, manifest: Path, held_out: Sequence[str], name: str) -> Figures:
    """Exports, verifies and times a model."""
    model, utterances = SATN.from_pretrained(checkpoint), read_manifest(manifest, check_files=True)
    test = [utterance for utterance in utterances if utterance.speaker in held_out]
    others = [utterance for utterance in utterances if utterance.speaker not in held_out]
    if not test or not others:
        raise typer.BadParameter(f"{manifest}: --held-out must name some of its speakers, and not all of them")
    calibration = [others[row] for row in choose_calibration(others)]
    front_end, labels = LogMel(**model.config.front_end), model.config.labels
    with progress_bars() as bars, tempfile.TemporaryDirectory() as folder:
        features = extract_features([*calibration, *test], front_end, bar(bars, "features"))
        arrays, audio = [frames.numpy() for frames in features], waveforms_of(test, front_end)
        exported = export(
            model,
            Path(folder) / "export",
            calibration=arrays[: len(calibration)],
            evaluation=arrays[len(calibration) :],
            truth=[labels.index(utterance.label) for utterance in test],
            evaluation_audio=audio,
            batched=True,
            calibration_front_end=front_end.describe(),
            progress=partial(_told, bar(bars, "exporting and verifying")),
        )
        latencies = measured_latencies(Path(folder) / "export", exported, audio[-1])
    for left_out, reason in exported.left_out.items():
        warn(f"{left_out} is left out: {reason}")
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": f"{len(test)} utterances of {len(set(held_out))} speakers it had not heard",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "tools": {name: exported.tools[name] for name in TOOLS if name in exported.tools},
        "utterance_seconds": exported.utterance_seconds,
        "files": [
            {
                "name": entry.name,
                "bytes": entry.bytes,
                "arena_bytes": entry.arena_bytes,
                "seconds": latencies[entry.name].seconds,
                "milliseconds": latencies[entry.name].milliseconds,
                "max_logit_error": entry.max_logit_error,
                "agreement": entry.agreement,
                "ua": entry.ua,
                "ua_loss": entry.ua_loss,
            }
            for entry in exported.files
        ],
    }


class Latency(NamedTuple):
    """How long a file takes for how much audio: an utterance, or a chunk of a stream."""

    seconds: float
    milliseconds: float


def measured_latencies(folder: Path, exported: Manifest, audio: NDArray[np.float32]) -> dict[str, Latency]:
    """Medians of all files, timed in turn; of a batch, the share of an utterance.

    Args:
        folder: Of the files.
        exported: Their manifest.
        audio: (n_samples,), of which an utterance of `utterance_seconds` is made.
    """
    front_end = LogMel(**exported.front_end)
    utterance = np.resize(audio, round(exported.utterance_seconds * front_end.sample_rate))
    models = {entry.name: load(folder / entry.name) for entry in exported.files}
    calls = {name: _call(model, utterance, front_end(utterance)) for name, model in models.items()}
    taken = median_seconds(calls, rounds=ROUNDS, warm_up=WARM_UP)
    hop = front_end.hop_length / front_end.sample_rate
    result = {}
    for name, model in models.items():
        utterances = BATCH_SIZE if name in BATCH else 1
        seconds = exported.utterance_seconds
        if isinstance(model, ExportedStream | MicroModel):
            seconds = model.chunk_frames * hop
        result[name] = Latency(seconds, 1e3 * taken[name] / utterances)
    return result


def _call(model: ExportedModel, audio: NDArray[np.float32], features: NDArray[np.float32]) -> Callable[[], object]:
    """What is timed."""
    if isinstance(model, ExportedStream | MicroModel):
        return partial(model.push, features[: model.chunk_frames])
    if isinstance(model, ExportedBatch):
        return partial(model.batch, [features] * BATCH_SIZE)
    return partial(model, audio if model.takes_audio else features)


def describe_machine() -> str:
    """Processor and system."""
    names = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith(("model name", "Model"))]
    processor = names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
    return f"{processor}, {platform.machine()}, {platform.system()}"


def kept() -> list[Figures]:
    """All figures that are kept, the largest model first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(found, key=lambda figures: -figures["parameters"])


def with_table(document: str, measured: Sequence[Mapping[str, Any]]) -> str:
    """The document with the table between its two comments.

    Raises:
        ValueError: The comments are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the comments {BEGIN} and {END}")
    return f"{before}{begin}\n{table(measured)}\n{end}{after}"


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """The table, and below it how it was measured."""
    rows = [_row(figures, file) for figures in measured for file in figures["files"]]
    return "\n".join([*markdown.table(COLUMNS, rows), "", *map(_note, measured)])


def _note(figures: Mapping[str, Any]) -> str:
    tools = ", ".join(f"{TOOLS[name]} {version}" for name, version in figures["tools"].items())
    return (
        f"- `{figures['model']}`, {figures['parameters'] / 1e3:.0f} k parameters: {figures['date']}, "
        f"{figures['machine']}, one thread, {tools}; {figures['data']}; latency and arena of "
        f"{figures['utterance_seconds']:g} s"
    )


def _row(figures: Mapping[str, Any], file: Mapping[str, Any]) -> list[str]:
    name, milliseconds = file["name"], file["milliseconds"]
    twin = next((other for other in figures["files"] if other["name"] == float_twin(name) != name), None)
    arena = "–" if file["arena_bytes"] is None else f"{file['arena_bytes'] / 1024:.0f}"
    return [
        figures["model"],
        f"`{name}`",
        f"{file['bytes'] / 1024:.0f}",
        f"{milliseconds:.2f}{' a chunk' if name in (*STREAM, MICRO) else ''}{' each' if name in BATCH else ''}",
        "–" if twin is None else f"{twin['milliseconds'] / milliseconds:.2f} x",
        f"{milliseconds / 1e3 / file['seconds']:.2g}",
        arena,
        f"{file['max_logit_error']:.2g}",
        *(f"{100 * file[key]:.1f} %" for key in ("agreement", "ua", "ua_loss")),
    ]


def _told(update: Any, done: int, total: int, what: str) -> None:
    update(done, total, note=what)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
