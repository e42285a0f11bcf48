"""How well SATN recognises emotions of speakers it never heard, with and without transfer, beside a classical baseline.

    python -m benchmarks.unseen_speakers MANIFEST --source-manifest SPEECH --output runs/unseen-speakers

Every speaker of the manifest is left out once, by every seed, with the defaults of `satn-fast train`; the source model
is trained with those of `satn-fast pretrain`. What is finished is not done again. Each row of the table is a folder
that `satn-fast compare` reads; `results.json` keeps the figures of every fold and seed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from satn_fast import LogMel
from satn_fast.cli.terminal import bar, output, progress_bars, warn
from satn_fast.data import Utterance, read_manifest
from satn_fast.evaluation import (
    Predictions,
    compare,
    join,
    read_predictions,
    summarise,
    utterance_name,
    write_predictions,
)
from satn_fast.files import atomic_write
from satn_fast.training import extract_features
from satn_fast.training.recipes import pretrain, train
from satn_fast.training.run import describe_software
from satn_fast.training.settings import EmotionSettings, SourceSettings

BASELINE = "svm"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    predictions: Predictions


def main(
    manifest: Annotated[Path, typer.Argument(help="Emotions of several speakers.")],
    source_manifest: Annotated[Path, typer.Option(help="Speech with phonemes or text, for the source task.")],
    folder: Annotated[Path, typer.Option("--output", "-o")] = Path("runs/unseen-speakers"),
    transfers: Annotated[str, typer.Option(help="Kinds of transfer, between commas.")] = "init,map,both",
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.")] = 5,
) -> None:
    """Trains, evaluates, and writes results.md."""
    utterances = read_manifest(manifest)
    with progress_bars() as bars:
        start = partial(bar, bars)
        write_predictions(folder / BASELINE / "predictions.csv", classical_baseline(utterances))
        pretrain(source_manifest, SourceSettings(), folder / "source", start=start, notify=warn)
        for transfer in ("none", *transfers.split(",")):
            settings = EmotionSettings(
                leave_out="speaker",
                seeds=seeds,
                transfer=transfer,  # type: ignore[arg-type]
                source=None if transfer == "none" else str(folder / "source"),
                cache=str(folder / "cache"),
            )
            train(manifest, settings, folder / transfer, start=start, notify=warn)
    rows = [
        Row(name, read_predictions(folder / name / "predictions.csv"))
        for name in (BASELINE, "none", *transfers.split(","))
    ]
    table = as_markdown(rows)
    with atomic_write(folder / "results.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    with atomic_write(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(as_record(rows), indent=1), encoding="utf-8")
    output.print(table, highlight=False, markup=False, soft_wrap=True)


def classical_baseline(utterances: Sequence[Utterance]) -> Predictions:
    """Leaving every speaker out: mean and deviation of log-Mel and deltas over each clip, standardised, into an SVM.

    The SVM has scikit-learn's default settings (RBF kernel, C = 1) and gives no probabilities: its decision has 1.
    """
    front_end = LogMel()
    frames = extract_features(utterances, front_end)
    bands = slice(2 * front_end.n_mels)
    statistics = np.array([np.r_[x[:, bands].mean(0), x[:, bands].std(0, correction=0)] for x in frames])
    labels = sorted({utterance.label for utterance in utterances})
    truth = np.array([labels.index(utterance.label) for utterance in utterances])
    speakers = np.array([utterance.speaker for utterance in utterances])
    return join(
        _left_out(utterances, statistics, truth, speakers, labels, speaker) for speaker in sorted(set(speakers))
    )


def _left_out(
    utterances: Sequence[Utterance],
    statistics: NDArray[np.float64],
    truth: NDArray[np.int64],
    speakers: NDArray[np.str_],
    labels: Sequence[str],
    speaker: str,
) -> Predictions:
    heard, rows = speakers != speaker, np.flatnonzero(speakers == speaker)
    decided = make_pipeline(StandardScaler(), SVC()).fit(statistics[heard], truth[heard]).predict(statistics[rows])
    return Predictions.plain(
        [utterance_name(utterances[row]) for row in rows],
        labels,
        truth[rows],
        [speaker] * len(rows),
        np.eye(len(labels))[decided],
        fold=speaker,
        seed=0,
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """UA per fold (mean and deviation over seeds), over all folds, and what transfer changes."""
    folds = list(summarise(rows[0].predictions).folds)
    lines = [f"| | {' | '.join(folds)} | all | beside none |", "|" + "---|" * (len(folds) + 3)]
    without = next(row.predictions for row in rows if row.name == "none")
    for row in rows:
        cells = [_over_seeds(row.predictions, fold) for fold in folds] + [_over_seeds(row.predictions, None)]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {_difference(row, without)} |")
    return "\n".join(lines) + "\n"


def as_record(rows: Sequence[Row]) -> dict[str, Any]:
    """UA of every fold and seed, and what they were reached with."""
    figures = {row.name: _by_fold_and_seed(row.predictions) for row in rows}
    return {"date": datetime.now(UTC).date().isoformat(), "ua": figures} | describe_software()


def _by_fold_and_seed(predictions: Predictions) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for fold in summarise(predictions).folds:
        chosen = predictions.take(np.flatnonzero(np.array(predictions.folds) == fold))
        found[fold] = {str(seed): round(metrics.ua, 4) for seed, metrics in summarise(chosen).seeds.items()}
    return found


def _over_seeds(predictions: Predictions, fold: str | None) -> str:
    chosen = np.array([fold in (None, name) for name in predictions.folds])
    ua = summarise(predictions.take(np.flatnonzero(chosen))).over_seeds["ua"]
    return f"{ua.mean:.3f}" + ("" if ua.deviation is None else f" ± {ua.deviation:.3f}")


def _difference(row: Row, without: Predictions) -> str:
    if row.name in (BASELINE, "none"):
        return ""
    found = compare(without, row.predictions)
    difference = found.difference
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], p = {found.p_value:.2f}"


if __name__ == "__main__":
    typer.run(main)
