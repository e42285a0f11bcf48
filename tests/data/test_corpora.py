"""Each reader on a small folder laid out like its corpus, and the summary of what was read."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from satn_fast.audio import AudioError, write_wav
from satn_fast.data import CorpusError, Utterance, read_manifest, write_manifest
from satn_fast.data.corpora import (
    CORPORA,
    LayoutError,
    Preparation,
    Problems,
    parse_labels,
    read_corpus,
    write_audformat,
)
from satn_fast.data.inspection import inspect_audio
from satn_fast.data.summary import inspect_corpus, summarise


def tone(path: Path, seconds: float = 0.1, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(int(seconds * rate)) / 9), rate)
    return path


def tones(folder: Path, *names: str) -> None:
    for name in names:
        tone(folder / name)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def columns(corpus: Preparation, *names: str) -> list[tuple]:
    return [tuple(getattr(row, name) for name in names) for row in corpus.utterances]


# --- File names ------------------------------------------------------------------------------------------------------


def test_ravdess(tmp_path):
    tones(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_12/03-01-06-02-02-01-12.wav")
    tones(tmp_path, "Actor_12/03-02-05-01-01-01-12.wav")
    (tmp_path / "Actor_12" / "._03-01-06-02-02-01-12.wav").write_bytes(b"macOS")
    corpus = read_corpus("ravdess", tmp_path)
    assert columns(corpus, "label", "speaker", "text", "extra") == [
        ("neutral", "01", "Kids are talking by the door", {"gender": "male", "intensity": "normal", "sentence": "01"}),
        (
            "fearful",
            "12",
            "Dogs are sitting by the door",
            {"gender": "female", "intensity": "strong", "sentence": "02"},
        ),
    ]
    assert corpus.left_out == {"song-05": 1}
    with_song = read_corpus("ravdess", tmp_path, labels={"song-05": "angry"})
    assert columns(with_song, "label") == [("neutral",), ("fearful",), ("angry",)]


def test_ravdess_unpacked_twice_is_named(tmp_path):
    name = "Actor_01/03-01-01-01-01-01-01.wav"
    tones(tmp_path, name, f"audio_speech_actors_01-24/{name}")
    with pytest.raises(LayoutError, match="has the name of"):
        read_corpus("ravdess", tmp_path)
    corpus = read_corpus("ravdess", tmp_path, on_error="skip")
    assert len(corpus.utterances) == len(corpus.problems) == 1


def test_emodb(tmp_path):
    tones(tmp_path / "wav", *(f"08b0{i}{letter}c.wav" for i, letter in enumerate("WLEAFTN", start=1)))
    corpus = read_corpus("emodb", tmp_path)
    assert [row.label for row in corpus.utterances] == [
        "angry", "bored", "disgusted", "fearful", "happy", "sad", "neutral",
    ]  # fmt: skip
    assert {row.speaker for row in corpus.utterances} == {"08"}
    assert corpus.utterances[0].text.startswith("Was sind denn das für Tüten")
    assert corpus.utterances[0].extra == {"gender": "female", "sentence": "b01"}


@pytest.mark.parametrize("below", ["", "AudioWAV"])
def test_cremad(tmp_path, below):
    tones(tmp_path / "AudioWAV", "1001_DFA_ANG_XX.wav", "1040_ITH_SAD_X.wav", "1002_IEO_HAP_HI.wav")
    write(tmp_path / "VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n")
    corpus = read_corpus("cremad", tmp_path / below)
    assert columns(corpus, "label", "speaker", "extra") == [
        ("angry", "1001", {"intensity": "", "sentence": "DFA", "gender": "male", "age": "51"}),
        ("happy", "1002", {"intensity": "high", "sentence": "IEO", "gender": "", "age": ""}),
        ("sad", "1040", {"intensity": "", "sentence": "ITH", "gender": "", "age": ""}),
    ]
    assert corpus.utterances[0].text == "Don't forget a jacket."


@pytest.mark.parametrize(
    ("corpus", "good"),
    [("ravdess", "03-01-01-01-01-01-01.wav"), ("emodb", "03a01Fa.wav"), ("cremad", "1001_DFA_ANG_XX.wav")],
)
def test_other_names_are_named_or_skipped(tmp_path, corpus, good):
    tones(tmp_path, good, "letter.wav")
    with pytest.raises(LayoutError, match=r"letter\.wav: is not named like .*--on-error skip"):
        read_corpus(corpus, tmp_path)
    skipped = read_corpus(corpus, tmp_path, on_error="skip")
    assert [row.file.name for row in skipped.utterances] == [good]
    assert len(skipped.problems) == 1


@pytest.mark.parametrize("below", ["", "samples"])
def test_nemo(tmp_path, below):
    write(
        tmp_path / "data.tsv",
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        'WR0_surprised_64.wav\tsurprised\tTo "Ród", tak.\tto ród tak\t        WR0\tmale\t23\n'
        "EB0_fear_1.wav\tfear\tNie.\tnie\t        EB0\tfemale\t27\n",
    )
    tones(tmp_path / "samples", "WR0_surprised_64.OGG", "EB0_fear_1.ogg")
    corpus = read_corpus("nemo", tmp_path / below)
    assert columns(corpus, "label", "speaker", "text", "extra") == [
        ("surprised", "WR0", "to ród tak", {"raw_text": 'To "Ród", tak.', "gender": "male", "age": "23"}),
        ("fearful", "EB0", "nie", {"raw_text": "Nie.", "gender": "female", "age": "27"}),
    ]


def test_nemo_names_what_is_in_the_table_or_the_folder_only(tmp_path):
    write(
        tmp_path / "data.tsv",
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "A_fear_1.wav\tfear\tA\ta\tA\tmale\t23\nB_fear_1.wav\tfear\tA\ta\tB\tmale\t23\n",
    )
    tones(tmp_path / "samples", "A_fear_1.wav", "C_fear_1.wav")
    problems = read_corpus("nemo", tmp_path, on_error="skip").problems
    assert "B_fear_1.wav: no such file below" in problems[0]
    assert re.search(r"C_fear_1\.wav: .*data\.tsv does not list it", problems[1])
    write(tmp_path / "data.tsv", "file_id\temotion\nA_fear_1.wav\tfear\n")
    with pytest.raises(LayoutError, match="data.tsv: lacks raw_text, normalized_text, speaker_id, gender, age"):
        read_corpus("nemo", tmp_path)


# --- Other packings --------------------------------------------------------------------------------------------------

PACKINGS = [("WAV", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("Ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS")]
PACKINGS += [("mp3", "MP3", "MPEG_LAYER_III"), ("aiff", "AIFF", "PCM_16"), ("AIF", "AIFF", "PCM_16")]


@pytest.mark.parametrize(("suffix", "container", "coding"), PACKINGS, ids=[packing[0] for packing in PACKINGS])
@pytest.mark.parametrize(
    ("corpus", "name"), [("ravdess", "03-01-01-01-01-01-01"), ("emodb", "03a01Fa"), ("cremad", "1001_DFA_ANG_XX")]
)
def test_audio_in_any_packing_is_read(tmp_path, corpus, name, suffix, container, coding):
    file = tmp_path / "audio" / f"{name}.{suffix}"
    file.parent.mkdir()
    soundfile.write(file, 0.3 * np.sin(np.arange(16000) / 9), 16000, format=container, subtype=coding)
    found = read_corpus(corpus, tmp_path)
    assert columns(found, "file") == [(file,)]
    assert found.problems == ()
    _, inspections = inspect_corpus(found.utterances, Problems())
    assert inspections[file].sample_rate in (16000, 48000)


def test_of_two_packings_the_lossless_one_is_taken_and_said_so(tmp_path):
    tones(tmp_path, "AudioMP3/1001_DFA_ANG_XX.mp3", "AudioWAV/1001_DFA_ANG_XX.WAV")
    tones(tmp_path, "AudioMP3/1002_DFA_ANG_XX.mp3", "AudioWAV/1002_DFA_ANG_XX.wav", "AudioMP3/1003_DFA_ANG_XX.mp3")
    corpus = read_corpus("cremad", tmp_path)
    assert sorted(row.file.name for row in corpus.utterances) == [
        "1001_DFA_ANG_XX.WAV",
        "1002_DFA_ANG_XX.wav",
        "1003_DFA_ANG_XX.mp3",
    ]
    [said] = corpus.problems
    assert re.search(r"1001_DFA_ANG_XX\.mp3: the same recording as .*1001_DFA_ANG_XX\.WAV, which is taken", said)
    assert said.endswith("(and 1 more files likewise)")


def test_a_pattern_takes_one_packing_of_a_recording(tmp_path):
    tones(tmp_path, "anna/sad.flac", "anna/sad.mp3", "ben/sad.mp3")
    corpus = read_corpus("pattern", tmp_path, pattern=r"(?P<speaker>\w+)/(?P<label>\w+)\.")
    assert [row.file.name for row in corpus.utterances] == ["sad.flac", "sad.mp3"]
    assert len(corpus.problems) == 1


# The tables of the folder that holds them: utterances, labels, speakers.
PUBLISHED = {
    "emodb": (535, 7, 10),
    "ravdess": (1440, 8, 24),
    "cremad": (7442, 6, 91),
    "nemo": (4481, 6, 9),
    "librispeech": (1313, 1, 20),
}


@pytest.mark.parametrize("corpus", PUBLISHED)
def test_complete_corpora_have_all_utterances_labels_and_speakers(real_speech, corpus):
    folder = real_speech / "corpora" / corpus
    if not folder.is_dir():
        pytest.skip(f"{folder}: is not there")
    found = read_corpus(corpus, folder)
    rows = found.utterances
    assert (len(rows), len({row.label for row in rows}), len({row.speaker for row in rows})) == PUBLISHED[corpus]
    assert all(row.text for row in rows)
    assert found.problems == ()
    below = next(path for path in sorted(folder.iterdir()) if path.is_dir())
    if corpus != "ravdess":
        assert {row.file for row in read_corpus(corpus, below).utterances} == {row.file for row in rows}


# --- IEMOCAP ---------------------------------------------------------------------------------------------------------

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_{dialog}_M000\texc\t[4.0000, 3.5000, 3.0000]
[12.0000 - 13.0000]\tSes01F_{dialog}_M001\tang\t[1.0000, 4.5000, 4.0000]
[14.0000 - 15.0000]\tSes01F_{dialog}_F001\txxx\t[2.0000, 2.0000, 2.0000]
[16.0000 - 17.0000]\tSes01F_{dialog}_F002\tfru\t[2.0000, 2.0000, 2.0000]
"""


