"""Writes docs/benchmarks.md from kept results, the last of each device: `python -m benchmarks.render`."""

import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import plots
from benchmarks.results import RESULTS, Record, Results, latest_of_each, read_all
from satn_fast.files import atomic_write

ROOT = Path(__file__).parents[1]

INTRODUCTION = """\
# Benchmarks

`satn-fast bench --render` writes this page from the files in [benchmarks/results](../benchmarks/results). Each
benchmark compares its result with the peer's first, and times nothing that is wrong. Ours and the peer run in turn:
a speed-up is the median of the peer's time over ours, above 1 where ours is faster; cases in which ours is slower are
listed too. [benchmarks/README.md](../benchmarks/README.md) says what each suite measures.
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
        picture = plots.speedups({peer: [r["speedup"] for r in found] for peer, found in by_peer.items()})
        lines += [_picture(picture, images / f"{slug}.png", f"speed-ups of {suite}"), "", *_summary(by_peer), ""]
    for axis in dict.fromkeys(record["axis"] for record in records if "series" in record):
        sweeps = [record for record in records if record.get("axis") == axis]
        picture = plots.scaling(sweeps)
        lines += [_picture(picture, images / f"{slug}-{_slug(axis)}.png", f"time and memory against {axis}"), ""]
    chain = [record for record in records if "before" in record]
    if chain:
        lines += [*_joints(chain), ""]
    if by_peer:
        lines += ["<details><summary>Every benchmark</summary>", "", *_cases(records), "", "</details>", ""]
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
    return _table(["peer", "benchmarks", "median", "least", "greatest", "worst parity error"], rows)


def _cases(records: Sequence[Record]) -> list[str]:
    share = any(record.get("roofline_share") for record in records)
    rows = []
    for record in records:
        if "speedup" not in record:
            continue
        row = [_label(record), record["peer"], f"{record['speedup']:.2f}x", f"{record['max_error']:.1e}"]
        if share:
            row.append(f"{record['roofline_share']:.0%}" if record.get("roofline_share") else "–")
        rows.append(row)
    return _table(["case", "peer", "speed-up", "parity error", *(["roofline"] if share else [])], rows)


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
    return _table(["from", "to", "largest error", "mean error", "decisions alike"], rows)


def _label(record: Record) -> str:
    return str(record["case"]).removeprefix("test_")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown."""
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
    ]


def _picture(content: bytes, path: Path, title: str) -> str:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return f"![{title}](images/{path.name})"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    sys.stdout.write(f"wrote {render()}\n")
