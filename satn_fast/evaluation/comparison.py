"""Several runs against the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from satn_fast.evaluation.calibration import expected_calibration_error
from satn_fast.evaluation.confidence import Comparison, Interval, compare, holm, ua_interval
from satn_fast.evaluation.predictions import Deviation, Predictions, PredictionsError, Summary, summarise
from satn_fast.evaluation.runs import Run

__all__ = ["ComparedRun", "compare_runs", "p_value"]

_Result = TypeVar("_Result")

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ComparedRun:
    """A run, and how it differs from the first.

    Attributes:
        name: Of the run.
        run: What was read.
        summary: Figures per fold and per seed.
        interval: UA with its confidence interval.
        ece: Expected calibration error, a fraction.
        comparison: With the first run; `None` for the first.
        p_adjusted: p-value of the comparison, adjusted for how many there are; `None` for the first.
    """

    name: str
    run: Run
    summary: Summary
    interval: Interval
    ece: float
    comparison: Comparison | None = None
    p_adjusted: float | None = None

    @property
    def transfer(self) -> str:
        """Kinds of transfer of its trainings, a dash where they are not known."""
        return ", ".join(self.run.transfers) or "–"

    @property
    def over_seeds(self) -> Mapping[str, Deviation]:
        """Figures over the seeds."""
        return self.summary.over_seeds

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.summary.seeds)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return {
            "name": self.name,
            "folder": str(self.run.folder),
            "transfer": self.run.transfers,
            "ua_interval": self.interval.as_dict(),
            "ece": self.ece,
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "p_adjusted": self.p_adjusted,
        } | self.summary.as_dict()

    def verdict(self, first: str) -> str:
        """What the comparison with the first run says, in a sentence."""
        assert self.comparison is not None
        assert self.p_adjusted is not None
        difference = self.comparison.difference
        if difference.value == difference.low == difference.high == 0:
            return f"{self.name}: recognises the same as {first}."
        size = f"{abs(difference.value):.1%}".replace("%", " points")
        side = "above" if difference.value > 0 else "below"
        between = f"{difference.low * 100:+.1f} to {difference.high * 100:+.1f}".replace("-", "−")
        p = p_value(self.p_adjusted)
        adjusted = ", adjusted for the number of runs" if self.p_adjusted != self.comparison.p_value else ""
        tail = f"({difference.level:.0%} interval {between}; p {p if p.startswith('<') else f'= {p}'}{adjusted})"
        chance = "" if self.p_adjusted < SIGNIFICANT else ", but this much may be chance"
        return f"{self.name}: UA {size} {side} {first}{chance} {tail}."


def compare_runs(runs: Mapping[str, Run]) -> list[ComparedRun]:
    """Compares every run with the first.

    Args:
        runs: Name to run, at least one.

    Raises:
        PredictionsError: A run has other utterances than the first, or is not finished.
    """
    names = list(runs)
    first = runs[names[0]].predictions
    ua_intervals = {name: _naming(name, ua_interval, run.predictions) for name, run in runs.items()}
    comparisons = [_naming(name, compare, first, runs[name].predictions) for name in names[1:]]
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [
        ComparedRun(
            name=name,
            run=run,
            summary=summarise(run.predictions),
            interval=ua_intervals[name],
            ece=expected_calibration_error(run.predictions.probabilities, run.predictions.truth),
            comparison=comparison,
            p_adjusted=p,
        )
        for (name, run), comparison, p in zip(runs.items(), [None, *comparisons], [None, *adjusted], strict=True)
    ]


def _naming(name: str, function: Callable[..., _Result], *predictions: Predictions) -> _Result:
    """Calls the function; an error says which run it is about."""
    try:
        return function(*predictions)
    except PredictionsError as error:
        raise PredictionsError(f"{name}: {error}") from error


def p_value(p: float) -> str:
    """A p-value for the eye.

    Example:
        >>> p_value(0.0312), p_value(0.00001)
        ('0.0312', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3g}"
