"""The page that puts several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from satn_fast.evaluation.comparison import ComparedRun
from satn_fast.evaluation.confidence import Interval
from satn_fast.evaluation.predictions import Deviation, Predictions
from satn_fast.report.evaluation import curves
from satn_fast.report.html import render
from satn_fast.report.plots import colours, confusion_matrix, intervals, recalls_of_parts

__all__ = ["comparison_page"]


def comparison_page(runs: Sequence[ComparedRun], *, title: str, subtitle: str = "") -> str:
    """Several runs side by side, pictures embedded.

    Args:
        runs: From `compare_runs`.
        title: Of the page.
        subtitle: Below it.

    Raises:
        ImportError: jinja2 is not installed.
    """
    by_fold = all(all(run.run.predictions.folds) for run in runs)
    uas = {run.name: _uas_by_part(run.run.predictions, by_fold) for run in runs}
    parts = sorted({part for found in uas.values() for part in found})
    histories = {run.name: [record.history for record in run.run.records if record.history] for run in runs}
    return render(
        "comparison.html",
        title=title,
        subtitle=subtitle,
        runs=[_row(run, runs[0].name, colour) for run, colour in zip(runs, colours(len(runs)), strict=True)],
        method=_method(runs[0].interval),
        intervals_picture=intervals(
            {run.name: run.interval for run in runs},
            {run.name: [metrics.ua for metrics in run.summary.seeds.values()] for run in runs},
        ),
        by_fold=by_fold,
        n_labels=len(runs[0].run.predictions.labels),
        parts_picture=recalls_of_parts(parts, {name: [found.get(p, []) for p in parts] for name, found in uas.items()}),
        parts=[_part(part, runs, uas, by_fold) for part in parts],
        part_means=[_mean([float(np.mean(values)) for values in uas[run.name].values()]) for run in runs],
        curves_picture=curves({name: found for name, found in histories.items() if found}),
    )


def _row(run: ComparedRun, first: str, colour: str) -> dict[str, Any]:
    return {
        "colour": colour,
        "name": run.name,
        "transfer": run.transfer,
        "seeds": run.seeds,
        "interval": run.interval,
        "over_seeds": run.over_seeds,
        "ece": run.ece,
        "comparison": run.comparison,
        "p_adjusted": run.p_adjusted,
        "verdict": "" if run.comparison is None else run.verdict(first),
        "confusion_picture": confusion_matrix(run.summary.pooled.confusion, run.summary.pooled.labels),
    }


def _uas_by_part(predictions: Predictions, by_fold: bool) -> dict[str, list[float]]:
    """UA of each fold or speaker, one for each seed."""
    names = np.array(predictions.folds if by_fold else predictions.speakers)
    seeds = np.array([str(seed) for seed in predictions.seeds])
    uas: dict[str, list[float]] = {}
    for name in sorted(set(names.tolist())):
        for seed in sorted(set(seeds[names == name].tolist())):
            rows = predictions.take((names == name) & (seeds == seed))
            uas.setdefault(name, []).append(rows.metrics().ua)
    return uas


def _part(
    part: str, runs: Sequence[ComparedRun], uas: Mapping[str, Mapping[str, list[float]]], by_fold: bool
) -> dict[str, Any]:
    first = runs[0].run.predictions
    names = first.folds if by_fold else first.speakers
    files = {file for file, name in zip(first.files, names, strict=True) if name == part}
    found = [uas[run.name].get(part) for run in runs]
    return {
        "name": part,
        "uas": [None if values is None else float(np.mean(values)) for values in found],
        "utterances": len(files),
    }


def _mean(values: Sequence[float]) -> Deviation:
    return Deviation(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))


def _method(interval: Interval) -> str:
    return (
        f"Intervals: {interval.method}. p: two-sided sign-flip test, exchanging the runs for each of these "
        f"{interval.unit}; adjusted by Holm's method for the number of comparisons. Both take the trained models as "
        "they are: how much other seeds would differ is what ± says."
    )
