"""Predictions of a model for each utterance, as a CSV file that spreadsheets read and `satn-fast compare` compares."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from satn_fast.data.manifest import Utterance
from satn_fast.evaluation.metrics import Metrics, score
from satn_fast.files import atomic_write

__all__ = [
    "Deviation",
    "Predictions",
    "PredictionsError",
    "Summary",
    "join",
    "per_speaker",
    "read_predictions",
    "summarise",
    "utterance_name",
    "write_predictions",
]

COLUMNS = ("file", "label", "speaker", "fold", "seed", "decision")
SCORE = "score:"
FIGURES = ("wa", "ua", "macro_f1")

# Probabilities may be rounded to this many by whoever wrote them.
_ROUNDING = 1e-3

Key = TypeVar("Key", bound=Hashable)


class PredictionsError(ValueError):
    """Predictions that cannot be used; the message names file, line, column and remedy."""


@dataclass(frozen=True)
class Predictions:
    """What was said and what was recognised, one row for each utterance, and for each seed that recognised it.

    Attributes:
        files: (N) names of the utterances.
        labels: Names of the classes.
        truth: (N,) class indices of what was said.
        speakers: (N) who said it.
        folds: (N) the part of a cross-validation that the row is from; empty outside one.
        seeds: (N) the training's seed; `None` outside a cross-validation.
        probabilities: (N, n_labels) float64, each row summing to 1.

    Raises:
        PredictionsError: Shapes differ, there is no row, or a row is no set of probabilities.

    Example:
        >>> predictions = Predictions.plain(
        ...     ["1.wav", "2.wav"], ("calm", "angry"), [0, 1], ["anna", "ben"], [[0.9, 0.1], [0.6, 0.4]]
        ... )
        >>> predictions.decisions.tolist(), predictions.metrics().ua
        ([0, 0], 0.5)
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    speakers: tuple[str, ...]
    folds: tuple[str, ...]
    seeds: tuple[int | None, ...]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        count, shape = len(self.files), self.probabilities.shape
        sizes = {name: len(getattr(self, name)) for name in ("truth", "speakers", "folds", "seeds")}
        if not count or set(sizes.values()) != {count} or shape != (count, len(self.labels)):
            raise PredictionsError(
                f"files has {count} entries, {', '.join(f'{name} {size}' for name, size in sizes.items())}, "
                f"probabilities has shape {shape}; give one row for each of at least one utterance"
            )
        if self.truth.min() < 0 or self.truth.max() >= len(self.labels):
            raise PredictionsError(f"truth reaches beyond the {len(self.labels)} labels; give indices of labels")
        # NaN fails both comparisons.
        good = (self.probabilities >= 0.0).all(1) & (np.abs(self.probabilities.sum(1) - 1.0) <= _ROUNDING)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise PredictionsError(
                f"{self.files[row]}: {_short(self.probabilities[row])} are no probabilities; each must be 0 or more, "
                "and their sum 1"
            )

    @classmethod
    def plain(
        cls,
        files: Sequence[str],
        labels: Sequence[str],
        truth: Sequence[int] | NDArray[np.int64],
        speakers: Sequence[str],
        probabilities: Any,
        *,
        fold: str = "",
        seed: int | None = None,
    ) -> Predictions:
        """Predictions of one model: the same fold and seed in every row."""
        return cls(
            tuple(files),
            tuple(labels),
            np.asarray(truth, dtype=np.int64),
            tuple(speakers),
            (fold,) * len(files),
            (seed,) * len(files),
            np.asarray(probabilities, dtype=np.float64),
        )

    @property
    def decisions(self) -> NDArray[np.int64]:
        """(N,) indices of the most probable labels."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the decision is the truth."""
        return np.asarray(self.decisions == self.truth)

    def metrics(self) -> Metrics:
        """Figures of all rows together."""
        return score(self.truth, self.decisions, self.labels)

    def take(self, rows: NDArray[Any]) -> Predictions:
        """Some of the rows, by a mask or by their numbers."""
        numbers = np.arange(len(self))[rows]
        return Predictions(
            tuple(self.files[i] for i in numbers),
            self.labels,
            self.truth[numbers],
            tuple(self.speakers[i] for i in numbers),
            tuple(self.folds[i] for i in numbers),
            tuple(self.seeds[i] for i in numbers),
            self.probabilities[numbers],
        )

    def __len__(self) -> int:
        return len(self.files)


