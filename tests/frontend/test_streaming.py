"""A stream equals the whole utterance, bit for bit, however the audio is cut."""

import copy
import inspect
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.frontend import LogMel, LogMelStream
from tests.frontend.signals import PRESETS, voice_like

SHORTEST = {"torchaudio": 257}  # has to be mirrored


def streamed(front_end: LogMel, audio: np.ndarray, cuts: list[int]) -> np.ndarray:
    stream = front_end.stream()
    rows = [stream.push(chunk) for chunk in np.split(audio, sorted(cuts))]
    return np.concatenate([*rows, stream.finish()])


@given(data=st.data(), preset=st.sampled_from(PRESETS), precision=st.sampled_from(["float32", "float64"]))
def test_any_chunking_equals_the_whole(data, preset, precision):
    n = data.draw(st.integers(SHORTEST.get(preset, 1), 5000), label="samples")
    cuts = data.draw(st.lists(st.integers(0, n), max_size=20), label="cuts")
    dtype = data.draw(st.sampled_from([np.int16, np.float32, np.float64]), label="dtype")
    front_end = LogMel(preset=preset, precision=precision, top_db=None)
    audio = voice_like(n, seed=n)
    audio = audio if dtype == np.int16 else (audio / 32768).astype(dtype)
    assert np.array_equal(streamed(front_end, audio, cuts), front_end(audio))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("n_samples", [400, 1601])
