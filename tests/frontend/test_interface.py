"""Input checks, batches, identity: what callers of LogMel rely on."""

import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import satn_fast.frontend
from satn_fast.frontend import LogMel
from tests.frontend.signals import PRESETS, voice_like


@pytest.mark.parametrize("preset", PRESETS)
def test_geometry(preset):
    front_end = LogMel(n_mels=23, preset=preset)
    assert (front_end.sample_rate, front_end.n_mels, front_end.n_features) == (16000, 23, 69)
    assert (front_end.frame_length, front_end.hop_length, front_end.seconds_per_frame) == (400, 160, 0.01)
    features = front_end(voice_like(5000))
    assert features.shape == (front_end.frame_count(5000), 69)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("preset", "counts"),
    [
        ("kaldi", {0: 0, 1: 0, 399: 0, 400: 1, 559: 1, 560: 2}),
        ("psf", {0: 0, 1: 1, 400: 1, 401: 2, 560: 2, 561: 3}),
        ("librosa", {0: 0, 1: 1, 159: 1, 160: 2}),
        ("torchaudio", {0: 0, 256: 0, 257: 2, 320: 3}),
    ],
)
def test_frame_counts(preset, counts):
    front_end = LogMel(preset=preset)
    assert {n: front_end.frame_count(n) for n in counts} == counts


def test_too_short_for_a_window_gives_no_rows():
    features = LogMel()(voice_like(399))
    assert features.shape == (0, 120)
    assert features.dtype == np.float32


def test_float64_precision_returns_float64():
    assert LogMel(precision="float64")(voice_like(1000)).dtype == np.float64


def test_strided_and_foreign_arrays_are_accepted():
    torch = pytest.importorskip("torch")
    audio = voice_like(4000) / 32768
    expected = LogMel()(audio)
    assert np.array_equal(LogMel()(np.repeat(audio, 3)[::3]), expected)
    assert np.array_equal(LogMel()(audio[::-1].copy()[::-1]), expected)
    assert np.array_equal(LogMel()(audio.astype(">f8")), expected)
    assert np.array_equal(LogMel()(torch.from_numpy(audio)), expected)
    assert np.array_equal(LogMel()(audio.tolist()), expected)
    unaligned = np.frombuffer(b"x" + audio.tobytes(), dtype=np.uint8)[1:].view(np.float64)
    assert not unaligned.flags.aligned
    assert np.array_equal(LogMel()(unaligned), expected)
    frozen = audio.copy()
    frozen.flags.writeable = False
    assert np.array_equal(LogMel()(frozen), expected)


def test_input_is_not_modified():
    audio = voice_like(4000).astype(np.float32)
    before = audio.copy()
    LogMel(preset="psf")(audio)
    assert np.array_equal(audio, before)


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        ([], "empty"),
        (np.zeros(0, np.float32), "empty"),
        (np.zeros((800, 2), np.float32), "average the channels or pick one"),
        (np.zeros((1, 800), np.float32), "average the channels or pick one"),
        (np.zeros((1, 2, 800)), "one channel"),
        (np.float32(3), "one dimension"),
        (np.zeros(800, np.int32), "int32"),
        (np.zeros(800, np.uint8), "uint8"),
        (np.zeros(800, np.float16), "float16"),
        (np.zeros(800, np.complex64), "complex64"),
        (np.zeros(800, bool), "bool"),
        ([1, 2, 3], "int64"),
        (["a"] * 800, "dtype"),
        ([[1.0], [1.0, 2.0]], "cannot read"),
        (None, "waveform"),
        ({"audio": 1}, "waveform"),
    ],
)
def test_audio_of_the_wrong_kind_is_named_with_a_remedy(audio, says):
    with pytest.raises(ValueError, match="waveform") as error:
        LogMel()(audio)
    assert says in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [0, 1, 1023, 1024, 7999])
def test_first_sample_that_is_not_finite_is_named(value, dtype, index):
    audio = np.zeros(8000, dtype)
    audio[index] = value
    audio[index + 500 :] = np.nan
    with pytest.raises(ValueError, match=f"waveform: sample {index} is .*(nan|inf).*finite"):
        LogMel()(audio)


@pytest.mark.parametrize("preset", PRESETS)
def test_samples_that_overflow_are_refused_and_those_below_stay_finite(preset):
    front_end = LogMel(preset=preset)
    audio = np.zeros(1000)
    audio[500] = 1e30
    with pytest.raises(ValueError, match=r"sample 500 is 1e\+30, so large"):
        front_end(audio)
    loud = voice_like(4000) * 1e6
    assert np.isfinite(front_end(loud)).all()


def test_wrong_rate_is_named_with_a_remedy():
    audio = voice_like(1000)
    LogMel()(audio, sample_rate=16000)
    with pytest.raises(ValueError, match="sample_rate is 8000 Hz.*expects 16000 Hz.*resample"):
        LogMel()(audio, sample_rate=8000)


