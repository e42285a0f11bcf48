"""LibriSpeech (Panayotov et al., 2015): read speech with text and no emotion, for the source task.

    LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac
    LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt     103-1240-0000 CHAPTER ONE MISSUS RACHEL LYNDE ...
    LibriSpeech/SPEAKERS.TXT                                    103  | F | train-clean-100 | 25.10 | Karen Savage

A name: reader, chapter, number. `root` may be the whole or one of its subsets.
"""

from __future__ import annotations

from pathlib import Path

from satn_fast.data.corpora.layout import UNLABELLED, LayoutError, Problems, existing_folder, files_by_name
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "read_librispeech"]

LABELS: dict[str, str | None] = {UNLABELLED: UNLABELLED}


def read_librispeech(root: Path, problems: Problems) -> list[Utterance]:
    """Read the utterances that the `.trans.txt` files below `root` list.

    Returns:
        Utterances with their text and the label `unlabelled`; further columns `subset`, `chapter` and, where
        `SPEAKERS.TXT` lies in `root` or above it, `gender`.

    Raises:
        LayoutError: If no `.trans.txt` is there, or one lists a missing file or misses one (unless `problems` skips
            it).
    """
    root = existing_folder(root, "LibriSpeech")
    genders = _genders(root)
    utterances = []
    for transcript in sorted(root.rglob("*.trans.txt")):
        if not transcript.name.startswith("."):
            utterances += _read_chapter(transcript, genders, problems)
    if not utterances:
        raise LayoutError(
            f"{root}: holds no utterances of a *.trans.txt; give the folder LibriSpeech or a subset such as dev-clean"
        )
    return utterances


def _read_chapter(transcript: Path, genders: dict[str, str], problems: Problems) -> list[Utterance]:
    folder = transcript.parent
    reader, _, chapter = transcript.name.removesuffix(".trans.txt").partition("-")
    files = files_by_name(folder, problems)
    utterances = []
    for line in transcript.read_text(encoding="utf-8").splitlines():
        name, _, text = line.strip().partition(" ")
        if not name:
            continue
        file = files.pop(name, None)
        if file is None:
            problems.report(
                f"{folder / name}.flac: no such file, nor another packing of it, but {transcript} lists it; unpack the "
                "subset again"
            )
            continue
        extra = {"subset": transcript.parents[2].name, "chapter": chapter}
        if genders:
            extra["gender"] = genders.get(reader, "")
        utterances.append(Utterance(file, UNLABELLED, reader, text=text.strip() or None, extra=extra))
    for file in files.values():
        problems.report(f"{file}: {transcript.name} has no text for it; unpack the subset again")
    return utterances


def _genders(root: Path) -> dict[str, str]:
    for table in (root / "SPEAKERS.TXT", root.resolve().parent / "SPEAKERS.TXT"):
        if table.is_file():
            lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
            rows = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";")]
            return {row[0]: {"F": "female", "M": "male"}.get(row[1], "") for row in rows if len(row) > 1}
    return {}
