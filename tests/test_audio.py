import builtins
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from satn_fast.audio import AudioError, read_audio, write_wav

soundfile = pytest.importorskip("soundfile", reason="reading audio needs soundfile")
soxr = pytest.importorskip("soxr", reason="resampling needs soxr")


def tone(n=1600, rate=16000):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    write_wav(path, tone(), 16000)
    return path


@given(hnp.arrays(np.int16, st.integers(1, 200)))
def test_int16_survives_writing_and_reading(tmp_path_factory, pcm):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, pcm, 8000)
    audio = read_audio(path)
    assert audio.waveform.dtype == np.float32
    assert (audio.sample_rate, audio.original_rate, audio.resampled) == (8000, 8000, False)
    np.testing.assert_array_equal(audio.waveform * 32768, pcm)


def test_float_is_rounded_to_the_nearest_step(tmp_path):
    waveform = np.array([-1.0, -0.25, 0.0, 0.3, 1.0])
    write_wav(tmp_path / "a.wav", waveform, 16000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").waveform, waveform, rtol=0, atol=1 / 32768)
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [-32768, -8192, 0, 9830, 32767]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_resampling_keeps_the_tone_and_says_so(wav, rate):
    audio = read_audio(wav, sample_rate=rate)
    assert audio.sample_rate == rate
    assert audio.original_rate == 16000
    assert audio.resampled == (rate != 16000)
    assert audio.duration == pytest.approx(0.1, abs=1 / rate)
    inner = slice(rate // 50, -(rate // 50))
    np.testing.assert_allclose(audio.waveform[inner], tone(len(audio.waveform), rate)[inner], atol=5e-3)


def test_a_positive_rate_is_asked_for(wav):
    with pytest.raises(ValueError, match="sample_rate must be a positive"):
        read_audio(wav, sample_rate=0)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "aiff"])
def test_other_formats_are_read(tmp_path, suffix):
    soundfile.write(tmp_path / f"a.{suffix}", tone(), 16000)
    assert np.abs(read_audio(tmp_path / f"a.{suffix}").waveform - tone()).max() < 0.05


def test_stereo_is_refused_and_mixed_on_request(tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([tone(), np.zeros(1600)], axis=1), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"stereo\.wav: has 2 channels.*mix=True"):
        read_audio(path)
    np.testing.assert_allclose(read_audio(path, mix=True).waveform, tone() / 2, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, bad):
    waveform = tone()
    waveform[17] = bad
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="sample 17 is not finite"):
        read_audio(tmp_path / "a.wav")


def test_a_little_overshoot_is_clipped_and_another_scale_refused(tmp_path):
    soundfile.write(tmp_path / "hot.wav", tone() * 2.4, 16000, subtype="FLOAT")
    waveform = read_audio(tmp_path / "hot.wav").waveform
    assert np.abs(waveform).max() == 1.0
    soundfile.write(tmp_path / "integers.wav", tone() * 32768, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="divide by 32768"):
        read_audio(tmp_path / "integers.wav")


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(AudioError, match=r"no\.wav: no such file"):
        read_audio(tmp_path / "no.wav")
    with pytest.raises(AudioError, match="is a folder"):
        read_audio(tmp_path)
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"empty\.wav: is empty"):
        read_audio(tmp_path / "empty.wav")


@pytest.mark.parametrize("name", ["text.wav", "text.raw", "text.mp3", "text"])
def test_text_is_not_audio(tmp_path, name):
    (tmp_path / name).write_text("file,label,speaker\n" * 20)
    with pytest.raises(AudioError, match="is not a readable audio file") as caught:
        read_audio(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_wav_file_without_samples_is_refused(wav):
    content = wav.read_bytes()
    wav.write_bytes(content[:40] + struct.pack("<I", 0))
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(wav)


@pytest.mark.parametrize("missing", [1, 2, 999, 3199, 3200])
def test_a_truncated_wav_file_is_refused_where_soundfile_says_nothing(wav, missing):
    wav.write_bytes(wav.read_bytes()[:-missing])
    assert len(soundfile.read(wav)[0]) < 1600
    with pytest.raises(AudioError, match=rf"truncated.*declares 3200 bytes.*holds {3200 - missing}"):
        read_audio(wav)


@given(st.integers(0, 43))
def test_a_wav_file_cut_in_its_header_is_refused(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, tone(), 16000)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(AudioError):
        read_audio(path)


@pytest.mark.parametrize("declared", [2, 100, 3198])
def test_a_header_that_hides_samples_is_refused(wav, declared):
    content = bytearray(wav.read_bytes())
    content[40:44] = struct.pack("<I", declared)
    wav.write_bytes(content)
    assert len(soundfile.read(wav)[0]) == declared // 2
    with pytest.raises(AudioError, match=f"declares {declared} bytes of samples but {3200 - declared} more"):
        read_audio(wav)


def test_a_header_from_a_pipe_is_refused(wav):
    content = bytearray(wav.read_bytes())
    content[40:44] = content[4:8] = b"\xff\xff\xff\xff"
    wav.write_bytes(content)
    with pytest.raises(AudioError, match="declares 4294967295 bytes"):
        read_audio(wav)


@pytest.mark.parametrize(
    "tail", [b"LIST\x04\0\0\0abcd", b"\0" * 37, b"TAG" + b"x" * 125, b"bext\x01\0\0\0a\0id3 \x02\0\0\0ab"]
)
def test_chunks_tags_and_zeros_after_the_samples_are_fine(wav, tail):
    wav.write_bytes(wav.read_bytes() + tail)
    assert len(read_audio(wav).waveform) == 1600


@pytest.mark.parametrize(("file_format", "endian"), [("RF64", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE")])
def test_variants_of_wav_are_checked_too(tmp_path, file_format, endian):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16", format=file_format, endian=endian)
    assert len(read_audio(path).waveform) == 1600
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(path)


def test_a_truncated_flac_file_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 50000)
    soundfile.write(path, noise, 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError):
        read_audio(path)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 2)), "shape"),
        (np.zeros(0), "shape"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, 1.5]), "outside"),
        (np.array([1, 2]), "int16"),
    ],
)
def test_what_is_no_waveform_is_not_written(wav, waveform, message):
    before = wav.read_bytes()
    with pytest.raises(AudioError, match=message):
        write_wav(wav, waveform, 16000)
    assert wav.read_bytes() == before


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_is_named_with_its_extra(wav, monkeypatch, package):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == package:
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=rf"{package}.*satn-fast\[train\]"):
        read_audio(wav, sample_rate=8000)
