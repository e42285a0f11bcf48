"""Each preset equals its tool: on synthetic audio everywhere, on real speech where it is at hand."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from satn_fast.frontend import LogMel
from tests.frontend import oracles
from tests.frontend.opensmile_process import OpenSmile
from tests.frontend.signals import PRESETS, read_int16, speech_files, voice_like

N_MELS = 40


def kaldi_native_fbank(audio: np.ndarray, window: str, rate: int = 16000) -> np.ndarray:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = rate
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = N_MELS
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(rate, audio.astype(np.float32).tolist())
    fbank.input_finished()
    # get_frame returns a view of memory that the next call may move
    return np.array([fbank.get_frame(i).copy() for i in range(fbank.num_frames_ready)])


def python_speech_features(audio: np.ndarray, rate: int = 16000) -> np.ndarray:
    psf = pytest.importorskip("python_speech_features")
    fft_size = 1 << (round(0.025 * rate) - 1).bit_length()
    return psf.logfbank(audio.astype(np.float64), rate, nfilt=N_MELS, nfft=fft_size)


def librosa(audio: np.ndarray) -> np.ndarray:
    tool = pytest.importorskip("librosa")
    energies = tool.feature.melspectrogram(
        y=audio / 32768,
        sr=16000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        n_mels=N_MELS,
        center=True,
        pad_mode="constant",
        power=2.0,
        dtype=np.float64,  # of the filterbank, float32 by default
    )
    return tool.power_to_db(energies, ref=1.0, amin=1e-10, top_db=80).T


def torch_stft(audio: np.ndarray) -> np.ndarray:
    """MelSpectrogram's steps; torchaudio itself is a heavy thing to install for a filterbank."""
    torch = pytest.importorskip("torch")
    spectrum = torch.stft(
        torch.from_numpy(audio / 32768),
        n_fft=512,
        hop_length=160,
        win_length=400,
        window=torch.hann_window(400, periodic=True, dtype=torch.float64),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = spectrum.abs().numpy() ** 2
    matrix = oracles.mel_matrix(N_MELS, 512, 16000, 0, 8000, scale="htk", filters="hz", norm="none")
    return np.log(np.maximum(matrix @ power, 1e-10)).T


@pytest.fixture(scope="module")
def opensmile(tmp_path_factory) -> Iterator[Callable[[np.ndarray, int], np.ndarray]]:
    with OpenSmile(tmp_path_factory.mktemp("opensmile"), N_MELS) as process:
        yield process.features


@pytest.fixture
def tools(opensmile) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {
        "kaldi": lambda audio: kaldi_native_fbank(audio, "povey"),
        "kaldi-hamming": lambda audio: kaldi_native_fbank(audio, "hamming"),
        "htk": opensmile,
        "psf": python_speech_features,
        "torchaudio": torch_stft,
        "librosa": librosa,
    }


# Tools that compute in float64 are met exactly; the others are known only to float32.
EXACT_TOOLS = ("psf", "torchaudio", "librosa")


def assert_float32_close(features: np.ndarray, expected: np.ndarray) -> None:
    """What float32 can promise: near-silent bands beside loud ones lose digits in any FFT."""
    assert features.shape == expected.shape
    error = np.abs(features - expected)
    assert np.mean(error <= 1e-4) >= 0.999
    assert error.max() < 5e-3


def check_against_tool(preset: str, tool: Callable[[np.ndarray], np.ndarray], audio: list[np.ndarray]) -> None:
    precise = LogMel(preset=preset, precision="float64", deltas=False)
    expected = [tool(samples) for samples in audio]
    features = [precise(samples) for samples in audio]
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.shape == theirs.shape
    if preset in EXACT_TOOLS:
        for ours, theirs in zip(features, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    else:
        assert_float32_close(np.concatenate(features), np.concatenate(expected))


@pytest.mark.filterwarnings("ignore:n_fft=512 is too large:UserWarning")
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_equals_its_tool_on_synthetic_audio(preset, tools):
    lengths = (16000, 7777, 401, 400, 560) if preset != "htk" else (16000, 7777)
    check_against_tool(preset, tools[preset], [voice_like(n, seed) for seed, n in enumerate(lengths)])


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_equals_its_tool_on_real_speech(preset, tools):
    check_against_tool(preset, tools[preset], [read_int16(path) for path in speech_files()])


@pytest.mark.parametrize("preset", PRESETS)
def test_real_speech_meets_the_oracle_in_both_precisions(preset):
    narrow, wide = LogMel(preset=preset), LogMel(preset=preset, precision="float64")
    features, expected = [], []
    for path in speech_files():
        audio = read_int16(path)
        expected.append(oracles.log_mel(audio, wide.describe()))
        features.append(narrow(audio))
        np.testing.assert_allclose(wide(audio), expected[-1], rtol=0, atol=1e-9)
    assert_float32_close(np.concatenate(features), np.concatenate(expected))


@pytest.mark.parametrize("preset", PRESETS)
def test_linear_error_is_within_3e_6_of_the_loudest_band(preset):
    front_end = LogMel(preset=preset, log="none", floor=0, floor_mode="clamp", top_db=None, deltas=False)
    audio = voice_like(32000, seed=3)
    expected = oracles.mel_energies(audio, front_end.describe())
    error = np.abs(front_end(audio) - expected).max(axis=1)
    loudest = expected.max(axis=1)
    assert np.all(error <= 3e-6 * loudest + 1e-30)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000])
