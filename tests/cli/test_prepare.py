import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile

from satn_fast.data import read_manifest

EMODB = ["03a01Wa.wav", "03a01Na.wav", "08a01Wa.wav", "08a01Na.wav", "09a01Wa.wav", "09a01Na.wav"]


def tone(path: Path, seconds: float = 0.25, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(int(seconds * rate)) / 9), rate)
    return path


@pytest.fixture
def emodb(tmp_path) -> Path:
    for name in EMODB:
        tone(tmp_path / "emodb" / "wav" / name)
    return tmp_path / "emodb"


@pytest.fixture
def manifest(tmp_path) -> Path:
    return tmp_path / "out" / "emodb.csv"


def test_a_manifest_with_relative_paths(satn_fast, emodb, manifest):
    result = satn_fast("prepare", "emodb", emodb, "--output", manifest)
    assert result.code == 0
    first, second = manifest.read_text().splitlines()[:2]
    assert first == "file,label,speaker,text,gender,sentence"
    assert second == "../emodb/wav/03a01Na.wav,neutral,03,Der Lappen liegt auf dem Eisschrank.,male,a01"
    assert [row.file.name for row in read_manifest(manifest, check_files=True)] == sorted(EMODB)


def test_the_label_map_and_the_shares_are_shown(satn_fast, emodb, manifest):
    output = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--labels", "N=,W=anger").output
    lines = [line.split() for line in output.splitlines()]
    assert ["W", "anger"] in lines
    assert ["N", "-", "3"] in lines
    assert ["T", "sad"] in lines
    assert ["anger", "3", "0.8", "s", "3"] in lines
    assert ["09", "1", "0.2", "s", "1"] in lines
    assert "3 utterances in 3 files (16000 Hz: 3), 0.8 s, 1 labels, 3 speakers" in output


def test_json_is_alone_on_standard_output(satn_fast, emodb, manifest):
    tone(emodb / "wav" / "10a01Fa.wav", rate=48000)
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--json")
    summary = json.loads(result.output)
    assert (summary["corpus"], summary["utterances"], summary["seconds"]) == ("emodb", 7, 1.75)
    assert summary["labels"]["angry"] == {"utterances": 3, "seconds": 0.75, "counterparts": 3}
    assert summary["sample_rates"] == {"16000": 6, "48000": 1}
    assert summary["label_map"]["W"] == "angry"
    for warning in summary["warnings"]:
        assert f"satn-fast: {warning}" in result.errors
    assert any("48000 Hz: 1" in warning for warning in summary["warnings"])


def test_a_pattern_and_another_rate(satn_fast, tmp_path, manifest):
    for name in ("anna/sad/1.wav", "ben/glad/2.wav"):
        tone(tmp_path / "clips" / name, rate=8000)
    pattern = "(?P<speaker>[^/]+)/(?P<label>[^/]+)/(?P<take>.)"
    options = ["--pattern", pattern, "--labels", "glad=happy", "--sample-rate", 8000]
    result = satn_fast("prepare", "pattern", tmp_path / "clips", *options, "--output", manifest)
    assert result.code == 0
    assert "are not at" not in result.errors
    rows = [(row.speaker, row.label, row.extra) for row in read_manifest(manifest)]
    assert rows == [("anna", "sad", {"take": "1"}), ("ben", "happy", {"take": "2"})]


def test_iemocap_options_arrive(satn_fast, tmp_path, manifest):
    for dialog in ("Ses01F_impro01", "Ses01F_script01_1"):
        tone(tmp_path / f"Session1/sentences/wav/{dialog}/{dialog}_F000.wav")
        evaluation = tmp_path / f"Session1/dialog/EmoEvaluation/{dialog}.txt"
        evaluation.parent.mkdir(parents=True, exist_ok=True)
        evaluation.write_text(f"[6.2901 - 8.2357]\t{dialog}_F000\texc\t[2.5000, 2.5000, 2.5000]\n")
    for options, labels in [
        ([], ["happy", "happy"]),
        (["--merge-excited", "--improvised-only"], ["happy"]),
        (["--keep-excited-apart"], ["excited", "excited"]),
        (["--labels", "exc=aroused"], ["aroused", "aroused"]),
    ]:
        result = satn_fast("prepare", "iemocap", tmp_path, "-o", manifest, "--force", *options)
        assert result.code == 0
        assert [row.label for row in read_manifest(manifest)] == labels


