"""Manifests: CSV files that list the utterances of a corpus.

Columns `file,label,speaker` are required; `session,start,end,text` are optional; any others are kept as they
are. Paths are relative to the folder of the manifest, so that a corpus can be moved.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from satn_fast.files import atomic_write

__all__ = ["ManifestError", "Utterance", "read_manifest", "write_manifest"]

REQUIRED_COLUMNS = ("file", "label", "speaker")
OPTIONAL_COLUMNS = ("session", "start", "end", "text")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names file, line, column and remedy."""


@dataclass(frozen=True)
class Utterance:
    """One labelled piece of speech.

    Attributes:
        file: The audio file; absolute when it comes from `read_manifest`.
        label: The emotion; not empty, no blanks around it.
        speaker: Who speaks; not empty, no blanks around it.
        session: The recording session, or `None`.
        start: Where the utterance begins in the file, in seconds; `None` is the beginning.
        end: Where it ends, in seconds; `None` is the end of the file.
        text: What is said, or `None`.
        extra: Further columns of the manifest, by name.

    Raises:
        ValueError: If a field breaks these rules, or `start` is not before `end`.

    Example:
        >>> Utterance(Path("anna_01.wav"), label="happy", speaker="anna", start=0.5, end=2.0).duration
        1.5
    """

    file: Path
    label: str
    speaker: str
    session: str | None = None
    start: float | None = None
    end: float | None = None
    text: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("label", "speaker", "session"):
            value = getattr(self, name)
            if value is not None and (not value or value != value.strip()):
                raise ValueError(f"{name} must be a name without blanks around it, got {value!r}")
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of seconds, zero or more, got {value!r}")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"start must be before end, got {self.start or 0.0:g} s and {self.end:g} s")

    @property
    def duration(self) -> float | None:
        """Length in seconds, or `None` where the utterance runs to the end of the file."""
        return None if self.end is None else self.end - (self.start or 0.0)


