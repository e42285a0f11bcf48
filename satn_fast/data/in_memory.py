"""From a data set in memory, such as one of Hugging Face `datasets`, to audio files and utterances."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from satn_fast.audio import AudioError, Float32Array, check_samples, write_wav
from satn_fast.data.corpora.embedded import audio_suffix
from satn_fast.data.corpora.huggingface import class_names, format_cell
from satn_fast.data.corpora.layout import LayoutError
from satn_fast.data.corpora.tables import Columns, row_utterance
from satn_fast.data.manifest import Utterance
from satn_fast.files import atomic_folder

__all__ = ["from_dataset"]


def from_dataset(
    dataset: Iterable[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    *,
    label: str | None = None,
    speaker: str | None = None,
    audio: str = "audio",
    unknown_speakers: bool = False,
    mix: bool = False,
) -> list[Utterance]:
    """Write the recordings of a data set to files, all or none, and say what is in them.

    Args:
        dataset: One split of a data set, as `datasets.Dataset`, or any rows. Audio is `{"bytes": ..., "path": ...}`
            (copied as it is), `{"array": ..., "sampling_rate": ...}` or a decoder with `get_all_samples()` (written as
            16-bit WAV). An array has shape `(samples,)` or `(channels, samples)`, in [-1, 1]. To copy rather than
            decode, give `dataset.cast_column("audio", datasets.Audio(decode=False))`.
        folder: Where to write the files, named by their row. It must be new or empty.
        label: The column for the label; `label` or `emotion` if not given. Classes get their names.
        speaker: The one for the speaker; `speaker` or `speaker_id` if not given.
        audio: The one for the audio.
        unknown_speakers: Whether a data set without a column for the speaker will do; each is `unknown` then.
        mix: Whether to average the channels of decoded audio that has several. Without it, that is refused.

    Returns:
        Utterances in the order of the rows. Further columns of plain values are in `extra`; text is in `text`.

    Raises:
        LayoutError: If a column is missing, `folder` holds something, `dataset` has several splits or no rows, or a
            row has no usable audio or a class without a name.
        AudioError: If decoded audio is empty, not finite, far outside [-1, 1], or has several channels while `mix` is
            false.
        OSError: If a file cannot be read or written.

    Example:
        >>> import tempfile
        >>> rows = [{"audio": {"array": np.sin(np.arange(800) / 9), "sampling_rate": 8000}, "emotion": "sad", "who": 7}]
        >>> [row] = from_dataset(rows, Path(tempfile.mkdtemp()) / "clips", speaker="who")
        >>> row.file.name, row.label, row.speaker
        ('00000000.wav', 'sad', '7')
    """
    target = Path(os.path.abspath(folder))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise LayoutError(f"{os.fspath(folder)}: exists and is no empty folder; choose another")
    if isinstance(dataset, Mapping):
        raise LayoutError(f"the data set has the splits {', '.join(dataset)}; give one of them")
    names = class_names(_features(dataset))
    columns: Columns | None = None
    utterances = []
    with atomic_folder(target) as temporary:
        for number, row in enumerate(dataset):
            where = f"row {number}"
            cells = {key: _scalar(value) for key, value in row.items() if key != audio and _is_plain(value)}
            columns = columns or _columns(row, audio, label, speaker, unknown_speakers=unknown_speakers)
            try:
                texts = {key: format_cell(value, names.get(key)) for key, value in cells.items()}
            except ValueError as error:
                raise LayoutError(f"{where}: {error}") from error
            file = _write(temporary / f"{number:08d}", row.get(audio), where, mix=mix)
            utterances.append(row_utterance(target / file.name, texts, columns))
        if not utterances:
            raise LayoutError("the data set has no rows; give another")
    return utterances


def _features(dataset: object) -> dict[str, dict[str, Any]]:
    """The features of a `datasets.Dataset` in the form of its schema."""
    features = getattr(dataset, "features", None) or {}
    return {
        column: {"_type": type(feature).__name__, "names": getattr(feature, "names", None)}
        for column, feature in features.items()
    }


def _columns(
    row: Mapping[str, Any], audio: str, label: str | None, speaker: str | None, *, unknown_speakers: bool
) -> Columns:
    there = [key for key in row if key != audio]
    if audio not in row:
        raise LayoutError(f"the data set has no column {audio!r}, only {', '.join(there)}; name it with audio=")
    columns = Columns.choose(there, label, speaker, "the data set")
    for found, name in ((columns.label, "label"), (columns.speaker or unknown_speakers, "speaker")):
        if not found:
            without = ", or go without with unknown_speakers=True" if name == "speaker" else ""
            raise LayoutError(
                f"the data set has no column {name} (it has {', '.join(there)}); name it with {name}={without}"
            )
    return columns


def _is_plain(value: object) -> bool:
    several = isinstance(value, bytes | Mapping | list | tuple) or getattr(value, "ndim", 0) > 0
    return not (several or hasattr(value, "get_all_samples"))


def _scalar(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    return value.item() if hasattr(value, "item") else value


def _write(stem: Path, value: Any, where: str, *, mix: bool) -> Path:
    """The file with the audio of one row."""
    if hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        return _write_samples(stem, samples.data, samples.sample_rate, where, mix=mix)
    if isinstance(value, Mapping) and "array" in value and "sampling_rate" in value:
        return _write_samples(stem, value["array"], value["sampling_rate"], where, mix=mix)
    if not isinstance(value, Mapping) or not (value.get("bytes") or value.get("path")):
        raise LayoutError(f"{where}: holds no audio; leave it out with dataset.filter")
    name = value.get("path") or ""
    data = value.get("bytes") or Path(name).read_bytes()
    suffix = audio_suffix(data, name)
    if suffix is None:
        raise LayoutError(f"{where}: begins with {data[:8]!r}, which is no known audio; leave it out")
    file = stem.with_suffix(suffix)
    file.write_bytes(data)
    return file


def _write_samples(stem: Path, array: Any, rate: int, where: str, *, mix: bool) -> Path:
    samples: Float32Array = np.atleast_1d(np.asarray(array, dtype=np.float32))
    if samples.ndim > 2 or samples.size == 0:
        raise AudioError(
            f"{where}: holds no samples in the shape (samples,) or (channels, samples), but {samples.shape}"
        )
    if samples.ndim == 2 and len(samples) > 1 and not mix:
        raise AudioError(f"{where}: has {len(samples)} channels, mono is expected; pass mix=True to average them")
    waveform: Float32Array = samples if samples.ndim == 1 else samples.mean(axis=0, dtype=np.float32)
    check_samples(waveform, where)
    file = stem.with_suffix(".wav")
    # Decoders of lossy formats overshoot full scale a little.
    write_wav(file, np.clip(waveform, -1.0, 1.0), int(rate))
    return file