def test_kaldi_follows_its_tool_at_other_rates(rate):
    audio = voice_like(rate // 2, rate=rate)
    expected = kaldi_native_fbank(audio, "povey", rate)
    assert_float32_close(LogMel(sample_rate=rate, preset="kaldi", deltas=False)(audio), expected)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100])
def test_psf_follows_its_tool_at_other_rates(rate):
    audio = voice_like(rate // 2, rate=rate)
    ours = LogMel(sample_rate=rate, preset="psf", deltas=False, precision="float64")(audio)
    np.testing.assert_allclose(ours, python_speech_features(audio, rate), rtol=0, atol=1e-9)


# openSMILE rounds 8000 Hz to an FFT bin and drops that bin, which at these rates lies inside the last band.
HTK_DROPS_A_BIN = (44100, 48000)


@pytest.mark.parametrize("rate", [8000, 32000, 48000])
def test_htk_follows_its_tool_at_other_rates(rate, opensmile):
    audio = voice_like(rate // 2, rate=rate)
    ours, theirs = LogMel(sample_rate=rate, preset="htk", deltas=False)(audio), opensmile(audio, rate)
    bands = slice(0, N_MELS - 1 if rate in HTK_DROPS_A_BIN else N_MELS)
    assert_float32_close(ours[:, bands], theirs[:, bands])


@pytest.mark.parametrize(("rate", "window"), [(11025, 276), (22050, 551), (44100, 1103)])
def test_htk_differs_from_its_tool_only_in_bin_spacing_where_25_ms_are_no_whole_samples(rate, window, opensmile):
    # There openSMILE places the FFT bins as if the rate were window / 0.025 s (11040 Hz for 11025). Ours stand where
    # they are; the same move of the oracle's bins accounts for all of the difference.
    audio = voice_like(rate // 2, rate=rate)
    front_end, theirs = LogMel(sample_rate=rate, preset="htk", deltas=False), opensmile(audio, rate)
    assert front_end(audio).shape == theirs.shape
    assert front_end.frame_length == window
    moved = {"bin_rate": window / 0.025, "high_hz": min(8000, window / 0.05)}
    energies = oracles.mel_energies(audio, {**front_end.describe(), **moved})
    bands = slice(0, N_MELS - 1 if rate in HTK_DROPS_A_BIN else N_MELS)
    assert_float32_close(np.log(np.maximum(energies, 1e-12))[:, bands], theirs[:, bands])


def test_psf_takes_floats_as_they_are():
    audio = voice_like(8000) / 32768
    ours = LogMel(preset="psf", deltas=False, precision="float64")(audio)
    np.testing.assert_allclose(ours, python_speech_features(audio), rtol=0, atol=1e-9)


@pytest.mark.parametrize("preset", ["kaldi", "kaldi-hamming", "htk", "torchaudio", "librosa"])
def test_float_and_int16_audio_give_the_same_features(preset):
    audio = voice_like(6000)
    front_end = LogMel(preset=preset)
    from_int16 = front_end(audio)
    assert np.array_equal(front_end((audio / 32768).astype(np.float32)), from_int16)
    assert np.array_equal(front_end(audio / 32768), from_int16)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 50])
@pytest.mark.parametrize("reach", [1, 2, 3])
def test_deltas_equal_python_speech_features(frames, reach):
    psf = pytest.importorskip("python_speech_features")
    audio = voice_like(400 + 160 * (frames - 1))
    features = LogMel(delta_window=reach, precision="float64")(audio)
    static, first, second = np.split(features, 3, axis=1)
    np.testing.assert_allclose(first, psf.delta(static, reach), rtol=0, atol=1e-9)
    np.testing.assert_allclose(second, psf.delta(psf.delta(static, reach), reach), rtol=0, atol=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
def test_silence_gives_the_tools_floor(preset, tools):
    silence = np.zeros(8000, dtype=np.int16)
    features = LogMel(preset=preset)(silence)
    np.testing.assert_allclose(features[:, :N_MELS], tools[preset](silence), rtol=0, atol=1e-5)
    assert not features[:, N_MELS:].any()
