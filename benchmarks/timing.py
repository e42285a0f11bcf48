"""Timing several contenders in turn, so that a drifting clock treats all alike; on a device by its own events."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from satn_fast.timing import spread_of_median

Run = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """What one contender takes.

    Attributes:
        seconds: Median device time of a call.
        memory: Bytes allocated at its peak beyond what was there before it.
        spread: Standard error of `seconds`, as a fraction.
    """

    seconds: float
    memory: int
    spread: float


def measure_in_turn(
    contenders: dict[str, Run], device: torch.device, *, rounds: int = 15, seconds_per_round: float = 2e-3
) -> dict[str, Measurement]:
    """Times the contenders A B C A B C ..., so that a drifting clock treats all alike.

    Short calls are repeated between two events: a single one would measure the launch.
    """
    memory = {name: _peak_memory(run, device) for name, run in contenders.items()}
    repeats = {}
    for name, run in contenders.items():
        seconds = min(_seconds(run, 1, device) for _ in range(3))
        repeats[name] = max(1, min(200, round(seconds_per_round / max(seconds, 1e-7))))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(_seconds(run, repeats[name], device))
    spreads = {name: spread_of_median(taken) for name, taken in times.items()}
    return {name: Measurement(statistics.median(times[name]), memory[name], spreads[name]) for name in contenders}


def median_seconds(contenders: Mapping[str, Run], *, rounds: int, warm_up: int) -> dict[str, float]:
    """Median seconds of single calls on the host, A B C A B C ...

    Args:
        contenders: What is timed, by name.
        rounds: Timed calls of each.
        warm_up: Calls before every timed one: another contender ran before, and left its weights in the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            for _ in range(warm_up):
                run()
            times[name].append(_seconds(run, 1, torch.device("cpu")))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _seconds(run: Run, repeats: int, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats
    start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    # What the host still has to do for the first call is hidden behind work that the device has already got.
    torch.cuda._sleep(200_000)
    start_event.record()
    for _ in range(repeats):
        run()
    end_event.record()
    end_event.synchronize()
    return start_event.elapsed_time(end_event) * 1e-3 / repeats


def _peak_memory(run: Run, device: torch.device) -> int:
    run()  # compiles, and allocates what stays
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
