r"""nEMO (Christop, 2024): acted emotions in Polish, 9 speakers, with what they say.

    data.tsv                        file_id, emotion, raw_text, normalized_text, speaker_id, gender, age
    samples/WR0_surprised_64.wav

`root` is the folder of both, or `samples` below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from satn_fast.data.corpora.layout import LayoutError, Problems, existing_folder, files_by_name
from satn_fast.data.corpora.tables import read_csv
from satn_fast.data.manifest import Utterance

__all__ = ["LABELS", "read_nemo"]

LABELS: dict[str, str | None] = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}

_TABLE = "data.tsv"
_COLUMNS = ("file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age")


def read_nemo(root: Path, problems: Problems) -> list[Utterance]:
    r"""Read the recordings that nEMO's `data.tsv` lists, whatever they are packed in.

    Returns:
        Utterances whose labels are the names of `LABELS` and whose text is in small letters without punctuation;
        further columns `raw_text` (as it was read from), `gender` and `age`.

    Raises:
        LayoutError: If the table is not there or has other columns; or if it lists a missing file, or misses one
            (unless `problems` skips it).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> rows = ["\t".join(_COLUMNS), "WR0_fear_1.wav\tfear\tTak.\ttak\t  WR0\tmale\t23"]
        >>> _ = (folder / "data.tsv").write_text("\n".join(rows))
        >>> (folder / "samples").mkdir()
        >>> (folder / "samples" / "WR0_fear_1.ogg").touch()
        >>> [row] = read_nemo(folder, Problems())
        >>> row.label, row.speaker, row.text, row.extra
        ('fear', 'WR0', 'tak', {'raw_text': 'Tak.', 'gender': 'male', 'age': '23'})
    """
    root = existing_folder(root, "nEMO")
    table = next((folder / _TABLE for folder in (root, root.resolve().parent) if (folder / _TABLE).is_file()), None)
    if table is None:
        raise LayoutError(f"{root}: holds no {_TABLE}; give the folder with {_TABLE} and samples")
    files = files_by_name(root, problems)
    utterances = []
    for row in _rows(table):
        file = files.pop(PurePosixPath(row["file_id"]).stem, None)
        if file is None:
            problems.report(
                f"{row['file_id']}: no such file below {root}, nor another packing of it, but {table} lists it; "
                "unpack the corpus again"
            )
        else:
            utterances.append(_utterance(file, row))
    for file in files.values():
        problems.report(f"{file}: {table} does not list it; move it elsewhere")
    if not utterances:
        raise LayoutError(f"{root}: holds no recording that {table} lists; give the folder with {_TABLE} and samples")
    return utterances


def _rows(table: Path) -> list[dict[str, str]]:
    rows = [{key.strip(): cell.strip() for key, cell in row.items()} for row in read_csv(table, delimiter="\t")]
    missing = [column for column in _COLUMNS if rows and column not in rows[0]]
    if missing or not rows:
        raise LayoutError(f"{table}: lacks {', '.join(missing) or 'rows'}; copy it again from the corpus")
    return rows


def _utterance(file: Path, row: Mapping[str, str]) -> Utterance:
    extra = {column: row[column] for column in ("raw_text", "gender", "age")}
    return Utterance(file, row["emotion"], row["speaker_id"], text=row["normalized_text"] or None, extra=extra)
