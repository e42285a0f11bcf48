"""Data sets whose audio lies inside their tables, as Hugging Face `datasets` publishes and saves them.

    README.md                                    YAML in front: configs with their data_files, features
    data/train-00000-of-00002.parquet            a repository as it is downloaded; the name says the split
    default/train/0000.parquet                   or the folders do (of a converted repository)

    dataset_dict.json, train/, test/             a folder by `DatasetDict.save_to_disk`; one split looks like this:
    state.json, dataset_info.json, data-00000-of-00001.arrow

The audio is a column of structs `{bytes, path}`. Labels that are numbers have names in the schema (`ClassLabel`), in
`dataset_info.json` or in `README.md`. `datasets` itself is not needed, and no code of a data set is run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time
from pathlib import Path, PurePosixPath
from typing import Any

from satn_fast.data.corpora.arrow import ArrowTable, DamagedTable, Features
from satn_fast.data.corpora.embedded import Embedded
from satn_fast.data.corpora.layout import LayoutError, Problems, existing_folder
from satn_fast.data.corpora.tables import Columns, row_utterance
from satn_fast.data.manifest import Utterance

__all__ = ["class_names", "format_cell", "read_huggingface"]

# As `datasets` names splits, and the words by which it knows them.
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SPLIT = re.compile(r"\w+(\.\w+)*")
_EVERYTHING = "**/*"
_PART = re.compile(r"(?P<name>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})")


@dataclass(frozen=True)
class _Part:
    """One file of a data set."""

    path: Path
    split: str | None
    features: Features = field(default_factory=dict)


def read_huggingface(
    root: Path,
    problems: Problems,
    *,
    extract_to: Path | None = None,
    label_column: str | None = None,
    speaker_column: str | None = None,
    audio_column: str | None = None,
    unknown_speakers: bool = False,
    configuration: str | None = None,
) -> list[Utterance]:
    """Read the tables of a data set without their audio, which `extract_audio` writes to files afterwards.

    Args:
        root: The folder of a repository, or one by `save_to_disk`.
        problems: Told of files that are missing or damaged, and of labels without a name.
        extract_to: Where the audio will be: `SPLIT/ROW` and a suffix.
        label_column: The column for the label; `label` or `emotion` if not given.
        speaker_column: The one for the speaker; `speaker` or `speaker_id` if not given.
        audio_column: The one for the audio, where there are several.
        unknown_speakers: Whether a data set without a column for the speaker will do; each is `unknown` then.
        configuration: Which one, where `README.md` names several without a default.

    Returns:
        `Embedded` utterances with the labels of the data set; further columns `split`, `original_file` and those of
        the tables that hold plain values.

    Raises:
        LayoutError: If nothing is there, or something does not fit (unless `problems` skips it).
        ImportError: If `pyarrow`, or for `README.md` `pyyaml`, is not installed.

    Example:
        >>> import pyarrow, pyarrow.parquet, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> audio = {"bytes": b"fLaC...", "path": "a.flac"}
        >>> table = pyarrow.table({"audio": [audio], "label": ["sad"], "speaker": ["anna"]})
        >>> pyarrow.parquet.write_table(table, folder / "test.parquet")
        >>> [row] = read_huggingface(folder, Problems(), extract_to=folder / "audio")
        >>> row.label, row.speaker, row.extra, row.file.name
        ('sad', 'anna', {'original_file': 'a.flac', 'split': 'test'}, '00000000')
    """
    root = existing_folder(root, "the data set")
    parts = _parts(root, configuration, problems)
    if extract_to is None:
        raise LayoutError(f"{root}: its audio is to be written to files; say where with --extract-to")
    utterances: list[Utterance] = []
    rows_of: dict[str, int] = {}
    for part in parts:
        folder = part.split or "rows"
        first = rows_of.get(folder, 0)
        try:
            rows, count = _read_part(part, problems, label_column, speaker_column, audio_column, unknown_speakers)
        except DamagedTable as error:
            problems.report(str(error))
            continue
        rows_of[folder] = first + count
        utterances += (replace(row, file=Path(extract_to) / folder / f"{first + row.row:08d}") for row in rows)
    if not utterances:
        raise LayoutError(f"{root}: its tables hold no rows that can be used; download or save it again")
    return utterances


def _read_part(
    part: _Part,
    problems: Problems,
    label: str | None,
    speaker: str | None,
    audio: str | None,
    unknown_speakers: bool,
) -> tuple[list[Embedded], int]:
    """The utterances of one file that can be used, and how many rows it has."""
    table = ArrowTable(part.path)
    audio = table.audio_column(audio)
    columns = Columns.choose(table.scalars, label, speaker, str(part.path))
    if columns.speaker is None and not unknown_speakers:
        raise LayoutError(
            f"{part.path}: has no column speaker or speaker_id (it has {', '.join(table.scalars)}); name it with "
            "--speaker-column, or go without with --unknown-speakers"
        )
    names = class_names({**table.features, **part.features})
    split = {} if part.split is None else {"split": part.split}
    rows, count = [], 0
    for number, (row, original) in enumerate(table.cells(table.scalars, audio)):
        try:
            cells = {column: format_cell(value, names.get(column)) for column, value in row.items()}
        except ValueError as error:
            problems.report(f"{part.path}, row {number}: {error}; correct it")
        else:
            found = row_utterance(Path(), {"original_file": original, **split, **cells}, columns)
            rows.append(Embedded(**vars(found), table=part.path, column=audio, row=number))
        count = number + 1
    return rows, count


def class_names(features: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The names of the classes of each column that has them.

    Example:
        >>> class_names({"label": {"_type": "ClassLabel", "names": ["angry", "sad"]}, "text": {"_type": "Value"}})
        {'label': ['angry', 'sad']}
    """
    return {
        column: [str(name) for name in entry["names"]]
        for column, entry in features.items()
        if entry.get("_type") == "ClassLabel" and entry.get("names")
    }


