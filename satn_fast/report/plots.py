"""The pictures of a report, as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from satn_fast.config import FEATURE_ORDERS

INK, ACCENT, PALE = "#1f2937", "#c2410c", "#2563eb"
STYLE: dict[str, Any] = {"color": INK, "fontsize": 9}


def attention_over_time(
    features: NDArray[np.float32],
    received: NDArray[np.float32],
    pooling: NDArray[np.float32],
    *,
    seconds_per_frame: float,
    title: str,
) -> bytes:
    """Log-Mel picture of one utterance with, below it, where the model looked.

    Args:
        features: (T, F) of the front end; the first third, the static bands, is drawn.
        received: (T,) attention that each frame receives, averaged over heads and queries.
        pooling: (T,) pooling weights.
        seconds_per_frame: Hop of the front end.
        title: Drawn on top.
    """
    n_frames, n_features = features.shape
    bands = features[:, : n_features // FEATURE_ORDERS].T
    seconds = np.arange(n_frames) * seconds_per_frame
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
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
    curves.legend(frameon=False, fontsize=8, loc="upper right")
    return _png(figure)


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], panels: Mapping[str, str]) -> bytes:
    """One panel per figure of merit, one line per training run.

    Args:
        histories: Name of the run to its epochs.
        panels: Key of an epoch's record to the panel's title; runs without the key are left out of that panel.
    """
    figure = Figure(figsize=(8.6, 2.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axis, (key, title) in zip(axes, panels.items(), strict=True):
        for name, history in histories.items():
            if key in history[0]:
                axis.plot([row["epoch"] for row in history], [row[key] for row in history], label=name, linewidth=1.4)
        axis.set_title(title, **STYLE)
        axis.set_xlabel("epoch", **STYLE)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.2)
        axis.legend(frameon=False, fontsize=8)
    return _png(figure)


def confusion_matrix(confusion: NDArray[np.int64], labels: Sequence[str], *, title: str) -> bytes:
    """Rows are the truth, columns the decision; colours are shares of the row, numbers are utterances."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = 1.6 + 0.7 * len(labels)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize=9)
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set_xlabel("decided", **STYLE)
    axis.set_ylabel("said", **STYLE)
    axis.set_title(title, **STYLE)
    for row, column in np.ndindex(*confusion.shape):
        colour = "white" if shares[row, column] > 0.5 else INK
        axis.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
