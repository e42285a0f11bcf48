"""`satn-fast compare`: which of several runs is better, and whether that may be chance."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from satn_fast.cli.terminal import messages, output, results, warn

if TYPE_CHECKING:
    from satn_fast.evaluation import ComparedRun


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Folders with predictions.csv; all are compared with the first."),
    ],
    destination: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Page to write (HTML).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare runs on the same utterances: figures, paired tests against the first run, and a page with everything.

    A run is a folder that `satn-fast train --leave-out` wrote (all of its folds and seeds are used), or that
    `satn-fast evaluate --output` wrote. UA is the mean over the seeds. p-values are those of a paired permutation test,
    adjusted for how many runs are compared.

    **Examples**

        satn-fast compare runs/without runs/with-transfer --output comparison.html

        satn-fast compare runs/none runs/init runs/map runs/both --json
    """
    from satn_fast.evaluation import compare_runs, read_run

    if len(folders) < 2:
        raise typer.BadParameter("give at least two runs to compare")
    runs = compare_runs({name: read_run(folder) for name, folder in zip(_names(folders), folders, strict=True)})
    counts = {len(run.summary.seeds) for run in runs}
    if 1 in counts:
        warn("a run has one seed only: how much of a difference is the luck of a seed cannot be said; train several")
    if len(counts) > 1:
        warn(f"the runs have different numbers of seeds ({', '.join(map(str, sorted(counts)))})")
    if destination is not None:
        _write(destination, runs)
        messages.print(f"wrote {destination}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"runs": [run.as_dict() for run in runs]}, indent=2) + "\n")
    else:
        _print(runs)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path that tells it from the others."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise typer.BadParameter("a run is given twice; give every run once")
    paths = [folder.resolve() for folder in folders]
    depth = 1
    while max(Counter(names := ["/".join(path.parts[-depth:]) for path in paths]).values()) > 1:
        depth += 1
    return names


def _write(path: Path, runs: "Sequence[ComparedRun]") -> None:
    from satn_fast.files import atomic_write
    from satn_fast.report import comparison_page

    count = len(set(runs[0].run.predictions.files))
    speakers = len(set(runs[0].run.predictions.speakers))
    page = comparison_page(
        runs,
        title=f"{runs[0].name} against {', '.join(run.name for run in runs[1:])}",
        subtitle=f"satn-fast compare: {len(runs)} runs on the same {count} utterances of {speakers} speakers",
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _print(runs: "Sequence[ComparedRun]") -> None:
    table = results("run", "transfer", "UA", "interval", "WA", "macro-F1")
    for run in runs:
        ua = run.over_seeds["ua"]
        spread = "" if ua.deviation is None else f" ± {ua.deviation:.1%}"
        table.add_row(
            escape(run.name),
            escape(run.transfer),
            f"[bold]{ua.mean:.1%}[/bold]{spread}",
            f"{run.interval.low:.1%} to {run.interval.high:.1%}",
            f"{run.over_seeds['wa'].mean:.1%}",
            f"{run.over_seeds['macro_f1'].mean:.1%}",
        )
    output.print(table)
    for run in runs[1:]:
        output.print(run.verdict(runs[0].name), highlight=False, markup=False, soft_wrap=True)
    output.print(f"{runs[0].interval.method}.", style="dim", highlight=False, markup=False, soft_wrap=True)
