"""`satn-fast bench`: the benchmark suites, their results, and whether something became slower."""

import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from satn_fast.cli.terminal import messages, output, warn

if TYPE_CHECKING:
    from benchmarks.regression import Check
    from benchmarks.results import Results

SLOWER = 3

# pytest's exit codes
_FAILURES, _WRONG_USAGE, _NOTHING_COLLECTED = 1, 4, 5


def bench(
    context: typer.Context,
    keyword: Annotated[
        str | None, typer.Option("-k", metavar="EXPRESSION", help="Only benchmarks whose names match, as in pytest.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Also what takes long, such as sweeps over sizes.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare speed-ups with the last kept of this device. Exit code 3 if one fell."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the results in benchmarks/results.")] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Write docs/benchmarks.md from what is kept; alone, without running.")
    ] = False,
    files: Annotated[
        list[Path] | None,
        typer.Option("--results", metavar="FILE", help="Run nothing, take this results file (repeatable)."),
    ] = None,
) -> None:
    """Run the benchmark suites of a source checkout: parity first, then speed beside each peer.

    Whatever else is given goes to pytest: files of benchmarks/, --benchmark-json FILE, --benchmark-compare, ...
    Ratios are compared, never times, and each has its own band of noise; what seems slower is run a second time.

    **Examples**

        satn-fast bench -k "asrfront or librosa"

        satn-fast bench --check

        satn-fast bench --full --keep --render
    """
    _find_suites()
    if render and not (keep or check or files):
        _render()
        return
    found = _read(files) if files else _run([*_selection(keyword, full), *context.args])
    _show(found)
    if any(results.failed for results in found):
        raise typer.Exit(1)
    if check:
        _check(found, again=not files)
    if keep:
        _keep(found)
    if render:
        _render()


def checkout() -> Path:
    """The folder of the source that this package is imported from.

    Raises:
        RuntimeError: It is installed without its source.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "benchmarks" / "conftest.py").is_file():
        raise RuntimeError(
            f"the benchmarks are not part of the installed package ({folder}); get the source (git clone), and there "
            "run: make setup, .venv/bin/satn-fast bench"
        )
    return folder


def _find_suites() -> None:
    """Makes the package `benchmarks` importable, as pytest's setting `pythonpath` does."""
    folder = str(checkout())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    missing = [name for name in ("pytest", "pytest_benchmark") if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f'{" and ".join(missing)} not installed; benchmarks need: pip install "satn-fast[bench]"')


def _selection(keyword: str | None, full: bool) -> list[str]:
    return [*(["-k", keyword] if keyword else []), *(["--benchmark-full"] if full else [])]


def _run(arguments: Sequence[str]) -> "list[Results]":
    """Runs pytest in a process of its own, and reads what it found: a file for each device."""
    from benchmarks.results import read_all

    root = checkout()
    suites = [] if any(_is_suite(argument, root) for argument in arguments) else [str(root / "benchmarks")]
    settings = [f"--rootdir={root}", "-c", str(root / "pyproject.toml"), "--benchmark", "-q", "-p", "no:cacheprovider"]
    if not any(argument.startswith("--benchmark-compare") for argument in arguments):
        settings.append("--benchmark-quiet")
    with tempfile.TemporaryDirectory() as folder:
        settings += [f"--benchmark-results={folder}", f"--gpu-results={folder}"]
        command = [sys.executable, "-m", "pytest", *settings, *arguments, *suites]
        code = subprocess.run(command, stdout=sys.stderr).returncode
        if code == _NOTHING_COLLECTED:
            raise RuntimeError("no benchmark matches; --full adds those that take long")
        if code == _WRONG_USAGE:
            raise typer.Exit(2)
        if code not in (0, _FAILURES):
            raise RuntimeError(f"pytest ended with exit code {code}; its messages stand above")
        found = read_all(Path(folder))
    if code == _FAILURES and not any(results.failed for results in found):
        raise RuntimeError("pytest could not collect every suite; its messages stand above")
    return found


def _is_suite(argument: str, root: Path) -> bool:
    path = Path(argument.partition("::")[0]).resolve()
    return path.exists() and path.is_relative_to(root / "benchmarks")


def _read(files: Sequence[Path]) -> "list[Results]":
    from benchmarks.results import read

    return [read(file) for file in files]


def _show(found: "Sequence[Results]") -> None:
    """One table of everything, and by name what could not run."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("suite", "case", "peer"):
        table.add_column(column, overflow="fold")
    for column in ("speed-up", "parity error"):
        table.add_column(column, justify="right", no_wrap=True)
    for results in found:
        for record in results.records:
            table.add_row(
                *(escape(str(record.get(name, "–"))) for name in ("suite", "case", "peer")),
                f"{record['speedup']:.2f}x" if "speedup" in record else "–",
                f"{record['max_error']:.1e}" if "max_error" in record else "–",
            )
        for failure in results.failed:
            table.add_row(escape(failure["suite"]), escape(failure["case"]), "–", "[red]failed", "–")
    output.print(table)
    for results in found:
        _say(f"{results.device}, commit {results.machine['commit']}")
        if results.missing_peers:
            warn(f"peers missing on this machine: {', '.join(results.missing_peers)}")
        for (suite, reason), count in Counter((s["suite"], s["reason"]) for s in results.skipped).items():
            warn(f"{count} of {suite} skipped: {reason}")
        for failure in results.failed:
            warn(f"{failure['suite']} {failure['case']} failed: {failure['reason']}")


def _check(found: "Sequence[Results]", *, again: bool) -> None:
    """Ends with exit code 3 where a speed-up fell by more than its band of noise, twice where it can run `again`."""
    from benchmarks.regression import better_of, compare
    from benchmarks.results import latest, read_all

    kept, slower = read_all(), 0
    for results in found:
        if not results.records:
            continue
        before = latest(kept, results.device)
        if before is None:
            raise RuntimeError(f"no results of {results.device} are kept; keep some with: satn-fast bench --keep")
        verdict = compare(before, results)
        if verdict.slower and again:
            messages.print(f"{len(verdict.slower)} seem slower, and are run again", highlight=False)
            names = dict.fromkeys(_node(change.suite, change.case) for change in verdict.slower)
            for second in _run([*names, "--benchmark-full"]):
                if second.device == results.device:
                    verdict = compare(before, better_of(results, second))
        _report(verdict, before)
        slower += len(verdict.slower)
    if slower:
        raise typer.Exit(SLOWER)


def _node(suite: str, case: str) -> str:
    return f"{checkout() / 'benchmarks' / suite}.py::{case}"


def _report(verdict: "Check", before: "Results") -> None:
    for change in verdict.slower:
        warn(
            f"slower: {change.suite} {change.case} against {change.peer}: {change.before:.2f}x before, "
            f"{change.now:.2f}x now ({change.ratio - 1:+.0%}; noise explains {change.band:.0%})"
        )
    faster = sum(change.faster for change in verdict.changes)
    _say(
        f"compared with {before.path.name} (commit {before.machine['commit']}): {len(verdict.slower)} slower, "
        f"{faster} faster, {len(verdict.changes) - len(verdict.slower) - faster} within noise, {len(verdict.new)} new, "
        f"{len(verdict.gone)} not run now"
    )


def _keep(found: "Sequence[Results]") -> None:
    from benchmarks.results import RESULTS, write

    for results in found:
        if results.records:
            _say(f"kept {write(RESULTS, results)}")


def _render() -> None:
    from benchmarks.render import render

    _say(f"wrote {render()}")


def _say(line: str) -> None:
    output.print(line, highlight=False, markup=False, soft_wrap=True)
