"""Sizes, latencies, memory and accuracy of exported files: one table, in docs/edge.md.

    python -m benchmarks.edge --model runs/demo/model --manifest runs/demo/corpus/manifest.csv \\
        --held-out f03,f04,m03,m04

The model is exported anew, calibrated with the other speakers and verified with those held out; then every file is
timed on one thread. The figures are kept in `benchmarks/results/edge/NAME.json`, and the table of all that is kept
there is written between two comments of docs/edge.md. Without `--model`, only the table is written.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from satn_fast import SATN, LogMel
from satn_fast.cli.terminal import bar, progress_bars
from satn_fast.data import read_manifest
from satn_fast.export import ExportedModel, ExportedStream, Manifest, choose_calibration, export, load
from satn_fast.files import atomic_write
from satn_fast.training import extract_features

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results" / "edge"
DOCUMENT = REPOSITORY / "docs" / "edge.md"
BEGIN, END = "<!-- table of python -m benchmarks.edge -->", "<!-- end of table -->"

ROUNDS = 30

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
        arrays = [frames.numpy() for frames in features]
        exported = export(
            model,
            Path(folder) / "export",
            calibration=arrays[: len(calibration)],
            evaluation=arrays[len(calibration) :],
            truth=[labels.index(utterance.label) for utterance in test],
            calibration_front_end=front_end.describe(),
            progress=partial(_told, bar(bars, "exporting and verifying")),
        )
        milliseconds = latencies(Path(folder) / "export", exported, arrays[-1])
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": f"{len(test)} utterances of {len(set(held_out))} speakers it had not heard",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "tools": {name: exported.tools[name] for name in ("onnxruntime", "ai-edge-litert")},
        "utterance_seconds": exported.utterance_seconds,
        "files": [
            {
                "name": entry.name,
                "bytes": entry.bytes,
                "arena_bytes": entry.arena_bytes,
                "milliseconds": milliseconds[entry.name],
                "max_logit_error": entry.max_logit_error,
                "agreement": entry.agreement,
                "ua": entry.ua,
                "ua_loss": entry.ua_loss,
            }
            for entry in exported.files
        ],
    }


def latencies(folder: Path, exported: Manifest, features: NDArray[np.float32]) -> dict[str, float]:
    """Median milliseconds of an utterance of `utterance_seconds`, or of a chunk of a stream; files timed in turn."""
    frames = round(exported.utterance_seconds / exported.front_end.get("hop_seconds", 0.01))
    utterance = np.resize(features, (frames, features.shape[1]))
    models = {entry.name: load(folder / entry.name) for entry in exported.files}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            seconds[name].append(_seconds(model, utterance))
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


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
    lines = [
        "| model | file | KB | ms | arena, KB | largest logit error | decides alike | UA | UA lost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(figures, file) for figures in measured for file in figures["files"]]
    return "\n".join([*lines, "", *map(_note, measured)])


def _note(figures: Mapping[str, Any]) -> str:
    tools = figures["tools"]
    return (
        f"- `{figures['model']}`, {figures['parameters'] / 1e3:.0f} k parameters: {figures['date']}, "
        f"{figures['machine']}, one thread, ONNX Runtime {tools['onnxruntime']}, LiteRT {tools['ai-edge-litert']}; "
        f"{figures['data']}; latency and arena of {figures['utterance_seconds']:g} s"
    )


def _row(figures: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    arena = "–" if file["arena_bytes"] is None else f"{file['arena_bytes'] / 1024:.0f}"
    chunk = " a chunk" if ".stream." in file["name"] else ""
    cells = [
        figures["model"],
        f"`{file['name']}`",
        f"{file['bytes'] / 1024:.0f}",
        f"{file['milliseconds']:.2f}{chunk}",
        arena,
        f"{file['max_logit_error']:.2g}",
        *(f"{100 * file[key]:.1f} %" for key in ("agreement", "ua", "ua_loss")),
    ]
    return f"| {' | '.join(cells)} |"


def _seconds(model: ExportedModel, utterance: NDArray[np.float32]) -> float:
    """Of a run after one that prepared the runtime for this length."""
    if isinstance(model, ExportedStream):
        model.reset()
        run, heard = model.push, utterance[: model.chunk_frames]
    else:
        run, heard = model, utterance
    run(heard)
    start = time.perf_counter()
    run(heard)
    return time.perf_counter() - start


def _told(update: Any, done: int, total: int, what: str) -> None:
    update(done, total, note=what)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
