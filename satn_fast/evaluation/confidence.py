"""How sure a UA is, and whether the UA of one run differs from that of another.

Utterances of one speaker stand or fall together, so speakers are what is drawn where there are enough of them. With
fewer than `MIN_SPEAKERS`, a bootstrap over speakers is far too narrow; then utterances are drawn, inside each speaker
and label, and the result speaks of these speakers only, not of others.

A run may hold several trainings (seeds). The UA of a run is the mean over its seeds; in a resample all seeds see the
same utterances, so it is enough to know in which share of the seeds each utterance was recognised. Intervals and
p-values take the trained models as they are: how much other seeds would differ is what the deviation over the seeds
says.

Sources: Efron (1979), *Bootstrap methods: another look at the jackknife*, Annals of Statistics 7(1) (percentile
interval: Efron & Tibshirani 1993, chapter 13); Bisani & Ney (2004), *Bootstrap estimates for confidence intervals in
ASR performance evaluation*, ICASSP (speakers as units, paired differences); Fisher (1935), *The Design of Experiments*
(sign flips); Phipson & Smyth (2010), *Permutation p-values should never be zero* (the count plus one); Holm (1979),
*A simple sequentially rejective multiple test procedure*.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from satn_fast.evaluation.predictions import Predictions, PredictionsError

__all__ = ["MIN_SPEAKERS", "Comparison", "Interval", "compare", "holm", "ua_interval"]

MIN_SPEAKERS = 8
LEVEL = 0.95
RESAMPLES = 10_000

# With up to this many units that differ, every pattern of signs is looked at: 65536.
_EXACT_UNITS = 16

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with a bootstrap confidence interval.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
        level: Confidence.
        unit: What was drawn: "speakers", or "utterances" (inside each speaker and label).
        units: How many there are.
        resamples: How often.
    """

    value: float
    low: float
    high: float
    level: float
    unit: str
    units: int
    resamples: int

    @property
    def method(self) -> str:
        """What was done, in words."""
        drawn = (
            f"{self.units} speakers"
            if self.unit == "speakers"
            else f"{self.units} utterances inside each speaker and label (fewer than {MIN_SPEAKERS} speakers: it says "
            "nothing about other speakers)"
        )
        return f"{self.level:.0%} percentile bootstrap over {drawn}, {self.resamples} resamples"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """How the UA of a run differs from that of another on the same utterances.

    Attributes:
        difference: UA of the run minus that of the baseline, with its paired interval.
        p_value: Two-sided, of a sign-flip permutation test over the same units: how often a difference at least as
            large comes about when baseline and run are exchanged at random.
        exact: Whether every exchange was looked at, rather than a random choice of them.
    """

    difference: Interval
    p_value: float
    exact: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return {"difference": self.difference.as_dict(), "p_value": self.p_value, "exact": self.exact}


