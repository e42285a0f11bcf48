"""Speed-ups are compared by ratio, each within its own band of noise."""

import math

import pytest

from benchmarks.regression import LEAST_BAND, band, better_of, compare
from tests.benchmarks.making import record, results, sweep


def test_only_what_falls_below_its_band_is_slower():
    names = ["steady", "slower", "noisy", "faster"]
    before = results(*(record(name, 2.0, 0.1 if name == "noisy" else 0.01) for name in names), record("gone"))
    speedups = {"steady": 1.8, "slower": 1.5, "noisy": 1.5, "faster": 3.0}
    now = results(*(record(name, value, 0.01) for name, value in speedups.items()), record("new"), sweep("model"))
    check = compare(before, now)
    assert [change.case for change in check.slower] == ["slower"]
    assert [change.case for change in check.changes if change.faster] == ["faster"]
    assert (check.new, check.gone) == (["test_sums new against fingers"], ["test_sums gone against fingers"])


def test_times_do_not_count():
    check = compare(results(record(seconds=0.1, peer_seconds=0.2)), results(record(seconds=10, peer_seconds=20)))
    assert not check.slower


def test_one_case_against_two_peers_is_two():
    before = results(record(), record(peer="toes", speedup=9.0))
    check = compare(before, results(record(), record(peer="toes", speedup=4.0)))
    assert [change.peer for change in check.slower] == ["toes"]


def test_band_is_never_narrower_than_the_least_and_never_everything():
    assert band(record(), record()) == pytest.approx(LEAST_BAND)
    assert band({}, {}) == pytest.approx(LEAST_BAND)
    assert band(record(spread=0.3), record(spread=0.4)) == pytest.approx(1 - math.exp(-1.5))
    assert band(record(spread=50), record()) <= 1


def test_what_is_slow_once_is_forgiven():
    first, second = results(record("a", 1.0), record("b", 1.0)), results(record("a", 2.0), record("b", 0.9))
    assert [r["speedup"] for r in better_of(first, second).records] == [2.0, 1.0]


def test_failure_of_the_second_run_is_not_forgotten():
    failure = {"suite": "test_sums", "case": "a", "reason": "off by 1"}
    assert better_of(results(record("a")), results(failed=[failure])).failed == [failure]


def test_two_devices_are_not_compared():
    with pytest.raises(ValueError, match="Slide rule"):
        compare(results(record()), results(record(), device="Slide rule"))