def test_audformat_there_and_back(satn_fast, emodb, manifest, tmp_path):
    folder = tmp_path / "audformat"
    assert satn_fast("prepare", "emodb", emodb, "-o", manifest, "--audformat", folder).code == 0
    assert satn_fast("prepare", "audformat", folder, "-o", tmp_path / "back.csv").code == 0
    assert read_manifest(tmp_path / "back.csv") == read_manifest(manifest)
    result = satn_fast("prepare", "manifest", manifest, "-o", tmp_path / "third.csv", "--audformat", folder)
    assert result.code == 1
    assert "db.yaml: exists" in result.errors
    assert not (tmp_path / "third.csv").exists()


@pytest.fixture
def data_set(tmp_path) -> Path:
    """A repository whose audio lies inside a Parquet file."""
    audio = [{"bytes": tone(tmp_path / "clip.wav", seconds=0.2 + i / 10).read_bytes(), "path": None} for i in range(3)]
    table = pa.table({"audio": audio, "emotion": ["sad", "angry", "sad"], "actor": [1, 2, 3]})
    (tmp_path / "set" / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(table, tmp_path / "set" / "data" / "dev-00000-of-00001.parquet")
    return tmp_path / "set"


def test_audio_inside_of_tables_is_written_beside_the_manifest(satn_fast, data_set, manifest, tmp_path):
    command = ["prepare", "huggingface", data_set, "--speaker-column", "actor"]
    result = satn_fast(*command, "-o", manifest)
    assert result.code == 0
    assert manifest.read_text().splitlines()[:2] == [
        "file,label,speaker,original_file,split",
        "emodb-audio/dev/00000000.wav,sad,1,,dev",
    ]
    assert "3 utterances in 3 files (16000 Hz: 3), 0.9 s, 2 labels, 3 speakers" in result.output
    other = tmp_path / "other.csv"
    assert satn_fast(*command, "-o", other, "--extract-to", tmp_path / "clips").code == 0
    assert [row.file for row in read_manifest(other)] == [tmp_path / "clips/dev" / f"0000000{i}.wav" for i in range(3)]


def test_audio_inside_of_tables_that_is_damaged_is_named_and_skipped(satn_fast, data_set, manifest):
    file = next(data_set.rglob("*.parquet"))
    table = pyarrow.parquet.read_table(file).to_pydict()
    table["audio"][1]["bytes"] = table["audio"][1]["bytes"][:-50]
    table["audio"][2]["bytes"] = None
    pyarrow.parquet.write_table(pa.table(table), file)
    command = ["prepare", "huggingface", data_set, "--speaker-column", "actor", "-o", manifest]
    result = satn_fast(*command)
    assert result.code == 1
    assert f"{file}, row 2: holds no audio" in result.errors
    assert not manifest.exists()
    result = satn_fast(*command, "--on-error", "skip")
    assert result.code == 0
    assert f"left out: {file}, row 2: holds no audio" in result.errors
    assert f"left out: {manifest.parent / 'emodb-audio/dev/00000001.wav'}: is truncated" in result.errors
    assert len(read_manifest(manifest)) == 1


def test_what_is_there_is_kept_without_force(satn_fast, emodb, manifest):
    manifest.parent.mkdir()
    manifest.write_text("precious")
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest)
    assert result.code == 1
    assert result.errors == f"satn-fast: {manifest}: exists; choose another name, or replace it with --force\n"
    assert manifest.read_text() == "precious"
    assert satn_fast("prepare", "emodb", emodb, "-o", manifest, "--force").code == 0
    assert len(read_manifest(manifest)) == 6


