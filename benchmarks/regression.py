"""Is ours slower, beside its peers, than it was? Compares ratios, never times: those are the machine's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Record, Results, key

# A median of nine ratios, each of an A and a B measured one after the other, moves from run to run although nothing
# changed. Part of that shows within a run as the spread of the nine, and enters the band of each case by itself.
SPREADS = 3.0
# The rest (where memory came to lie, who else used the cache, the processor's clock) does not show within a run. Of 153
# ratios, measured twice at one commit on a quiet server of two cores, half moved by less than 2 %, 95 % by less than
# 11 %, and three fell by 18 to 22 %: those are what a second measurement is for.
LEAST_BAND = 0.2


@dataclass(frozen=True)
class Change:
    """A benchmark then and now.

    Attributes:
        suite: Where it stands.
        case: Its name.
        peer: What it is measured against.
        before: Speed-up that was kept.
        now: Speed-up now.
        band: How much smaller `now` may be, as a fraction of `before`, before it counts.
    """

    suite: str
    case: str
    peer: str
    before: float
    now: float
    band: float

    @property
    def ratio(self) -> float:
        """Speed-up now over that before."""
        return self.now / self.before

    @property
    def slower(self) -> bool:
        """Whether ours lost more than noise explains."""
        return self.ratio < 1 - self.band

    @property
    def faster(self) -> bool:
        """Whether ours gained more than noise explains."""
        return self.ratio > 1 / (1 - self.band)


@dataclass(frozen=True)
class Check:
    """Two runs on the same device.

    Attributes:
        changes: Benchmarks that both ran, the most slowed down first.
        new: Names of benchmarks that were not kept.
        gone: Names of benchmarks that did not run now.
    """

    changes: list[Change]
    new: list[str]
    gone: list[str]

    @property
    def slower(self) -> list[Change]:
        """Benchmarks that lost more than noise explains."""
        return [change for change in self.changes if change.slower]


def compare(before: Results, now: Results) -> Check:
    """Compares the speed-ups of two runs.

    Raises:
        ValueError: They are of two devices.
    """
    if before.device != now.device:
        raise ValueError(
            f"{before.path} is of {before.device}, {now.path} of {now.device}; "
            "speed-ups of two devices are not to be compared"
        )
    then, today = _with_speedup(before), _with_speedup(now)
    changes = [
        Change(*name, before=then[name]["speedup"], now=record["speedup"], band=band(then[name], record))
        for name, record in today.items()
        if name in then
    ]
    return Check(
        changes=sorted(changes, key=lambda change: change.ratio),
        new=[_named(name) for name in today if name not in then],
        gone=[_named(name) for name in then if name not in today],
    )


def band(before: Record, now: Record) -> float:
    """How much smaller a speed-up may be, as a fraction, without being called slower; below 1.

    Both runs' own spreads (see `satn_fast.timing.Comparison`), added as independent errors are.
    """
    spread = math.hypot(before.get("spread", 0.0), now.get("spread", 0.0))
    return 1 - math.exp(-max(SPREADS * spread, -math.log(1 - LEAST_BAND)))


def better_of(one: Results, other: Results) -> Results:
    """The first, with those records of the second that have a higher speed-up: what was slow twice is slow."""
    again = _with_speedup(other)
    records = [
        max(record, again.get(key(record), record), key=lambda r: r.get("speedup", 0.0)) for record in one.records
    ]
    return Results(one.machine, records, one.skipped, [*one.failed, *other.failed], one.path)


def _with_speedup(results: Results) -> dict[tuple[str, str, str], Record]:
    return {key(record): record for record in results.records if "speedup" in record}


def _named(name: Sequence[str]) -> str:
    suite, case, peer = name
    return f"{suite} {case} against {peer}"