@pytest.fixture
def iemocap(tmp_path) -> Path:
    root = tmp_path / "IEMOCAP_full_release"
    for dialog in ("impro01", "script01_1"):
        name = f"Ses01F_{dialog}"
        write(root / "Session1/dialog/EmoEvaluation" / f"{name}.txt", EVALUATION.format(dialog=dialog))
        for turn in ("F000", "M000", "M001", "F001", "F002"):
            tone(root / "Session1/sentences/wav" / name / f"{name}_{turn}.wav")
    evaluation = root / "Session1/dialog/EmoEvaluation"
    (evaluation / "._Ses01F_impro01.txt").write_bytes(b"\0\5\26\7")
    write(evaluation / "Categorical" / "Ses01F_impro01_e2_cat.txt", "Ses01F_impro01_F000 :Neutral state; ()\n")
    write(
        root / "Session1/dialog/transcriptions/Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\nM: [LAUGHTER]\n",
    )
    return root


def test_iemocap_has_four_classes(iemocap):
    corpus = read_corpus("iemocap", iemocap)
    assert [row.label for row in corpus.utterances] == ["neutral", "happy", "angry"] * 2
    assert corpus.left_out == {"fru": 2, "xxx": 2}
    assert read_corpus("iemocap", iemocap.parent).utterances == corpus.utterances


