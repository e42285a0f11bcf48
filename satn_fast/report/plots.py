"""The pictures of a report, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from satn_fast.config import FEATURE_ORDERS
from satn_fast.evaluation.calibration import ReliabilityCurve
from satn_fast.evaluation.confidence import Interval

INK, ACCENT, PALE = "#1f2937", "#c2410c", "#2563eb"
STYLE: dict[str, Any] = {"color": INK, "fontsize": 9}

# One for each run: apart in hue and in lightness, for those who see few colours.
PALETTE = ("#2563eb", "#c2410c", "#0f766e", "#7c3aed", "#ca8a04", "#be185d", "#475569", "#0ea5e9")

History = Sequence[Mapping[str, float]]


def attention_over_time(
    features: NDArray[np.float32],
    received: NDArray[np.float32],
    pooling: NDArray[np.float32],
    *,
    seconds_per_frame: float,
    title: str = "",
    size: tuple[float, float] = (8.6, 4.4),
) -> bytes:
    """Log-Mel picture of one utterance with, below it, where the model looked.

    Args:
        features: (T, F) of the front end; the first third, the static bands, is drawn.
        received: (T,) attention that each frame receives, averaged over heads and queries.
        pooling: (T,) pooling weights.
        seconds_per_frame: Hop of the front end.
        title: Drawn on top.
        size: Width and height in inches.
    """
    n_frames, n_features = features.shape
    bands = features[:, : n_features // FEATURE_ORDERS].T
    seconds = np.arange(n_frames) * seconds_per_frame
    figure = Figure(figsize=size, layout="constrained")
    picture, curves = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    low, high = np.percentile(bands, [2, 99.8])
    picture.imshow(
        bands,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        extent=(0, n_frames * seconds_per_frame, 0, len(bands)),
    )
    picture.set_ylabel("Mel band", **STYLE)
    picture.set_title(title, **STYLE)
    # A constant 1 would be a model that looks everywhere alike.
    curves.plot(seconds, received * n_frames, color=PALE, linewidth=1.2, label="self-attention received")
    curves.fill_between(seconds, pooling * n_frames, color=ACCENT, alpha=0.35, label="pooling weight")
    curves.axhline(1.0, color=INK, linewidth=0.6, linestyle=":")
    curves.set_xlim(0, n_frames * seconds_per_frame)
    curves.set_ylim(bottom=0)
    curves.set_ylabel("times the mean", **STYLE)
    curves.set_xlabel("seconds", **STYLE)
    # Above the curves, which may be high anywhere.
    curves.legend(frameon=False, fontsize=8, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0)
    picture.tick_params(labelsize=8)
    _tidy(curves)
    return _png(figure)


def training_curves(histories: Mapping[str, History], panels: Mapping[str, str]) -> bytes:
    """One panel per figure of merit, one line per training run.

    Args:
        histories: Name of the run to its epochs.
        panels: Key of an epoch's record to the panel's title; runs without the key are left out of that panel.
    """
    return learning_curves({name: [history] for name, history in histories.items()}, panels)


def learning_curves(
    runs: Mapping[str, Sequence[History]], panels: Mapping[str, str], *, best_epoch: int | None = None
) -> bytes:
    """One panel per figure of merit, one line per run: the mean over its trainings, in a band from least to greatest.

    Args:
        runs: Name of the run to the epochs of each of its trainings, which may stop at different epochs.
        panels: Key of an epoch's record to the panel's title; runs without the key are left out of that panel.
        best_epoch: Marked with a dotted line.
    """
    figure = Figure(figsize=(8.6, 2.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        for colour, (name, histories) in zip(colours(len(runs)), runs.items(), strict=True):
            values = _by_epoch(histories, key)
            if not values:
                continue
            epochs = sorted(values)
            axis.plot(epochs, [np.mean(values[e]) for e in epochs], label=name, linewidth=1.4, color=colour)
            if any(len(found) > 1 for found in values.values()):
                least, greatest = [min(values[e]) for e in epochs], [max(values[e]) for e in epochs]
                axis.fill_between(epochs, least, greatest, color=colour, alpha=0.15, linewidth=0)
        if best_epoch is not None:
            axis.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", label="kept")
        axis.set_title(title, **STYLE)
        axis.set_xlabel("epoch", **STYLE)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8)
        _tidy(axis)
    return _png(figure)


def _by_epoch(histories: Sequence[History], key: str) -> dict[float, list[float]]:
    values: dict[float, list[float]] = {}
    for history in histories:
        for row in history:
            if key in row:
                values.setdefault(row["epoch"], []).append(row[key])
    return values


def confusion_matrix(confusion: NDArray[np.int64], labels: Sequence[str], *, title: str = "") -> bytes:
    """Rows are the truth, columns the decision; colours and small numbers are shares of the row, others utterances."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = 1.6 + (0.7 if len(labels) <= 5 else 0.58) * len(labels)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=9)
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set_xlabel("decided", **STYLE)
    axis.set_ylabel("said", **STYLE)
    axis.set_title(title, **STYLE)
    axis.spines[:].set_visible(False)
    # White lines between the cells.
    axis.set_xticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(labels) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)
    for row, column in np.ndindex(*confusion.shape):
        colour = "white" if shares[row, column] > 0.5 else INK
        count, share = confusion[row, column], shares[row, column]
        axis.text(column, row - 0.08, str(count), ha="center", va="center", color=colour)
        axis.text(column, row + 0.24, f"{share:.0%}", ha="center", va="center", color=colour, fontsize=7, alpha=0.85)
    return _png(figure)


