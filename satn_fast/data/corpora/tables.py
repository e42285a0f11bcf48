"""Rows with columns of other people's choice, as the formats of other libraries have them, to utterances."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from satn_fast.data.corpora.layout import UNLABELLED, LayoutError
from satn_fast.data.manifest import Utterance

__all__ = ["UNKNOWN_SPEAKER", "Columns", "read_csv", "row_utterance"]

UNKNOWN_SPEAKER = "unknown"

_LABEL = ("label", "emotion", "labels")
_SPEAKER = ("speaker", "speaker_id")
_TEXT = ("text", "transcription", "transcript", "sentence")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table fill those of a manifest; `None` where there is none."""

    label: str | None
    speaker: str | None
    text: str | None

    @classmethod
    def choose(cls, names: Sequence[str], label: str | None, speaker: str | None, where: str) -> Columns:
        """Those that are asked for, or those of the usual names.

        Raises:
            LayoutError: If a column that is asked for is not there.

        Example:
            >>> Columns.choose(["file_name", "emotion", "speaker_id"], None, None, "metadata.csv")
            Columns(label='emotion', speaker='speaker_id', text=None)
        """
        for wanted in (label, speaker):
            if wanted is not None and wanted not in names:
                raise LayoutError(f"{where}: has no column {wanted!r}; it has {', '.join(names)}")
        return cls(label or _first(_LABEL, names), speaker or _first(_SPEAKER, names), _first(_TEXT, names))


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def row_utterance(
    file: Path,
    row: Mapping[str, str],
    columns: Columns,
    *,
    label: str = "",
    start: float | None = None,
    end: float | None = None,
) -> Utterance:
    """The utterance of a row; a missing label is `unlabelled`, a missing speaker `unknown`.

    Args:
        file: The audio file.
        row: Cells by column. Those that are no column of a manifest become further columns.
        columns: Which cells are what.
        label: The label where the table has no column for it.
        start: Seconds, or `None`.
        end: Seconds, or `None`.

    Raises:
        ValueError: If the times are in the wrong order.
    """
    used = (columns.label, columns.speaker, columns.text, "session", "file", "start", "end", "label", "speaker", "text")
    written = row.get(columns.label or "", "").strip() or label
    return Utterance(
        file,
        label=written or UNLABELLED,
        speaker=row.get(columns.speaker or "", "").strip() or UNKNOWN_SPEAKER,
        session=row.get("session", "").strip() or None,
        start=None if end is None and not start else start,
        end=end if end is None or math.isfinite(end) else None,
        text=row.get(columns.text or "", "").strip() or None,
        extra={key.strip(): value for key, value in row.items() if key.strip() and key not in used},
    )


def read_csv(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file with a header; of tab-separated values, which have no quotes, with a tab.

    Raises:
        LayoutError: If it is no UTF-8 CSV or a row has another number of cells than the header.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if delimiter == "\t":
                reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
            else:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows = [cells for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"{path}: is no CSV in UTF-8 ({error}); save it again") from error
    header = rows[0] if rows else []
    for number, cells in enumerate(rows, start=1):
        if len(cells) != len(header):
            raise LayoutError(f"{path}, row {number}: has {len(cells)} cells, the header has {len(header)}; correct it")
    return [dict(zip(header, cells, strict=True)) for cells in rows[1:]]
