"""Recordings that lie inside the tables of a data set, taken out into files of their own, bytes unchanged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from satn_fast.data.corpora.arrow import ArrowTable, DamagedTable
from satn_fast.data.corpora.layout import AUDIO_SUFFIXES, LayoutError, Problems
from satn_fast.data.manifest import Utterance
from satn_fast.files import atomic_write

__all__ = ["Embedded", "audio_suffix", "extract_audio"]

_SIGNATURES = (
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b".snd", ".au"),
    (b"caff", ".caf"),
    (b"riff", ".w64"),
)


@dataclass(frozen=True)
class Embedded(Utterance):
    """An utterance whose audio still lies in a table; `file` is where it will be, without the suffix.

    Attributes:
        table: The Parquet or Arrow file.
        column: Its column of audio, a struct with the field `bytes`.
        row: Which row of the file, from 0.
    """

    table: Path = Path()
    column: str = "audio"
    row: int = 0

    @property
    def source(self) -> str:
        """The row as messages name it."""
        return f"{self.table}, row {self.row}"


def audio_suffix(data: bytes, name: str = "") -> str | None:
    """The suffix for audio by its first bytes, or by the name it had; `None` if neither is known.

    Example:
        >>> audio_suffix(b"fLaC" + bytes(40)), audio_suffix(b"?", "anna.MP3"), audio_suffix(b"{}", "anna.json")
        ('.flac', '.mp3', None)
    """
    kind = data[8:12]
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and kind == b"WAVE":
        return ".wav"
    if data[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return ".aiff"
    for signature, suffix in _SIGNATURES:
        if data.startswith(signature):
            return suffix
    # The first frame of MPEG audio: eleven bits set, then a version and a layer, of which 0 is AAC.
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return ".mp3"
    suffix = Path(name).suffix.lower()
    return suffix if suffix in AUDIO_SUFFIXES else None


def extract_audio(
    utterances: Sequence[Utterance],
    problems: Problems,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Utterance]:
    """Write the recordings of utterances to files; those that are there already, with the same bytes, are kept.

    Every file appears whole or not at all, so what was interrupted goes on where it stopped. Only the column of audio
    is read, a few rows at a time.

    Args:
        utterances: `Embedded`, those of one table one after the other.
        problems: Told of rows without audio, or with something else, and of tables that are damaged.
        progress: Called with the number of recordings done and of all.

    Returns:
        The utterances with their files.

    Raises:
        LayoutError: If a file holds something else already, or see `problems`.
        OSError: If a file cannot be written, as on a full disk.
        ImportError: If `pyarrow` is not installed.

    Example:
        >>> import pyarrow, pyarrow.parquet, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = pyarrow.table({"audio": [{"bytes": b"fLaC...", "path": None}]})
        >>> pyarrow.parquet.write_table(table, folder / "test.parquet")
        >>> row = Embedded(folder / "audio" / "0", "sad", "anna", table=folder / "test.parquet")
        >>> [found] = extract_audio([row], Problems())
        >>> found.file.name, found.file.read_bytes()
        ('0.flac', b'fLaC...')
    """
    done = 0
    extracted: list[Utterance] = []
    embedded = [row for row in utterances if isinstance(row, Embedded)]
    for path, rows in groupby(embedded, key=lambda row: row.table):
        wanted = {row.row: row for row in rows}
        table, column = ArrowTable(path), next(iter(wanted.values())).column
        try:
            for number, value in table.audio(column, wanted):
                row = wanted.pop(number)
                if (file := _write(row, value, problems, f"{done} of {len(embedded)}")) is not None:
                    extracted.append(_plain(row, file))
                done += 1
                progress(done, len(embedded))
        except DamagedTable as error:
            problems.report(f"{error} ({len(wanted)} of its rows could not be read)")
    if hasattr(os, "sync"):
        # Once for all files: waiting for each takes ten times as long as writing it.
        os.sync()
    return extracted


def _write(row: Embedded, value: Any, problems: Problems, so_far: str) -> Path | None:
    """The file with the recording of a row, or `None` if the row holds none."""
    data, name = (value.get("bytes"), value.get("path") or "") if isinstance(value, dict) else (None, "")
    if not data:
        problems.report(
            f"{row.source}: holds no audio{f', only the path {name}' if name else ''}; "
            "save the data set with save_to_disk, which puts it inside"
        )
        return None
    suffix = audio_suffix(data, name)
    if suffix is None:
        problems.report(f"{row.source}: begins with {data[:8]!r}, which is no known audio; convert it to WAV or FLAC")
        return None
    file = row.file.with_name(row.file.name + suffix)
    if file.exists():
        if file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data:
            return file
        raise LayoutError(
            f"{file}: exists and is not what {row.source} holds; remove {file.parent}, or choose another --extract-to"
        )
    try:
        with atomic_write(file, durable=False) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{error.strerror} after {so_far} recordings; make room and run it again, it goes on from there"
            raise OSError(error.errno, message, str(file)) from error
        raise
    return file


def _plain(row: Embedded, file: Path) -> Utterance:
    values = {field.name: getattr(row, field.name) for field in fields(Utterance)}
    return Utterance(**{**values, "file": file})