def test_iemocaps_speaker_is_who_speaks_and_not_who_wears_the_markers(iemocap):
    first, second = read_corpus("iemocap", iemocap).utterances[:2]
    assert (first.speaker, second.speaker) == ("Ses01F", "Ses01M")
    assert first.session == "Session1"
    assert first.text == "Excuse me."
    assert first.extra == {
        "dialog": "Ses01F_impro01",
        "style": "improvised",
        "gender": "female",
        "valence": "2.5000",
        "activation": "2.5000",
        "dominance": "2.5000",
    }
    assert second.text is None


def test_iemocap_and_librispeech_in_another_packing(iemocap, librispeech):
    for root, corpus, old, new in (
        (iemocap, "iemocap", ".wav", ".flac"),
        (librispeech, "librispeech", ".flac", ".MP3"),
    ):
        before = [row.file.stem for row in read_corpus(corpus, root).utterances]
        for file in sorted(root.rglob(f"*{old}")):
            file.rename(file.with_suffix(new))
        after = read_corpus(corpus, root).utterances
        assert [row.file.stem for row in after] == before
        assert {row.file.suffix for row in after} == {new}


def test_iemocap_with_excited_apart_improvised_and_frustration(iemocap):
    corpus = read_corpus("iemocap", iemocap, merge_excited=False, improvised_only=True, labels={"fru": "frustrated"})
    assert [row.label for row in corpus.utterances] == ["neutral", "excited", "angry", "frustrated"]
    assert {row.extra["style"] for row in corpus.utterances} == {"improvised"}