def read_manifest(path: str | os.PathLike[str], *, check_files: bool = False) -> list[Utterance]:
    r"""Read the utterances that a manifest lists, in its order.

    Blanks around labels, speakers and sessions are removed. The file is UTF-8, with or without a byte order mark.

    Args:
        path: The manifest.
        check_files: Whether to fail if a listed audio file does not exist.

    Returns:
        The utterances, `file` being an absolute path.

    Raises:
        ManifestError: If the manifest is missing, empty or no UTF-8 CSV, lacks a column, or has a row with an
            empty name, a bad number, `start` not before `end`, a wrong number of cells, or the same piece of audio as
            an earlier row; or if `check_files` and a listed file does not exist.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "manifest.csv"
        >>> _ = path.write_text("file,label,speaker,room\nwav/1.wav,sad,anna,3\n")
        >>> [(u.file.name, u.label, u.speaker, u.extra) for u in read_manifest(path)]
        [('1.wav', 'sad', 'anna', {'room': '3'})]
    """
    name, path = os.fspath(path), Path(path)
    header, rows = _read_csv(path, name)
    folder = path.parent.resolve()
    seen: dict[tuple[Path, float | None, float | None], int] = {}
    utterances = []
    for line, cells in rows:
        where = f"{name}, line {line}"
        if len(cells) != len(header):
            raise ManifestError(
                f"{where}: has {len(cells)} cells, the header has {len(header)}; quote cells with commas"
            )
        utterance = _parse_row(dict(zip(header, cells, strict=True)), folder, where)
        key = (utterance.file, utterance.start, utterance.end)
        if key in seen:
            raise ManifestError(
                f"{where}, column file: repeats line {seen[key]} ({cells[header.index('file')]}); drop one"
            )
        seen[key] = line
        if check_files and not utterance.file.is_file():
            raise ManifestError(
                f"{where}, column file: no such audio file, {utterance.file}; paths are relative to {folder}"
            )
        utterances.append(utterance)
    if not utterances:
        raise ManifestError(f"{name}: lists no utterances; add a row for each")
    return utterances


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write a manifest that `read_manifest` reads back to the same utterances, whole or not at all.

    Paths become relative to the manifest's folder. Optional columns are written where any utterance has a value,
    further ones where any utterance has that key in `extra` (empty cells for the others).

    Args:
        path: The CSV file to create or replace.
        utterances: What to list, in this order.

    Raises:
        ManifestError: If there is nothing to list, or a key in `extra` is empty or one of the columns above.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> row = Utterance(folder / "wav" / "1.wav", "sad", "anna", text="Hi, you")
        >>> write_manifest(folder / "manifest.csv", [row])
        >>> print((folder / "manifest.csv").read_text(), end="")
        file,label,speaker,text
        wav/1.wav,sad,anna,"Hi, you"
    """
    path, rows = Path(path), list(utterances)
    if not rows:
        raise ManifestError(f"{path}: there are no utterances to write")
    extra = list(dict.fromkeys(key for row in rows for key in row.extra))
    for key in extra:
        if not key or key != key.strip() or key in REQUIRED_COLUMNS + OPTIONAL_COLUMNS:
            raise ManifestError(f"{path}: {key!r} cannot name an extra column; choose another name")
    optional = [column for column in OPTIONAL_COLUMNS if any(getattr(row, column) is not None for row in rows)]
    folder = Path(os.path.abspath(path)).parent
    table = [[*REQUIRED_COLUMNS, *optional, *extra]]
    for row in rows:
        cells = [_relative(row.file, folder), row.label, row.speaker]
        cells += [_format(getattr(row, column)) for column in optional]
        table.append([*cells, *(row.extra.get(key, "") for key in extra)])
    _write_csv(path, table)


def _write_csv(path: Path, table: Sequence[Sequence[str]]) -> None:
    # A lone carriage return ends a row for csv.reader, but csv.writer does not quote it in every version.
    odd = any("\r" in cell for row in table for cell in row)
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerows(table)


def _read_csv(path: Path, name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows that are not blank, each with the number of its first line."""
    if not path.is_file():
        raise ManifestError(f"{name}: no such manifest; create one with `satn-fast prepare`")
    rows: list[tuple[int, list[str]]] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            first = 1
            for cells in reader:
                if cells:
                    rows.append((first, cells))
                first = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{name}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise ManifestError(f"{name}, line {first}: is not valid CSV ({error}); check its quotes") from error
    if not rows:
        raise ManifestError(f"{name}: is empty; the first line must name the columns {','.join(REQUIRED_COLUMNS)}")
    return _check_header(rows[0][1], f"{name}, line {rows[0][0]}"), rows[1:]


def _check_header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column in REQUIRED_COLUMNS:
        if column not in header:
            raise ManifestError(f"{where}: column {column} is missing; the header has {','.join(header)}")
    for column in header:
        if not column or header.count(column) > 1:
            problem = "appears twice" if column else "has no name"
            raise ManifestError(f"{where}: column {column or header.index('') + 1} {problem}; rename or remove it")
    return header


def _parse_row(row: dict[str, str], folder: Path, where: str) -> Utterance:
    for column in REQUIRED_COLUMNS:
        if not row[column].strip():
            raise ManifestError(f"{where}, column {column}: is empty; fill it in or remove the row")
    start, end = (_parse_seconds(row.get(column, ""), f"{where}, column {column}") for column in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"{where}, column end: start must be before end, got {start or 0.0:g} s and {end:g} s")
    return Utterance(
        file=Path(os.path.normpath(folder / row["file"])),
        label=row["label"].strip(),
        speaker=row["speaker"].strip(),
        session=row.get("session", "").strip() or None,
        start=start,
        end=end,
        text=row.get("text") or None,
        extra={key: row[key] for key in row if key not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS},
    )


def _parse_seconds(cell: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ManifestError(f"{where}: must be a number of seconds, zero or more, got {cell!r}")
    return seconds


def _format(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(float(value))


def _relative(file: Path, folder: Path) -> str:
    """`file` as seen from `folder`, with forward slashes; absolute where no relative path exists."""
    file = Path(os.path.abspath(file))
    if file.is_relative_to(folder):
        return file.relative_to(folder).as_posix()
    try:
        return Path(os.path.relpath(file.parent.resolve() / file.name, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return file.as_posix()
