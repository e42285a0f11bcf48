"""What the int8 files of a protocol's models lose beside the checkpoints, their size, and how long they take."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.recognition.kept import Record, described_software, results_file
from benchmarks.recognition.protocols import Prepared, ProtocolError
from benchmarks.timing import median_seconds
from satn_fast import SATN, LogMel
from satn_fast.data import Utterance
from satn_fast.evaluation import Predictions, evaluate_utterances, join, summarise
from satn_fast.export import ExportedModel, choose_calibration, load, to_micro, to_onnx, to_tflite
from satn_fast.export.names import MICRO
from satn_fast.export.stream_state import is_streamable
from satn_fast.files import atomic_write
from satn_fast.training import extract_features

FOLDER = "exported"
SECONDS = 3.0
ROUNDS = 50

_WHOLE: Mapping[str, Callable[..., Path]] = {
    "model.int8.onnx": partial(to_onnx, int8=True),
    "model.int8.tflite": partial(to_tflite, int8=True),
}
_STREAMED: Mapping[str, Callable[..., Path]] = {MICRO: to_micro}
_CHECKPOINT = "checkpoint"


def measure_exported(
    prepared: Prepared,
    variant: str,
    *,
    seeds: Sequence[int],
    folder: Path,
    results: Path,
    start: Callable[[str], Callable[..., None]],
) -> Record:
    """Exports the models of every fold, calibrated with other folds, evaluates the files on its own, and keeps figures.

    Args:
        prepared: The protocol.
        variant: Name of the settings that were trained.
        seeds: Of the trainings.
        folder: Of the runs.
        results: Folder of results.
        start: Starts a progress bar.

    Raises:
        ProtocolError: A model is missing.
    """
    path = results_file(results, prepared, variant)
    trained = {
        (name, seed): folder / path.stem / f"seed-{seed}" / name / f"seed-{seed}"
        for seed in seeds
        for name in sorted(set(prepared.names))
    }
    for model in trained.values():
        if not (model / "model.safetensors").is_file():
            raise ProtocolError(f"{model}: holds no model; run {prepared.protocol.name} with this --output first")
    front_end = LogMel(**SATN.from_pretrained(next(iter(trained.values()))).config.front_end)
    features = extract_features(prepared.utterances, front_end, start("features"))
    advance, said = start(FOLDER), dict[str, list[Predictions]]()
    with tempfile.TemporaryDirectory() as temporary:
        for done, ((name, seed), checkpoint) in enumerate(trained.items()):
            advance(done, len(trained), note=f"{name}, seed {seed}")
            files = _export(checkpoint, _of_fold(prepared, features, name, others=True), Path(temporary))
            utterances, heard = _of_fold(prepared, features, name)
            for file, model in {_CHECKPOINT: load(checkpoint), **files}.items():
                said.setdefault(file, []).append(evaluate_utterances(model, utterances, heard, fold=name, seed=seed))
        advance(len(trained), len(trained))
        sizes = {file: (Path(temporary) / file).stat().st_size for file in files}
        speech = np.resize(
            np.concatenate(heard), (front_end.frame_count(round(SECONDS * front_end.sample_rate)), front_end.n_features)
        )
        calls = {name: partial(model, speech) for name, model in files.items()}
        seconds = median_seconds(calls, rounds=ROUNDS, warm_up=1)
    joined = {file: join(predictions) for file, predictions in said.items()}
    record = {
        "protocol": prepared.protocol.name,
        "variant": path.stem,
        "seeds": list(seeds),
        "seconds": SECONDS,
        "ua": _ua(joined[_CHECKPOINT]),
        "ua_by_seed": _ua_by_seed(joined[_CHECKPOINT]),
        "date": datetime.now(UTC).date().isoformat(),
        **described_software(),
        "files": [
            {
                "name": file,
                "bytes": sizes[file],
                "agreement": round(float(np.mean(joined[file].decisions == joined[_CHECKPOINT].decisions)), 4),
                "ua": _ua(joined[file]),
                "ua_by_seed": _ua_by_seed(joined[file]),
                "milliseconds": round(1e3 * seconds[file], 3),
            }
            for file in files
        ],
    }
    with atomic_write(exported_file(path)) as temporary_file:
        temporary_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def exported_file(result: Path) -> Path:
    """Where figures of exported files are kept, beside the result of the models."""
    return result.parent / FOLDER / result.name


def read_exported(results: Path, protocol: str) -> list[Record]:
    """Every kept record of a protocol."""
    found = sorted((results / protocol / FOLDER).glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def _export(
    checkpoint: Path, others: tuple[Sequence[Utterance], Sequence[Tensor]], folder: Path
) -> dict[str, ExportedModel]:
    """Writes the int8 files of a model, calibrated as `satn-fast export` does, and loads them."""
    utterances, features = others
    examples = [features[row].numpy() for row in choose_calibration(utterances)]
    model = SATN.from_pretrained(checkpoint)
    writers = _WHOLE | (_STREAMED if is_streamable(model.config) else {})
    return {file: load(write(model, folder / file, calibration=examples)) for file, write in writers.items()}


def _of_fold(
    prepared: Prepared, features: Sequence[Tensor], name: str, *, others: bool = False
) -> tuple[list[Utterance], list[Tensor]]:
    """Utterances and features of a fold, or of all others."""
    rows = [row for row, fold in enumerate(prepared.names) if (fold == name) != others]
    return [prepared.utterances[row] for row in rows], [features[row] for row in rows]


def _ua(predictions: Predictions) -> float:
    """The mean over the seeds."""
    return round(summarise(predictions).over_seeds["ua"].mean, 4)


def _ua_by_seed(predictions: Predictions) -> list[float]:
    return [round(metrics.ua, 4) for metrics in summarise(predictions).seeds.values()]
