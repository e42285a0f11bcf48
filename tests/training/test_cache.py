import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from satn_fast import LogMel
from satn_fast.audio import AudioError, write_wav
from satn_fast.data import Utterance
from satn_fast.training import CacheError, CacheWarning, FeatureCache, Perturbation, extract_features

FRONT_END = LogMel()


def corpus(folder: Path, count: int) -> list[Utterance]:
    """Short recordings, old enough for the index to remember their hashes."""
    random = np.random.default_rng(0)
    utterances = []
    for index in range(count):
        file = folder / f"{index}.wav"
        write_wav(file, random.uniform(-0.5, 0.5, 4000 + 37 * index).astype(np.float32), 16000)
        utterances.append(Utterance(file, "sad", "anna"))
    return utterances


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def entries(cache: FeatureCache) -> list[Path]:
    return sorted(cache.folder.glob("*.npy"))


def frames(count=10, value=1.0):
    return np.full((count, 120), value, np.float32)


def key(number: int) -> str:
    return f"{number:064x}"


def in_a_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


FILL = """
    import sys
    from pathlib import Path
    from satn_fast import LogMel
    from satn_fast.data import Utterance
    from satn_fast.training import FeatureCache, extract_features

    folder, files = Path(sys.argv[1]), sorted(Path(sys.argv[2]).glob("*.wav"))
    cache = FeatureCache(folder, LogMel())
    print("ready", flush=True)
    for file in files:
        extract_features([Utterance(file, "sad", "anna")], LogMel(), cache=cache)
    print(cache.misses)
"""


def test_features_are_the_same_from_the_cache_and_computed_once(tmp_path):
    utterances = corpus(tmp_path, 5)
    expected = extract_features(utterances, FRONT_END)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    assert same(extract_features(utterances, FRONT_END, cache=cache), expected)
    assert (cache.hits, cache.misses) == (0, 5)
    again = FeatureCache(tmp_path / "cache", FRONT_END)
    assert same(extract_features(utterances, FRONT_END, cache=again), expected)
    assert (again.hits, again.misses) == (5, 0)


def test_an_entry_is_a_plain_npy_file_read_through_a_map(tmp_path):
    cache = FeatureCache(tmp_path, FRONT_END)
    cache.put(key(1), frames(value=3.0))
    assert np.array_equal(np.load(cache.path(key(1)), allow_pickle=False), frames(value=3.0))
    found = cache.get(key(1))
    assert not found.flags.writeable
    while not isinstance(found, np.memmap) and found.base is not None:
        found = found.base
    assert type(found).__name__ in ("memmap", "mmap")


def test_other_settings_parts_speeds_and_contents_have_other_entries(tmp_path):
    (utterance,) = corpus(tmp_path, 1)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    keys = {
        cache.key(utterance.file),
        cache.key(utterance.file, 0.0, 0.1),
        cache.key(utterance.file, 0.1),
        cache.key(utterance.file, variant="speed=1.1"),
        FeatureCache(tmp_path / "cache", LogMel(preset="htk")).key(utterance.file),
        FeatureCache(tmp_path / "cache", LogMel(low_hz=50.0)).key(utterance.file),
        FeatureCache(tmp_path / "cache", FRONT_END, dtype="float16").key(utterance.file),
    }
    write_wav(utterance.file, np.zeros(4000, np.float32), 16000)
    keys.add(cache.key(utterance.file))
    assert len(keys) == 8


def test_the_content_counts_not_the_name(tmp_path):
    (utterance,) = corpus(tmp_path, 1)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    moved = utterance.file.rename(tmp_path / "moved.wav")
    before = cache.key(moved)
    moved.rename(utterance.file)
    assert cache.key(utterance.file) == before