def test_iemocap_names_a_missing_sentence_and_a_broken_line(iemocap):
    missing = iemocap / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav"
    missing.unlink()
    with pytest.raises(LayoutError, match=re.escape(str(missing))):
        read_corpus("iemocap", iemocap)
    broken = iemocap / "Session1/dialog/EmoEvaluation/Ses01F_script01_1.txt"
    write(broken, broken.read_text().replace("[10.0100 - 11.3925]", "[10.0100 -"))
    corpus = read_corpus("iemocap", iemocap, on_error="skip")
    assert len(corpus.utterances) == 4
    assert "line 8" in corpus.problems[1]


# --- LibriSpeech -----------------------------------------------------------------------------------------------------


@pytest.fixture
def librispeech(tmp_path) -> Path:
    root = tmp_path / "LibriSpeech"
    tones(root / "dev-clean/84/121123", "84-121123-0000.flac", "84-121123-0001.flac")
    write(
        root / "dev-clean/84/121123/84-121123.trans.txt",
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS THAN FIVE MINUTES\n",
    )
    write(root / "SPEAKERS.TXT", ";ID  |SEX| SUBSET           |MINUTES| NAME\n84   | F | dev-clean | 8.02 | Christie\n")
    return root


@pytest.mark.parametrize("below", ["", "dev-clean"])
def test_librispeech(librispeech, below):
    corpus = read_corpus("librispeech", librispeech / below)
    assert columns(corpus, "label", "speaker", "text") == [
        ("unlabelled", "84", "GO DO YOU HEAR"),
        ("unlabelled", "84", "BUT IN LESS THAN FIVE MINUTES"),
    ]
    assert corpus.utterances[0].extra == {"subset": "dev-clean", "chapter": "121123", "gender": "female"}


def test_librispeech_names_audio_without_text_and_text_without_audio(librispeech):
    folder = librispeech / "dev-clean/84/121123"
    (folder / "84-121123-0001.flac").rename(folder / "84-121123-0002.flac")
    problems = read_corpus("librispeech", librispeech, on_error="skip").problems
    assert "0001.flac: no such file" in problems[0]
    assert "0002.flac: 84-121123.trans.txt has no text" in problems[1]


# --- A pattern -------------------------------------------------------------------------------------------------------


def test_pattern_names_label_speaker_and_columns(tmp_path):
    tones(tmp_path, "m1/a_daj_1.wav", "m2/n_nie_2.flac")
    pattern = r"(?P<speaker>m\d)/(?P<label>[an])_(?P<word>\w+)_(?P<session>\d)\."
    corpus = read_corpus("pattern", tmp_path, pattern=pattern, labels={"a": "angry"})
    assert columns(corpus, "label", "speaker", "session", "extra") == [
        ("angry", "m1", "1", {"word": "daj"}),
        ("n", "m2", "2", {"word": "nie"}),
    ]
    assert corpus.labels == {"a": "angry", "n": "n"}


def test_pattern_reads_times(tmp_path):
    tones(tmp_path, "anna-sad-0.01-0.05.wav")
    pattern = r"(?P<speaker>\w+)-(?P<label>\w+)-(?P<start>[\d.]+)-(?P<end>\d\.\d+)"
    assert columns(read_corpus("pattern", tmp_path, pattern=pattern), "start", "end") == [(0.01, 0.05)]


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        (None, "--pattern"),
        ("(", "no regular expression"),
        ("(?P<label>a)", "no group speaker"),
        ("(?P<speaker>a)", "no group label"),
        ("(?P<speaker>a)(?P<label>b)(?P<file>c)", "another name"),
        ("(?P<speaker>x)(?P<label>y)", r"clip\.wav: the pattern .* finds no label"),
        ("(?P<speaker>c)(?P<label>l)(?P<start>i)", r"clip\.wav: .*change the pattern"),
    ],
)
def test_bad_patterns(tmp_path, pattern, complaint):
    tones(tmp_path, "clip.wav")
    with pytest.raises(LayoutError, match=complaint):
        read_corpus("pattern", tmp_path, pattern=pattern)


# --- Hugging Face audio folders --------------------------------------------------------------------------------------


def test_audio_folder_with_labels_as_folders(tmp_path):
    tones(tmp_path, "train/angry/1.wav", "train/sad/2.mp3", "test/angry/3.flac")
    corpus = read_corpus("audio-folder", tmp_path)
    assert columns(corpus, "label", "speaker", "extra") == [
        ("angry", "unknown", {"split": "test"}),
        ("angry", "unknown", {"split": "train"}),
        ("sad", "unknown", {"split": "train"}),
    ]


