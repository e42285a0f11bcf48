"""Input checks, batches, identity: what callers of LogMel rely on."""

import copy
import json
import pickle
import subprocess
import sys
import tracemalloc
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


class Tensor:
    """What a foreign tensor shows of itself: DLPack, and no other way in."""

    def __init__(self, array, device=(1, 0), refusal=None):
        self._array, self._device, self._refusal = array, device, refusal
        self.dtype, self.device = array.dtype, "cuda:0" if device[0] == 2 else "cpu"

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, **how):
        if self._refusal is not None:
            raise self._refusal
        return self._array.__dlpack__()


def peak_bytes(call):
    """The most memory that numpy and Python held at once during the call, beyond what they held before."""
    call()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "read-only", "torch", "dlpack"])
def test_audio_is_read_where_it_lies(dtype, kind):
    audio = np.zeros(1 << 20, dtype)
    audio[:2000] = voice_like(2000) if dtype == np.int16 else voice_like(2000) / 32768
    given = {
        "array": lambda: audio,
        "read-only": lambda: np.frombuffer(audio.tobytes(), dtype),
        "torch": lambda: pytest.importorskip("torch").from_numpy(audio),
        "dlpack": lambda: Tensor(audio),
    }[kind]()
    front_end, stream = LogMel(n_mels=2, hop_seconds=0.5, deltas=False), LogMel(n_mels=2, hop_seconds=0.5).stream()
    assert np.array_equal(front_end(given), front_end(audio))
    for call in (
        lambda: front_end(given),
        lambda: front_end.batch([given], n_threads=1),
        lambda: stream.push(given),
    ):
        assert peak_bytes(call) < audio.nbytes / 20
    strided = np.repeat(audio, 2)[::2]
    assert peak_bytes(lambda: front_end(strided)) >= audio.nbytes, "the measurement sees no copy"


def test_arguments_are_released():
    audio = voice_like(4000).astype(np.float32)
    out = np.empty((30, 120), np.float32)
    before = sys.getrefcount(audio), sys.getrefcount(out)
    front_end = LogMel()
    stream = front_end.stream()
    for _ in range(20):
        front_end(audio)
        front_end(audio, out=out)
        front_end.batch([audio, audio])
        stream.push(audio)
        with pytest.raises(ValueError, match="out"):
            front_end(audio, out=audio)
        with pytest.raises(ValueError, match="mono"):
            stream.push(out)
    assert (sys.getrefcount(audio), sys.getrefcount(out)) == before


def test_features_go_to_torch_without_a_copy():
    torch = pytest.importorskip("torch")
    front_end = LogMel()
    stream = front_end.stream()
    audio = voice_like(4000)
    for features in (front_end(audio), front_end.batch([audio])[0], stream.push(audio), stream.finish()):
        tensor = torch.from_numpy(features)
        tensor[...] = 7
        assert (features == 7).all()
        assert tensor.data_ptr() == features.ctypes.data


def torch_tensors():
    torch = pytest.importorskip("torch")
    return {
        "requires_grad": (torch.zeros(800, requires_grad=True), "float32.*gradient.*detach"),
        "bfloat16": (torch.zeros(800, dtype=torch.bfloat16), r"bfloat16.*\.float\(\)"),
        "float16": (torch.zeros(800, dtype=torch.float16), "dtype float16.*float32 or float64.*convert it"),
        "int32": (torch.zeros(800, dtype=torch.int32), "dtype int32.*int16"),
        "meta": (torch.zeros(800, device="meta"), r"meta.*\.cpu\(\)"),
        "stereo": (torch.zeros(2, 800), r"shape \(2, 800\).*average the channels"),
        "empty": (torch.zeros(0), "empty"),
    }


@pytest.mark.parametrize("kind", ["requires_grad", "bfloat16", "float16", "int32", "meta", "stereo", "empty"])
def test_tensors_of_the_wrong_kind_are_named_with_a_remedy(kind):
    tensor, says = torch_tensors()[kind]
    with pytest.raises(ValueError, match=f"^waveform .*{says}") as error:
        LogMel()(tensor)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^waveforms\[1\] "):
        LogMel().batch([np.ones(800), tensor])


def test_tensor_on_a_gpu_is_named_with_a_remedy():
    refusal = RuntimeError("Unsupported device in DLTensor.")
    with pytest.raises(ValueError, match=r"^waveform is a Tensor \(float32 cuda:0\).*main memory.*\.cpu\(\)"):
        LogMel()(Tensor(np.zeros(800, np.float32), device=(2, 0), refusal=refusal))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("spare", [0, 7])