def test_unknown_parameter_lists_the_known_ones():
    with pytest.raises(TypeError, match="no parameter n_fft, win_length; .*window_seconds.*fft_size"):
        LogMel(n_fft=512, win_length=400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preset", "espnet"),
        ("preset", None),
        ("sample_rate", 0),
        ("sample_rate", 16000.5),
        ("sample_rate", 2**40),
        ("sample_rate", True),
        ("n_mels", 0),
        ("n_mels", 10**6),
        ("n_mels", "40"),
        ("window_seconds", 0),
        ("window_seconds", "25ms"),
        ("window_seconds", None),
        ("hop_seconds", float("nan")),
        ("fft_size", 400),
        ("fft_size", 2**40),
        ("window", "kaiser"),
        ("framing", 3),
        ("remove_dc", "yes"),
        ("deltas", 1),
        ("preemphasis", -0.1),
        ("low_hz", 9000),
        ("high_hz", 8001),
        ("log", "log2"),
        ("floor", 0),
        ("floor", 1e-300),
        ("top_db", 80),
        ("float_scale", 0),
        ("int16_scale", float("inf")),
        ("delta_window", 0),
        ("precision", "float16"),
    ],
)
def test_bad_parameter_is_named_with_its_value(name, value):
    with pytest.raises(ValueError, match=name) as error:
        LogMel(**{name: value})
    assert "must be" in str(error.value) or "needs" in str(error.value)


def test_numpy_scalars_are_as_good_as_python_numbers():
    front_end = LogMel(np.int64(16000), np.int32(40), window_seconds=np.float32(0.02), deltas=np.bool_(False))
    assert front_end.n_features == 40
    json.dumps(front_end.describe())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("overrides", [{}, {"fft_size": 1024, "high_hz": 7000.0, "deltas": False, "window": "hann"}])
def test_description_survives_json_and_pickle(preset, overrides):
    front_end = LogMel(22050, 30, preset, **overrides)
    audio = voice_like(6000, rate=22050)
    for twin in (
        LogMel(**front_end.describe()),
        LogMel(**json.loads(json.dumps(front_end.describe()))),
        pickle.loads(pickle.dumps(front_end)),
        copy.deepcopy(front_end),
        eval(repr(front_end)),
    ):
        assert twin == front_end
        assert hash(twin) == hash(front_end)
        assert np.array_equal(twin(audio), front_end(audio))


def test_equality_is_by_parameters():
    assert LogMel() == LogMel(window_seconds=0.025, fft_size=512)
    assert LogMel() != LogMel(n_mels=41)
    assert LogMel() != LogMel(preset="kaldi-hamming")
    assert LogMel() != "kaldi"
    assert len({LogMel(), LogMel(), LogMel(n_mels=41)}) == 2


def test_description_is_a_copy():
    front_end = LogMel()
    front_end.describe()["n_mels"] = 99
    assert front_end.describe()["n_mels"] == 40


@given(
    lengths=st.lists(st.integers(1, 3000), max_size=9),
    n_threads=st.sampled_from([None, 1, 2, 5]),
    preset=st.sampled_from(["kaldi", "psf", "librosa"]),
    precision=st.sampled_from(["float32", "float64"]),
)
def test_batch_equals_single_calls_and_pads_with_zeros(lengths, n_threads, preset, precision):
    front_end = LogMel(preset=preset, precision=precision)
    audio = [voice_like(n, seed=i) / (1 if i % 2 else np.float32(32768)) for i, n in enumerate(lengths)]
    features, counts = front_end.batch(audio, n_threads=n_threads)
    expected = [front_end(samples) for samples in audio]
    assert counts.dtype == np.int64
    assert features.dtype == np.dtype(precision)
    assert counts.tolist() == [len(rows) for rows in expected]
    assert features.shape == (len(lengths), max(counts, default=0), 120)
    for row, rows in zip(features, expected, strict=True):
        assert np.array_equal(row[: len(rows)], rows)
        assert not row[len(rows) :].any()


def test_batch_names_the_utterance_at_fault():
    good = voice_like(2000) / 32768
    damaged = good.copy()
    damaged[7] = np.inf
    with pytest.raises(ValueError, match=r"waveforms\[2\]: sample 7 "):
        LogMel().batch([good, good, damaged, good], n_threads=2)
    with pytest.raises(ValueError, match=r"waveforms\[1\] has shape"):
        LogMel().batch([good, good.reshape(2, -1)])
    with pytest.raises(ValueError, match=r"waveforms\[0\] is empty"):
        LogMel().batch([[], good])
    with pytest.raises(ValueError, match="n_threads"):
        LogMel().batch([good], n_threads=0)


def test_threads_may_share_a_front_end():
    front_end = LogMel()
    audio = [voice_like(5000 + 300 * i, seed=i) for i in range(24)]
    expected = [front_end(samples) for samples in audio]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for rows, wanted in zip(pool.map(front_end, audio), expected, strict=True):
                assert np.array_equal(rows, wanted)


def test_features_outlive_the_front_end():
    rows = LogMel()(voice_like(1000))
    stream = LogMel().stream()
    assert np.isfinite(rows).all()
    assert stream.push(voice_like(3000)).shape == (13, 120)


def test_module_needs_neither_torch_nor_anything_but_numpy():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'scipy', 'librosa', 'soundfile']))\n"
        "from satn_fast.frontend import LogMel\n"
        "import numpy as np\n"
        "assert LogMel()(np.ones(1600)).shape == (8, 120)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_docstring_examples_run():
    import doctest

    outcome = doctest.testmod(satn_fast.frontend)
    assert outcome.attempted > 10
    assert outcome.failed == 0
