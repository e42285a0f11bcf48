"""Pictures and tables of what `benchmarks.robustness` measured."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks import markdown
from satn_fast.report.plots import INK, colours

BEGIN, END = "<!-- table of python -m benchmarks.robustness -->", "<!-- end of robustness -->"

QUANTITIES = {"ua": "UA", "ece": "expected calibration error"}

SMALL: dict[str, Any] = {"color": INK, "fontsize": 8}
COLUMNS = 4

Figures = Mapping[str, Any]


class Panel(NamedTuple):
    """How a kind of condition is drawn and listed.

    Attributes:
        unit: Of the strengths, in words.
        row: How a row of the table names a strength.
        listed: Strengths that the table has; pictures have all.
        milder: How many of the strengths stand before the recording as it is.
    """

    unit: str
    row: str
    listed: tuple[float, ...]
    milder: int = 0


PANELS = {
    "level": Panel("gain, dB", "level {:+g} dB", (-30, 20), 3),
    "clipping": Panel("gain, dB", "clipped at {:+g} dB", (12, 20)),
    "white noise": Panel("SNR, dB", "white noise, {:g} dB", (20, 10, 0)),
    "pink noise": Panel("SNR, dB", "pink noise, {:g} dB", (20, 10, 0)),
    "babble": Panel("SNR, dB", "babble, {:g} dB", (20, 10, 0)),
    "telephone": Panel("kbit/s", "telephone", (64,)),
    "room": Panel("RT60, s", "room, RT60 {:g} s", (0.4, 0.8)),
    "Opus": Panel("kbit/s", "Opus, {:g} kbit/s", (16, 8, 6)),
    "MP3": Panel("kbit/s", "MP3, {:g} kbit/s", (16, 8)),
    "cut": Panel("loudest seconds", "loudest {:g} s", (2, 1, 0.5)),
}


def curves(measured: Sequence[Figures], quantity: str = "ua") -> bytes:
    """A panel for each kind of condition, from mild to severe, a line for each run, as PNG bytes.

    Bands are one standard deviation over the seeds; the dotted line of UA is chance.

    Args:
        measured: Records of runs on the same data.
        quantity: One of `QUANTITIES`.
    """
    kinds = [kind for kind in PANELS if any(kind in figures["kinds"] for figures in measured)]
    n_rows = -(-(len(kinds) + 1) // COLUMNS)  # one more, for the legend
    figure = Figure(figsize=(8.6, 0.3 + 1.95 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, COLUMNS, sharey=True, squeeze=False).ravel()
    for axis, kind in zip(axes, kinds, strict=False):
        for colour, figures in zip(colours(len(measured)), measured, strict=True):
            if kind in figures["kinds"]:
                _draw(axis, figures["kinds"], kind, quantity, colour, figures["run"])
        if quantity == "ua":
            axis.axhline(1 / len(measured[0]["labels"]), color=INK, linewidth=0.8, linestyle=":")
        axis.set_title(kind, **SMALL)
        axis.set_xlabel(PANELS[kind].unit, **SMALL)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.set_ylim(0, 1 if quantity == "ua" else None)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=7)
    for first in range(0, len(kinds), COLUMNS):
        axes[first].set_ylabel(QUANTITIES[quantity], **SMALL)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    axes[len(kinds)].legend(handles, names, frameon=False, fontsize=8, loc="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _draw(axis: Any, kinds: Figures, kind: str, quantity: str, colour: str, name: str) -> None:
    """One run's line in one panel, with the recording as it is where it belongs on the scale."""
    milder = PANELS[kind].milder

    def values(key: str) -> Any:
        clean, rest = kinds["clean"][key], list(kinds[kind][key])
        return np.array([*rest[:milder], *clean, *rest[milder:]], dtype=float)

    mean, spread = values(quantity), np.nan_to_num(values(f"{quantity}_deviation"))
    places = np.arange(len(mean))
    axis.plot(places, mean, "o-", color=colour, linewidth=1.3, markersize=3, label=name)
    axis.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    ticks = [f"{strength:g}" for strength in kinds[kind]["strength"]]
    axis.set_xticks(places, [*ticks[:milder], "as is", *ticks[milder:]])
    axis.set_xlim(-0.3, len(mean) - 0.7)


def table(measured: Sequence[Figures]) -> list[str]:
    """Lines of Markdown: UA of each run, with the calibration error in brackets, under the conditions listed."""
    rows = [["as recorded", *(_cell(figures, "clean", 0) for figures in measured)]]
    for kind, panel in PANELS.items():
        rows += [
            [panel.row.format(strength), *(_cell(figures, kind, strength) for figures in measured)]
            for strength in panel.listed
            if any(strength in figures["kinds"].get(kind, {"strength": ()})["strength"] for figures in measured)
        ]
    return markdown.table(["UA (ECE)", *(str(figures["run"]) for figures in measured)], rows)


def _cell(figures: Figures, kind: str, strength: float) -> str:
    found = figures["kinds"].get(kind)
    if found is None or strength not in found["strength"]:
        return "–"
    row = found["strength"].index(strength)
    deviation = found["ua_deviation"][row]
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    return f"{found['ua'][row]:.3f}{spread} ({found['ece'][row]:.2f})"


def kept(results: Path) -> dict[str, list[Figures]]:
    """Records by protocol, in the order of their names."""
    return {
        folder.name: [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        for folder in sorted(results.glob("*/"))
    }


def filled(document: Path, results: Path) -> str:
    """The document with tables and pictures of all that is kept between its two comments; pictures are written.

    Raises:
        ValueError: The comments are not there, or nothing is kept.
    """
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document}: lacks the comments {BEGIN} and {END}; add them where the tables belong")
    there = {protocol: measured for protocol, measured in kept(results).items() if measured}
    if not there:
        raise ValueError(f"{results}: no results are kept; measure runs with --protocol first")
    lines = [line for protocol, measured in there.items() for line in _section(protocol, measured, document)]
    return "\n".join([before + begin, "", *lines, end]) + after


def _section(protocol: str, measured: Sequence[Figures], document: Path) -> list[str]:
    image = document.parent / "images" / f"robustness-{protocol}.png"
    shown = markdown.picture(curves(measured), image, f"UA under each condition, {protocol}")
    return [f"**{protocol}**", "", shown, "", *table(measured), "", *map(_note, measured), ""]


def _note(figures: Figures) -> str:
    seeds, folds = figures["seeds"], figures["folds"]
    conditions = "no conditions" if figures["trained_with"] == "none" else f"conditions: {figures['trained_with']}"
    return (
        f"- {figures['run']}: trained with {conditions}; {figures['utterances']} utterances, {folds} folds, "
        f"{seeds} seed{'s' if seeds > 1 else ''}; babble of {figures['babble']}; {figures['date']}, commit "
        f"{str(figures['commit'])[:7]}, libsndfile {figures['versions']['libsndfile']}"
    )


def as_json(value: Any, indent: str = "") -> str:
    """Indented, but for lists, which stand on one line."""
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    lines = [f"{inner}{json.dumps(key)}: {as_json(entry, inner)}" for key, entry in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
