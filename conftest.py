"""Adds `--benchmark`: run the benchmark suites and nothing else. Without it no benchmark is collected."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the options."""
    parser.addoption("--benchmark", action="store_true", help="run the suites in benchmarks/, and nothing else")
    parser.addoption("--benchmark-full", action="store_true", help="also run the benchmarks that take long")
    parser.addoption(
        "--benchmark-results",
        type=Path,
        metavar="DIR",
        help="write what the CPU suites found to a results file in DIR; without it nothing is written",
    )
    parser.addoption("--gpu-dry-run", action="store_true", help="try the GPU suite on the CPU, with small shapes")
    parser.addoption(
        "--gpu-results",
        default=BENCHMARKS / "results",
        metavar="DIR",
        help="where the GPU suite writes its results (benchmarks/results)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Looks in benchmarks/ unless files are named on the command line; declares the marker of slow benchmarks."""
    config.addinivalue_line("markers", "full: takes long; runs with --benchmark-full only")
    if config.getoption("--benchmark") and config.args_source != pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(BENCHMARKS)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keeps tests and benchmarks apart."""
    is_benchmark = collection_path == BENCHMARKS or BENCHMARKS in collection_path.parents
    is_test = collection_path.name == "tests" and collection_path.parent == BENCHMARKS.parent
    if config.getoption("--benchmark"):
        return True if is_test else None
    return True if is_benchmark else None