def test_audio_folder_with_csv_and_jsonl(tmp_path):
    tones(tmp_path, "train/audio/1.wav", "train/audio/2.wav", "test/3.wav")
    write(
        tmp_path / "train/metadata.csv",
        'file_name,emotion,speaker_id,transcription,age\naudio/1.wav,sad,anna,"Hi, you",31\naudio/2.wav,,ben,,\n',
    )
    write(tmp_path / "test/metadata.jsonl", json.dumps({"file_name": "3.wav", "label": 2, "speaker": None}) + "\n\n")
    corpus = read_corpus("audio-folder", tmp_path)
    assert columns(corpus, "label", "speaker", "text", "extra") == [
        ("2", "unknown", None, {"split": "test"}),
        ("sad", "anna", "Hi, you", {"split": "train", "age": "31"}),
    ]
    assert corpus.left_out == {"unlabelled": 1}


def test_audio_folder_with_chosen_columns(tmp_path):
    tones(tmp_path, "1.wav")
    write(tmp_path / "metadata.csv", "file_name,label,mood,who\n1.wav,wrong,sad,anna\n")
    corpus = read_corpus("audio-folder", tmp_path, label_column="mood", speaker_column="who")
    assert columns(corpus, "label", "speaker") == [("sad", "anna")]
    with pytest.raises(LayoutError, match="no column 'colour'; it has file_name, label, mood, who"):
        read_corpus("audio-folder", tmp_path, label_column="colour")


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ("file_name,label\n2.wav,sad\n", "no audio file '2.wav'"),
        ("file_name,label\n../../1.wav,sad\n", "no audio file"),
        ("label\nsad\n", "no column file_name"),
        ("file_name,label\n1.wav\n", "row 2: has 1 cells"),
        ('file_name,label\n"1.wav,sad\n', "no CSV"),
    ],
)
def test_audio_folder_with_bad_metadata(tmp_path, metadata, complaint):
    tones(tmp_path, "1.wav")
    write(tmp_path / "metadata.csv", metadata)
    with pytest.raises(LayoutError, match=complaint):
        read_corpus("audio-folder", tmp_path)


