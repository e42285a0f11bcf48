"""Comparing two ways to compute the same thing: correct first, then timed in turn."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Median times of ours and a peer, measured in turn in one run, so that a drifting machine treats both alike.

    Attributes:
        ours: Seconds per call.
        peer: Seconds per call.
        speedup: Median of the peer's time over ours, round by round.
        spread: Standard error of `speedup`, as a fraction of it, from how the rounds differ.
    """

    ours: float
    peer: float
    speedup: float
    spread: float


@dataclass(frozen=True)
class TimedElsewhere:
    """A function that runs in another process, which times it, so that no message between the two counts.

    Attributes:
        seconds: Takes the number of calls to make, and gives back the seconds per call.
    """

    seconds: Callable[[int], float]


def compare_in_turn(
    ours: Callable[[], object],
    peer: Callable[[], object] | TimedElsewhere,
    *,
    rounds: int = 9,
    seconds_per_round: float = 0.02,
) -> Comparison:
    """Times two functions A B A B ...

    Args:
        ours: What is measured.
        peer: What it is measured against.
        rounds: Pairs of measurements.
        seconds_per_round: Short functions are repeated for about this long in every measurement.

    Example:
        >>> comparison = compare_in_turn(lambda: sum(range(100)), lambda: sum(range(10_000)), seconds_per_round=0.001)
        >>> comparison.speedup > 1
        True
    """
    repeats = [_repeats(function, seconds_per_round) for function in (ours, peer)]
    pairs = [(_seconds(ours, repeats[0]), _seconds(peer, repeats[1])) for _ in range(rounds)]
    ratios = [pair[1] / pair[0] for pair in pairs]
    return Comparison(
        ours=statistics.median(pair[0] for pair in pairs),
        peer=statistics.median(pair[1] for pair in pairs),
        speedup=statistics.median(ratios),
        spread=spread_of_median(ratios),
    )


def spread_of_median(values: Sequence[float]) -> float:
    """Standard error of the median of positive values, as a fraction of it.

    From the logarithms' median absolute deviation, which a few disturbed rounds do not move, as if errors were normal.

    Example:
        >>> spread_of_median([2.0, 2.0, 2.0])
        0.0
        >>> 0.04 < spread_of_median([1.8, 1.9, 2.0, 2.1, 50.0]) < 0.05
        True
    """
    logarithms = [math.log(value) for value in values]
    middle = statistics.median(logarithms)
    deviation = 1.4826 * statistics.median(abs(value - middle) for value in logarithms)
    return deviation * math.sqrt(math.pi / 2 / len(values))


def _repeats(function: Callable[[], object] | TimedElsewhere, seconds: float) -> int:
    _seconds(function, 1)  # the first call may allocate or compile
    return max(1, round(seconds / max(_seconds(function, 1), 1e-9)))


def _seconds(function: Callable[[], object] | TimedElsewhere, repeats: int) -> float:
    if isinstance(function, TimedElsewhere):
        return function.seconds(repeats)
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