def ua_interval(
    predictions: Predictions, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """UA, the mean over the seeds, with its bootstrap confidence interval.

    A set without a single error has an interval of no width: the bootstrap cannot imagine errors it has not seen.

    Args:
        predictions: Of one model, or of a cross-validation.
        level: Confidence, between 0 and 1.
        resamples: How often to draw.
        seed: Decides what is drawn.

    Raises:
        PredictionsError: A seed recognised other utterances than the others.
        ValueError: `level` or `resamples` is out of range.

    Example:
        >>> files, speakers = [f"{i}.wav" for i in range(40)], ["anna"] * 40
        >>> scores = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]] * 10
        >>> predictions = Predictions.plain(files, ["calm", "angry"], [0] * 40, speakers, scores)
        >>> interval = ua_interval(predictions)
        >>> interval.value, interval.low, interval.high, interval.unit
        (0.75, 0.6, 0.875, 'utterances')
    """
    table = _Table.of(predictions)
    return _interval(table, table.credit[:, None], level, resamples, seed)


def compare(
    baseline: Predictions, run: Predictions, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compares two runs on the same utterances.

    Utterances are known by their files, below the folder that all of a run have in common, so the corpus may lie
    elsewhere for each run. The runs may have different seeds, folds, and orders of labels.

    Args:
        baseline: What to compare with.
        run: The run in question.
        level: Confidence of the interval, between 0 and 1.
        resamples: How often to draw, and how many exchanges to try where there are too many for all.
        seed: Decides what is drawn.

    Raises:
        PredictionsError: The runs hold other utterances, labels or speakers.
        ValueError: `level` or `resamples` is out of range.

    Example:
        >>> files, speakers = [f"{i}.wav" for i in range(6)], ["anna"] * 6
        >>> wrong = Predictions.plain(files, ["calm", "angry"], [0] * 6, speakers, [[0.2, 0.8]] * 6)
        >>> right = Predictions.plain(files, ["calm", "angry"], [0] * 6, speakers, [[0.9, 0.1]] * 6)
        >>> comparison = compare(wrong, right)
        >>> comparison.difference.value, comparison.p_value, comparison.exact
        (1.0, 0.03125, True)
    """
    first, second = _Table.of(baseline), _Table.of(run)
    second = _aligned(first, second)
    difference = _interval(first, np.stack([first.credit, second.credit], axis=1), level, resamples, seed)
    p_value, exact = _sign_flip(_contributions(first, second.credit - first.credit), resamples, seed)
    return Comparison(difference, p_value, exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for how many there are (Holm 1979).

    Example:
        >>> holm([0.04, 0.01, 0.5])
        [0.08, 0.03, 0.5]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class _Table:
    """Utterances, sorted by name, and the share of the seeds that recognised each of them."""

    names: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: tuple[str, ...]
    truth: Integers
    credit: Floats

    @staticmethod
    def of(predictions: Predictions) -> _Table:
        names, first, number = np.unique(
            np.array(_below_common_folder(predictions.files)), return_index=True, return_inverse=True
        )
        seeds = sorted(set(predictions.seeds), key=str)
        column = np.array([seeds.index(seed) for seed in predictions.seeds])
        counts, hits = np.zeros((2, len(names), len(seeds)))
        np.add.at(counts, (number, column), 1.0)
        np.add.at(hits, (number, column), predictions.right)
        if not counts.all():
            row, seed = np.argwhere(counts == 0)[0]
            raise PredictionsError(
                f"seed {seeds[seed]} has no prediction for {names[row]}, others have; finish that run, or leave it out"
            )
        speakers = tuple(predictions.speakers[i] for i in first)
        truth = predictions.truth[first]
        same = (truth[number] == predictions.truth) & (np.array(speakers)[number] == np.array(predictions.speakers))
        if not same.all():
            name = names[number[np.flatnonzero(~same)[0]]]
            raise PredictionsError(f"{name} has two labels or speakers; give every utterance one name and one label")
        return _Table(tuple(map(str, names)), speakers, predictions.labels, truth, (hits / counts).mean(1))

    @property
    def unit(self) -> str:
        return "speakers" if len(set(self.speakers)) >= MIN_SPEAKERS else "utterances"

    @property
    def speaker_numbers(self) -> Integers:
        return np.asarray(np.unique(np.array(self.speakers), return_inverse=True)[1], dtype=np.int64)


def _below_common_folder(files: Sequence[str]) -> list[str]:
    folders = {os.path.dirname(file) for file in files}
    if any(os.path.isabs(folder) for folder in folders) != all(os.path.isabs(folder) for folder in folders):
        return list(files)
    common = os.path.commonpath(folders)
    return [os.path.relpath(file, common) if common else file for file in files]


def _aligned(baseline: _Table, run: _Table) -> _Table:
    """The run, which must have the utterances of the baseline."""
    if baseline.names != run.names:
        missing = sorted(set(baseline.names) ^ set(run.names))
        raise PredictionsError(
            f"the runs were evaluated on different utterances: {len(missing)} are in one only, such as {missing[0]}; "
            "evaluate both on the same manifest"
        )
    for i, name in enumerate(baseline.names):
        theirs = (run.labels[run.truth[i]], run.speakers[i])
        ours = (baseline.labels[baseline.truth[i]], baseline.speakers[i])
        if theirs != ours:
            raise PredictionsError(f"{name} is {' by '.join(ours)} in one run and {' by '.join(theirs)} in the other")
    return run


def _interval(table: _Table, credit: Floats, level: float, resamples: int, seed: int) -> Interval:
    """Interval of the UA of the last column of credit (N, K), less that of the first where there are two."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; choose a confidence between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; choose a whole number from 1")
    rng = np.random.default_rng(seed)
    truth = np.unique(table.truth, return_inverse=True)[1]
    by_speakers = table.unit == "speakers"
    draw = _over_speakers if by_speakers else _over_utterances
    recalls = draw(truth, table.speaker_numbers, credit, resamples, rng)
    values = recalls[:, -1] - recalls[:, 0] if credit.shape[1] > 1 else recalls[:, 0]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    figure = _ua(truth, credit[:, -1]) - (_ua(truth, credit[:, 0]) if credit.shape[1] > 1 else 0.0)
    units = len(set(table.speakers)) if by_speakers else len(table.names)
    return Interval(figure, float(low), float(high), level, table.unit, units, resamples)


def _ua(truth: Integers, credit: Floats) -> float:
    return float((np.bincount(truth, credit) / np.bincount(truth)).mean())


def _over_speakers(truth: Integers, speakers: Integers, credit: Floats, resamples: int, rng: Any) -> Floats:
    """UA (resamples, K) of speakers drawn with replacement, over the labels that were drawn."""
    n_speakers, n_labels = speakers.max() + 1, truth.max() + 1
    said = np.zeros((n_speakers, n_labels))
    recognised = np.zeros((n_speakers, n_labels, credit.shape[1]))
    np.add.at(said, (speakers, truth), 1.0)
    np.add.at(recognised, (speakers, truth), credit)
    times = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=resamples).astype(np.float64)
    total = (times @ said)[..., None]
    hits = np.tensordot(times, recognised, axes=1)
    recalls = np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)
    return np.asarray(np.nanmean(recalls, axis=1))


