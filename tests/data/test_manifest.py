import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.data import ManifestError, Utterance, read_manifest, write_manifest

HEADER = "file,label,speaker"

# Everything UTF-8 can hold; a file name has neither a slash nor NUL.
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
name = text.map(str.strip).filter(bool)
file_name = text.filter(lambda s: not set(s) & set("/\0") and s.strip() and s not in {".", ".."})
seconds = st.floats(0, 1e6, exclude_max=True)


@st.composite
def utterances(draw, folder):
    parts = draw(st.lists(file_name, min_size=1, max_size=3))
    start, end = sorted(draw(st.lists(seconds, min_size=2, max_size=2, unique=True)))
    return Utterance(
        file=draw(st.sampled_from([folder, folder / "wav", folder.parent])).joinpath(*parts),
        label=draw(name),
        speaker=draw(name),
        session=draw(st.none() | name),
        start=draw(st.sampled_from([None, start])),
        end=draw(st.sampled_from([None, end])),
        text=draw(st.none() | text),
        extra={"phonemes": draw(st.text(st.characters(exclude_categories=["Cs"]))), "room, large": draw(name)},
    )


@given(st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("corpus").resolve()
    rows = data.draw(st.lists(utterances(folder), min_size=1, max_size=5, unique_by=lambda u: u.file))
    write_manifest(folder / "manifest.csv", rows)
    assert read_manifest(folder / "manifest.csv") == rows


def test_paths_are_relative_so_that_a_corpus_can_move(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write_manifest(old / "manifest.csv", [Utterance(old / "wav" / "a.wav", "sad", "anna")])
    assert (old / "manifest.csv").read_text() == "file,label,speaker\nwav/a.wav,sad,anna\n"
    old.rename(new)
    assert read_manifest(new / "manifest.csv")[0].file == (new / "wav" / "a.wav").resolve()


def test_files_beside_the_manifest_folder_are_reached_upwards(tmp_path):
    write_manifest(tmp_path / "lists" / "m.csv", [Utterance(tmp_path / "wav" / "a.wav", "sad", "anna")])
    assert "../wav/a.wav,sad,anna" in (tmp_path / "lists" / "m.csv").read_text()
    assert read_manifest(tmp_path / "lists" / "m.csv")[0].file == (tmp_path / "wav" / "a.wav").resolve()


def test_a_relative_path_belongs_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_manifest("lists/m.csv", [Utterance(Path("wav/a.wav"), "sad", "anna")])
    assert read_manifest("lists/m.csv")[0].file == (tmp_path / "wav" / "a.wav").resolve()


def test_optional_cells_may_be_empty(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{HEADER},session,start,end,text,room\na.wav, sad ,anna,,,1.5,,\n")
    (row,) = read_manifest(path)
    assert (row.label, row.session, row.start, row.end, row.text) == ("sad", None, None, 1.5, None)
    assert row.extra == {"room": ""}
    assert row.duration == 1.5


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(codecs.BOM_UTF8 + f"{HEADER}\r\na.wav,s\u00e4d,anna\r\n\r\n".encode())
    assert read_manifest(path)[0].label == "s\u00e4d"


def test_two_pieces_of_one_file_are_not_duplicates(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{HEADER},start,end\na.wav,sad,anna,0,1\na.wav,sad,anna,1,2\n")
    assert [row.start for row in read_manifest(path)] == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"m\.csv: is empty; the first line must name"),
        (f"{HEADER}\n", r"m\.csv: lists no utterances"),
        ("file,speaker\na.wav,anna\n", r"line 1: column label is missing"),
        ("a.wav,sad,anna\n", r"line 1: column file is missing"),
        (f"{HEADER},label\na.wav,sad,anna,sad\n", r"line 1: column label appears twice"),
        (f"{HEADER},\na.wav,sad,anna,\n", r"line 1: column 4 has no name"),
        (f"{HEADER}\nb.wav,sad,anna\na.wav,,anna\n", r"line 3, column label: is empty"),
        (f"{HEADER}\na.wav,  ,anna\n", r"line 2, column label: is empty"),
        (f"{HEADER}\n,sad,anna\n", r"line 2, column file: is empty"),
        (f"{HEADER}\na.wav,sad,\n", r"line 2, column speaker: is empty"),
        (f"{HEADER}\na.wav,sad\n", r"line 2: has 2 cells, the header has 3"),
        (f"{HEADER}\na.wav,sad,anna,x\n", r"line 2: has 4 cells"),
        (f"{HEADER},start\na.wav,sad,anna,soon\n", r"line 2, column start: must be a number of seconds.*'soon'"),
        (f"{HEADER},end\na.wav,sad,anna,nan\n", r"line 2, column end: must be a number"),
        (f"{HEADER},end\na.wav,sad,anna,inf\n", r"line 2, column end: must be a number"),
        (f"{HEADER},start\na.wav,sad,anna,-1\n", r"line 2, column start: must be a number"),
        (f"{HEADER},start,end\na.wav,sad,anna,2,2\n", r"line 2, column end: start must be before end, got 2 s and 2 s"),
        (f"{HEADER},end\na.wav,sad,anna,0\n", r"line 2, column end: start must be before end"),
        (f"{HEADER}\na.wav,sad,anna\nb.wav,sad,anna\n./a.wav,sad,ben\n", r"line 4, column file: repeats line 2"),
        (f'{HEADER}\n"a\nb.wav",sad,anna\nc.wav,,anna\n', r"line 4, column label: is empty"),
        (f'{HEADER}\n"a.wav,sad,anna\n', r"line 2: is not valid CSV.*check its quotes"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_place(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_other_encodings_and_missing_manifests_are_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(f"{HEADER}\na.wav,säd,anna\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="is not UTF-8"):
        read_manifest(path)
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(tmp_path / "other.csv")


def test_missing_audio_is_named_on_request(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"{HEADER}\na.wav,sad,anna\nb.wav,sad,anna\n")
    (tmp_path / "a.wav").touch()
    assert len(read_manifest(path)) == 2
    with pytest.raises(ManifestError, match=r"line 3, column file: no such audio file, .*b\.wav"):
        read_manifest(path, check_files=True)


@pytest.mark.parametrize("key", ["", " room", "label", "start"])
def test_an_extra_column_needs_a_name_of_its_own(tmp_path, key):
    with pytest.raises(ManifestError, match="extra column"):
        write_manifest(tmp_path / "m.csv", [Utterance(tmp_path / "a.wav", "sad", "anna", extra={key: "x"})])
    assert not (tmp_path / "m.csv").exists()


def test_an_empty_manifest_is_not_written(tmp_path):
    (tmp_path / "m.csv").write_text("old")
    with pytest.raises(ManifestError, match="no utterances"):
        write_manifest(tmp_path / "m.csv", [])
    assert (tmp_path / "m.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": ""}, "label"),
        ({"speaker": " anna"}, "speaker"),
        ({"session": ""}, "session"),
        ({"start": -1.0}, "start"),
        ({"end": float("nan")}, "end"),
        ({"start": 2.0, "end": 1.0}, "start must be before end"),
    ],
)
def test_an_impossible_utterance_cannot_be_made(fields, message):
    with pytest.raises(ValueError, match=message):
        Utterance(**{"file": Path("a.wav"), "label": "sad", "speaker": "anna", **fields})


def test_utterances_can_be_hashed():
    assert len({Utterance(Path("a.wav"), "sad", "anna", extra={"room": "1"}) for _ in range(2)}) == 1
