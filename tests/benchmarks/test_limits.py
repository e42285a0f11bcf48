"""Where a sweep stops keeping up with its ideal follows from its points."""

import math

import pytest

from benchmarks.limits import crossing_seconds, explained, limits
from satn_fast import SATNConfig

MEBIBYTE = 2**20


def sweep(seconds, memory=(0, 0, 0, 0), ideal=1, values=(1, 10, 100, 1000), subject="model", axis="seconds"):
    series = {"values": list(values), "seconds": list(seconds), "memory": list(memory)}
    return {"subject": subject, "axis": axis, "ideal": ideal, "series": series}


def test_range_is_around_the_cheapest_unit():
    found = limits(sweep([5.0, 10.0, 110.0, 3000.0]))
    assert (found.low, found.high) == (10, 100)
    assert (found.first, found.last) == (pytest.approx(5.0), pytest.approx(3.0))


def test_ideal_may_be_that_twice_as_many_do_it_in_half_the_time():
    found = limits(sweep([8.0, 4.4, 3.9], values=[1, 2, 4], ideal=-1))
    assert (found.low, found.high) == (1, 2)
    assert found.last == pytest.approx(3.9 * 4 / 8)


def test_only_what_was_measured_is_explained():
    straight = explained(sweep([1.0, 10.0, 100.0, 1000.0]))
    assert straight == "**model**, seconds: as the ideal from 1 to 1000. Memory stays below 1 MiB."
    assert "microseconds to start" in explained(sweep([9.0, 10.0, 100.0, 1000.0]))
    assert "caches" not in explained(sweep([9.0, 10.0, 100.0, 1000.0]))
    assert "At 1000 it costs 9.0 times as much: activations" in explained(sweep([1.0, 10.0, 100.0, 9000.0]))


def test_what_nobody_thought_of_is_not_explained_away():
    assert "why, is not known" in explained(sweep([9.0, 10.0, 100.0, 1000.0], subject="abacus"))


@pytest.mark.parametrize(("memory", "power"), [(100, 1.0), (1000, 2.0)])
def test_memory_grows_with_the_power_of_the_last_two_points(memory, power):
    found = limits(sweep([1, 10, 100, 1000], [0, MEBIBYTE, 10 * MEBIBYTE, memory * MEBIBYTE]))
    assert found.memory_exponent == pytest.approx(power)
    assert f"power {power}" in explained(sweep([1, 10, 100, 1000], [0, 0, 10 * MEBIBYTE, memory * MEBIBYTE]))


def test_memory_that_does_not_grow_is_not_said_to():
    same = [10 * MEBIBYTE, 10 * MEBIBYTE, 10 * MEBIBYTE, 11 * MEBIBYTE]
    assert explained(sweep([1, 10, 100, 1000], same)).endswith("Memory does not grow.")


def test_crossing_is_where_scores_and_sums_are_half_of_the_arithmetic():
    from benchmarks import roofline

    config = SATNConfig.preset("edge", attention_window=None)
    frames = round(crossing_seconds(config, 100) * 100)
    attention = 4 * frames**2 * config.channels
    assert math.isclose(roofline.model(config, [frames]).operations, 2 * attention, rel_tol=1e-3)
