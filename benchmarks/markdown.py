"""Markdown of tables and pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

from satn_fast.files import atomic_write


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
    ]


def picture(content: bytes, path: Path, title: str, folder: Path | None = None) -> str:
    """Writes a PNG, and shows it in a document of that folder; by default the folder above the picture's."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return f"![{title}]({Path(os.path.relpath(path, folder or path.parents[1])).as_posix()})"