def test_unchanged_files_are_not_hashed_again(tmp_path, monkeypatch):
    monkeypatch.setattr("satn_fast.training.cache._SETTLED_NANOSECONDS", -1)
    (utterance,) = corpus(tmp_path, 1)
    first = FeatureCache(tmp_path / "cache", FRONT_END).key(utterance.file)
    hashed = []
    monkeypatch.setattr("hashlib.file_digest", lambda *args: hashed.append(args))
    assert FeatureCache(tmp_path / "cache", FRONT_END).key(utterance.file) == first
    assert not hashed
    monkeypatch.undo()
    # The same size and time of change, but another content, as an archive of fixed times would bring it.
    stat = utterance.file.stat()
    content = bytearray(utterance.file.read_bytes())
    content[-1] ^= 1
    utterance.file.write_bytes(content)
    os.utime(utterance.file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FeatureCache(tmp_path / "cache", FRONT_END).key(utterance.file) != first


def test_a_torn_or_damaged_index_only_costs_another_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("satn_fast.training.cache._SETTLED_NANOSECONDS", -1)
    first, second = corpus(tmp_path, 2)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    expected = cache.key(first.file)
    index = tmp_path / "cache" / "index.jsonl"
    whole = index.read_bytes()
    for damage in (whole[:-20], whole.replace(b'"', b"'"), b"\xff\x00" + whole, b"[1, 2]", b"{}\n7\n[1,2,3,4]", b""):
        index.write_bytes(damage)
        damaged = FeatureCache(tmp_path / "cache", FRONT_END)
        assert damaged.key(first.file) == expected
        damaged.key(second.file)  # is appended behind the damage, and found again
        assert str(second.file) in FeatureCache(tmp_path / "cache", FRONT_END)._index._load()


@pytest.mark.parametrize("place", [0, 9, 40, 127, 128, 3000, -9, -8, -3, -1])
def test_a_flipped_byte_is_found_named_once_and_mended(tmp_path, place):
    (utterance,) = corpus(tmp_path, 1)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    expected = extract_features([utterance], FRONT_END, cache=cache)
    (entry,) = entries(cache)
    content = bytearray(entry.read_bytes())
    content[place] ^= 0x10
    entry.write_bytes(content)
    with pytest.warns(CacheWarning, match=entry.name) as warned:
        assert same(extract_features([utterance], FRONT_END, cache=cache), expected)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get(entry.stem) is not None
        entry.write_bytes(content)
        assert cache.get(entry.stem) is None  # named before


@pytest.mark.parametrize("size", [0, 5, 100, 136, 1000, -1])
def test_truncated_and_foreign_entries_count_as_missing(tmp_path, size):
    cache = FeatureCache(tmp_path, FRONT_END)
    cache.put(key(1), frames())
    content = cache.path(key(1)).read_bytes()
    cache.path(key(1)).write_bytes(content[:size])
    with pytest.warns(CacheWarning):
        assert cache.get(key(1)) is None
    cache.path(key(2)).write_bytes(content)  # whole, but of another key
    with pytest.warns(CacheWarning):
        assert cache.get(key(2)) is None


def test_two_processes_fill_one_cache_at_once(tmp_path):
    utterances = corpus(tmp_path, 30)
    writers = [in_a_process(FILL, tmp_path / "cache", tmp_path) for _ in range(2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(extract_features(utterances, FRONT_END, cache=cache), extract_features(utterances, FRONT_END))
    assert (len(cache), cache.hits, cache.misses) == (30, 30, 0)
    assert len(list((tmp_path / "cache").iterdir())) in (30, 31)  # entries and index, nothing temporary


def test_a_killed_writer_loses_nothing_that_was_written(tmp_path):
    utterances = corpus(tmp_path, 300)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    writer = in_a_process(FILL, tmp_path / "cache", tmp_path)
    writer.stdout.readline()
    while len(cache) < 20:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    kept = len(cache)
    assert 20 <= kept < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract_features(utterances, FRONT_END, cache=cache)
    assert (cache.hits, cache.misses) == (kept, 300 - kept)
    assert same(found, extract_features(utterances, FRONT_END))


def test_what_a_killed_writer_left_is_removed_later(tmp_path):
    cache = FeatureCache(tmp_path, FRONT_END)
    old, fresh = tmp_path / ".0123456789ab.tmp.npy", tmp_path / ".ba9876543210.tmp.npy"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.put(key(1), frames())
    assert not old.exists()
    assert fresh.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_one_clear_error_and_the_cache_stays_usable(tmp_path):
    utterances = corpus(tmp_path, 3)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    extract_features(utterances[:1], FRONT_END, cache=cache)
    code = (
        """
        import resource
        from satn_fast.training import CacheError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
    """
        + textwrap.indent(textwrap.dedent(FILL), " " * 12)
        + """
        except CacheError as error:
            print(error)
    """
    )
    writer = in_a_process(code, tmp_path / "cache", tmp_path)
    said, errors = writer.communicate(timeout=120)
    assert writer.returncode == 0, errors
    assert "disk is full" in said
    assert str(tmp_path / "cache") in said
    assert len(cache) == 1
    assert not [file for file in (tmp_path / "cache").iterdir() if file.name.startswith(".")]
    assert same(extract_features(utterances, FRONT_END, cache=cache), extract_features(utterances, FRONT_END))
    assert len(cache) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file"):
        FeatureCache(tmp_path / "file" / "cache", FRONT_END).put(key(1), frames())


def test_a_cache_that_can_only_be_read_serves_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("satn_fast.training.cache._SETTLED_NANOSECONDS", -1)
    utterances = corpus(tmp_path, 2)
    extract_features(utterances[:1], FRONT_END, cache=FeatureCache(tmp_path / "cache", FRONT_END))

    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "cache" / "index.jsonl").unlink()
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    monkeypatch.setattr("satn_fast.training.cache._Index.add", refused)
    monkeypatch.setattr("satn_fast.training.cache.atomic_write", refused)
    assert same(extract_features(utterances[:1], FRONT_END, cache=cache), extract_features(utterances[:1], FRONT_END))
    assert cache.hits == 1
    with pytest.raises(CacheError, match="permissions"):
        extract_features(utterances, FRONT_END, cache=cache)


def test_the_least_recently_used_entries_go_first(tmp_path):
    size = len(np.lib.format.magic(1, 0)) + 120 + 10 * 120 * 4 + 8
    cache = FeatureCache(tmp_path, FRONT_END, max_bytes=10 * size)
    for number in range(10):
        cache.put(key(number), frames(value=number))
        os.utime(cache.path(key(number)), (1e9 + number,) * 2)
    assert len(cache) == 10
    assert cache.get(key(0)) is not None  # used now
    cache.put(key(10), frames())
    assert cache.n_bytes <= 10 * size
    assert [cache.get(key(number)) is None for number in range(11)] == [False, True, True] + [False] * 8


def test_the_bound_holds_with_entries_of_other_processes_and_a_giant_is_not_kept(tmp_path):
    first, second = (FeatureCache(tmp_path, FRONT_END, max_bytes=100_000) for _ in range(2))
    for number in range(100):
        (first, second)[number % 2].put(key(number), frames(1 + number % 7))
        assert first.n_bytes <= 100_000 * 17 / 16 + 5000
    first.put(key(1000), frames(1000))
    assert first.get(key(1000)) is None
    assert len(first) > 10


def test_half_precision_takes_half_the_space(tmp_path):
    cache = FeatureCache(tmp_path, FRONT_END, dtype="float16")
    cache.put(key(1), frames(value=1.0 + 2.0**-10))
    assert cache.get(key(1)).dtype == np.float16
    assert np.array_equal(cache.get(key(1)), frames(value=1.0 + 2.0**-10))
    assert cache.n_bytes < 10 * 120 * 2 + 200


def test_speeds_are_cached_and_gains_are_not(tmp_path):
    utterances = corpus(tmp_path, 6)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    speeds = Perturbation(speeds=(0.9, 1.1))
    expected = extract_features(utterances, FRONT_END, perturbation=speeds)
    for _ in range(2):
        assert same(extract_features(utterances, FRONT_END, perturbation=speeds, cache=cache), expected)
    assert (cache.hits, cache.misses) == (6, 6)
    extract_features(utterances, FRONT_END, perturbation=Perturbation(gain_decibels=3.0), cache=cache)
    assert len(cache) == 6


@pytest.mark.parametrize(("arguments", "complaint"), [({"max_bytes": 0}, "max_bytes"), ({"dtype": "int8"}, "dtype")])
def test_impossible_settings_are_refused(tmp_path, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        FeatureCache(tmp_path, FRONT_END, **arguments)


def test_features_and_front_ends_that_do_not_fit_are_refused(tmp_path):
    cache = FeatureCache(tmp_path, FRONT_END)
    with pytest.raises(ValueError, match="shape"):
        cache.put(key(1), np.zeros((3, 40), np.float32))
    with pytest.raises(ValueError, match="same"):
        extract_features(corpus(tmp_path, 1), LogMel(preset="htk"), cache=cache)


def damaged_corpus(folder: Path) -> list[Utterance]:
    utterances = corpus(folder, 150)
    utterances[3].file.write_bytes(b"RIFF no audio")
    utterances[80].file.unlink()
    utterances[149].file.write_bytes(utterances[149].file.read_bytes()[:-10])
    return utterances


def test_several_channels_are_averaged_and_counted(tmp_path):
    tone = (np.sin(np.arange(8000) / 5) / 2).astype(np.float32)
    soundfile.write(tmp_path / "two.wav", np.stack([tone, np.zeros_like(tone)], 1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", tone / 2, 16000, subtype="FLOAT")
    corpus, said = [Utterance(tmp_path / name, "sad", "anna") for name in ("two.wav", "one.wav")], []
    two, one = extract_features(corpus, LogMel(), notify=said.append)
    torch.testing.assert_close(two, one)
    assert said == ["1 of 2 utterances have several channels; took their mean"]


def test_damaged_audio_is_skipped_named_and_counted_when_asked(tmp_path):
    utterances, said, done = damaged_corpus(tmp_path), [], []
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    found = extract_features(
        utterances, FRONT_END, lambda *args: done.append(args), said.append, cache=cache, on_error="skip"
    )
    assert [index for index, x in enumerate(found) if x is None] == [3, 80, 149]
    assert [name in line for name, line in zip(("3.wav", "80.wav", "149.wav"), said[:3], strict=True)] == [True] * 3
    assert said[3:] == ["3 of 150 utterances skipped: 3.wav, 80.wav, 149.wav"]
    assert done[-1] == (150, 150)
    good = [u for u, x in zip(utterances, found, strict=True) if x is not None]
    assert same([x for x in found if x is not None], extract_features(good, FRONT_END))
    assert len(cache) == 147
    with pytest.warns(UserWarning, match="skipped"):
        extract_features(utterances[:5], FRONT_END, on_error="skip")


def test_damaged_audio_is_fatal_otherwise_and_what_was_computed_is_kept(tmp_path):
    utterances = damaged_corpus(tmp_path)
    cache = FeatureCache(tmp_path / "cache", FRONT_END)
    with pytest.raises(AudioError, match="80.wav"):
        extract_features(utterances[4:], FRONT_END, cache=cache)
    assert len(cache) > 76
    with pytest.raises(AudioError, match="2 of 2 utterances skipped"):
        extract_features([utterances[3], utterances[80]], FRONT_END, notify=lambda said: None, on_error="skip")
    with pytest.raises(ValueError, match="on_error"):
        extract_features(utterances, FRONT_END, on_error="ignore")
