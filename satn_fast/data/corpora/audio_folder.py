"""Audio folders, as Hugging Face `datasets` reads them ("audiofolder").

    angry/clip.wav                           the folder is the label
    train/angry/clip.wav                     and the one above it may be the part (train, validation, test, ...)
    metadata.csv, train/metadata.jsonl       file_name,label,speaker,text: relative to the metadata's folder

Where metadata name a file, they say what it is, and the folder gives the label only if they have no column for it. A
data set whose audio is inside Parquet or Arrow files is for `satn_fast.data.corpora.huggingface`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from satn_fast.data.corpora.layout import LayoutError, Problems, audio_files, existing_folder
from satn_fast.data.corpora.tables import Columns, read_csv, row_utterance
from satn_fast.data.manifest import Utterance

__all__ = ["read_audio_folder"]

_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")


def read_audio_folder(
    root: Path, problems: Problems, *, label_column: str | None = None, speaker_column: str | None = None
) -> list[Utterance]:
    """Read a folder of labelled folders, or one with `metadata.csv` or `metadata.jsonl`.

    Args:
        root: The folder.
        problems: Told of files that metadata name and that are missing, or the other way round.
        label_column: The metadata's column for the label; `label` or `emotion` if not given.
        speaker_column: The one for the speaker; `speaker` or `speaker_id` if not given. Without one, every speaker is
            `unknown`.

    Returns:
        Utterances with the labels of the folder; a further column `split` where folders name one.

    Raises:
        LayoutError: If nothing is there, or something does not fit (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "train" / "angry").mkdir(parents=True)
        >>> (folder / "train" / "angry" / "1.wav").touch()
        >>> [row] = read_audio_folder(folder, Problems())
        >>> row.label, row.speaker, row.extra
        ('angry', 'unknown', {'split': 'train'})
    """
    root = existing_folder(root, "the data set")
    files = {_key(file): file for file in audio_files(root)}
    metadata = sorted(path for name in ("metadata.csv", "metadata.jsonl") for path in root.rglob(name))
    if not metadata and (label_column or speaker_column):
        raise LayoutError(f"{root}: holds no metadata.csv or metadata.jsonl whose columns could be chosen; add one")
    utterances = []
    for path in metadata:
        utterances += _read_metadata(root, path, files, problems, label_column, speaker_column)
    for file in files.values():
        label = _folder_label(root, file)
        if metadata:
            problems.report(f"{file}: the metadata do not name it; add a row or move the file elsewhere")
        elif not label:
            problems.report(f"{file}: lies in no folder named by its label; move it to one, or add a metadata.csv")
        else:
            utterances.append(row_utterance(file, _split(root, file), Columns(None, None, None), label=label))
    if not utterances:
        raise LayoutError(_nothing(root))
    return utterances


def _read_metadata(
    root: Path, path: Path, files: dict[str, Path], problems: Problems, label: str | None, speaker: str | None
) -> list[Utterance]:
    """The utterances of one metadata file; what it names is taken out of `files`."""
    utterances = []
    rows = read_csv(path) if path.suffix == ".csv" else _read_jsonl(path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if "file_name" not in names:
        raise LayoutError(f"{path}: has no column file_name; name the audio files there, relative to {path.parent}")
    columns = Columns.choose(names, label, speaker, str(path))
    for number, row in enumerate(rows, start=1):
        file = files.pop(_key(path.parent / row["file_name"]), None) if row.get("file_name") else None
        if file is None:
            problems.report(
                f"{path}, entry {number}: no audio file {row.get('file_name', '')!r}, or named twice; correct it"
            )
            continue
        cells = _split(root, file) | {key: value for key, value in row.items() if key != "file_name"}
        utterances.append(row_utterance(file, cells, columns, label="" if columns.label else _folder_label(root, file)))
    return utterances


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise LayoutError(f"{path}, line {number}: is no JSON ({error}); correct it") from error
        if not isinstance(row, dict):
            raise LayoutError(f'{path}, line {number}: is no JSON object; write {{"file_name": ...}}')
        rows.append({str(key): "" if value is None else str(value) for key, value in row.items()})
    return rows


def _key(file: Path) -> str:
    return os.path.normpath(os.path.abspath(file))


def _folder_label(root: Path, file: Path) -> str:
    """The folder that holds a file, unless it is the root, a part, or the `data` or `audio` folder."""
    folders = file.relative_to(root).parts[:-1]
    name = folders[-1].strip() if folders else ""
    return "" if name.lower() in (*_SPLITS, "data", "audio") else name


def _split(root: Path, file: Path) -> dict[str, str]:
    parts = [part for part in file.relative_to(root).parts[:-1] if part.lower() in _SPLITS]
    return {"split": parts[0]} if parts else {}


def _nothing(root: Path) -> str:
    if any(next(root.rglob(f"*{suffix}"), None) for suffix in (".parquet", ".arrow")):
        return f"{root}: holds Parquet or Arrow files and no audio files; read it with prepare huggingface"
    return f"{root}: holds no audio files; give the folder with LABEL/clip.wav or metadata.csv"
