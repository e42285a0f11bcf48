"""Pictures of kept results, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.results import Record
from satn_fast.report.plots import ACCENT, INK, colours

SMALL: dict[str, Any] = {"color": INK, "fontsize": 8}

LABELS = {
    "seconds": "seconds of audio",
    "batch": "utterances",
    "channels": "channels; Mel bands of the front end",
}


def speedups(by_peer: Mapping[str, Sequence[float]]) -> bytes:
    """A row for each peer, a dot for each benchmark, a bar at the median; the dotted line is the peer itself."""
    figure = Figure(figsize=(8.6, 0.9 + 0.34 * len(by_peer)), layout="constrained")
    axis = figure.subplots()
    for row, values in enumerate(by_peer.values()):
        axis.plot(values, np.full(len(values), row), "o", color=colours(1)[0], alpha=0.45, markersize=5)
        axis.plot([np.median(values)], [row], "|", color=ACCENT, markersize=15, markeredgewidth=2.5)
    axis.axvline(1.0, color=INK, linewidth=1, linestyle=":")
    axis.set_yticks(range(len(by_peer)), by_peer, **SMALL)
    axis.set_ylim(len(by_peer) - 0.5, -0.5)
    axis.set_xscale("log")
    axis.set_xlabel("times as fast as the peer", **SMALL)
    _label_plainly(axis.xaxis)
    return _png(figure, axis)


def bars(named: Sequence[tuple[str, float]], label: str) -> bytes:
    """A bar for each named ratio, logarithmic, with its number."""
    figure = Figure(figsize=(8.6, 0.7 + 0.36 * len(named)), layout="constrained")
    axis = figure.subplots()
    names, values = zip(*named, strict=True)
    axis.barh(range(len(values)), np.subtract(values, 1), left=1.0, height=0.55, color=colours(1)[0])
    for row, value in enumerate(values):
        axis.annotate(
            f"{value:.1f}" if value < 10 else f"{value:.0f}",
            (max(value, 1.0), row),
            xytext=(4, 0),
            va="center",
            textcoords="offset points",
            **SMALL,
        )
    axis.axvline(1.0, color=INK, linewidth=1)
    axis.set_yticks(range(len(names)), names, **SMALL)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xscale("log")
    axis.set_xlim(min(0.9, *values), max(values) * 1.5)
    axis.set_xlabel(label, **SMALL)
    _label_plainly(axis.xaxis)
    return _png(figure, axis)


def scaling(records: Sequence[Record]) -> bytes:
    """Time and memory of several subjects along one axis, logarithmic, with the ideal where a unit is cheapest.

    Args:
        records: With `subject`, `axis`, `ideal` (an exponent) and `series` (`values`, `seconds`, `memory`).
    """
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for record, colour in zip(records, colours(len(records)), strict=True):
        series = {name: np.asarray(values, float) for name, values in record["series"].items()}
        values = series["values"]
        ideal = (series["seconds"] / values ** record["ideal"]).min() * values ** record["ideal"]
        axes[0].plot(values, series["seconds"], "o-", color=colour, markersize=4, label=record["subject"])
        axes[0].plot(values, ideal, ":", color=colour, linewidth=1)
        measured = series["memory"] > 0  # less than a page shows as nothing
        axes[1].plot(values[measured], series["memory"][measured] / 2**20, "o-", color=colour, markersize=4)
    for axis, title in zip(axes, ("time, s", "memory at the peak, MiB"), strict=True):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(LABELS.get(records[0]["axis"], records[0]["axis"]), **SMALL)
        axis.set_title(title, **SMALL)
        axis.set_xticks(sorted({value for record in records for value in record["series"]["values"]}), minor=False)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        _label_plainly(axis.yaxis)
    axes[0].plot([], [], ":", color=INK, linewidth=1, label="ideal")
    axes[0].legend(frameon=False, fontsize=8)
    return _png(figure, *axes)


def _label_plainly(axis: Axis) -> None:
    """Labels 1, 2, 5, 10, ... of a logarithmic axis; over more than two decades the powers of ten alone."""
    low, high = axis.get_view_interval()
    digits = "125" if high < 100 * low else "1"

    def label(value: float, _: object) -> str:
        return f"{value:g}" if f"{value:.0e}"[0] in digits else ""

    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(FuncFormatter(label))


def _png(figure: Figure, *axes: Any) -> bytes:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
        axis.set_axisbelow(True)
        axis.tick_params(which="both", labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
