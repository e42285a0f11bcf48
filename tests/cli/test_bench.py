"""`satn-fast bench`, on made-up results files and on one tiny suite."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import render, results
from satn_fast.cli import bench
from tests.benchmarks import making

pytest.importorskip("pytest_benchmark")


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    """Nothing is kept or rendered in the checkout."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(results.read_all, "__defaults__", (tmp_path / "kept",))
    monkeypatch.setattr(render.render, "__defaults__", (tmp_path, tmp_path / "kept"))


def file_of(folder: Path, *records, **fields) -> Path:
    return results.write(folder, making.results(*records, **fields))


def kept(tmp_path, *records) -> Path:
    return file_of(tmp_path / "kept", *records, date="2026-01-01")


def test_table_names_suite_case_peer_and_everything_missing(satn_fast, tmp_path):
    lists = {"skipped": [making.missing("toes"), making.skipped("test_gpu", "no GPU that PyTorch can use")]}
    result = satn_fast("bench", "--results", file_of(tmp_path, making.record(), **lists))
    assert result.code == 0
    for said in ("test_sums", "test_sum[2]", "fingers", "2.00x", "1.0e-06", making.PROCESSOR):
        assert said in result.output
    assert "peers missing on this machine: toes" in result.errors
    assert "no GPU that PyTorch can use" in result.errors


def test_failure_is_exit_code_1_and_is_not_kept(satn_fast, tmp_path):
    path = file_of(tmp_path, making.record(), failed=[making.skipped("test_bad", "off by 1")])
    result = satn_fast("bench", "--results", path, "--keep")
    assert (result.code, "test_bad failed: off by 1" in result.errors) == (1, True)
    assert not (tmp_path / "kept").exists()


def test_check_names_what_fell_and_is_exit_code_3(satn_fast, tmp_path):
    kept(tmp_path, making.record("test_a", 4.0), making.record("test_b", 4.0))
    now = file_of(tmp_path, making.record("test_a", 3.9), making.record("test_b", 2.0))
    result = satn_fast("bench", "--results", now, "--check")
    assert result.code == bench.SLOWER == 3
    assert (
        "slower: test_sums test_b against fingers: 4.00x before, 2.00x now (-50%; noise explains 20%)" in result.errors
    )
    assert "test_a against" not in result.errors


def test_check_within_noise_is_well_and_keeps(satn_fast, tmp_path):
    kept(tmp_path, making.record(speedup=2.0))
    result = satn_fast("bench", "--results", file_of(tmp_path, making.record(speedup=1.9)), "--check", "--keep")
    assert result.code == 0
    assert "0 slower, 0 faster, 1 within noise" in result.output
    assert len(list((tmp_path / "kept").glob("*.json"))) == 2


def test_check_without_anything_to_compare_with_says_so(satn_fast, tmp_path):
    result = satn_fast("bench", "--results", file_of(tmp_path, making.record()), "--check")
    assert (result.code, "satn-fast bench --keep" in result.errors) == (1, True)


def test_seemingly_slower_is_run_again(satn_fast, tmp_path, monkeypatch):
    kept(tmp_path, making.record("test_a", 4.0), making.record("test_b", 4.0))
    runs = [
        making.results(making.record("test_a", 2.0), making.record("test_b", 2.0)),
        making.results(making.record("test_a", 4.0), making.record("test_b", 2.1)),
    ]
    asked = []
    monkeypatch.setattr(bench, "_run", lambda arguments: asked.append(list(arguments)) or [runs[len(asked) - 1]])
    result = satn_fast("bench", "--check", "-k", "sums", "--benchmark-json", "out.json")
    assert asked[0] == ["-k", "sums", "--benchmark-json", "out.json"]
    assert [argument.endswith(("test_a", "test_b")) for argument in asked[1]] == [True, True, False]
    assert result.code == 3
    assert "test_b" in result.errors
    assert "test_a" not in result.errors


def test_render_alone_runs_nothing(satn_fast, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_run", lambda _: pytest.fail("ran"))
    kept(tmp_path, making.record())
    assert satn_fast("bench", "--render").code == 0
    assert (tmp_path / "docs" / "benchmarks.md").is_file()


def test_outside_of_a_checkout_says_where_to_get_one(satn_fast, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "satn_fast" / "cli" / "bench.py"))
    result = satn_fast("bench")
    assert result.code == 1
    assert "git clone" in result.errors


SUITE = """
import pytest
from benchmarks.peers import peer_module

def test_right(compare):
    compare(lambda: sum(range(10)), lambda: sum(range(10_000)), peer_name="a longer sum", max_error=0.0, allowed=0.0)

def test_wrong(compare):
    compare(lambda: 1, lambda: 2, peer_name="the truth", max_error=1.0, allowed=0.5)

def test_not_a_number(compare):
    compare(lambda: 1, lambda: 2, peer_name="the truth", max_error=float("nan"), allowed=0.5)

def test_absent():
    peer_module("a_package_nobody_made", "a-package-nobody-made")

@pytest.mark.full
def test_long(compare):
    assert False
"""


def test_runs_a_suite_of_the_checkout_from_anywhere(satn_fast, tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    for name in ("conftest.py", "pyproject.toml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(bench.checkout() / name, root / name)
    shutil.copytree(
        bench.checkout() / "benchmarks",
        root / "benchmarks",
        ignore=lambda _, names: {
            name for name in names if name.startswith("test_") or name in {"gpu", "frontend", "results", "__pycache__"}
        },
    )
    (root / "benchmarks" / "test_tiny.py").write_text(SUITE)
    monkeypatch.setattr(bench, "checkout", lambda: root)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = satn_fast("bench", "--benchmark-json", "out.json", "-k", "not nothing")
    assert result.code == 1
    (row,) = [line for line in result.output.splitlines() if "test_right" in line]
    assert "test_tiny" in row
    assert "x" in row
    assert "test_wrong failed: AssertionError: differs from the truth by 1, 0.5 is allowed" in result.errors
    assert "test_not_a_number failed: AssertionError: differs from the truth by nan" in result.errors
    assert "peers missing on this machine: a-package-nobody-made" in result.errors
    assert "test_long" not in result.output + result.errors
    assert (tmp_path / "elsewhere" / "out.json").is_file()


@pytest.mark.parametrize(
    ("exit_code", "expected", "message"),
    [(5, 1, "no benchmark matches"), (4, 2, ""), (3, 1, "exit code 3"), (1, 1, "could not collect")],
    ids=["nothing collected", "wrong usage", "internal error", "not collected"],
)
def test_pytest_that_ran_nothing_is_an_error(satn_fast, monkeypatch, exit_code, expected, message):
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=exit_code))
    result = satn_fast("bench", "-k", "nothing")
    assert result.code == expected
    assert message in result.errors


def test_arguments_reach_pytest_with_the_suites(satn_fast, monkeypatch):
    ran = []
    monkeypatch.setattr(
        bench.subprocess, "run", lambda command, **_: ran.append(command) or SimpleNamespace(returncode=5)
    )
    satn_fast("bench", "-k", "conv", "--full", "--benchmark-compare=last")
    (command,) = ran
    assert command[command.index("-k") + 1] == "conv"
    assert {"--benchmark", "--benchmark-full", "--benchmark-compare=last"} <= set(command)
    assert "--benchmark-quiet" not in command  # its comparison would not be seen
    assert command[-1] == str(bench.checkout() / "benchmarks")
    satn_fast("bench", bench.checkout() / "benchmarks" / "test_model.py")
    assert ran[1][-1].endswith("test_model.py")