def test_a_damaged_file_stops_or_is_named_and_skipped(satn_fast, emodb, manifest):
    bad = emodb / "wav" / "03a01Wa.wav"
    bad.write_bytes(bad.read_bytes()[:-50])
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest)
    assert result.code == 1
    assert f"satn-fast: {bad}: is truncated" in result.errors
    assert "--on-error skip" in result.errors
    assert not manifest.exists()
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--on-error", "skip")
    assert result.code == 0
    assert f"satn-fast: left out: {bad}: is truncated" in result.errors
    assert len(read_manifest(manifest)) == 5


def test_many_damaged_files_do_not_flood_the_terminal(satn_fast, emodb, manifest):
    for i in range(14):
        tone(emodb / "wav" / f"letter{i}.wav")
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--on-error", "skip")
    assert result.errors.count("is not named like") == 10
    assert "left out: 4 more; --json lists all" in result.errors


def test_only_damaged_files_write_nothing(satn_fast, emodb, manifest):
    for file in emodb.rglob("*.wav"):
        file.write_bytes(b"")
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--on-error", "skip")
    assert result.code == 1
    assert "none of 6 utterances can be used" in result.errors
    assert not manifest.exists()


def test_samples_are_read_unless_headers_are_enough(satn_fast, emodb, manifest):
    soundfile.write(emodb / "wav" / "03a01Wa.wav", np.zeros(800), 16000)
    assert "1 of 6 files are silent" in satn_fast("prepare", "emodb", emodb, "-o", manifest).errors
    result = satn_fast("prepare", "emodb", emodb, "-o", manifest, "--headers-only", "--force")
    assert result.code == 0
    assert "silent" not in result.errors


def test_names_with_markup_are_shown_as_they_are(satn_fast, tmp_path, manifest):
    tone(tmp_path / "clips" / "[red]anna" / "[bold]" / "1.wav")
    pattern = "(?P<speaker>[^/]+)/(?P<label>[^/]+)/"
    result = satn_fast("prepare", "pattern", tmp_path / "clips", "--pattern", pattern, "-o", manifest)
    assert "[red]anna" in result.output
    assert "[bold]" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tess", "emodb"], "tess: is no corpus known here"),
        (["emodb", "nowhere"], "nowhere: no such folder; give the folder that EMO-DB was unpacked to"),
        (["ravdess", "emodb"], "is not named like 03-01-06-01-02-01-12.wav"),
        (["emodb", "emodb", "--pattern", "x"], "takes no --pattern; it is for pattern"),
        (["emodb", "emodb", "--keep-excited-apart"], "takes no --keep-excited-apart; it is for iemocap"),
        (["emodb", "emodb", "--extract-to", "x"], "takes no --extract-to; it is for huggingface"),
        (["emodb", "emodb", "--unknown-speakers"], "takes no --unknown-speakers; it is for huggingface"),
        (["huggingface", "emodb"], "emodb: holds no Parquet files"),
        (["emodb", "emodb", "--labels", "joy=happy"], "'joy' is no label of this corpus"),
        (["emodb", "emodb", "--labels", "joy"], "'joy' is not old=new"),
        (["pattern", "emodb"], "--pattern"),
        (["manifest", "nowhere.csv"], "nowhere.csv: no such manifest"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(satn_fast, emodb, manifest, monkeypatch, arguments, complaint):
    monkeypatch.chdir(emodb.parent)
    result = satn_fast("prepare", *arguments, "-o", manifest)
    assert result.code == 1
    assert result.output == ""
    assert result.errors.count("\n") == 1
    assert complaint in result.errors
    assert not manifest.exists()


def test_a_folder_is_no_manifest(satn_fast, emodb, tmp_path):
    result = satn_fast("prepare", "emodb", emodb, "-o", tmp_path, "--force")
    assert result.code == 1
    assert "add a name such as manifest.csv" in result.errors


@pytest.mark.parametrize("options", [[], ["-o", "x.csv", "--on-error", "ignore"]])
def test_wrong_usage_has_its_own_exit_code(satn_fast, emodb, options):
    assert satn_fast("prepare", "emodb", emodb, *options).code == 2