def reliability_diagram(curve: ReliabilityCurve) -> bytes:
    """Share of right decisions in each bin of confidence, with below it how many decisions a bin holds."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    picture, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    left, width = curve.edges[:, 0], np.diff(curve.edges, axis=1)[:, 0]
    bars: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white", "linewidth": 0.8}
    picture.bar(left, curve.accuracy, color=PALE, alpha=0.75, label="right", **bars)
    picture.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle="--")
    picture.plot(
        curve.confidence, curve.accuracy, "o", color=ACCENT, markersize=3.5, label="mean confidence of the bin"
    )
    picture.set_ylim(0, 1)
    picture.set_xlim(0, 1)
    picture.set_ylabel("share that is right", **STYLE)
    picture.legend(frameon=False, fontsize=8, loc="upper left")
    picture.yaxis.set_major_formatter(PercentFormatter(1.0))
    counts.bar(left, curve.counts, color=INK, alpha=0.4, **bars)
    counts.set_ylabel("decisions", **STYLE)
    counts.set_xlabel("confidence", **STYLE)
    counts.xaxis.set_major_formatter(PercentFormatter(1.0))
    counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    _tidy(picture)
    _tidy(counts)
    return _png(figure)


def intervals(runs: Mapping[str, Interval], seeds: Mapping[str, Sequence[float]]) -> bytes:
    """UA of each run with its confidence interval, and a faint dot for each of its seeds.

    Args:
        runs: Name of the run to its UA.
        seeds: Name of the run to the UA of each seed.
    """
    figure = Figure(figsize=(8.6, 0.8 + 0.42 * len(runs)), layout="constrained")
    axis = figure.subplots()
    for row, (colour, (name, interval)) in enumerate(zip(colours(len(runs)), runs.items(), strict=True)):
        axis.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        axis.plot(interval.value, row, "o", color=colour, markersize=8, markeredgecolor="white")
        if len(seeds[name]) > 1:
            axis.plot(seeds[name], np.full(len(seeds[name]), row - 0.22), "o", color=colour, alpha=0.45, markersize=3.5)
    axis.set_yticks(range(len(runs)), [_short(name) for name in runs], fontsize=9)
    axis.set_ylim(len(runs) - 0.5, -0.6)
    axis.set_xlabel("UA", **STYLE)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _tidy(axis)
    return _png(figure)


def recalls_of_parts(parts: Sequence[str], runs: Mapping[str, Sequence[Sequence[float]]]) -> bytes:
    """UA of each run on each part (fold or speaker): a dot for the mean over the seeds, a line from least to greatest.

    Args:
        parts: Names of the parts.
        runs: Name of the run to the UAs of each part, one for each seed; none where the run lacks the part.
    """
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    axis = figure.subplots()
    offsets = (np.arange(len(runs)) - (len(runs) - 1) / 2) * min(0.16, 0.7 / len(runs))
    for colour, offset, (name, values) in zip(colours(len(runs)), offsets, runs.items(), strict=True):
        present = [place for place, found in enumerate(values) if found]
        x = [place + offset for place in present]
        axis.vlines(x, [min(values[p]) for p in present], [max(values[p]) for p in present], color=colour, alpha=0.4)
        axis.plot(x, [np.mean(values[p]) for p in present], "o", color=colour, markersize=5.5, label=_short(name))
    many = len(parts) > 10
    axis.set_xticks(range(len(parts)), [_short(part) for part in parts], fontsize=8, rotation=90 if many else 0)
    axis.set_xlim(-0.6, len(parts) - 0.4)
    axis.set_ylabel("UA", **STYLE)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    _tidy(axis)
    return _png(figure)


def colours(count: int) -> list[str]:
    """A colour for each of several runs, the same in every picture."""
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
