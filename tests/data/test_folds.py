import random
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.data import FoldsError, SpeakerOverlapWarning, Utterance, column_folds, read_folds


def spoken(speaker: str, name: str, **fields) -> Utterance:
    return Utterance(Path("/corpus") / speaker / name, "sad", speaker, **fields)


CORPUS = [spoken(s, f"{s}_{i}.flac", extra={"gender": g}) for s, g in (("anna", "f"), ("ben", "m")) for i in range(2)]


def folds_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "folds.csv"
    path.write_text(text, encoding="utf-8")
    return path


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("123"), min_size=2), st.integers(0, 99))
def test_every_utterance_is_in_the_fold_of_its_speaker(tmp_path_factory, folds, seed):
    if len(set(folds.values())) < 2:
        return
    rows = [spoken(speaker, f"{i}.wav") for speaker in folds for i in range(2)]
    random.Random(seed).shuffle(rows)
    text = "fold,speaker,validation\n" + "".join(f"{fold}, {speaker} ,\n" for speaker, fold in folds.items())
    path = folds_file(tmp_path_factory.mktemp("folds"), "\ufeff" + text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_folds(path, rows) == [folds[row.speaker] for row in rows]


def test_files_are_named_as_published_whatever_they_are_packed_in(tmp_path):
    path = folds_file(tmp_path, "file,fold\nanna_0.wav,1\nanna/anna_1.wav,1\n./ben/ben_0.WAV,2\ncorpus/ben/ben_1,2\n")
    assert read_folds(path, CORPUS) == ["1", "1", "2", "2"]


def test_names_with_dots_are_told_apart(tmp_path):
    rows = [spoken("m1", "m1.a_daj_1.wav"), spoken("m1", "m1.s_daj_1.wav")]
    path = folds_file(tmp_path, "file,fold\nm1.a_daj_1.wav,1\nm1.s_daj_1.wav,2\n")
    with pytest.warns(SpeakerOverlapWarning):
        assert read_folds(path, rows) == ["1", "2"]


def test_all_pieces_of_a_file_are_in_its_fold(tmp_path):
    rows = [spoken("anna", "talk.wav", start=i, end=i + 1) for i in range(2)] + [spoken("ben", "talk2.wav")]
    assert read_folds(folds_file(tmp_path, "file,fold\ntalk.wav,1\ntalk2.wav,2\n"), rows) == ["1", "1", "2"]


def test_a_speaker_in_several_folds_is_a_warning_that_names_them(tmp_path):
    path = folds_file(tmp_path, "file,fold\nanna_0.wav,1\nanna_1.wav,2\nben_0.wav,1\nben_1.wav,1\n")
    with pytest.warns(SpeakerOverlapWarning, match=r"folds\.csv: 1 speakers are in several folds: anna\.") as caught:
        assert read_folds(path, CORPUS) == ["1", "2", "1", "1"]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none; speaker,fold or file,fold are needed"),
        ("who,fold\nanna,1\n", "has the columns who,fold; speaker,fold"),
        ("speaker\nanna\n", "has the columns speaker; speaker,fold"),
        ("speaker,fold,fold\nanna,1,1\n", "has the columns speaker,fold,fold"),
        ("speaker,fold\n", "lists no speakers"),
        ("speaker,fold\nanna,1\nben\n", "line 3: has 1 cells, the header has 2"),
        ("speaker,fold\nanna,1\nben,\n", "line 3, column fold: is empty"),
        ("speaker,fold\n ,1\n", "line 2, column speaker: is empty"),
        ("speaker,fold\nanna,1\nben,2\nanna,2\n", "line 4: speaker anna stands in line 2 already"),
        ("speaker,fold\nanna,1\nben,2\neve,2\n", "speaker eve not in the corpus"),
        ("speaker,fold\nanna,1\nben,2\neve,3\n", r"no utterance is in fold 3, whose speakers \(eve\) are not in"),
        ("speaker,fold\nanna,1\n", "speaker ben of the corpus in no fold"),
        ("speaker,fold\nanna,1\nben,1\n", "has 1 fold; two are the least"),
        ("file,fold\nanna_0.wav,1\nanna_1.wav,1\nben_0.wav,2\n", "file .*ben_1.flac of the corpus in no fold"),
        ("file,fold\nanna_0.wav,1\nanna/anna_0.flac,1\n", "anna_0.wav, anna/anna_0.flac all name .*anna_0.flac"),
        ("file,fold\nben/anna_0.wav,1\nanna_1.wav,1\nben_0.wav,2\nben_1.wav,2\n", "file ben/anna_0.wav not in"),
        ('speaker,fold\n"anna,1\n', "is no CSV"),
    ],
)
def test_bad_folds_say_what_is_wrong(tmp_path, text, message):
    path = folds_file(tmp_path, text)
    with pytest.raises(FoldsError, match=message) as caught:
        read_folds(path, CORPUS)
    assert str(path) in str(caught.value)


