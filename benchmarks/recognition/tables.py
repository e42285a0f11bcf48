"""Kept results as Markdown: table and confusion matrix of each protocol, between comments of a document."""

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.markdown import picture, table
from benchmarks.recognition.exported import read_exported
from benchmarks.recognition.kept import Record, confusion_of, read, read_all
from benchmarks.recognition.protocols import CHOSEN, Protocol, Published
from satn_fast.files import atomic_write
from satn_fast.report.plots import confusion_matrix

MARKED = re.compile(r"(<!-- recognition: ([\w-]+) -->\n).*?(<!-- end of recognition -->)", re.DOTALL)
COLUMNS = ("", "UA %", "95 % interval", "ECE %", "trainings", "parameters", "to know")
FILES = ("int8 file", "KB", "UA %", "checkpoint's UA %", "decides alike", "ms")

PICTURED = "defaults"
"""The variant whose confusion matrix stands in a document."""


def render(document: Path, protocols: Mapping[str, Protocol], results: Path, *, pictured: str = PICTURED) -> list[str]:
    """Writes the tables and pictures of a document anew.

    They stand between `<!-- recognition: PROTOCOL -->` and `<!-- end of recognition -->`.

    Args:
        document: A Markdown file.
        protocols: All of them, by their names.
        results: Folder of results.
        pictured: The variant whose confusion matrix is drawn, `images/confusion-PROTOCOL.png` beside the document.

    Returns:
        The protocols whose tables stand there.

    Raises:
        ValueError: The document names a protocol that there is not.
    """
    text = document.read_text(encoding="utf-8")
    there = [match[2] for match in MARKED.finditer(text)]
    if unknown := [name for name in there if name not in protocols]:
        raise ValueError(f"{document}: {unknown[0]} is no protocol; choose one of {', '.join(protocols)}")

    def section(match: re.Match[str]) -> str:
        protocol = protocols[match[2]]
        image = document.parent / "images" / f"confusion-{protocol.name}.png"
        lines = [*protocol_table(protocol, results), *_pictured(protocol, results, pictured, image)]
        return "\n".join([match[1].rstrip("\n"), *lines, match[3]])

    with atomic_write(document) as temporary:
        temporary.write_text(MARKED.sub(section, text), encoding="utf-8")
    return there


def protocol_table(protocol: Protocol, results: Path) -> list[str]:
    """The lines of a protocol's table: baselines, ours, what others published, and folds that share speakers."""
    kept = read_all(results, protocol.name)
    comparable = [_row(record) for record in kept if record["comparable"]]
    shuffled = [_row(record) for record in kept if not record["comparable"]]
    published = [_published(one) for one in protocol.published]
    role = "settings were chosen on it" if protocol.settings == CHOSEN else "nothing was chosen on it"
    rows = table(COLUMNS, [*comparable, *published, *shuffled])
    titles = {record["variant"]: record["title"] for record in kept}
    files = [line for record in read_exported(results, protocol.name) for line in _files(record, titles)]
    return ["", f"{protocol.title}; {role}.", "", *rows, *files, ""]


def _files(record: Record, titles: Mapping[str, str]) -> list[str]:
    """What is known of the int8 files of one variant."""
    rows = [
        [
            f"`{file['name']}`",
            f"{file['bytes'] / 1024:.0f}",
            f"{100 * file['ua']:.1f}",
            f"{100 * record['ua']:.1f}",
            f"{100 * file['agreement']:.1f} %",
            f"{file['milliseconds']:.2f}",
        ]
        for file in record["files"]
    ]
    title = titles.get(record["variant"], record["variant"])
    count = len(record["seeds"])
    trainings = f"{count} training{'s' if count > 1 else ''} of each fold"
    about = f"{title}, {trainings}; times of {record['seconds']:g} s of speech on one thread:"
    return ["", about, "", *table(FILES, rows)]


def _row(record: Record) -> list[str]:
    ua, interval = record["ua"], record["ua_interval"]
    probabilities = record.get("probabilities") or {"ece": None, "ua_averaged": None}
    averaged, calibration = probabilities["ua_averaged"], probabilities["ece"]
    together = f"probabilities of {interval['seeds']} trainings averaged"
    changes = [f"{name}={value}" for name, value in record.get("changes", {}).items()]
    notes = [*changes, *record["notes"], *([] if averaged is None else [f"{together}: {100 * averaged:.1f}"])]
    return [
        record["title"] + ("" if record["comparable"] else ", speakers shared"),
        _percent(ua["mean"], ua["deviation"]),
        f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f} ({interval['unit']})",
        "" if calibration is None else f"{100 * calibration:.1f}",
        str(len(record["seeds"])) if record["kind"] != "baseline" else "",
        "" if record["parameters"] is None else _thousands(record["parameters"]),
        "; ".join(notes),
    ]


def _published(one: Published) -> list[str]:
    deviation = None if one.deviation is None else one.deviation / 100
    parameters = "" if one.parameters is None else _thousands(one.parameters)
    return [f"*{one.name}*", _percent(one.ua / 100, deviation), "", "", "", parameters, f"{one.source}; {one.differs}"]


def _percent(mean: float, deviation: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _thousands(count: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _pictured(protocol: Protocol, results: Path, variant: str, image: Path) -> list[str]:
    """The line that shows a variant's confusion matrix, which is drawn; none where nothing is kept of it."""
    record = read(results / protocol.name / f"{variant}.json")
    return (
        [picture(_confusion(protocol, record), image, f"Who was heard as what, {protocol.title}"), ""] if record else []
    )


def _confusion(protocol: Protocol, record: Record) -> bytes:
    seeds = f", {len(record['seeds'])} trainings together" if len(record["seeds"]) > 1 else ""
    title = f"{protocol.title}\n{record['title']}{seeds}"
    return confusion_matrix(confusion_of(record), record["labels"], title=title)


def draw_confusions(protocol: Protocol, results: Path, folder: Path) -> list[Path]:
    """Confusion matrices of every kept result, all folds and seeds together, as PNG.

    Returns:
        The pictures, `<folder>/<protocol>-<variant>.png`.
    """
    pictures = []
    for record in read_all(results, protocol.name):
        path = folder / f"{protocol.name}-{record['variant']}.png"
        with atomic_write(path) as temporary:
            temporary.write_bytes(_confusion(protocol, record))
        pictures.append(path)
    return pictures
