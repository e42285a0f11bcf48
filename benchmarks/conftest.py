"""What every benchmark does: assert parity, time ours and the peer in turn, keep the figures."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import results
from benchmarks.peers import peer_module
from benchmarks.roofline import Work
from benchmarks.speech import Clips, clips, features_of, trained_model
from satn_fast import SATN, LogMel
from satn_fast.timing import TimedElsewhere, compare_in_turn

RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "ai-edge-litert",
    "litert_quantizer": "litert-quantizer",
    "tensorflow": "tensorflow-cpu",
}

FOUND = pytest.StashKey[results.Results]()


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
        work: Work | None = None,
        **conditions: Any,
    ) -> None:
        assert max_error <= allowed, f"differs from {peer_name} by {max_error:.3g}, {allowed:.3g} is allowed"
        comparison = compare_in_turn(ours, peer)
        if work:
            share = work.share(comparison.ours, torch.device("cpu"), torch.float32)
            conditions |= share | {"threads": torch.get_num_threads()}
        benchmark.extra_info.update(
            max_error=max_error,
            allowed=allowed,
            peer=peer_name,
            peer_seconds=comparison.peer,
            speedup=comparison.speedup,
            spread=comparison.spread,
            **conditions,
        )
        benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
        print(f"  {comparison.speedup:.2f}x {peer_name} (max error {max_error:.1e})")

    return run


@dataclass(frozen=True)
class Shipped:
    """A trained model and every file that is exported from it.

    Attributes:
        clips: What it learned from, and what it is tried on.
        model: In evaluation mode.
        features: (T, F) of each evaluation clip.
        checkpoint: Folder of the model.
        exported: Folder of the exported files.
        left_out: Exported files that could not be written here, and why.
    """

    clips: Clips
    model: SATN
    features: list[np.ndarray]
    checkpoint: Path
    exported: Path
    left_out: Mapping[str, str]

    def frames(self, count: int) -> np.ndarray:
        """(count, F): the evaluation clips one after the other, again from the first where they are too few."""
        joined = np.concatenate(self.features)
        return np.tile(joined, (-(-count // len(joined)), 1))[:count]


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """Trained and exported once for all suites, on one thread: another would only wait for the first."""
    for module, package in RUNTIMES.items():
        peer_module(module, package)
    from satn_fast.export import Tolerances, export

    folder = tmp_path_factory.mktemp("shipped")
    with torch_threads(1):
        found = clips(folder)
        model = trained_model(found)
        model.save_pretrained(folder / "model")
        front_end = LogMel(**model.config.front_end)
        features = features_of(found.evaluation, front_end)
        # Whether files differ from the checkpoint by too much is for the suites to say.
        manifest = export(
            model,
            folder / "export",
            calibration=features_of(found.training[::3], front_end),
            evaluation=features,
            tolerances=Tolerances(math.inf, 0.0, 1.0),
        )
    return Shipped(found, model, features, folder / "model", folder / "export", manifest.left_out)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread."""
    with torch_threads(1):
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pytest_configure(config: pytest.Config) -> None:
    """Begins to collect what is found."""
    config.stash[FOUND] = results.Results(machine={}, records=[])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what takes long, unless it is asked for."""
    if config.getoption("--benchmark-full"):
        return
    slow = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Collects figures of what ran, and reasons of what did not or went wrong."""
    report = yield
    found, name = item.config.stash[FOUND], results.where(item.nodeid)
    if report.skipped:
        found.skipped.append(name | {"reason": report.longrepr[2].removeprefix("Skipped: ")})
    elif report.failed:
        found.failed.append(name | {"reason": call.excinfo.exconly().splitlines()[0]})
    elif report.when == "call" and (benchmark := getattr(item, "funcargs", {}).get("benchmark")):
        found.records.append(name | benchmark.extra_info | {"seconds": benchmark.stats.stats.median})
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the results file, where one is asked for."""
    folder, found = session.config.getoption("--benchmark-results"), session.config.stash[FOUND]
    if folder and (found.records or found.skipped or found.failed):
        machine = results.describe_machine(torch.device("cpu")) | {"torch_threads": torch.get_num_threads()}
        results.write(folder, results.Results(machine, found.records, found.skipped, found.failed))
