import numpy as np
import pytest

from satn_fast import LogMel
from satn_fast.audio import read_audio


def test_a_folder_of_npy_files(satn_fast, clips, tmp_path):
    result = satn_fast("features", *clips, "--output", tmp_path / "out")
    assert result.code == 0
    for clip in clips:
        features = np.load(tmp_path / "out" / f"{clip.stem}.npy", allow_pickle=False)
        np.testing.assert_array_equal(features, LogMel()(read_audio(clip).waveform))
        assert features.dtype == np.float32


def test_one_archive_with_other_settings(satn_fast, clips, tmp_path):
    options = ["--preset", "psf", "--n-mels", 20, "--sample-rate", 8000]
    assert satn_fast("features", *clips, "-o", tmp_path / "all.npz", *options).code == 0
    with np.load(tmp_path / "all.npz", allow_pickle=False) as archive:
        assert sorted(archive) == ["first", "second"]
        expected = LogMel(sample_rate=8000, n_mels=20, preset="psf")(read_audio(clips[0], 8000).waveform)
        np.testing.assert_array_equal(archive["first"], expected)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["--preset", "mfcc"], "mfcc"), (["--n-mels", 0], "n_mels"), (["--sample-rate", -1], "sample_rate")],
)
def test_bad_settings_are_one_line(satn_fast, clips, tmp_path, options, complaint):
    result = satn_fast("features", clips[0], "-o", tmp_path / "out", *options)
    assert result.code == 1
    assert result.errors.count("\n") == 1
    assert complaint in result.errors


def test_files_of_one_name_are_refused_before_anything_is_written(satn_fast, clips, tmp_path):
    result = satn_fast("features", clips[0], tmp_path / "other" / "first.wav", "-o", tmp_path / "out")
    assert result.code == 1
    assert "first" in result.errors
    assert not (tmp_path / "out").exists()


def test_a_bad_file_leaves_no_archive(satn_fast, clips, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"")
    result = satn_fast("features", clips[0], tmp_path / "bad.wav", "-o", tmp_path / "all.npz")
    assert result.code == 1
    assert "bad.wav" in result.errors
    assert not (tmp_path / "all.npz").exists()
