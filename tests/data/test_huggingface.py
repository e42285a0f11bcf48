"""Data sets with their audio inside Parquet or Arrow files, in the layouts that `datasets` writes."""

import errno
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile

from satn_fast.data import read_manifest, write_manifest
from satn_fast.data.corpora import LayoutError, read_corpus
from satn_fast.data.corpora.embedded import audio_suffix

EMOTIONS = {"_type": "ClassLabel", "names": ["angry", "sad"]}
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def recording(number: int, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(1600 + 10 * number) / 9), 16000, format=kind)
    return file.getvalue()


def table(rows: int, first: int = 0, **changes) -> pa.Table:
    """Rows whose kinds of audio, labels and speakers take turns; `changes` replace columns, `None` removes one."""
    numbers = range(first, first + rows)
    columns = {
        "audio": pa.array([{"bytes": recording(i, kind_of(i)), "path": f"clip{i}"} for i in numbers], AUDIO),
        "label": [i % 2 for i in numbers],
        "speaker_id": [100 + i % 3 for i in numbers],
        "transcription": [f"Say {i}, please" for i in numbers],
        "embedding": [[0.5, 0.25]] * rows,
    } | changes
    return pa.table({name: column for name, column in columns.items() if column is not None})


def kind_of(number: int) -> str:
    return ("WAV", "FLAC", "MP3")[number % 3]


def with_features(content: pa.Table, **features) -> pa.Table:
    """As `datasets` writes it: what the columns mean is in the metadata of the schema."""
    described = {
        name: {"_type": "Value", "dtype": str(content.schema.field(name).type)} for name in content.schema.names
    }
    described |= {"audio": {"_type": "Audio", "sampling_rate": 16000}, "label": EMOTIONS} | features
    return content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})