def test_one_sample_at_a_time_equals_the_whole(preset, n_samples):
    front_end = LogMel(preset=preset, top_db=None)
    audio = voice_like(n_samples)
    assert np.array_equal(streamed(front_end, audio, list(range(1, n_samples))), front_end(audio))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_short_length_equals_the_whole(preset):
    front_end = LogMel(preset=preset, top_db=None)
    for n in range(SHORTEST.get(preset, 1), 1300, 7):
        audio = voice_like(n, seed=n)
        assert np.array_equal(streamed(front_end, audio, [n // 3]), front_end(audio)), n


@given(
    framing=st.sampled_from(["snip_edges", "pad_end", "center_zero", "center_reflect"]),
    window=st.sampled_from([0.002, 0.0101, 0.025, 0.032]),
    hop=st.sampled_from([1 / 16000, 0.003, 0.01, 0.05, 0.2]),
    mode=st.sampled_from(["frame", "signal"]),
    reach=st.integers(1, 16),
    deltas=st.booleans(),
    n=st.integers(300, 4000),
    chunk=st.integers(1, 1500),
)
def test_odd_geometries_equal_the_whole(framing, window, hop, mode, reach, deltas, n, chunk):
    front_end = LogMel(
        n_mels=20,
        framing=framing,
        window_seconds=window,
        hop_seconds=hop,
        preemphasis_mode=mode,
        delta_window=reach,
        deltas=deltas,
        fft_size=512,
        low_hz=100,
    )
    audio = voice_like(n, seed=n)
    assert np.array_equal(streamed(front_end, audio, list(range(chunk, n, chunk))), front_end(audio))


def test_rows_come_four_frames_after_their_audio():
    audio = voice_like(16000)
    with_deltas, without = LogMel().stream(), LogMel(deltas=False).stream()
    for start in range(0, 16000, 160):
        heard = start + 160
        complete = LogMel().frame_count(heard)
        before = LogMel().frame_count(start)
        assert len(without.push(audio[start:heard])) == complete - before
        assert len(with_deltas.push(audio[start:heard])) == max(0, complete - 4) - max(0, before - 4)


def test_types_may_change_between_chunks():
    audio = voice_like(4000)
    stream = LogMel().stream()
    rows = [
        stream.push(audio[:1000]),
        stream.push(audio[1000:2000] / 32768),
        stream.push((audio[2000:] / 32768).astype(np.float32)),
        stream.finish(),
    ]
    assert np.array_equal(np.concatenate(rows), LogMel()(audio))


def test_empty_chunks_change_nothing():
    audio = voice_like(2000)
    stream = LogMel().stream()
    rows = [stream.push([]), stream.push(audio[:0]), stream.push(audio), stream.push(audio[:0]), stream.finish()]
    assert rows[0].shape == (0, 120)
    assert np.array_equal(np.concatenate(rows), LogMel()(audio))


@pytest.mark.parametrize("preset", PRESETS)
def test_stream_without_audio_finishes_without_rows(preset):
    assert LogMel(preset=preset, top_db=None).stream().finish().shape == (0, 120)


def test_refused_chunks_leave_the_stream_as_it_was():
    audio = voice_like(6000) / 32768
    damaged = audio[2000:4000].copy()
    damaged[1500] = np.nan
    stream = LogMel().stream()
    rows = [stream.push(audio[:2000])]
    for bad in (damaged, audio[:100].reshape(50, 2), np.arange(10), "noise", None):
        with pytest.raises(ValueError, match="waveform"):
            stream.push(bad)
    rows += [stream.push(audio[2000:]), stream.finish()]
    assert np.array_equal(np.concatenate(rows), LogMel()(audio))


def test_finished_stream_wants_a_reset():
    audio = voice_like(3000)
    stream = LogMel().stream()
    stream.push(voice_like(777, seed=5))
    stream.finish()
    with pytest.raises(RuntimeError, match="reset"):
        stream.push(audio)
    with pytest.raises(RuntimeError, match="reset"):
        stream.finish()
    stream.reset()
    assert np.array_equal(np.concatenate([stream.push(audio), stream.finish()]), LogMel()(audio))


def test_reset_in_the_middle_forgets_everything():
    audio = voice_like(3000)
    for preset in ("kaldi", "psf", "torchaudio"):
        front_end = LogMel(preset=preset)
        stream = front_end.stream()
        stream.push(voice_like(2345, seed=9))
        stream.reset()
        assert np.array_equal(np.concatenate([stream.push(audio), stream.finish()]), front_end(audio))


def test_too_short_to_mirror_says_so_and_takes_more():
    audio = voice_like(300)
    stream = LogMel(preset="torchaudio").stream()
    rows = [stream.push(audio[:200])]
    with pytest.raises(ValueError, match="center_reflect"):
        stream.finish()
    rows += [stream.push(audio[200:]), stream.finish()]
    assert np.array_equal(np.concatenate(rows), LogMel(preset="torchaudio")(audio))


def test_top_db_refuses_to_stream_and_says_how():
    with pytest.raises(ValueError, match="top_db=None"):
        LogMel(preset="librosa").stream()


def test_long_stream_does_not_drift():
    audio = np.tile(voice_like(16000), 60)
    front_end = LogMel()
    assert np.array_equal(streamed(front_end, audio, list(range(1000, len(audio), 1000))), front_end(audio))


def resident_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc/self/status, where Linux says how much memory a program holds")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def test_four_hours_take_no_memory_and_end_like_the_whole():
    minute = np.tile(voice_like(16000), 60)
    front_end = LogMel(n_mels=8)
    stream = front_end.stream()
    rows, last = 0, None
    for _ in range(20):
        rows += len(stream.push(minute))
    tracemalloc.start()
    traced, resident = tracemalloc.get_traced_memory()[0], resident_bytes()
    for _ in range(4 * 60 - 20):
        last = stream.push(minute)
        rows += len(last)
    features_bytes = last.nbytes
    grown = tracemalloc.get_traced_memory()[0] - traced
    tracemalloc.stop()
    assert grown < 2 * features_bytes
    assert resident_bytes() - resident < 16 << 20
    tail = np.concatenate([last, stream.finish()])
    assert rows + 4 == front_end.frame_count(4 * 60 * len(minute))
    # The signal repeats every second, and so every 100 rows: the end of four hours is the end of three minutes.
    assert np.array_equal(tail[-5000:], front_end(np.tile(minute, 3))[-5000:])


def test_streams_in_many_threads_equal_the_whole():
    front_end = LogMel()
    audio = [voice_like(30000 + 1000 * i, seed=i) for i in range(4)]
    expected = [front_end(samples) for samples in audio]

    def in_pieces(samples, size):
        return streamed(front_end, samples, list(range(size, len(samples), size)))

    with ThreadPoolExecutor(4) as pool:
        for size in (160, 9000):  # with and without the interpreter lock
            for rows, wanted in zip(pool.map(in_pieces, audio, [size] * 4), expected, strict=True):
                assert np.array_equal(rows, wanted)


def test_stream_in_two_threads_is_refused_or_in_turn():
    chunk = voice_like(40000)
    stream = LogMel(n_mels=8).stream()
    pushed, problems = [], []

    def push_many():
        for _ in range(40):
            try:
                pushed.append(len(stream.push(chunk)))
            except RuntimeError as error:
                problems.append(str(error))

    threads = [threading.Thread(target=push_many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pushed) + len(problems) == 120
    assert set(problems) <= {"the stream is in use by another thread: give each thread a stream of its own"}
    frames = LogMel().frame_count(len(pushed) * len(chunk))
    assert sum(pushed) + len(stream.finish()) == frames


def test_streams_are_neither_pickled_nor_copied():
    stream = LogMel().stream()
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="front_end"):
            attempt(stream)


def test_methods_explain_themselves():
    for method in (LogMelStream.push, LogMelStream.finish, LogMelStream.reset):
        assert "Raises:" in inspect.getdoc(method)
    assert "chunk" in inspect.getdoc(LogMelStream.push).splitlines()[0]
    with pytest.raises(TypeError, match="chunk"):
        LogMel().stream().push()


def test_stream_may_be_extended():
    class Counting(LogMelStream):
        pushes = 0

        def push(self, chunk):
            self.pushes += 1
            return super().push(chunk)

    audio = voice_like(2000)
    stream = Counting(LogMel())
    assert np.array_equal(np.concatenate([stream.push(audio), stream.finish()]), LogMel()(audio))
    assert (stream.pushes, stream.front_end) == (1, LogMel())