def test_audio_folder_says_what_to_do_with_parquet(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(LayoutError, match="Parquet or Arrow files.*prepare huggingface"):
        read_corpus("audio-folder", tmp_path)


# --- audformat -------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path):
    """A database that audformat itself made: segments with emotions, files with speakers."""
    audformat = pytest.importorskip("audformat")
    tones(tmp_path, "audio/1.wav", "audio/2.wav")
    db = audformat.Database("mine")
    db.schemes["emotion"] = audformat.Scheme("str", labels=["anger", "sadness"])
    db.schemes["speaker"] = audformat.Scheme("int", labels={3: {"gender": "female"}, 8: {"gender": "male"}})
    db["files"] = audformat.Table(audformat.filewise_index(["audio/1.wav", "audio/2.wav"]))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([3, 8])
    index = audformat.segmented_index(
        ["audio/1.wav", "audio/1.wav", "audio/2.wav"], [0, "0.05s", 0], ["0.05s", None, None]
    )
    db["emotion"] = audformat.Table(index)
    db["emotion"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["emotion"]["emotion"].set(["anger", "sadness", None])
    return db


def test_audformat_reads_what_audformat_wrote(database, tmp_path):
    database.save(tmp_path, storage_format="csv")
    corpus = read_corpus("audformat", tmp_path, labels={"anger": "angry", "unlabelled": "other"})
    assert columns(corpus, "label", "speaker", "start", "end") == [
        ("angry", "3", 0.0, 0.05),
        ("sadness", "3", 0.05, None),
        ("other", "8", None, None),
    ]
    assert corpus.utterances[0].file == tmp_path / "audio/1.wav"


@pytest.mark.parametrize("storage", ["pkl", "parquet"])
def test_audformat_opens_csv_only(database, tmp_path, storage):
    database.save(tmp_path, storage_format=storage)
    with pytest.raises(LayoutError, match=f"stored as .{storage}, which is not opened; .*storage_format='csv'"):
        read_corpus("audformat", tmp_path)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, used by audformat
def test_audformat_reads_what_we_write_and_so_do_we(tmp_path):
    audformat = pytest.importorskip("audformat")
    rows = [
        Utterance(tone(tmp_path / "audio/1.wav"), "sad", "01", "1", 0.01, 0.0512345, "Hi, you", {"room": "3"}),
        Utterance(tone(tmp_path / "audio/2.wav"), "angry", "02"),
    ]
    write_audformat(tmp_path, rows, name="mine")
    table = audformat.Database.load(tmp_path)["emotion"].get()
    assert list(table["emotion"]) == ["sad", "angry"]
    assert list(table["speaker"]) == ["01", "02"]
    assert table.index[0][1].total_seconds() == 0.01
    again = read_corpus("audformat", tmp_path).utterances
    assert again == (replace(rows[0], end=0.051234), replace(rows[1], extra={"room": ""}))


def test_audformat_times_beyond_an_hour_and_a_day(tmp_path):
    long = Utterance(tone(tmp_path / "1.wav"), "sad", "anna", start=3723.25, end=90061.5)
    write_audformat(tmp_path, [long])
    assert "0 days 01:02:03.250000,1 days 01:01:01.500000" in (tmp_path / "db.emotion.csv").read_text()
    assert read_corpus("audformat", tmp_path).utterances == (long,)


def test_audformat_rows_that_repeat_are_named(tmp_path):
    tones(tmp_path, "1.wav")
    write(tmp_path / "db.yaml", "tables: {e: {columns: {emotion: {}}}}")
    write(tmp_path / "db.e.csv", "file,emotion\n1.wav,sad\n1.wav,angry\n")
    with pytest.raises(LayoutError, match=r"1\.wav: the same piece of audio is listed twice"):
        read_corpus("audformat", tmp_path)
    assert columns(read_corpus("audformat", tmp_path, on_error="skip"), "label") == [("sad",)]


def test_audformat_of_whole_files_is_filewise(tmp_path):
    audformat = pytest.importorskip("audformat")
    write_audformat(tmp_path, [Utterance(tone(tmp_path / "1.wav"), "sad", "anna")])
    assert audformat.Database.load(tmp_path)["emotion"].is_filewise


@pytest.mark.parametrize(
    ("header", "options", "complaint"),
    [
        (None, {}, "no such file"),
        ("tables: [", {}, "is no YAML"),
        ("name: x\n", {}, "lists no tables"),
        ("!!python/object/apply:os.system [echo]\n", {}, "is no YAML"),
        ("tables: {a: {columns: {mood: {}}}}", {}, "none of the tables a has a column emotion or label"),
        ("tables: {a: {columns: {emotion: {}}}, b: {columns: {emotion: {}}}}", {}, "tables a, b have"),
        ("tables: {a: {columns: {emotion: {}}}}", {"table": "c"}, "no table 'c'; it has a"),
        ("tables: {a: {columns: {emotion: {}}}}", {}, "table a has no file"),
        ("tables: {e: {columns: {emotion: {}}}}", {"speaker_column": "who"}, "no table has a column 'who'"),
        ("tables: {e: {columns: {emotion: {}}}}", {}, r"entry 1: no audio file 'missing\.wav'"),
        ("tables: {t: {columns: {emotion: {}}}}", {}, "entry 1: 'soon' is no time"),
    ],
)
def test_bad_audformat_databases(tmp_path, header, options, complaint):
    tones(tmp_path, "1.wav")
    write(tmp_path / "db.e.csv", "file,emotion\nmissing.wav,sad\n")
    write(tmp_path / "db.t.csv", "file,start,end,emotion\n1.wav,soon,,sad\n")
    if header is not None:
        write(tmp_path / "db.yaml", header)
    with pytest.raises(LayoutError, match=complaint):
        read_corpus("audformat", tmp_path, **options)


# --- All of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - {"manifest", "synthetic"}))
@pytest.mark.parametrize("root", ["nowhere", "empty", "file.wav"])
def test_a_wrong_folder_is_named(tmp_path, corpus, root):
    (tmp_path / "empty").mkdir()
    tones(tmp_path, "file.wav")
    options = {"pattern": "(?P<label>.)(?P<speaker>.)"} if corpus == "pattern" else {}
    with pytest.raises(LayoutError, match=root) as raised:
        read_corpus(corpus, tmp_path / root, **options)
    assert "give the folder" in str(raised.value) or corpus == "pattern"


def test_the_synthetic_corpus_is_rendered_where_it_is_asked_for(tmp_path):
    preparation = read_corpus("synthetic", tmp_path / "speech")
    assert len(preparation.utterances) == 768
    assert all(u.file.is_relative_to(tmp_path / "speech") and u.extra["phonemes"] for u in preparation.utterances)
    tones(tmp_path, "other/file.wav")
    with pytest.raises(CorpusError, match="other"):
        read_corpus("synthetic", tmp_path / "other")


def test_unknown_corpora_options_and_labels_are_named(tmp_path):
    tones(tmp_path, "03a01Fa.wav", "03a01Xa.wav")
    with pytest.raises(LayoutError, match="tess: is no corpus known here; choose one of iemocap, ravdess"):
        read_corpus("tess", tmp_path)
    with pytest.raises(LayoutError, match="emodb: takes no --improvised-only; it is for iemocap"):
        read_corpus("emodb", tmp_path, improvised_only=True)
    with pytest.raises(LayoutError, match="labels: 'joy' is no label of this corpus; it has W, L, E"):
        read_corpus("emodb", tmp_path, labels={"joy": "happy"})
    with pytest.raises(LayoutError, match=r"03a01Xa\.wav: its label 'X' is not known .*--labels X=NAME"):
        read_corpus("emodb", tmp_path)
    corpus = read_corpus("emodb", tmp_path, labels={"X": "other", "happy": "joy"})
    assert columns(corpus, "label") == [("joy",), ("other",)]
    with pytest.raises(LayoutError, match="every utterance is left out"):
        read_corpus("emodb", tmp_path, labels={"X": None, "F": None})


@pytest.mark.parametrize("text", ["angry", "=angry", "a=b,a=c", ""])
def test_label_changes_must_be_pairs(text):
    with pytest.raises(ValueError, match="labels: "):
        parse_labels(text)


def test_a_manifest_is_a_corpus_too(tmp_path):
    write_manifest(tmp_path / "m.csv", [Utterance(tone(tmp_path / "1.wav"), "anger", "anna", extra={"room": "3"})])
    corpus = read_corpus("manifest", tmp_path / "m.csv", labels={"anger": "angry"})
    assert columns(corpus, "file", "label", "extra") == [(tmp_path / "1.wav", "angry", {"room": "3"})]
    (tmp_path / "1.wav").unlink()
    with pytest.raises(LayoutError, match=r"1\.wav: no such file"):
        read_corpus("manifest", tmp_path / "m.csv")


def test_what_is_read_can_be_written_and_read_again(iemocap, tmp_path):
    corpus = read_corpus("iemocap", iemocap)
    write_manifest(tmp_path / "m.csv", corpus.utterances)
    assert tuple(read_manifest(tmp_path / "m.csv", check_files=True)) == corpus.utterances


# --- What the audio is like ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [2, 3, 700_000])
def test_clipping_is_a_run_at_full_scale_also_across_blocks(tmp_path, run):
    waveform = np.full(1_000_000, 0.1, dtype=np.float32)
    first = 262_143  # the block that is read first ends one sample later
    waveform[first : first + run] = 1.0
    write_wav(tmp_path / "loud.wav", waveform, 16000)
    assert inspect_audio(tmp_path / "loud.wav").clipped == (run if run >= 3 else 0)


def test_headers_only_reads_no_samples(tmp_path):
    found = inspect_audio(tone(tmp_path / "1.wav", 0.5), headers_only=True)
    assert (found.duration, found.sample_rate, found.channels) == (0.5, 16000, 1)
    assert found.peak is None
    assert not found.silent


def damaged(folder: Path) -> list[Path]:
    bad = [folder / f"{name}.wav" for name in ("empty", "letter", "short", "nan", "none")]
    bad[0].write_bytes(b"")
    bad[1].write_text("this is a letter")
    bad[2].write_bytes(tone(bad[2]).read_bytes()[:-100])
    soundfile.write(bad[3], np.array([0.1, np.nan], np.float32), 16000, subtype="FLOAT")
    soundfile.write(bad[4], np.zeros(0, np.float32), 16000)
    return bad


def test_damaged_files_are_named_and_left_out(tmp_path):
    bad = damaged(tmp_path)
    for file in bad:
        with pytest.raises(AudioError, match=file.name):
            inspect_audio(file)
    rows = [Utterance(file, "sad", "anna") for file in [tone(tmp_path / "good.wav"), *bad]]
    with pytest.raises(LayoutError, match=r"empty\.wav"):
        inspect_corpus(rows, Problems("stop"))
    problems = Problems("skip")
    usable, inspections = inspect_corpus(rows, problems)
    assert [row.file.name for row in usable] == [file.name for file in inspections] == ["good.wav"]
    assert [Path(message.split(":")[0]) for message in problems.found] == bad


def test_silent_files_are_left_out_where_files_are_skipped(tmp_path):
    write_wav(tmp_path / "silent.wav", np.zeros(800), 16000)
    rows = [Utterance(tmp_path / "silent.wav", "sad", "anna"), Utterance(tone(tmp_path / "1.wav"), "sad", "anna")]
    assert inspect_corpus(rows, Problems("stop"))[0] == rows
    problems = Problems("skip")
    assert inspect_corpus(rows, problems)[0] == rows[1:]
    assert "silent.wav: is silent (below -60 dB)" in problems.found[0]


def test_segments_outside_of_their_file_are_named(tmp_path):
    file = tone(tmp_path / "1.wav", 1.0)
    rows = [Utterance(file, "sad", "anna", start=s, end=e) for s, e in [(0.5, 1.04), (0.5, 1.2), (1.5, None)]]
    problems = Problems("skip")
    usable, _ = inspect_corpus(rows, problems)
    assert usable == rows[:1]
    assert "0.5 s to 1.2 s, the file has 1 s" in problems.found[0]
    assert len(problems.found) == 2


def summary_of(rows, **options):
    usable, inspections = inspect_corpus(rows, Problems("stop"))
    return summarise(Preparation("test", tuple(usable), {}, {}), inspections, **options)


def balanced(folder: Path) -> list[Utterance]:
    return [
        Utterance(tone(folder / f"{speaker}{label}.wav", 0.25), label, speaker)
        for speaker in ("anna", "ben", "cleo")
        for label in ("angry", "sad")
    ]


def test_summary_of_a_sound_corpus_warns_of_nothing(tmp_path):
    summary = summary_of(balanced(tmp_path))
    assert summary.warnings == []
    assert (summary.utterances, summary.files, summary.seconds) == (6, 6, 1.5)
    assert (summary.labels["sad"].utterances, summary.labels["sad"].seconds) == (3, 0.75)
    assert summary.speakers["ben"].counterparts == 2
    assert summary.sample_rates == {16000: 6}
    assert json.loads(json.dumps(summary.to_dict()))["labels"]["sad"]["utterances"] == 3


def test_summary_counts_segments_not_files(tmp_path):
    file = tone(tmp_path / "1.wav", 1.0)
    summary = summary_of([Utterance(file, "sad", "anna", None, s, e) for s, e in [(None, 0.25), (0.25, None)]])
    assert (summary.files, summary.utterances, summary.seconds) == (1, 2, 1.0)


def more_of_one_label(rows, folder):
    return rows + [Utterance(tone(folder / f"{i}.wav"), "sad", "anna") for i in range(7)]


def label_of_one_speaker(rows, folder):
    return [row for row in rows if row.label == "angry" or row.speaker == "anna"]


def one_label(rows, folder):
    return [row for row in rows if row.label == "sad"]


def two_speakers(rows, folder):
    return [row for row in rows if row.speaker != "ben"]


def unknown_speaker(rows, folder):
    return [*rows, Utterance(tone(folder / "1.wav"), "sad", "unknown")]


def two_splits(rows, folder):
    return [replace(row, extra={"split": "train" if row.label == "sad" else "test"}) for row in rows]


def two_sessions(rows, folder):
    return [replace(row, session=row.label) for row in rows]


def other_rate(rows, folder):
    return [*rows, Utterance(tone(folder / "1.wav", rate=48000), "sad", "anna")]


def stereo(rows, folder):
    soundfile.write(folder / "1.wav", np.full((800, 2), 0.1), 16000)
    return [*rows, Utterance(folder / "1.wav", "sad", "anna")]


def clipped(rows, folder):
    write_wav(folder / "1.wav", np.clip(3 * np.sin(np.arange(800)), -1, 1), 16000)
    return [*rows, Utterance(folder / "1.wav", "sad", "anna")]


def silent(rows, folder):
    write_wav(folder / "1.wav", np.full(800, 0.0005), 16000)
    return [*rows, Utterance(folder / "1.wav", "sad", "anna")]


def short(rows, folder):
    return [*rows, Utterance(tone(folder / "1.wav", 0.02), "sad", "anna")]


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [
        (more_of_one_label, "labels are unbalanced: sad has 10 utterances, angry has 3"),
        (label_of_one_speaker, "only one speaker has sad"),
        (one_label, "there is one label only, sad"),
        (two_speakers, "speakers: 2; a split by speaker needs three"),
        (unknown_speaker, "1 utterances have the speaker 'unknown'"),
        (two_splits, "speakers overlap: anna, ben, cleo occur in several parts"),
        (two_sessions, "speakers overlap: anna, ben, cleo occur in several sessions"),
        (other_rate, "1 of 7 files are not at 16000 Hz (48000 Hz: 1)"),
        (stereo, "1 of 7 files have several channels"),
        (clipped, "1 of 7 files are clipped"),
        (short, "1 of 7 files are shorter than one frame"),
        (silent, "1 of 7 files are silent"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_summary_warns(tmp_path, spoil, warning):
    [found] = summary_of(spoil(balanced(tmp_path), tmp_path)).warnings
    assert found.startswith(warning)