def write_parquet(path: Path, content: pa.Table, rows_per_group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(content, path, row_group_size=rows_per_group)
    return path


def save_to_disk(folder: Path, *parts: pa.Table, features: dict | None = None, **state) -> Path:
    """One split as `Dataset.save_to_disk` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05d}-of-{len(parts):05d}.arrow" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    files = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "f", "_split": None}
    (folder / "state.json").write_text(json.dumps(files | state))
    (folder / "dataset_info.json").write_text(json.dumps({"description": "", "features": features or {}}))
    return folder


@pytest.fixture
def repository(tmp_path) -> Path:
    """A downloaded repository: train in two files, test in one."""
    data = tmp_path / "repository" / "data"
    write_parquet(data / "train-00000-of-00002.parquet", with_features(table(3)))
    write_parquet(data / "train-00001-of-00002.parquet", with_features(table(2, first=3)))
    write_parquet(data / "test-00000-of-00001.parquet", with_features(table(1, first=5)))
    return data.parent


@pytest.fixture
def read(tmp_path):
    def read(root: Path, **options):
        return read_corpus("huggingface", root, **({"extract_to": tmp_path / "audio"} | options))

    return read


def shown(corpus, folder: Path) -> list[tuple]:
    return [(row.file.relative_to(folder).as_posix(), row.label, row.speaker) for row in corpus.utterances]


# --- Repositories ----------------------------------------------------------------------------------------------------


def test_a_downloaded_repository(repository, read, tmp_path):
    corpus = read(repository)
    assert shown(corpus, tmp_path / "audio") == [
        ("test/00000000.mp3", "sad", "102"),
        ("train/00000000.wav", "angry", "100"),
        ("train/00000001.flac", "sad", "101"),
        ("train/00000002.mp3", "angry", "102"),
        ("train/00000003.wav", "sad", "100"),
        ("train/00000004.flac", "angry", "101"),
    ]
    assert corpus.utterances[0].text == "Say 5, please"
    assert corpus.utterances[0].extra == {"original_file": "clip5", "split": "test"}
    for row, number in zip(corpus.utterances, (5, 0, 1, 2, 3, 4), strict=True):
        assert row.file.read_bytes() == recording(number, kind_of(number))


def test_the_manifest_reads_back(repository, read, tmp_path):
    rows = read(repository).utterances
    write_manifest(tmp_path / "manifest.csv", rows)
    assert [vars(row) for row in read_manifest(tmp_path / "manifest.csv", check_files=True)] == [vars(r) for r in rows]


def test_nothing_but_the_audio_of_labels_that_stay_is_extracted(repository, read, tmp_path):
    corpus = read(repository, labels={"sad": None})
    assert corpus.left_out == {"sad": 3}
    written = [path.relative_to(tmp_path / "audio").as_posix() for path in (tmp_path / "audio").rglob("*.*")]
    assert sorted(written) == ["train/00000000.wav", "train/00000002.mp3", "train/00000004.flac"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/fold1-00000-of-00001.parquet", "fold1"),
        ("data/validation-00000-of-00001-0a1b2c.parquet", "validation"),
        ("default/partial-train/0000.parquet", "train"),
        ("dev.parquet", "validation"),
        ("en/test/0000.parquet", "test"),
        ("attest.parquet", "train"),
        ("clips/fold1-00000-of-00001.parquet", "train"),
    ],
)
def test_the_name_of_a_file_says_its_split(tmp_path, read, name, split):
    write_parquet(tmp_path / "set" / name, with_features(table(1)))
    assert read(tmp_path / "set").utterances[0].extra["split"] == split


def test_readme_names_classes_files_and_splits(tmp_path, read):
    for name in ("one", "two", "other"):
        write_parquet(tmp_path / "set" / name / "part.parquet", table(2))
    (tmp_path / "set" / "README.md").write_text(
        "---\n"
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: early\n    path: one/*\n  - split: late\n    path: [two/part.parquet, two/*.parquet]\n"
        "dataset_info:\n  features:\n  - name: audio\n    dtype: audio\n"
        "  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': furious\n          '1': low\n"
        "---\n# About\n",
        encoding="utf-8",
    )
    corpus = read(tmp_path / "set")
    assert [(row.extra["split"], row.label) for row in corpus.utterances] == [
        ("early", "furious"), ("early", "low"), ("late", "furious"), ("late", "low"),
    ]  # fmt: skip


def test_a_configuration_is_chosen(tmp_path, read):
    for name in ("de", "en"):
        write_parquet(tmp_path / "set" / name / "test.parquet", with_features(table(1, speaker_id=[name])))
    card = tmp_path / "set" / "README.md"
    entries = "- config_name: de\n  data_files: de/*\n- config_name: en\n  data_dir: en\n"
    card.write_text(f"---\nconfigs:\n{entries}---\n")
    with pytest.raises(LayoutError, match="configurations de, en; choose one with --configuration"):
        read(tmp_path / "set")
    with pytest.raises(LayoutError, match="no configuration 'fr'; it has de, en"):
        read(tmp_path / "set", configuration="fr")
    assert [(row.speaker, row.extra["split"]) for row in read(tmp_path / "set", configuration="en").utterances] == [
        ("en", "test")
    ]
    card.write_text(f"---\nconfigs:\n{entries}  default: true\n---\n")
    assert [row.speaker for row in read(tmp_path / "set").utterances] == ["en"]


@pytest.mark.parametrize(
    ("card", "complaint"),
    [
        ("configs: [", "no YAML in front"),
        ("configs: [{data_files: ../*.parquet}]", "lie elsewhere"),
        ("configs: [{data_files: 'hf://x/y'}]", "lie elsewhere"),
        ("configs: [{data_files: [{split: ../up, path: data/*}]}]", "'../up' cannot name a split"),
        ("configs: [{data_files: [{split: dev, path: data/dev-*}]}]", "data/dev-.*: no such Parquet file"),
        ("configs: [{data_files: 'data/**x'}]", "no pattern|no such Parquet file"),
    ],
)
def test_a_readme_that_does_not_fit(repository, read, card, complaint):
    (repository / "README.md").write_text(f"---\n{card}\n---\n")
    with pytest.raises(LayoutError, match=complaint):
        read(repository)


def test_a_missing_part_is_named(repository, read):
    (repository / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(LayoutError, match=r"train-00000-of-00002\.parquet: no such file; download it"):
        read(repository)
    corpus = read(repository, on_error="skip")
    assert len(corpus.utterances) == 3
    assert len(corpus.problems) == 1


def test_bookkeeping_of_a_download_is_not_read(repository, read):
    write_parquet(repository / ".cache" / "huggingface" / "train.parquet", pa.table({"a": [1]}))
    assert len(read(repository).utterances) == 6


# --- Folders by save_to_disk -----------------------------------------------------------------------------------------


def test_a_saved_data_set(tmp_path, read):
    root = tmp_path / "saved"
    save_to_disk(root / "train", table(3), table(2, first=3), features={"label": EMOTIONS})
    save_to_disk(root / "test", table(1, first=5), features={"label": EMOTIONS})
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    corpus = read(root)
    assert shown(corpus, tmp_path / "audio")[3:] == [
        ("train/00000003.wav", "sad", "100"),
        ("train/00000004.flac", "angry", "101"),
        ("test/00000000.mp3", "sad", "102"),
    ]
    assert corpus.utterances[4].file.read_bytes() == recording(4, "FLAC")
    assert corpus.utterances[4].extra == {"original_file": "clip4", "split": "train"}


def test_a_saved_split_without_a_name(tmp_path, read):
    save_to_disk(tmp_path / "saved", with_features(table(5)))
    corpus = read(tmp_path / "saved")
    assert shown(corpus, tmp_path / "audio")[4] == ("rows/00000004.flac", "angry", "101")
    assert "split" not in corpus.utterances[0].extra
    assert read(save_to_disk(tmp_path / "dev", table(1), _split="dev")).utterances[0].extra["split"] == "dev"


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"_indices_data_files": [{"filename": "indices.arrow"}]}, "takes some rows by an index"),
        ({"_data_files": [{"filename": "../data.arrow"}]}, "no name of a file beside it"),
        ({"_data_files": [{"filename": "gone.arrow"}]}, r"gone\.arrow: no such file"),
        ({"_data_files": []}, "lists no files"),
    ],
)
def test_a_saved_folder_that_does_not_fit(tmp_path, read, state, complaint):
    save_to_disk(tmp_path / "saved", table(1), **state)
    with pytest.raises(LayoutError, match=complaint):
        read(tmp_path / "saved")


def test_arrow_files_alone_are_no_saved_data_set(tmp_path, read):
    (save_to_disk(tmp_path / "saved", table(1)) / "state.json").unlink()
    with pytest.raises(LayoutError, match=r"no state\.json.*save it with save_to_disk"):
        read(tmp_path / "saved")


# --- Columns ---------------------------------------------------------------------------------------------------------


def test_further_columns_of_plain_values_are_kept(tmp_path, read):
    content = with_features(
        table(
            3,
            gender=[1, -1, None],
            age=[31.5, float("nan"), None],
            native=[True, False, None],
            recorded=pa.array([0, 86_400_000, None], pa.timestamp("ms")),
            photograph=pa.array([{"bytes": b"PNG", "path": None}] * 3, AUDIO),
            raw=[b"1", b"2", b"3"],
            digest=pa.array([b"12", b"34", b"56"], pa.binary(2)),
        ),
        gender={"_type": "ClassLabel", "names": ["female", "male"]},
        photograph={"_type": "Image"},
    )
    write_parquet(tmp_path / "set" / "train.parquet", content)
    assert [{**row.extra, "original_file": ""} for row in read(tmp_path / "set").utterances] == [
        {"original_file": "", "split": "train", "gender": gender, "age": age, "native": native, "recorded": recorded}
        for gender, age, native, recorded in [
            ("male", "31.5", "True", "1970-01-01T00:00:00"),
            ("", "", "False", "1970-01-02T00:00:00"),
            ("", "", "", ""),
        ]
    ]


def test_labels_may_be_words_and_numbers_without_names(tmp_path, read):
    write_parquet(tmp_path / "a" / "train.parquet", table(3, label=["happy", " sad ", None]))
    corpus = read(tmp_path / "a", labels={"unlabelled": "other"})
    assert [row.label for row in corpus.utterances] == ["happy", "sad", "other"]
    write_parquet(tmp_path / "b" / "train.parquet", table(2))
    named = read(tmp_path / "b", labels={"0": "calm"}, extract_to=tmp_path / "second")
    assert [row.label for row in named.utterances] == ["calm", "1"]


def test_classes_without_a_name_and_without_a_value(tmp_path, read):
    write_parquet(tmp_path / "set" / "train.parquet", with_features(table(4, label=[0, 2, -1, None])))
    with pytest.raises(LayoutError, match=r"train\.parquet, row 1: 2 is no class, 2 have names \(angry, sad\)"):
        read(tmp_path / "set")
    corpus = read(tmp_path / "set", on_error="skip")
    assert [(row.label, row.file.stem) for row in corpus.utterances] == [("angry", "00000000")]
    assert corpus.left_out == {"unlabelled": 2}


def test_columns_are_chosen(tmp_path, read):
    content = table(2, speaker_id=None, mood=["low", "high"], who=["anna", "ben"], noise=table(2)["audio"])
    write_parquet(tmp_path / "set" / "train.parquet", content)
    options = {"label_column": "mood", "speaker_column": "who", "audio_column": "noise"}
    rows = read(tmp_path / "set", **options).utterances
    assert [(row.label, row.speaker) for row in rows] == [("low", "anna"), ("high", "ben")]
    for wrong, complaint in [
        ({"label_column": "colour"}, "no column 'colour'"),
        ({"audio_column": "who"}, "'who' holds no audio inside the table; those are audio, noise"),
    ]:
        with pytest.raises(LayoutError, match=complaint):
            read(tmp_path / "set", **options | wrong)


def test_the_only_column_of_audio_is_taken_whatever_its_name(tmp_path, read):
    image = pa.array([{"bytes": b"PNG", "path": None}], AUDIO)
    features = {"_type": "Image"}, {"_type": "Audio"}
    content = table(1, audio=image, sound=table(1)["audio"])
    content = with_features(content, audio=features[0], sound=features[1])
    write_parquet(tmp_path / "set" / "train.parquet", content)
    assert read(tmp_path / "set").utterances[0].file.read_bytes() == recording(0)


def test_several_columns_of_audio_none_of_which_is_named_so(tmp_path, read):
    content = table(1, audio=None, close=table(1)["audio"], far=table(1)["audio"])
    write_parquet(tmp_path / "set" / "train.parquet", content)
    with pytest.raises(LayoutError, match="columns close, far hold audio; choose one with --audio-column"):
        read(tmp_path / "set")


def test_speakers_are_asked_for(tmp_path, read):
    write_parquet(tmp_path / "set" / "train.parquet", with_features(table(2, speaker_id=None)))
    with pytest.raises(LayoutError, match=r"it has label, transcription.*--speaker-column, or .*--unknown-speakers"):
        read(tmp_path / "set")
    assert {row.speaker for row in read(tmp_path / "set", unknown_speakers=True).utterances} == {"unknown"}


def test_labels_are_asked_for_before_anything_is_extracted(tmp_path, read):
    write_parquet(tmp_path / "set" / "train.parquet", table(2, label=None))
    with pytest.raises(LayoutError, match=r"no utterance has a label; .*--label-column.*unlabelled=unlabelled"):
        read(tmp_path / "set")
    assert not (tmp_path / "audio").exists()
    assert len(read(tmp_path / "set", labels={"unlabelled": "unlabelled"}).utterances) == 2


def test_tables_without_audio_are_sent_to_audio_folder(tmp_path, read):
    write_parquet(tmp_path / "set" / "train.parquet", table(2, audio=["a.wav", "b.wav"]))
    with pytest.raises(LayoutError, match="no column holds audio inside the table .*audio-folder"):
        read(tmp_path / "set")
    shutil.rmtree(tmp_path / "set")
    (tmp_path / "set").mkdir()
    with pytest.raises(LayoutError, match="holds no Parquet files; .*audio-folder"):
        read(tmp_path / "set")


def test_where_the_audio_goes_is_asked_for(repository):
    with pytest.raises(LayoutError, match="--extract-to"):
        read_corpus("huggingface", repository)


# --- Extraction ------------------------------------------------------------------------------------------------------


def test_rows_without_usable_audio_are_named_or_skipped(tmp_path, read):
    audio = [
        {"bytes": recording(0), "path": None},
        {"bytes": None, "path": "/home/anna/1.wav"},
        None,
        {"bytes": b"", "path": "3.wav"},
        {"bytes": b'{"error": 404}', "path": "4.json"},
    ]
    write_parquet(tmp_path / "set" / "train.parquet", table(5, audio=pa.array(audio, AUDIO)))
    with pytest.raises(LayoutError, match=r"row 1: holds no audio, only the path /home/anna/1\.wav; .*save_to_disk"):
        read(tmp_path / "set")
    corpus = read(tmp_path / "set", on_error="skip")
    assert [row.file.name for row in corpus.utterances] == ["00000000.wav"]
    assert [problem.split(";")[0].split(": ", 1)[1] for problem in corpus.problems] == [
        "holds no audio, only the path /home/anna/1.wav",
        "holds no audio",
        "holds no audio, only the path 3.wav",
        "begins with b'{\"error\"', which is no known audio",
    ]


def test_what_was_extracted_is_kept_and_what_is_missing_is_added(repository, read, tmp_path):
    read(repository)
    files = sorted((tmp_path / "audio").rglob("*.*"))
    files[2].unlink()
    for file in files[:2] + files[3:]:
        os.utime(file, (1, 1))
    read(repository)
    assert [file.stat().st_mtime == 1 for file in files] == [True, True, False, True, True, True]


def test_other_audio_of_the_same_name_is_not_replaced(repository, read, tmp_path):
    file = tmp_path / "audio" / "train" / "00000003.wav"
    file.parent.mkdir(parents=True)
    other = recording(3)[:-2] + b"??"
    file.write_bytes(other)
    for on_error in ("stop", "skip"):
        with pytest.raises(LayoutError, match=r"00000003\.wav: exists and is not what .*row 0 holds; remove"):
            read(repository, on_error=on_error)
    assert file.read_bytes() == other


def test_a_full_disk_stops_and_says_how_far_it_came(repository, read, tmp_path, monkeypatch):
    write_bytes, limit = Path.write_bytes, 3

    def full(path: Path, data: bytes) -> int:
        if len(list((tmp_path / "audio").rglob("0*.*"))) >= limit:
            write_bytes(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device after 3 of 6 recordings; make room and run it again"):
        read(repository, on_error="skip")
    assert len([path for path in (tmp_path / "audio").rglob("*") if path.is_file()]) == limit
    monkeypatch.undo()
    assert len(read(repository).utterances) == 6


@pytest.mark.parametrize("damage", ["footer", "rows", "pointer"])
def test_a_damaged_file_is_named_or_skipped(repository, read, damage):
    path = repository / "data" / "train-00001-of-00002.parquet"
    content = path.read_bytes()
    path.write_bytes(
        {
            "footer": content[:-20],
            "rows": content[:4] + bytes(1000) + content[1004:],
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        }[damage]
    )
    reason = "git lfs pull" if damage == "pointer" else r"is damaged \(.*\); download or save it again"
    with pytest.raises(LayoutError, match=rf"train-00001-of-00002\.parquet: .*{reason}"):
        read(repository)
    corpus = read(repository, on_error="skip")
    assert len(corpus.problems) == 1
    assert [row.file.stem for row in corpus.utterances if row.extra["split"] == "train"][:3] == [
        "00000000", "00000001", "00000002",
    ]  # fmt: skip


def test_rows_are_numbered_as_they_stand_in_the_data_set(tmp_path, read):
    for part in range(2):
        content = with_features(table(20, first=20 * part, label=[0] * 19 + [7]))
        write_parquet(tmp_path / "set" / "data" / f"train-0000{part}-of-00002.parquet", content, rows_per_group=20)
    corpus = read(tmp_path / "set", on_error="skip")
    numbers = [int(row.file.stem) for row in corpus.utterances]
    assert numbers == [*range(19), *range(20, 39)]
    for row, number in zip(corpus.utterances, numbers, strict=True):
        assert row.file.read_bytes() == recording(number, kind_of(number))


def test_without_pyarrow_the_extra_is_named(repository, read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "satn-fast\[corpora\]"'):
        read(repository)


def test_a_truncated_stream_is_named(tmp_path, read):
    file = save_to_disk(tmp_path / "saved", with_features(table(6))) / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(LayoutError, match=r"data-00000-of-00001\.arrow: is damaged"):
        read(tmp_path / "saved")


def test_progress_counts_recordings(repository, read):
    calls = []
    read(repository, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", ".wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", ".aiff"),
        (b"OggS\x00", ".ogg"),
        (b"ID3\x04", ".mp3"),
        (b"\xff\xfb\x90\x00", ".mp3"),
        (b"\xff\xf1\x50\x80", None),
        (b"\x00\x00\x00\x20ftypM4A ", None),
        (b"", None),
    ],
)
def test_the_first_bytes_say_the_format(data, suffix):
    assert audio_suffix(data) == suffix