def format_cell(value: Any, names: list[str] | None = None) -> str:
    """A value as a manifest has it: nothing for what is missing, a class by its name (-1 is missing).

    Raises:
        ValueError: If a class has no name.

    Example:
        >>> [format_cell(value) for value in ("Hi", 3, None, float("nan"))], format_cell(1, ["angry", "sad"])
        (['Hi', '3', '', ''], 'sad')
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if names is not None and isinstance(value, int):
        if value == -1:
            return ""
        if not 0 <= value < len(names):
            raise ValueError(f"{value} is no class, {len(names)} have names ({', '.join(names)})")
        return names[value]
    return value.isoformat() if isinstance(value, date | time) else str(value)


# --- Which files there are -------------------------------------------------------------------------------------------


def _parts(root: Path, configuration: str | None, problems: Problems) -> list[_Part]:
    saved = (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()
    if saved and configuration is not None:
        raise LayoutError(f"{root}: was written by save_to_disk and has no configurations; leave --configuration out")
    return _saved(root, problems) if saved else _repository(root, configuration, problems)


def _saved(root: Path, problems: Problems) -> list[_Part]:
    """The files of a folder by `save_to_disk`."""
    if not (root / "dataset_dict.json").is_file():
        return _saved_split(root, None, problems)
    splits = _json(root / "dataset_dict.json").get("splits")
    if not isinstance(splits, list) or not splits:
        raise LayoutError(f"{root / 'dataset_dict.json'}: lists no splits; save the data set again")
    return [part for split in splits for part in _saved_split(root / _split_name(split, root), split, problems)]


def _saved_split(folder: Path, split: str | None, problems: Problems) -> list[_Part]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise LayoutError(f"{folder / 'state.json'}: takes some rows by an index; save it again with flatten_indices()")
    information = folder / "dataset_info.json"
    features = _json(information).get("features") or {} if information.is_file() else {}
    written = state.get("_split")
    if split is None and isinstance(written, str) and _SPLIT.fullmatch(written):
        split = written
    entries = [entry.get("filename") for entry in state.get("_data_files") or () if isinstance(entry, dict)]
    if not entries:
        raise LayoutError(f"{folder / 'state.json'}: lists no files; save the data set again")
    parts = []
    for name in entries:
        if not isinstance(name, str) or PurePosixPath(name).name != name:
            raise LayoutError(
                f"{folder / 'state.json'}: {name!r} is no name of a file beside it; save the data set again"
            )
        if (folder / name).is_file():
            parts.append(_Part(folder / name, split, features))
        else:
            problems.report(f"{folder / name}: no such file, but state.json lists it; copy it there")
    return parts


def _repository(root: Path, configuration: str | None, problems: Problems) -> list[_Part]:
    """The Parquet files of a repository: those that its README.md names, or all."""
    card = _card(root / "README.md")
    chosen = _configuration(card, configuration, root)
    features = _card_features(card, chosen)
    patterns = _patterns(card, chosen)
    files: dict[tuple[Path, str], None] = {}
    for split, pattern in patterns:
        found = _parquet_files(root, pattern)
        if not found and pattern != _EVERYTHING:
            problems.report(
                f"{root / pattern}: no such Parquet file, but README.md names it; download it, or read audio files and "
                "their metadata with audio-folder"
            )
        for file in found:
            name = _split_of(file.relative_to(root)) if split is None else _split_name(split, root / "README.md")
            files[file, name] = None
    if not files:
        raise LayoutError(f"{root}: {_nothing(root)}")
    _report_missing([file for file, _ in files], problems)
    return [_Part(file, split, features) for file, split in files]


def _parquet_files(root: Path, pattern: str) -> list[Path]:
    """Those that match, sorted; hidden ones (of a download's bookkeeping) are not there."""
    parts = PurePosixPath(pattern).parts
    if not parts or ".." in parts or PurePosixPath(pattern).is_absolute() or "://" in pattern:
        raise LayoutError(
            f"{root / 'README.md'}: the data_files {pattern!r} lie elsewhere; give the folder they are in"
        )
    try:
        files = sorted(root.glob(pattern))
    except ValueError as error:
        raise LayoutError(f"{root / 'README.md'}: the data_files {pattern!r} are no pattern ({error})") from error
    return [
        file
        for file in files
        if file.suffix == ".parquet"
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]


def _split_of(file: Path) -> str:
    """The split that a path says, by the rules of `datasets`: what names none is for training."""
    match = _PART.fullmatch(file.stem)
    if match and file.parent.name == "data" and _SPLIT.fullmatch(match["name"]):
        return match["name"]
    for part in (file.stem, *reversed(file.parent.parts)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return "train"


def _split_name(split: Any, where: Path) -> str:
    """A split as the name of a folder, which nothing but a name is."""
    if not isinstance(split, str) or not _SPLIT.fullmatch(split):
        raise LayoutError(f"{where}: {split!r} cannot name a split; use letters, digits, _ and single dots")
    return split


def _report_missing(files: list[Path], problems: Problems) -> None:
    """Tell of files of which the names of others say that they should be there."""
    groups: dict[tuple[Path, str, str], set[int]] = {}
    for file in files:
        if match := _PART.fullmatch(file.stem):
            groups.setdefault((file.parent, match["name"], match["count"]), set()).add(int(match["index"]))
    for (folder, name, count), found in groups.items():
        for index in range(int(count)):
            if index not in found:
                problems.report(f"{folder / f'{name}-{index:05d}-of-{count}.parquet'}: no such file; download it")


def _nothing(root: Path) -> str:
    if next(root.rglob("*.arrow"), None):
        return (
            "holds Arrow files, but no state.json or dataset_dict.json as save_to_disk writes; "
            "load it with datasets and save it with save_to_disk"
        )
    return "holds no Parquet files; give the folder of a downloaded data set, or audio-folder one with audio files"


# --- What README.md says ---------------------------------------------------------------------------------------------


def _card(path: Path) -> dict[str, Any]:
    """The YAML in front of a README.md, or nothing."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    match = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    if match is None:
        return {}
    try:
        import yaml
    except ImportError as error:
        raise ImportError('reading README.md needs pyyaml: pip install "satn-fast[train]"') from error
    try:
        card = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise LayoutError(
            f"{path}: has no YAML in front ({' '.join(str(error).split())}); download it again"
        ) from error
    return card if isinstance(card, dict) else {}


def _configurations(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    configs = card.get("configs")
    return [entry for entry in configs if isinstance(entry, dict)] if isinstance(configs, list) else []


def _configuration(card: Mapping[str, Any], asked: str | None, root: Path) -> str | None:
    """The name of the configuration to read, by the rules of `datasets`; `None` where there are none."""
    entries = _configurations(card)
    names = [str(entry.get("config_name", "default")) for entry in entries]
    if asked is not None:
        if asked not in names:
            there = f"it has {', '.join(names)}" if names else "README.md names none"
            raise LayoutError(f"{root}: has no configuration {asked!r}; {there}")
        return asked
    if len(names) < 2:
        return names[0] if names else None
    default = [name for name, entry in zip(names, entries, strict=True) if entry.get("default")]
    if default or "default" in names:
        return default[0] if default else "default"
    raise LayoutError(f"{root}: has the configurations {', '.join(names)}; choose one with --configuration")


def _patterns(card: Mapping[str, Any], configuration: str | None) -> list[tuple[Any, str]]:
    """The splits with the patterns of their files; a split is `None` where the names of the files say it."""
    entry = next((e for e in _configurations(card) if str(e.get("config_name", "default")) == configuration), {})
    files, folder = entry.get("data_files"), entry.get("data_dir")
    prefix = f"{str(folder).rstrip('/')}/" if folder else ""
    if files is None:
        return [(None, f"{prefix}{_EVERYTHING}")]
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    found: list[tuple[Any, str]] = []
    for item in files if isinstance(files, list) else [files]:
        split, paths = (item.get("split", "train"), item.get("path")) if isinstance(item, dict) else ("train", item)
        found += [(split, f"{prefix}{path}") for path in (paths if isinstance(paths, list) else [paths])]
    return found


def _card_features(card: Mapping[str, Any], configuration: str | None) -> Features:
    """The features in a card, in the form of the schema: there, a class has its names by number."""
    entries = card.get("dataset_info")
    entries = [entry for entry in (entries if isinstance(entries, list) else [entries]) if isinstance(entry, dict)]
    named = [entry for entry in entries if str(entry.get("config_name", "default")) == configuration]
    features = (named or (entries if len(entries) == 1 else [{}]))[0].get("features")
    found: Features = {}
    for feature in features if isinstance(features, list) else ():
        kind = feature.get("dtype") if isinstance(feature, dict) else None
        label = kind.get("class_label") if isinstance(kind, dict) else None
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict):
            if not all(str(number).isdigit() for number in names):
                raise LayoutError(f"README.md: the classes of {feature.get('name')} are not numbered; correct them")
            names = [name for _, name in sorted(names.items(), key=lambda pair: int(pair[0]))]
        if isinstance(names, list):
            found[str(feature.get("name"))] = {"_type": "ClassLabel", "names": names}
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LayoutError(f"{path}: no such file; save the data set again with save_to_disk") from error
    except ValueError as error:
        raise LayoutError(f"{path}: is no JSON ({error}); save the data set again") from error
    if not isinstance(content, dict):
        raise LayoutError(f"{path}: is no JSON object; save the data set again")
    return content