def join(parts: Iterable[Predictions]) -> Predictions:
    """Puts the predictions of several models (folds, seeds) together.

    Raises:
        PredictionsError: There is none, or their labels differ.
    """
    parts = list(parts)
    if not parts:
        raise PredictionsError("there are no predictions to join")
    labels = parts[0].labels
    for part in parts:
        if part.labels != labels:
            raise PredictionsError(f"labels are {', '.join(labels)} and {', '.join(part.labels)}; join equal ones only")
    return Predictions(
        tuple(file for part in parts for file in part.files),
        labels,
        np.concatenate([part.truth for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
        tuple(fold for part in parts for fold in part.folds),
        tuple(seed for part in parts for seed in part.seeds),
        np.concatenate([part.probabilities for part in parts]),
    )


def utterance_name(utterance: Utterance) -> str:
    """The file, and the seconds of the part as a media fragment (W3C Media Fragments URI 1.0) where it is a part.

    Example:
        >>> utterance_name(Utterance(Path("dialogue.wav"), "sad", "anna", start=0.5, end=2.0))
        'dialogue.wav#t=0.5,2'
    """
    name = utterance.file.as_posix()
    if utterance.start is None and utterance.end is None:
        return name
    start = "" if utterance.start is None else f"{utterance.start:.12g}"
    return f"{name}#t={start}" + ("" if utterance.end is None else f",{utterance.end:.12g}")


def write_predictions(path: str | os.PathLike[str], predictions: Predictions) -> None:
    """Writes predictions as CSV, whole or not at all.

    Columns: `file,label,speaker,fold,seed,decision`, and a probability `score:<label>` for each label.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> write_predictions(path, Predictions.plain(["1.wav"], ["calm", "angry"], [0], ["anna"], [[0.25, 0.75]]))
        >>> print(path.read_text(), end="")
        file,label,speaker,fold,seed,decision,score:calm,score:angry
        1.wav,calm,anna,,,angry,0.25,0.75
    """
    labels = predictions.labels
    table: list[list[str]] = [[*COLUMNS, *(SCORE + label for label in labels)]]
    for row, decision in enumerate(predictions.decisions):
        seed = predictions.seeds[row]
        table.append(
            [
                predictions.files[row],
                labels[predictions.truth[row]],
                predictions.speakers[row],
                predictions.folds[row],
                "" if seed is None else str(seed),
                labels[decision],
                # Nine digits give every float32 back.
                *(f"{probability:.9g}" for probability in predictions.probabilities[row]),
            ]
        )
    odd = any("\r" in cell for cells in table for cell in cells)
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerows(table)


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads what `write_predictions` wrote.

    Raises:
        PredictionsError: The file is missing or no such CSV, a cell is no probability, a label has no score, the
            decision is not the label with the highest score, or a row repeats another one.
    """
    name, path = os.fspath(path), Path(path)
    if not path.is_file():
        raise PredictionsError(
            f"{name}: no such file; write one with `satn-fast evaluate --output` or `satn-fast train --leave-out`"
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise PredictionsError(f"{name}: is not UTF-8 text; write the predictions again") from error
    except csv.Error as error:
        raise PredictionsError(f"{name}: is not valid CSV ({error}); write the predictions again") from error
    if len(lines) < 2:
        raise PredictionsError(f"{name}: holds no predictions; write them again")
    header, labels = lines[0][1], _labels_of(lines[0][1], name)
    rows = [_parse(header, cells, labels, f"{name}, line {number}") for number, cells in lines[1:]]
    seen: dict[tuple[str, str, int | None], int] = {}
    for (number, _), row in zip(lines[1:], rows, strict=True):
        key = (row.file, row.fold, row.seed)
        if key in seen:
            raise PredictionsError(f"{name}, line {number}: repeats line {seen[key]} ({row.file}); remove one")
        seen[key] = number
    try:
        return Predictions(
            tuple(row.file for row in rows),
            labels,
            np.array([row.truth for row in rows], dtype=np.int64),
            tuple(row.speaker for row in rows),
            tuple(row.fold for row in rows),
            tuple(row.seed for row in rows),
            np.array([row.probabilities for row in rows], dtype=np.float64),
        )
    except PredictionsError as error:
        raise PredictionsError(f"{name}: {error}") from error


@dataclass(frozen=True)
class _Row:
    file: str
    truth: int
    speaker: str
    fold: str
    seed: int | None
    probabilities: list[float]


def _labels_of(header: Sequence[str], name: str) -> tuple[str, ...]:
    labels = tuple(cell.removeprefix(SCORE) for cell in header if cell.startswith(SCORE))
    for column in COLUMNS:
        if column not in header:
            raise PredictionsError(f"{name}: column {column} is missing; the header has {','.join(header)}")
    if not labels or len(set(header)) < len(header):
        raise PredictionsError(f"{name}: needs one column {SCORE}<label> for each label, each column once")
    return labels


def _parse(header: Sequence[str], cells: Sequence[str], labels: tuple[str, ...], where: str) -> _Row:
    if len(cells) != len(header):
        raise PredictionsError(f"{where}: has {len(cells)} cells, the header has {len(header)}")
    row = dict(zip(header, cells, strict=True))
    for column in ("label", "decision"):
        if row[column] not in labels:
            raise PredictionsError(f"{where}, column {column}: {row[column]!r} has no column {SCORE}{row[column]}")
    probabilities = [_number(row[SCORE + label], float, f"{where}, column {SCORE}{label}") for label in labels]
    if probabilities[labels.index(row["decision"])] != max(probabilities):
        raise PredictionsError(f"{where}, column decision: {row['decision']!r} has not the highest score")
    seed = _number(row["seed"], int, f"{where}, column seed") if row["seed"] else None
    return _Row(row["file"], labels.index(row["label"]), row["speaker"], row["fold"], seed, probabilities)


_Number = TypeVar("_Number", int, float)


def _number(cell: str, kind: Callable[[str], _Number], where: str) -> _Number:
    try:
        return kind(cell)
    except ValueError as error:
        raise PredictionsError(f"{where}: {cell!r} is no number") from error


@dataclass(frozen=True)
class Deviation:
    """A figure over several trainings: its mean, and its standard deviation (n - 1), `None` where there is one."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Summary:
    """What a cross-validation reached.

    Attributes:
        pooled: Of all rows together: every fold and every seed.
        folds: Of each fold, all seeds together.
        seeds: Of each seed, all folds together.
        over_folds: `wa`, `ua` and `macro_f1` over the folds.
        over_seeds: The same over the seeds.
    """

    pooled: Metrics
    folds: Mapping[str, Metrics]
    seeds: Mapping[int | None, Metrics]
    over_folds: Mapping[str, Deviation]
    over_seeds: Mapping[str, Deviation]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return {
            "pooled": self.pooled.as_dict(),
            "folds": {fold: _three(metrics) for fold, metrics in self.folds.items()},
            "seeds": {"" if seed is None else str(seed): _three(metrics) for seed, metrics in self.seeds.items()},
            "over_folds": {name: vars(deviation) for name, deviation in self.over_folds.items()},
            "over_seeds": {name: vars(deviation) for name, deviation in self.over_seeds.items()},
        }


def summarise(predictions: Predictions) -> Summary:
    """Figures per fold and per seed, and how they vary.

    The UA of a fold is over the labels that occur in it.

    Example:
        >>> right, wrong = [[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.7, 0.3]]
        >>> files, labels, speakers = ["1.wav", "2.wav"], ["calm", "angry"], ["anna", "anna"]
        >>> first = Predictions.plain(files, labels, [0, 1], speakers, right, fold="anna", seed=0)
        >>> second = Predictions.plain(files, labels, [0, 1], speakers, wrong, fold="anna", seed=1)
        >>> summary = summarise(join([first, second]))
        >>> summary.over_seeds["ua"].mean, summary.pooled.confusion.tolist()
        (0.75, [[2, 0], [1, 1]])
    """
    folds = _grouped(predictions, predictions.folds)
    seeds = _grouped(predictions, predictions.seeds)
    return Summary(predictions.metrics(), folds, seeds, _deviations(folds.values()), _deviations(seeds.values()))


def per_speaker(predictions: Predictions) -> dict[str, Metrics]:
    """Figures of each speaker, in alphabetical order; the UA is over the labels that the speaker has."""
    return _grouped(predictions, predictions.speakers)


def _grouped(predictions: Predictions, keys: Sequence[Key]) -> dict[Key, Metrics]:
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    # Seeds in the order of numbers, names in that of the alphabet.
    ordered = sorted(rows, key=lambda key: (0, key, "") if isinstance(key, int) else (1, 0, str(key)))
    return {key: predictions.take(np.array(rows[key])).metrics() for key in ordered}


def _deviations(metrics: Iterable[Metrics]) -> dict[str, Deviation]:
    every = list(metrics)
    deviations = {}
    for name in FIGURES:
        values = np.array([getattr(one, name) for one in every])
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        deviations[name] = Deviation(float(values.mean()), spread, len(values))
    return deviations


def _three(metrics: Metrics) -> dict[str, float]:
    return {name: getattr(metrics, name) for name in FIGURES}


def _short(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
