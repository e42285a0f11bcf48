"""Writes docs/benchmarks.md, and the tables of other documents, from kept results: `python -m benchmarks.render`."""

import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import excerpts, plots
from benchmarks.limits import TOLERANCE, explained
from benchmarks.markdown import picture, table
from benchmarks.results import MISSING_PEER, RESULTS, Record, Results, latest_of_each, read_all
from satn_fast.files import atomic_write

ROOT = Path(__file__).parents[1]

INTRODUCTION = """\
# Benchmarks

`satn-fast bench --render` writes this page from the files in [benchmarks/results](../benchmarks/results). Each
benchmark compares its result with the peer's first, and times nothing that is wrong. Ours and the peer run in turn:
a speed-up is the median of the peer's time over ours, above 1 where ours is faster; cases in which ours is slower are
listed too. *Roofline* is the share of what this very machine reaches in a large matrix product or in copying as many
bytes, whichever binds, with as many threads; *must move* is each input once and each result once; *memory* is what
PyTorch had allocated at the peak, ours and the peer's. [benchmarks/README.md](../benchmarks/README.md) says what each
suite measures.
"""

SCALING = f"""\
Every point is measured in fresh processes, time as a median and memory as the peak beyond the inputs; dotted lines are
the ideal through the point where a unit of work is cheapest. *As the ideal* is where a unit costs at most
{TOLERANCE:g} times as much as there. Ranges follow from the points; the reasons are what the design makes of them.
"""


def render(root: Path = ROOT, results: Path = RESULTS) -> Path:
    """Writes the page and its pictures.

    Args:
        root: The folder that holds docs/.
        results: The folder of kept results.

    Returns:
        The page.

    Raises:
        RuntimeError: No results are kept.
    """
    kept = latest_of_each(read_all(results))
    if not kept:
        raise RuntimeError(f"no results are kept in {results}; keep some with: satn-fast bench --keep")
    sections = [_device(found, root / "docs" / "images") for found in kept]
    page = root / "docs" / "benchmarks.md"
    with atomic_write(page) as temporary:
        temporary.write_text("\n".join([INTRODUCTION, *sections]), encoding="utf-8")
    excerpts.update(root, kept)
    return page


def _device(found: Results, images: Path) -> str:
    machine, name = found.machine, found.path.name
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    lines = [
        f"## {found.device}",
        "",
        f"Measured on {machine['date']} at commit {machine['commit']} with {versions}. All figures: "
        f"[{name}](../benchmarks/results/{name}).",
        "",
    ]
    not_run = Counter((s["suite"], s["reason"]) for s in found.skipped if not s["reason"].startswith(MISSING_PEER))
    lines += [f"- Not run: {count} of {suite}, {reason}" for (suite, reason), count in not_run.items()]
    lines += [""] if not_run else []
    if found.missing_peers:
        lines += [f"Peers that were missing: {', '.join(found.missing_peers)}.", ""]
    for suite in dict.fromkeys(record["suite"] for record in found.records):
        records = [record for record in found.records if record["suite"] == suite]
        lines += _suite(suite, records, images, _slug(f"benchmarks {found.device} {suite}"))
    return "\n".join(lines)


def _suite(suite: str, records: Sequence[Record], images: Path, slug: str) -> list[str]:
    lines = [f"### {suite}", ""]
    by_peer = _by_peer(record for record in records if "speedup" in record)
    if by_peer:
        content = plots.speedups({peer: [r["speedup"] for r in found] for peer, found in by_peer.items()})
        lines += [picture(content, images / f"{slug}.png", f"speed-ups of {suite}"), "", *_summary(by_peer), ""]
    sweeps = [record for record in records if "series" in record]
    lines += [SCALING] if sweeps else []
    for axis in dict.fromkeys(record["axis"] for record in sweeps):
        along = [record for record in sweeps if record["axis"] == axis]
        content = plots.scaling(along)
        lines += [picture(content, images / f"{slug}-{_slug(axis)}.png", f"time and memory against {axis}"), ""]
        lines += [*(f"- {explained(record)}" for record in along), ""]
    if any("nanoseconds" in record for record in records):
        lines += ["The time of each step of a frame: [the front end](front-end.md#how-fast).", ""]
    chain = [record for record in records if "before" in record]
    if chain:
        lines += [*_joints(chain), ""]
    if by_peer:
        lines += [
            '<details markdown="1"><summary>Every benchmark</summary>',
            "",
            *_cases(records),
            "",
            "</details>",
            "",
        ]
    return lines


def _by_peer(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["peer"], []).append(record)
    return found


def _summary(by_peer: dict[str, list[Record]]) -> list[str]:
    rows = []
    for peer, records in by_peer.items():
        speedups = [record["speedup"] for record in records]
        times = (statistics.median(speedups), min(speedups), max(speedups))
        worst = max(record["max_error"] for record in records)
        rows.append([peer, str(len(records)), *(f"{value:.2f}x" for value in times), f"{worst:.1e}"])
    return table(["peer", "benchmarks", "median", "least", "greatest", "worst parity error"], rows)


def _cases(records: Sequence[Record]) -> list[str]:
    """A row for each benchmark; what none of them has is no column."""
    columns: dict[str, Callable[[Record], str]] = {
        "case": _label,
        "peer": lambda record: str(record["peer"]),
        "speed-up": lambda record: f"{record['speedup']:.2f}x",
        "parity error": lambda record: f"{record['max_error']:.1e}",
        "must move": lambda record: f"{record['bytes'] / 2**20:.2f} MiB" if record.get("bytes") else "",
        "roofline": _roofline,
        "memory": _memory,
    }
    rows = [[cell(record) for cell in columns.values()] for record in records if "speedup" in record]
    used = [any(row[index] for row in rows) for index in range(len(columns))]
    return table(
        [column for column, is_used in zip(columns, used, strict=True) if is_used],
        [[cell or "–" for cell, is_used in zip(row, used, strict=True) if is_used] for row in rows],
    )


def _roofline(record: Record) -> str:
    if not record.get("roofline_share"):
        return ""
    return f"{record['roofline_share']:.0%}" + (f" ({record['bound']})" if "bound" in record else "")


def _memory(record: Record) -> str:
    if not record.get("memory"):
        return ""
    return " / ".join(f"{record[name] / 2**20:.1f}" for name in ("memory", "peer_memory") if name in record) + " MiB"


def _joints(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            record["before"],
            record["after"],
            f"{record['max_error']:.1e}",
            f"{record['mean_error']:.1e}",
            f"{record['agreement']:.1%}" if "agreement" in record else "–",
        ]
        for record in records
    ]
    return table(["from", "to", "largest error", "mean error", "decisions alike"], rows)


def _label(record: Record) -> str:
    """The case without the peer, which has a column of its own."""
    case, peer = str(record["case"]).removeprefix("test_"), record["peer"]
    return case.replace(f"{peer}-", "").replace(f"-{peer}", "").replace(f"[{peer}]", "")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    sys.stdout.write(f"wrote {render()}\n")
