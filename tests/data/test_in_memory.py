import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from satn_fast.audio import AudioError, read_audio
from satn_fast.data import from_dataset
from satn_fast.data.corpora import LayoutError

WAVEFORM = np.round(np.sin(np.arange(800) / 9) * 16000) / 32768


class ClassLabel:
    """As in `datasets`: known by its name and its names."""

    names = ("angry", "sad")


@dataclass
class Samples:
    data: torch.Tensor
    sample_rate: int


class Decoder:
    """As of `torchcodec`, which `datasets` gives for audio."""

    def __init__(self, *channels: np.ndarray):
        self.channels = channels

    def get_all_samples(self) -> Samples:
        return Samples(torch.tensor(np.stack(self.channels), dtype=torch.float32), 8000)


class Dataset(list):
    """Rows with features, as a `datasets.Dataset` has them."""

    features = {"label": ClassLabel()}


def flac() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVEFORM, 8000, format="FLAC")
    return file.getvalue()


def row(audio: object, **cells) -> dict:
    return {"audio": audio, "label": 1, "speaker": "anna", **cells}


@pytest.mark.parametrize(
    "audio",
    [
        {"array": WAVEFORM, "sampling_rate": 8000, "path": None},
        {"array": WAVEFORM.tolist(), "sampling_rate": 8000},
        {"array": WAVEFORM[None], "sampling_rate": 8000},
        {"bytes": flac(), "path": None},
        Decoder(WAVEFORM),
    ],
)
def test_any_form_of_audio(tmp_path, audio):
    [found] = from_dataset(Dataset([row(audio)]), tmp_path / "clips")
    read = read_audio(found.file)
    assert read.sample_rate == 8000
    np.testing.assert_array_equal(read.waveform, WAVEFORM.astype(np.float32))


def test_bytes_and_files_are_copied_as_they_are(tmp_path):
    (tmp_path / "source.flac").write_bytes(flac())
    rows = [row({"bytes": flac(), "path": "x"}), row({"bytes": None, "path": str(tmp_path / "source.flac")})]
    found = from_dataset(rows, tmp_path / "clips")
    assert [utterance.file.name for utterance in found] == ["00000000.flac", "00000001.flac"]
    assert {utterance.file.read_bytes() for utterance in found} == {flac()}


def test_columns(tmp_path):
    audio = {"array": WAVEFORM, "sampling_rate": 8000}
    rows = Dataset(
        [
            row(audio, text="Hi", age=31, vector=[1, 2], image=np.zeros((2, 2))),
            row(audio, label=np.int64(0), speaker=7, age=None),
            row(audio, label=torch.tensor(-1), speaker=None, age=torch.tensor(4)),
        ]
    )
    found = from_dataset(rows, tmp_path / "clips")
    assert [(u.label, u.speaker, u.text, u.extra) for u in found] == [
        ("sad", "anna", "Hi", {"age": "31"}),
        ("angry", "7", None, {"age": ""}),
        ("unlabelled", "unknown", None, {"age": "4"}),
    ]


def test_columns_are_chosen(tmp_path):
    rows = [{"noise": {"bytes": flac(), "path": None}, "mood": "low", "who": 3}]
    [found] = from_dataset(rows, tmp_path / "clips", label="mood", speaker="who", audio="noise")
    assert (found.label, found.speaker, found.extra) == ("low", "3", {})
    [found] = from_dataset(rows, tmp_path / "two", label="mood", audio="noise", unknown_speakers=True)
    assert (found.speaker, found.extra) == ("unknown", {"who": "3"})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "no column 'audio', only noise, mood, who"),
        ({"audio": "noise"}, "no column label .it has mood, who.; name it with label="),
        ({"audio": "noise", "label": "mood"}, "no column speaker .*unknown_speakers=True"),
        ({"audio": "noise", "label": "colour"}, "no column 'colour'"),
    ],
)
def test_columns_are_asked_for(tmp_path, options, complaint):
    rows = [{"noise": {"bytes": flac(), "path": None}, "mood": "low", "who": 3}]
    with pytest.raises(LayoutError, match=complaint):
        from_dataset(rows, tmp_path / "clips", **options)


@pytest.mark.parametrize(
    ("cells", "error", "complaint"),
    [
        (row(None), LayoutError, "row 1: holds no audio"),
        (row({"bytes": b"{}", "path": "x.json"}), LayoutError, "row 1: begins with b'{}'"),
        (row({"array": [], "sampling_rate": 8000}), AudioError, "row 1: holds no samples"),
        (row({"array": WAVEFORM * np.nan, "sampling_rate": 8000}), AudioError, "row 1: sample 0 is not finite"),
        (row({"array": WAVEFORM * 32768, "sampling_rate": 8000}), AudioError, "row 1: samples reach 16000"),
        (row(Decoder(WAVEFORM, WAVEFORM)), AudioError, "row 1: has 2 channels.*mix=True"),
        (row({"bytes": flac(), "path": None}, label=2), LayoutError, "row 1: 2 is no class"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_left(tmp_path, cells, error, complaint):
    good = row({"bytes": flac(), "path": None})
    with pytest.raises(error, match=complaint):
        from_dataset(Dataset([good, cells]), tmp_path / "clips")
    assert list(tmp_path.iterdir()) == []


def test_channels_are_averaged_on_request_and_overshoot_is_clipped(tmp_path):
    [found] = from_dataset([row(Decoder(WAVEFORM, -WAVEFORM))], tmp_path / "a", mix=True)
    assert not read_audio(found.file).waveform.any()
    [found] = from_dataset([row({"array": [1.5, -1.5], "sampling_rate": 8000})], tmp_path / "b")
    np.testing.assert_allclose(read_audio(found.file).waveform, [1.0, -1.0], atol=1e-4)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        from_dataset([row({"bytes": flac(), "path": None})], tmp_path / "clips")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_and_several_splits_are_refused(tmp_path):
    good = [row({"bytes": flac(), "path": None})]
    from_dataset(good, tmp_path / "clips")
    with pytest.raises(LayoutError, match="no empty folder"):
        from_dataset(good, tmp_path / "clips")
    with pytest.raises(LayoutError, match="the splits train, test; give one"):
        from_dataset({"train": good, "test": good}, tmp_path / "other")
    with pytest.raises(LayoutError, match="no rows"):
        from_dataset([], tmp_path / "other")
    assert not (tmp_path / "other").exists()
