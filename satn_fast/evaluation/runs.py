"""What training left in a folder: the record of one training, or of a cross-validation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from satn_fast.evaluation.predictions import Predictions, read_predictions

__all__ = ["Run", "RunError", "TrainingRecord", "read_record", "read_run"]

RECORD, PREDICTIONS, METRICS = "run.json", "predictions.csv", "metrics.json"


class RunError(ValueError):
    """A run folder, or a record in it, that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of one training.

    Attributes:
        seed: Of the training, `None` where it is not known.
        transfer: "none", "init", "map" or "both".
        speakers: Those of the parts "train" and "validation".
        best_epoch: The epoch whose weights were kept.
        history: A record for each epoch: `epoch`, `loss`, validation figures.
        name: Which of a cross-validation's trainings it is, such as "anna/seed-0".
    """

    seed: int | None = None
    transfer: str | None = None
    speakers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    best_epoch: int | None = None
    history: Sequence[Mapping[str, float]] = ()
    name: str = ""

    @property
    def known_speakers(self) -> set[str]:
        """Everyone the model was trained on, or chosen with."""
        return {speaker for part in ("train", "validation") for speaker in self.speakers.get(part, ())}

    def as_dict(self) -> dict[str, Any]:
        """What `read_record` reads."""
        return {
            "seed": self.seed,
            "transfer": self.transfer,
            "speakers": {part: list(speakers) for part, speakers in self.speakers.items()},
            "best_epoch": self.best_epoch,
            "history": [dict(epoch) for epoch in self.history],
        }


@dataclass(frozen=True)
class Run:
    """Predictions of a run, and how its models were trained.

    Attributes:
        folder: Where it was read from.
        predictions: All of them.
        records: One for each training that left a record.
    """

    folder: Path
    predictions: Predictions
    records: Sequence[TrainingRecord]

    @property
    def transfers(self) -> list[str]:
        """Which kinds of transfer its trainings had."""
        return sorted({record.transfer for record in self.records if record.transfer is not None})


def read_record(path: Path) -> TrainingRecord | None:
    """Reads `run.json`; `None` where there is none.

    Raises:
        RunError: It is no JSON object, or an entry is of another type.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run.json"
        >>> _ = path.write_text('{"seed": 3, "speakers": {"train": ["anna"]}, "history": []}')
        >>> read_record(path).known_speakers
        {'anna'}
    """
    content = _object(path)
    return None if content is None else _record(content, path)


def read_run(folder: Path) -> Run:
    """Reads what `satn-fast train --leave-out` or `satn-fast evaluate --output` wrote.

    Raises:
        RunError: `folder` is none, or a record in it is damaged.
        PredictionsError: Its predictions are missing or damaged.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give one that `train --leave-out` or `evaluate --output` wrote")
    return Run(folder, read_predictions(folder / PREDICTIONS), list(_records(folder)))


def _records(folder: Path) -> Iterator[TrainingRecord]:
    for path in (folder / RECORD, *sorted(folder.glob(f"*/seed-*/{RECORD}"))):
        content = _object(path)
        if content is not None:
            name = "" if path.parent == folder else path.parent.relative_to(folder).as_posix()
            yield _record(content, path, name)
    metrics = _object(folder / METRICS) or {}
    if metrics.get("training") is not None:
        yield _record(metrics["training"], folder / METRICS)


def _object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: is not JSON ({error}); write it again, or remove it") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: must hold a JSON object; write it again, or remove it")
    return content


def _numbers(epoch: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn of an epoch."""
    return {name: float(value) for name, value in epoch.items() if isinstance(value, int | float)}


def _record(content: Any, path: Path, name: str = "") -> TrainingRecord:
    try:
        return TrainingRecord(
            seed=content.get("seed"),
            transfer=content.get("transfer"),
            speakers={str(part): [*map(str, names)] for part, names in (content.get("speakers") or {}).items()},
            best_epoch=content.get("best_epoch"),
            history=[_numbers(row) for row in content.get("history") or ()],
            name=name,
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise RunError(f"{path}: is no record of a training ({error}); write it again, or remove it") from error