def test_missing_and_foreign_files_of_folds_are_named(tmp_path):
    with pytest.raises(FoldsError, match=r"none\.csv: no such file; give a CSV"):
        read_folds(tmp_path / "none.csv", CORPUS)
    (tmp_path / "folds.csv").write_bytes("speaker,fold\nZoë,1\n".encode("latin-1"))
    with pytest.raises(FoldsError, match="is no CSV in UTF-8"):
        read_folds(tmp_path / "folds.csv", CORPUS)


def test_one_name_for_two_files_asks_for_their_folders(tmp_path):
    rows = [spoken("anna", "1.wav"), spoken("ben", "1.wav")]
    with pytest.raises(FoldsError, match=r"1\.wav names /corpus/anna/1\.wav and /corpus/ben/1\.wav; write the folders"):
        read_folds(folds_file(tmp_path, "file,fold\n1.wav,1\n"), rows)
    assert read_folds(folds_file(tmp_path, "file,fold\nanna/1.wav,1\nben/1.wav,2\n"), rows) == ["1", "2"]


# --- By a column -----------------------------------------------------------------------------------------------------


def test_any_column_but_the_label_parts_the_corpus():
    assert column_folds(CORPUS, "speaker") == ["anna", "anna", "ben", "ben"]
    assert column_folds(CORPUS, "gender") == ["f", "f", "m", "m"]
    sessions = [replace(row, session=f"Session{1 + (row.speaker == 'ben')}") for row in CORPUS]
    assert column_folds(sessions, "session") == ["Session1", "Session1", "Session2", "Session2"]


def test_leaving_a_sentence_out_warns_of_speakers_on_both_sides():
    rows = [replace(row, text=f"sentence {i % 2}") for i, row in enumerate(CORPUS)]
    with pytest.warns(SpeakerOverlapWarning, match="column text: 2 speakers are in several folds: anna, ben"):
        assert column_folds(rows, "text") == ["sentence 0", "sentence 1"] * 2


@pytest.mark.parametrize("column", ["label", "file", "start", "end"])
def test_columns_that_part_nobody_are_refused(column):
    with pytest.raises(FoldsError, match=f"column {column}: is none to leave out by"):
        column_folds(CORPUS, column)


def test_missing_empty_and_uniform_columns_are_named():
    with pytest.raises(FoldsError, match="column room: is not in the manifest, which has speaker, gender"):
        column_folds(CORPUS, "room")
    with pytest.raises(FoldsError, match=r"column session: is empty in 4 of 4 utterances, first .*anna_0\.flac"):
        column_folds(CORPUS, "session")
    partly = [replace(row, extra={"room": "1"}) if row.speaker == "ben" else row for row in CORPUS]
    with pytest.raises(FoldsError, match="column room: is empty in 2 of 4"):
        column_folds(partly, "room")
    with pytest.raises(FoldsError, match="column speaker: has 1 fold"):
        column_folds(CORPUS[:2], "speaker")
