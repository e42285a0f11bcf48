"""The race: ours and its peers, parity with float64 first, then device time, memory and share of the roofline."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.roofline import Work
from benchmarks.timing import Run, measure_in_turn

# Ours may err this often as much as PyTorch in the same dtype, both measured against float64.
FORWARD_ALLOWANCE, BACKWARD_ALLOWANCE = 2.0, 3.0


@pytest.fixture(scope="session")
def dry_run(request: pytest.FixtureRequest) -> bool:
    """Whether small shapes on the CPU shall show that the suite itself works."""
    return bool(request.config.getoption("--gpu-dry-run"))


@pytest.fixture(scope="session")
def device(dry_run: bool) -> torch.device:
    """The GPU; every benchmark here is skipped where there is none."""
    if dry_run:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch can use (--gpu-dry-run tries the suite on the CPU, with small shapes)")
    torch.backends.cudnn.benchmark = True  # each peer at its best
    return torch.device("cuda")


@pytest.fixture(scope="session")
def records(device: torch.device, dry_run: bool, request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    """Collects a record for each race, and writes them at the end."""
    collected: list[dict[str, Any]] = []
    yield collected
    if collected:
        folder = Path(request.config.getoption("--gpu-results"))
        machine = results.describe_machine(device) | ({"device": "CPU (dry run)"} if dry_run else {})
        path = results.write(folder, results.Results(machine, collected))
        print(f"\nresults: {path}")


@pytest.fixture
def race(
    device: torch.device, dry_run: bool, records: list[dict[str, Any]], request: pytest.FixtureRequest
) -> Callable[..., None]:
    """`race(ours, peers, exact, plain, dtype, ...)`, see `run`."""

    def run(
        ours: Run,
        peers: dict[str, Run],
        *,
        exact: list[Tensor],
        dtype: torch.dtype,
        allowance: float = FORWARD_ALLOWANCE,
        plain: str | None = None,
        work: Work | None = None,
        **conditions: Any,
    ) -> None:
        """Refuses a wrong result, times all in turn, and keeps a record for each peer.

        Args:
            ours: Returns one tensor or several.
            peers: The same from others, by name.
            exact: The same in float64.
            dtype: What is computed in.
            allowance: How often ours may err as much as the plain peer.
            plain: The name of that peer; the first one if not given.
            work: What cannot be avoided, for the share of the roofline.
            conditions: Kept with the figures.
        """
        error = relative_error(ours(), exact)
        plain_error = relative_error(peers[plain or next(iter(peers))](), exact)
        allowed = allowance * plain_error + 1e-6
        assert error <= allowed, f"errs by {error:.2e}; PyTorch by {plain_error:.2e}, {allowed:.2e} is allowed"

        times = measure_in_turn({"ours": ours, **peers}, device, rounds=1 if dry_run else 15)
        mine = times.pop("ours")
        share = work.share(mine.seconds, device, dtype) if work else {}
        name = request.node.name.split("[")[0].removeprefix("test_")
        for peer, theirs in times.items():
            records.append(
                {
                    **results.where(request.node.nodeid),
                    "benchmark": name,
                    **conditions,
                    "dtype": str(dtype).removeprefix("torch."),
                    "peer": peer,
                    "microseconds": mine.seconds * 1e6,
                    "peer_microseconds": theirs.seconds * 1e6,
                    "speedup": theirs.seconds / mine.seconds,
                    "spread": math.hypot(mine.spread, theirs.spread),
                    **share,
                    "memory": mine.memory,
                    "peer_memory": theirs.memory,
                    "max_error": error,
                    "peer_error": plain_error,
                }
            )
        listed = ", ".join(f"{theirs.seconds / mine.seconds:.2f}x {peer}" for peer, theirs in times.items())
        print(
            f"  {mine.seconds * 1e6:.1f} us"
            + (f", {share['roofline_share']:.0%} of the roofline" if share else "")
            + f": {listed}"
        )

    return run


def relative_error(found: object, exact: list[Tensor]) -> float:
    """The largest of the tensors' errors in the norm, relative to the exact one's; NaN is infinitely wrong."""
    tensors = [found] if isinstance(found, Tensor) else list(found)  # type: ignore[call-overload]
    errors = [float((a.double() - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(tensors, exact, strict=True)]
    return max((error if error == error else float("inf") for error in errors), default=0.0)