def test_features_may_be_written_to_a_given_place(precision, kind, spare):
    front_end = LogMel(precision=precision)
    audio = [voice_like(n) / 32768 for n in (4000, 300, 2000)]
    single = np.full((23 + spare, 120), np.nan, precision)
    several = np.full((3, 23 + spare, 120), np.nan, precision)
    given = single, several
    if kind == "torch":
        torch = pytest.importorskip("torch")
        given = torch.from_numpy(single), torch.from_numpy(several)
    features = front_end(audio[0], out=given[0])
    assert type(features) is type(given[0])
    assert np.array_equal(features, front_end(audio[0]))
    assert np.array_equal(single[:23], features)
    assert np.isnan(single[23:]).all()
    batch, lengths = front_end.batch(audio, out=given[1])
    expected, expected_lengths = front_end.batch(audio)
    assert type(batch) is type(given[1])
    assert np.array_equal(batch, expected)
    assert np.array_equal(lengths, expected_lengths)
    assert np.array_equal(several[:, :23], expected)
    assert not several[:, 23:].any()


def test_no_frames_fit_any_place():
    out = np.ones((3, 120), np.float32)
    assert LogMel()(voice_like(300), out=out).shape == (0, 120)
    assert (out == 1).all()
    assert LogMel().batch([], out=np.empty((0, 5, 120), np.float32))[0].shape == (0, 0, 120)


def frozen(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (np.empty((22, 120), np.float32), r"shape \(22, 120\).*\(23, 120\)"),
        (np.empty((23, 119), np.float32), r"shape \(23, 119\)"),
        (np.empty(23 * 120, np.float32), "shape"),
        (np.empty((1, 23, 120), np.float32), "shape"),
        (np.empty((23, 120)), "dtype float64.*float32"),
        (np.empty((23, 120), ">f4"), "dtype >f4"),
        (np.empty((120, 23), np.float32).T, "C-contiguous"),
        (np.empty((46, 120), np.float32)[::2], "C-contiguous"),
        (np.frombuffer(bytearray(23 * 480 + 1), np.uint8)[1:].view(np.float32).reshape(23, 120), "C-contiguous"),
        (frozen(np.empty((23, 120), np.float32)), "read-only"),
        ([[0.0] * 120] * 23, "is a list"),
        (Tensor(np.empty((23, 120), np.float32), device=(2, 0)), r"is a Tensor \(float32 cuda:0\)"),
    ],
)
def test_place_that_does_not_fit_is_named_with_a_remedy(out, says):
    with pytest.raises(ValueError, match=rf"^out .*{says}.*give numpy.empty\(\(23, 120\), numpy.float32\)"):
        LogMel()(voice_like(4000), out=out)


def test_place_in_torch_that_does_not_fit_is_named():
    torch = pytest.importorskip("torch")
    for out in (torch.empty(23, 120, requires_grad=True), torch.empty(23, 120, device="meta")):
        with pytest.raises(ValueError, match="^out is a .*give numpy.empty"):
            LogMel()(voice_like(4000), out=out)


def test_place_of_a_batch_has_one_row_per_utterance():
    with pytest.raises(ValueError, match=r"^out has shape \(3, 23, 120\).*\(2, 23, 120\)"):
        LogMel().batch([voice_like(4000)] * 2, out=np.empty((3, 23, 120), np.float32))


def test_place_within_the_audio_is_refused():
    n_values = 2 * 23 * 120
    memory = np.zeros(n_values + 4000, np.float32)
    out = memory[:n_values].reshape(2, 23, 120)
    front_end = LogMel()
    assert front_end.batch([memory[n_values:]] * 2, out=out)[0].shape == out.shape
    out[:] = 0
    for start in (0, n_values - 1):
        audio = memory[start : start + 4000]
        with pytest.raises(ValueError, match="out shares memory with waveform:"):
            front_end(audio, out=memory[:n_values].reshape(46, 120))
        with pytest.raises(ValueError, match=r"out shares memory with waveforms\[1\]:"):
            front_end.batch([np.zeros(800), audio], out=out)


def test_refused_audio_leaves_the_place_as_it_was():
    out = np.ones((23, 120), np.float32)
    damaged = np.zeros(4000)
    damaged[3999] = np.nan
    with pytest.raises(ValueError, match="sample 3999"):
        LogMel()(damaged, out=out)
    assert (out == 1).all()


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


class Utterances:
    """A data set whose features are computed where the loader's workers are."""

    def __init__(self, front_end):
        self.front_end = front_end

    def __len__(self):
        return 6

    def __getitem__(self, index):
        features, lengths = self.front_end.batch([voice_like(1000 + 200 * index, seed=index)] * 3, n_threads=2)
        return features[2]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers_compute_what_the_parent_does(method):
    torch = pytest.importorskip("torch")
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform cannot {method}")
    data = Utterances(LogMel())
    expected = [data[i] for i in range(len(data))]  # with threads, before the workers are forked
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=method)
    for features, wanted in zip(loader, expected, strict=True):
        assert np.array_equal(features, wanted)


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