def _over_utterances(truth: Integers, speakers: Integers, credit: Floats, resamples: int, rng: Any) -> Floats:
    """UA (resamples, K) of utterances drawn with replacement inside each speaker and label.

    Those that are alone in theirs are drawn among one another, inside their label. Utterances with the same credit are
    interchangeable, so that only the number of each kind is drawn.
    """
    n_labels = truth.max() + 1
    stratum = speakers * n_labels + truth
    alone = np.bincount(stratum)[stratum] == 1
    stratum = np.where(alone, truth - n_labels, stratum)
    hits = np.zeros((resamples, n_labels, credit.shape[1]))
    for number in np.unique(stratum):
        inside = stratum == number
        kinds, counts = np.unique(credit[inside], axis=0, return_counts=True)
        times = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)
        hits[:, truth[inside][0]] += times @ kinds
    return np.asarray((hits / np.bincount(truth)[:, None]).mean(axis=1))


def _contributions(table: _Table, difference: Floats) -> Floats:
    """What each unit contributes to the difference of the UAs: their sum is that difference."""
    _, truth, counts = np.unique(table.truth, return_inverse=True, return_counts=True)
    shares = difference / (counts[truth] * len(counts))
    return np.bincount(table.speaker_numbers, shares).astype(float) if table.unit == "speakers" else shares


def _sign_flip(contributions: Floats, resamples: int, seed: int) -> tuple[float, bool]:
    """Two-sided p-value, and whether it is exact."""
    # Rounding must not keep a pattern of signs from being as extreme as itself.
    sizes = np.abs(np.round(contributions, 12))
    sizes = sizes[sizes > 0]
    observed = abs(float(contributions.sum())) - 1e-9
    if len(sizes) <= _EXACT_UNITS:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums - size, sums + size])
        return float((np.abs(sums) >= observed).mean()), True
    rng = np.random.default_rng(seed)
    flipped = np.zeros(resamples)
    for size, count in Counter(sizes.tolist()).items():
        flipped += size * (2.0 * rng.binomial(count, 0.5, size=resamples) - count)
    return float(((np.abs(flipped) >= observed).sum() + 1) / (resamples + 1)), False
