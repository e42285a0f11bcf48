"""Parquet files and Arrow streams, read in small batches and only the columns that are asked for."""

from __future__ import annotations

import importlib
import json
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from satn_fast.data.corpora.layout import LayoutError

__all__ = ["ArrowTable", "DamagedTable", "Features"]

Features = dict[str, dict[str, Any]]
"""What `datasets` says of columns, by their names: `{"label": {"_type": "ClassLabel", "names": [...]}}`."""

# Rows read at once: few where they carry audio, which may be megabytes each.
_ROWS = 4096
_AUDIO_ROWS = 16

_POINTER = b"version https://git-lfs"


class DamagedTable(LayoutError):
    """A Parquet or Arrow file that cannot be read."""


class ArrowTable:
    """A table in a file ending in `.parquet`, or in a stream of Arrow record batches (`.arrow`).

    Args:
        path: The file.

    Raises:
        ImportError: If `pyarrow` is not installed.

    Example:
        >>> import pyarrow, pyarrow.parquet, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "test.parquet"
        >>> audio = {"bytes": b"fLaC...", "path": "a.flac"}
        >>> pyarrow.parquet.write_table(pyarrow.table({"audio": [audio], "label": ["sad"], "vector": [[1, 2]]}), path)
        >>> table = ArrowTable(path)
        >>> table.audio_columns, table.scalars, list(table.cells(["label"], "audio"))
        (['audio'], ['label'], [({'label': 'sad'}, 'a.flac')])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrow = _pyarrow("pyarrow")

    @cached_property
    def schema(self) -> Any:
        """The `pyarrow.Schema`."""
        with self._reading():
            if self._is_parquet:
                with self._parquet() as file:
                    return file.schema_arrow
            with self._arrow.memory_map(str(self.path)) as source:
                return self._arrow.ipc.open_stream(source).schema

    @property
    def features(self) -> Features:
        """What `datasets` wrote into the schema; nothing where another library made the file."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, TypeError, ValueError):
            return {}
        return {name: entry for name, entry in features.items() if isinstance(entry, dict)}

    @property
    def scalars(self) -> list[str]:
        """The columns of plain values: no lists, no structs, no bytes."""
        types = self._arrow.types
        of_bytes = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
        return [
            field.name
            for field in self.schema
            if not any(is_kind(field.type) for is_kind in (types.is_nested, *of_bytes))
        ]

    @property
    def audio_columns(self) -> list[str]:
        """The columns that are structs with a field `bytes`, and are not said to be something else than audio."""
        types, features = self._arrow.types, self.features
        return [
            field.name
            for field in self.schema
            if types.is_struct(field.type)
            and field.type.get_field_index("bytes") >= 0
            and features.get(field.name, {}).get("_type", "Audio") == "Audio"
        ]

    def audio_column(self, asked: str | None) -> str:
        """The column of audio: the one that is asked for, the only one, or `audio`.

        Raises:
            LayoutError: If there is none, or several and none is asked for.
        """
        found = self.audio_columns
        if asked is not None and asked not in found:
            there = f"those are {', '.join(found)}" if found else "no column does"
            raise LayoutError(f"{self.path}: column {asked!r} holds no audio inside the table; {there}")
        if not found:
            raise LayoutError(
                f"{self.path}: no column holds audio inside the table (it has {', '.join(self.schema.names)}); "
                "for audio files beside it, use audio-folder"
            )
        if asked is None and len(found) > 1 and "audio" not in found:
            raise LayoutError(f"{self.path}: columns {', '.join(found)} hold audio; choose one with --audio-column")
        return asked or ("audio" if "audio" in found else found[0])

    def cells(self, columns: Sequence[str], audio: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Row by row, the values of plain columns, and the name that the audio had ("" if it had none)."""
        named = self.schema.field(audio).type.get_field_index("path") >= 0
        for _, batch in self._batches([*columns, *([f"{audio}.path"] if named else [])], _ROWS):
            with self._reading():
                values = [batch.column(name).to_pylist() for name in columns]
                names = self._field(batch, audio, "path").to_pylist() if named else [None] * batch.num_rows
            for *row, name in zip(*values, names, strict=True):
                yield dict(zip(columns, row, strict=True)), name or ""

    def audio(self, column: str, wanted: Container[int]) -> Iterator[tuple[int, Any]]:
        """The numbers of the rows that are wanted, with their audio: `{"bytes": ..., "path": ...}` or `None`."""
        for first, batch in self._batches([column], _AUDIO_ROWS, wanted):
            values = batch.column(column)
            for index in range(batch.num_rows):
                if first + index in wanted:
                    yield first + index, values[index].as_py()

    def _field(self, batch: Any, column: str, field: str) -> Any:
        """A field of a struct; null where the struct is."""
        return _pyarrow("pyarrow.compute").struct_field(batch.column(column), field)

    def _batches(
        self, columns: Sequence[str], rows: int, wanted: Container[int] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Record batches with the number of their first row; Parquet's row groups without a wanted row are passed."""
        with self._reading():
            yield from self._row_groups(columns, rows, wanted) if self._is_parquet else self._stream()

    def _row_groups(
        self, columns: Sequence[str], rows: int, wanted: Container[int] | None
    ) -> Iterator[tuple[int, Any]]:
        first = 0
        with self._parquet() as file:
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if wanted is None or any(row in wanted for row in range(first, end)):
                    start = first
                    for batch in file.iter_batches(rows, row_groups=[group], columns=list(columns)):
                        yield start, batch
                        start += batch.num_rows
                first = end

    def _stream(self) -> Iterator[tuple[int, Any]]:
        """The batches of a stream. They are views of the mapped file: what is not looked at is not read."""
        first = 0
        with self._arrow.memory_map(str(self.path)) as source:
            for batch in self._arrow.ipc.open_stream(source):
                yield first, batch
                first += batch.num_rows

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What goes wrong in the block is told of the file."""
        try:
            yield
        except (self._arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            with open(self.path, "rb") as file:
                pointer = file.read(len(_POINTER)) == _POINTER
            reason, remedy = (
                ("is a pointer to a file that was not downloaded", "run git lfs pull")
                if pointer
                else (f"is damaged ({' '.join(str(error).split())})", "download or save it again")
            )
            raise DamagedTable(f"{self.path}: {reason}; {remedy}") from error

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix == ".parquet"

    def _parquet(self) -> Any:
        return _pyarrow("pyarrow.parquet").ParquetFile(str(self.path), memory_map=True)


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError('reading Parquet and Arrow files needs pyarrow: pip install "satn-fast[corpora]"') from error
