"""Up to where a sweep keeps up with its ideal, computed from what was measured, and why not further."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import roofline
from benchmarks.results import Record
from satn_fast import SATNConfig

# Within its range, a unit of work costs at most this many times as much as where it is cheapest.
TOLERANCE = 1.5

# Bytes of peak memory below which growth is that of the allocator.
LITTLE = 4 * 2**20
# A power of growth that is none.
FLAT = 0.2

FEW = "a call has a price of its own, however little it is given: arguments are checked, {what}"
CALLS = "and PyTorch takes some microseconds to start each of about a hundred operations"
CACHES = "{what} outgrow the caches that belong to one core, and come from where all cores read"
SHARED = "each process has a core, but caches, memory and clock frequency are shared"

# Why a unit costs more below and above the range, by subject and axis. Shown only where that was measured.
BELOW: Mapping[tuple[str, str], str] = {
    ("front end", "seconds"): FEW.format(what="an array is made, and vectors of up to 16 frames are not full"),
    ("front end", "batch"): FEW.format(what="and a plan is looked up"),
    ("model", "seconds"): FEW.format(what=CALLS),
    ("model", "batch"): "the price of starting each operation is shared by few utterances",
    ("model", "channels"): "at few channels the price of starting operations, attention and pooling, which grow less "
    "than the square of the channels, are most of the time",
    ("streaming", "seconds"): "the first chunks wait for nothing, and an utterance begins with an empty state to fill",
    ("streaming", "batch"): "a step of 10 frames is mostly the price of starting each operation, which a batch shares",
    ("streaming", "channels"): "a step of 10 frames is mostly the price of starting each operation, at any width",
    ("model without a window", "seconds"): FEW.format(what=CALLS),
    ("plain reference", "seconds"): FEW.format(what=CALLS),
}
ABOVE: Mapping[tuple[str, str], str] = {
    ("front end", "seconds"): CACHES.format(what="samples and features")
    + ", and memory that is new to the process has to be given by the system, page by page",
    ("front end", "batch"): CACHES.format(what="samples and features")
    + ", and memory that is new to the process has to be given by the system, page by page",
    ("front end", "channels"): "more bands are more logarithms, and more to write",
    ("front end", "threads"): "utterances are handed out one by one, and the last thread is waited for; a batch "
    "of some milliseconds hardly pays for starting them",
    ("front end", "processes"): SHARED,
    ("model", "seconds"): CACHES.format(what="activations of so many frames") + ", between any two layers",
    ("model", "batch"): CACHES.format(what="activations of so many utterances") + ", between any two layers",
    ("model", "channels"): CACHES.format(what="weights and activations of such wide layers"),
    ("model", "threads"): "every operation ends by waiting for its slowest thread, and what lies between two "
    "operations runs on one",
    ("model", "processes"): SHARED,
    ("streaming", "seconds"): "nothing in the design grows with what was heard: the same step was disturbed, or slowed "
    "down by the machine",
    ("streaming", "batch"): CACHES.format(what="the states of so many streams"),
    ("streaming", "channels"): CACHES.format(what="weights of such wide layers, which every step reads,"),
    ("streaming", "threads"): "a step is some hundred operations of a few microseconds: sharing one takes longer than "
    "computing it, so one thread is the setting for streams",
    ("streaming", "processes"): SHARED,
    ("model without a window", "seconds"): "every frame attends to every other; from {crossing:.0f} s on, that is more "
    "arithmetic than all the rest",
    ("plain reference", "seconds"): "it builds maps of T x T frames in memory, whatever the window",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """The range in which a unit of work costs at most `TOLERANCE` times its least cost.

    Attributes:
        low: Smallest value in the range.
        high: Largest value in the range.
        first: Cost of a unit at the first value, in least costs.
        last: The same at the last value.
        memory_exponent: How peak memory grows from the last value but one to the last; `None` where nothing was seen.
    """

    low: float
    high: float
    first: float
    last: float
    memory_exponent: float | None


def limits(record: Record) -> Limits:
    """The limits of a sweep.

    Args:
        record: With `ideal` (an exponent) and `series` (`values`, `seconds`, `memory`).
    """
    series: Mapping[str, Sequence[float]] = record["series"]
    values = series["values"]
    costs = [s / v ** record["ideal"] for v, s in zip(values, series["seconds"], strict=True)]
    best = low = high = costs.index(min(costs))
    while low > 0 and costs[low - 1] <= TOLERANCE * costs[best]:
        low -= 1
    while high < len(values) - 1 and costs[high + 1] <= TOLERANCE * costs[best]:
        high += 1
    return Limits(
        values[low], values[high], costs[0] / costs[best], costs[-1] / costs[best], _exponent(values, series["memory"])
    )


def explained(record: Record) -> str:
    """One sentence or two: the range, and what ends it on either side."""
    found, values = limits(record), record["series"]["values"]
    subject, axis = record["subject"], record["axis"]
    where = f"only at {found.low:g}" if found.low == found.high else f"from {found.low:g} to {found.high:g}"
    said = [f"**{subject}**, {axis}: as the ideal {where}."]
    if found.low > values[0]:
        said.append(f"At {values[0]:g} a unit costs {found.first:.1f} times as much: {_reason(BELOW, subject, axis)}.")
    if found.high < values[-1]:
        said.append(f"At {values[-1]:g} it costs {found.last:.1f} times as much: {_reason(ABOVE, subject, axis)}.")
    memory = max(record["series"]["memory"])
    if memory < LITTLE:
        said.append(f"Memory stays below {math.ceil(memory / 2**20) or 1} MiB.")
    elif found.memory_exponent is not None and abs(found.memory_exponent) < FLAT:
        said.append("Memory does not grow.")
    elif found.memory_exponent is not None:
        said.append(f"Memory grows with the power {found.memory_exponent:.1f} at the end.")
    return " ".join(said)


def crossing_seconds(config: SATNConfig, frames_per_second: float) -> float:
    """Length of an utterance from which attention without a window is more arithmetic than all the rest."""
    frames = 1000
    pairs = roofline.attention(frames * frames, frames, config.n_heads, config.channels // config.n_heads, 4).operations
    rest = roofline.model(config, [frames]).operations - pairs
    return frames * rest / pairs / frames_per_second


def _reason(reasons: Mapping[tuple[str, str], str], subject: str, axis: str) -> str:
    reason = reasons.get((subject, axis), "why, is not known")
    config = SATNConfig.preset("edge", attention_window=None)
    return reason.format(crossing=crossing_seconds(config, 100))


def _exponent(values: Sequence[float], memory: Sequence[float]) -> float | None:
    if len(values) < 2 or min(memory[-2:]) <= 0:
        return None
    return math.log(memory[-1] / memory[-2]) / math.log(values[-1] / values[-2])
