"""audformat databases (https://audeering.github.io/audformat), read and written without that library.

    db.yaml                  name, schemes, tables
    db.emotion.csv           file,start,end,emotion       a table of segments: times such as 0 days 00:00:01.500000
    db.files.csv             file,speaker                 a table of whole files
    audio/1.wav

Tables stored as CSV only: audformat also writes Parquet and pickles; a pickle runs whatever code it holds, and is never
opened here. `audformat.Database.load(folder).save(folder, storage_format="csv")` writes the CSV.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from satn_fast.data.corpora.layout import LayoutError, Problems, existing_folder
from satn_fast.data.corpora.tables import Columns, read_csv, row_utterance
from satn_fast.data.manifest import Utterance
from satn_fast.files import atomic_folder

__all__ = ["read_audformat", "write_audformat"]

_TIME = re.compile(r"(?:(?P<days>\d+) days?,? ?)?(?:(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?))?")


def read_audformat(
    root: Path,
    problems: Problems,
    *,
    table: str | None = None,
    label_column: str | None = None,
    speaker_column: str | None = None,
) -> list[Utterance]:
    """Read one table of an audformat database, and the speakers from another one where it has none.

    Args:
        root: The folder with `db.yaml`.
        problems: Told of listed files that are missing, and of times that cannot be read.
        table: The table with the labels; the only one with the label column if not given.
        label_column: Its column with the label; `emotion` or `label` if not given.
        speaker_column: The column with the speaker, there or in a table of whole files; `speaker` if not given.

    Returns:
        Utterances with the table's labels; its other columns are kept. Rows without a label are `unlabelled`.

    Raises:
        LayoutError: If the database has another layout, tables that are not CSV, or no or several tables that could be
            meant.
    """
    root = existing_folder(root, "the audformat database")
    tables = _tables(root)
    name = table or _only_table(root, tables, label_column)
    if name not in tables:
        raise LayoutError(f"{root / 'db.yaml'}: has no table {name!r}; it has {', '.join(tables)}")
    rows = _rows(root, name, tables[name])
    label = label_column or _label_column(tables[name])
    inside = speaker_column in tables[name] if speaker_column else _has_speaker(tables[name])
    if not inside:
        rows = _join(rows, _file_speakers(root, tables, name, speaker_column))
    speaker = speaker_column if inside else None
    columns = Columns.choose(list(rows[0]) if rows else [label or ""], label, speaker, f"table {name} of {root}")
    utterances = []
    for number, row in enumerate(rows, start=1):
        file = Path(os.path.abspath(root / row["file"]))
        try:
            if not file.is_file():
                raise ValueError(f"no audio file {row['file']!r}")
            start, end = _seconds(row.get("start", "")), _seconds(row.get("end", ""))
            utterances.append(row_utterance(file, row, columns, start=start, end=end))
        except ValueError as error:
            problems.report(f"{root / f'db.{name}.csv'}, entry {number}: {error}; correct it, or copy the audio")
    if not utterances:
        raise LayoutError(f"{root / f'db.{name}.csv'}: lists no utterances; choose another table with --table")
    return utterances


def write_audformat(folder: str | os.PathLike[str], utterances: Sequence[Utterance], *, name: str = "corpus") -> None:
    """Write an audformat database that lists utterances in a table `emotion`; the audio stays where it is.

    Args:
        folder: Where `db.yaml` and `db.emotion.csv` are written, whole or not at all.
        utterances: What to list. Paths become relative to the folder, so only audio below it moves with it.
        name: The database's name.

    Raises:
        LayoutError: If there is nothing to write.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_audformat(folder, [Utterance(folder / "1.wav", "sad", "anna", start=0.5, end=2)])
        >>> print((folder / "db.emotion.csv").read_text(), end="")
        file,start,end,emotion,speaker
        1.wav,0 days 00:00:00.500000,0 days 00:00:02.000000,sad,anna
    """
    import yaml

    if not utterances:
        raise LayoutError(f"{os.fspath(folder)}: there are no utterances to write; prepare a corpus first")
    target = Path(os.path.abspath(folder))
    segmented = any(row.start is not None or row.end is not None for row in utterances)
    columns = _written_columns(utterances)
    header = {
        "name": name,
        "source": "",
        "usage": "other",
        "schemes": {
            column: {"dtype": "str", **({"labels": sorted(set(cells))} if column in ("emotion", "speaker") else {})}
            for column, cells in columns.items()
        },
        "tables": {
            "emotion": {
                "type": "segmented" if segmented else "filewise",
                "columns": {column: {"scheme_id": column} for column in columns},
            }
        },
    }
    with atomic_folder(target, last="db.yaml") as temporary:
        with open(temporary / "db.emotion.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", *(("start", "end") if segmented else ()), *columns])
            for row, *cells in zip(utterances, *columns.values(), strict=True):
                times = (_timedelta(row.start or 0.0), _timedelta(row.end)) if segmented else ()
                writer.writerow([Path(os.path.relpath(row.file, target)).as_posix(), *times, *cells])
        text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
        (temporary / "db.yaml").write_text(text, encoding="utf-8")


def _written_columns(utterances: Sequence[Utterance]) -> dict[str, list[str]]:
    """The cells of each column, those that are empty everywhere left out."""
    extra = dict.fromkeys(key for row in utterances for key in row.extra if key != "emotion")
    columns = {
        "emotion": [row.label for row in utterances],
        "speaker": [row.speaker for row in utterances],
        "session": [row.session or "" for row in utterances],
        "text": [row.text or "" for row in utterances],
        **{key: [row.extra.get(key, "") for row in utterances] for key in extra},
    }
    return {key: cells for key, cells in columns.items() if any(cells)}


def _tables(root: Path) -> dict[str, list[str]]:
    """The names of the tables with those of their columns, from `db.yaml`."""
    import yaml

    path = root / "db.yaml"
    if not path.is_file():
        raise LayoutError(f"{path}: no such file; give the folder of an audformat database")
    try:
        header: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LayoutError(f"{path}: is no YAML ({' '.join(str(error).split())}); copy it again") from error
    tables = header.get("tables") if isinstance(header, dict) else None
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()) or not tables:
        raise LayoutError(f"{path}: lists no tables; give the folder of an audformat database with annotations")
    return {str(name): [str(column) for column in table.get("columns") or ()] for name, table in tables.items()}


def _label_column(columns: Sequence[str]) -> str | None:
    return Columns.choose(columns, None, None, "").label


def _has_speaker(columns: Sequence[str]) -> bool:
    return Columns.choose(columns, None, None, "").speaker is not None


def _only_table(root: Path, tables: Mapping[str, Sequence[str]], label: str | None) -> str:
    found = [name for name, columns in tables.items() if (label in columns if label else _label_column(columns))]
    if len(found) != 1:
        wanted = f"the column {label!r}" if label else "a column emotion or label"
        which = f"tables {', '.join(found)} have" if found else f"none of the tables {', '.join(tables)} has"
        raise LayoutError(f"{root / 'db.yaml'}: {which} {wanted}; choose with --table and --label-column")
    return found[0]


def _rows(root: Path, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    path = root / f"db.{name}.csv"
    if not path.is_file():
        other = [suffix for suffix in ("parquet", "pkl") if (root / f"db.{name}.{suffix}").is_file()]
        stored = f"is stored as .{other[0]}, which is not opened" if other else "has no file"
        raise LayoutError(f"{path}: table {name} {stored}; save the database with audformat, storage_format='csv'")
    rows = read_csv(path)
    for column in ("file", *columns):
        if rows and column not in rows[0]:
            raise LayoutError(f"{path}: has no column {column!r}; it has {', '.join(rows[0])}")
    return rows


def _file_speakers(root: Path, tables: Mapping[str, Sequence[str]], used: str, column: str | None) -> dict[str, str]:
    """Who speaks in each file, from the first other table that says so."""
    for name, columns in tables.items():
        speaker = column if column in columns else None if column else Columns.choose(columns, None, None, "").speaker
        if name != used and speaker is not None:
            return {row["file"]: row[speaker] for row in _rows(root, name, columns)}
    if column:
        raise LayoutError(f"{root / 'db.yaml'}: no table has a column {column!r}; choose another --speaker-column")
    return {}


def _join(rows: Sequence[Mapping[str, str]], speakers: Mapping[str, str]) -> list[dict[str, str]]:
    return [{**row, "speaker": speakers.get(row["file"], "")} for row in rows] if speakers else [dict(r) for r in rows]


def _seconds(cell: str) -> float | None:
    """The seconds of a cell such as `0 days 00:00:01.5`, or `None` of an empty one."""
    text = cell.strip()
    if text in ("", "NaT"):
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{cell!r} is no time such as 0 days 00:00:01.500000")
    days, hours, minutes, seconds = (float(match[key] or 0) for key in ("days", "hours", "minutes", "seconds"))
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _timedelta(seconds: float | None) -> str:
    if seconds is None:
        return ""
    microseconds = round(seconds * 1e6)
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} days {hours:02d}:{minutes:02d}:{rest // 1_000_000:02d}.{rest % 1_000_000:06d}"
