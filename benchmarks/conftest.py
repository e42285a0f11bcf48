"""What every benchmark does: assert parity, time ours and the peer in turn, keep the figures."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from satn_fast.timing import TimedElsewhere, compare_in_turn


@pytest.fixture
def compare(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """`compare(ours, peer, peer_name, max_error, allowed)` refuses to time a wrong result.

    Whatever else it is given is kept with the figures.
    """

    def run(
        ours: Callable[[], Any],
        peer: Callable[[], Any] | TimedElsewhere,
        *,
        peer_name: str,
        max_error: float,
        allowed: float,
        **conditions: Any,
    ) -> None:
        assert max_error <= allowed, f"differs from {peer_name} by {max_error:.3g}, {allowed:.3g} is allowed"
        comparison = compare_in_turn(ours, peer)
        benchmark.extra_info.update(
            max_error=max_error,
            peer=peer_name,
            peer_seconds=comparison.peer,
            speedup=comparison.speedup,
            **conditions,
        )
        benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
        print(f"  {comparison.speedup:.2f}x {peer_name} (max error {max_error:.1e})")

    return run
