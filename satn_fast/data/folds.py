"""Folds of a cross-validation: those of a file, as published, or one for each value of a manifest's column.

Every fold is left out once. Nothing is drawn here, so that figures stand beside those of others.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from satn_fast.data.manifest import Utterance
from satn_fast.data.splits import SpeakerOverlapWarning, listing

__all__ = ["FoldsError", "column_folds", "read_folds"]

_FOLD, _SPEAKER, _FILE = "fold", "speaker", "file"


class FoldsError(ValueError):
    """Folds that cannot be used; the message names the file or column, and the remedy."""


def read_folds(path: str | os.PathLike[str], utterances: Sequence[Utterance]) -> list[str]:
    r"""The fold of every utterance, by a CSV file with the columns `speaker,fold` or `file,fold`.

    Files are named as their corpus names them: with any suffix, and with as many folders before the name as are needed
    to tell it apart. Other columns are passed over; `file` decides where both are there.

    Args:
        path: The CSV file, in UTF-8.
        utterances: The corpus.

    Returns:
        Names of folds, in the order of `utterances`.

    Raises:
        FoldsError: If the file is missing or no such CSV, names a speaker or file twice or one that the corpus has
            not, misses one that it has, or has a fold without an utterance or but one fold.

    Warns:
        SpeakerOverlapWarning: If a speaker is in several folds; names those.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "folds.csv"
        >>> _ = path.write_text("speaker,fold\nanna,1\nben,2\n")
        >>> read_folds(path, [Utterance(Path("1.wav"), "sad", "ben"), Utterance(Path("2.wav"), "sad", "anna")])
        ['2', '1']
    """
    name = os.fspath(path)
    kind, rows = _read_rows(Path(path), name)
    keys = [row.speaker for row in utterances] if kind == _SPEAKER else _named_files(rows, utterances, name)
    known = set(keys)
    unknown = [key for key in rows if key not in known]
    if empty := sorted(set(rows.values()) - {fold for key, fold in rows.items() if key in known}):
        raise FoldsError(
            f"{name}: no utterance is in fold {listing(empty)}, whose {kind}s ({listing(unknown)}) are not in the "
            "corpus; correct them, or remove their rows"
        )
    if unknown:
        raise FoldsError(f"{name}: {kind} {listing(unknown)} not in the corpus; correct or remove these rows")
    if missing := sorted(known - set(rows)):
        raise FoldsError(f"{name}: {kind} {listing(missing)} of the corpus in no fold; add a row for each")
    folds = [rows[key] for key in keys]
    _check(folds, utterances, name)
    return folds


def column_folds(utterances: Sequence[Utterance], column: str) -> list[str]:
    """The fold of every utterance: what a column of the manifest says, so that each of its values is left out once.

    Args:
        utterances: The corpus.
        column: `speaker`, `session`, `text`, or any further column.

    Returns:
        Names of folds, in the order of `utterances`.

    Raises:
        FoldsError: If there is no such column, it is one that parts nobody (the label, times, the file), an utterance
            has nothing there, or all have the same.

    Warns:
        SpeakerOverlapWarning: If a speaker is in several folds; names those.

    Example:
        >>> column_folds([Utterance(Path("1.wav"), "sad", "ben"), Utterance(Path("2.wav"), "sad", "anna")], "speaker")
        ['ben', 'anna']
    """
    if column in ("label", _FILE, "start", "end"):
        raise FoldsError(f"column {column}: is none to leave out by; choose speaker, session or a further column")
    if column not in (_SPEAKER, "session", "text") and not any(column in row.extra for row in utterances):
        there = dict.fromkeys([_SPEAKER, *_filled(utterances), *(key for row in utterances for key in row.extra)])
        raise FoldsError(f"column {column}: is not in the manifest, which has {', '.join(there)}; choose one of these")
    folds = [_cell(row, column) for row in utterances]
    if "" in folds:
        first = utterances[folds.index("")].file
        raise FoldsError(
            f"column {column}: is empty in {folds.count('')} of {len(folds)} utterances, first {first}; fill it in, "
            "or choose another column"
        )
    _check(folds, utterances, f"column {column}")
    return folds


def _cell(row: Utterance, column: str) -> str:
    value = getattr(row, column) if column in (_SPEAKER, "session", "text") else row.extra.get(column)
    return (value or "").strip()


def _filled(utterances: Iterable[Utterance]) -> list[str]:
    rows = list(utterances)
    return [column for column in ("session", "text") if any(_cell(row, column) for row in rows)]


def _check(folds: Sequence[str], utterances: Sequence[Utterance], where: str) -> None:
    """Refuse a single fold; warn of speakers that are in several."""
    if len(set(folds)) < 2:
        raise FoldsError(f"{where}: has {len(set(folds))} fold; two are the least, one is left out of training")
    found: dict[str, set[str]] = defaultdict(set)
    for fold, row in zip(folds, utterances, strict=True):
        found[row.speaker].add(fold)
    if common := sorted(speaker for speaker, theirs in found.items() if len(theirs) > 1):
        warnings.warn(
            f"{where}: {len(common)} speakers are in several folds: {listing(common)}. Scores on known speakers are "
            "too good; give each speaker one fold",
            SpeakerOverlapWarning,
            stacklevel=3,
        )


def _read_rows(path: Path, name: str) -> tuple[str, dict[str, str]]:
    """Whether speakers or files are listed, and the fold of each."""
    if not path.is_file():
        raise FoldsError(f"{name}: no such file; give a CSV with the columns speaker,fold or file,fold")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FoldsError(f"{name}: is no CSV in UTF-8 ({error}); save it again") from error
    header = lines[0][1] if lines else []
    kind = next((column for column in (_FILE, _SPEAKER) if column in header), None)
    if kind is None or _FOLD not in header or len(set(header)) < len(header):
        raise FoldsError(f"{name}: has the columns {','.join(header) or 'none'}; speaker,fold or file,fold are needed")
    rows: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, cells in lines[1:]:
        where = f"{name}, line {number}"
        if len(cells) != len(header):
            raise FoldsError(f"{where}: has {len(cells)} cells, the header has {len(header)}; correct it")
        key, fold = cells[header.index(kind)], cells[header.index(_FOLD)]
        if not key or not fold:
            raise FoldsError(f"{where}, column {_FOLD if key else kind}: is empty; fill it in or remove the row")
        if key in rows:
            raise FoldsError(f"{where}: {kind} {key} stands in line {first[key]} already; remove one")
        rows[key], first[key] = fold, number
    if not rows:
        raise FoldsError(f"{name}: lists no {kind}s; add a row for each")
    return kind, rows


def _named_files(names: Mapping[str, str], utterances: Sequence[Utterance], where: str) -> list[str]:
    """For every utterance, what its file is called in the list; its own path where the list has no name for it."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[PurePosixPath(name).stem].append(name)
    called: dict[Path, str] = {}
    files: dict[str, Path] = {}
    for file in dict.fromkeys(row.file for row in utterances):
        fitting = [name for name in by_stem[file.stem] if _ends_with(file, name)]
        if len(fitting) > 1:
            raise FoldsError(f"{where}: {listing(fitting)} all name {file}; keep one of them")
        if not fitting:
            continue
        [name] = fitting
        if name in files:
            raise FoldsError(f"{where}: {name} names {files[name]} and {file}; write the folders before it, too")
        called[file], files[name] = name, file
    return [called.get(row.file, str(row.file)) for row in utterances]


def _ends_with(file: Path, name: str) -> bool:
    """Whether a path ends with another one, whatever their suffixes."""
    wanted = [part for part in PurePosixPath(name).with_suffix("").parts if part != "."]
    return list(file.with_suffix("").parts[-len(wanted) :]) == wanted
