import csv
import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections import Counter, defaultdict

import numpy as np
import pytest

from satn_fast.data import CorpusError, phoneme_inventory, read_manifest, read_phonemes, render_corpus
from satn_fast.data._recipe import EMOTIONS, SENTENCES, VOICES
from satn_fast.data.phonemes import PHONEMES

try:
    import kaldi_native_fbank
except ImportError:
    kaldi_native_fbank = None
try:
    import sklearn
except ImportError:
    sklearn = None

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng (espeakng-loader)")
pytest.importorskip("soxr", reason="the synthetic corpus needs soxr")

SMALL = {"seed": 3, "n_voices": 3, "sentences_per_emotion": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthesis") / "corpus"
    return folder, render_corpus(folder, **SMALL)


@pytest.fixture(scope="module")
def all_voices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthesis") / "all"
    return folder, render_corpus(folder, n_voices=len(VOICES), sentences_per_emotion=6)


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def read_wav(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768, file.getframerate()


def read_alignment(folder):
    alignment = defaultdict(list)
    with open(folder / "alignment.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            entry = (float(row["start"]), float(row["end"]), row["symbol"])
            alignment[(folder / row["file"]).resolve(), row["kind"]].append(entry)
    return alignment


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    folder, _ = corpus
    time.sleep(1.1)  # left alone, espeak-ng takes its random numbers from the time in seconds
    render_corpus(tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_another_corpus(corpus, tmp_path):
    folder, _ = corpus
    render_corpus(tmp_path / "other", **{**SMALL, "seed": 4})
    before, after = contents(folder), contents(tmp_path / "other")
    assert before.keys() == after.keys()
    assert not [name for name in before if name.endswith(".wav") and before[name] == after[name]]


def test_the_folder_holds_what_is_promised(corpus):
    folder, utterances = corpus
    assert sorted(entry.name for entry in folder.iterdir()) == ["alignment.csv", "corpus.json", "manifest.csv", "wav"]
    assert read_manifest(folder / "manifest.csv", check_files=True) == utterances
    assert utterances[0].file == (folder / "wav" / "f01" / "f01_angry_01.wav").resolve()
    header = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "file,label,speaker,text,phonemes"
    assert [entry.name for entry in folder.parent.iterdir()] == ["corpus"]


def test_all_voices_and_emotions_are_there_with_the_same_words(all_voices):
    _, utterances = all_voices
    assert Counter(row.speaker for row in utterances) == {voice.speaker: 24 for voice in VOICES}
    assert Counter(row.label for row in utterances) == {emotion.label: 6 * len(VOICES) for emotion in EMOTIONS}
    words = defaultdict(set)
    for row in utterances:
        words[row.speaker, row.label].add(row.text)
    for (speaker, _), texts in words.items():
        assert texts == words[speaker, "neutral"]
        assert len(texts) == 6


def test_there_are_enough_voices_and_sentences():
    assert len(VOICES) >= 16
    assert len({voice.speaker for voice in VOICES}) == len({voice.name for voice in VOICES}) == len(VOICES)
    assert len(set(SENTENCES)) == len(SENTENCES) >= 40


def test_phonemes_cover_the_inventory(all_voices):
    _, utterances = all_voices
    inventory = phoneme_inventory(utterances)
    assert set(inventory) <= set(PHONEMES)
    assert 40 <= len(inventory) <= 50


def test_clips_resemble_recordings(all_voices):
    _, utterances = all_voices
    seconds, levels = [], defaultdict(list)
    for row in utterances:
        waveform, rate = read_wav(row.file)
        assert rate == 16000
        seconds.append(len(waveform) / rate)
        peak = np.abs(waveform).max()
        assert 0.03 < peak < 0.95
        edge = int(0.05 * rate)
        for silence in (waveform[:edge], waveform[-edge:]):
            assert 0 < np.sqrt(np.mean(silence**2)) < 0.1 * np.sqrt(np.mean(waveform**2))
        levels[row.label].append(np.sqrt(np.mean(waveform**2)))
    assert min(seconds) > 1.2
    assert max(seconds) < 4.5
    assert 1.8 < np.mean(seconds) < 3.0
    assert np.mean(levels["angry"]) > np.mean(levels["neutral"]) > np.mean(levels["sad"])


def test_emotions_differ_in_tempo(all_voices):
    folder, utterances = all_voices
    rates = defaultdict(list)
    for row in utterances:
        with wave.open(str(row.file)) as file:
            rates[row.label].append(len(read_phonemes(row)) * 16000 / file.getnframes())
    mean = {label: np.mean(values) for label, values in rates.items()}
    assert mean["angry"] > mean["happy"] > mean["sad"]
    assert mean["neutral"] > 1.1 * mean["sad"]


def test_the_alignment_is_ordered_and_inside_the_clip(all_voices):
    folder, utterances = all_voices
    alignment = read_alignment(folder)
    assert {file for file, _ in alignment} == {row.file for row in utterances}
    for row in utterances:
        with wave.open(str(row.file)) as file:
            duration = file.getnframes() / file.getframerate()
        for kind in ("word", "phoneme"):
            entries = alignment[row.file, kind]
            assert all(0 <= start < end <= duration + 1e-4 for start, end, _ in entries)
            assert all(a[1] <= b[0] + 1e-4 for a, b in zip(entries, entries[1:], strict=False))


def test_the_alignment_says_what_the_manifest_says(all_voices):
    folder, utterances = all_voices
    alignment = read_alignment(folder)
    for row in utterances:
        assert [symbol for _, _, symbol in alignment[row.file, "phoneme"]] == read_phonemes(row)
        assert " ".join(symbol for _, _, symbol in alignment[row.file, "word"]) == row.text.rstrip(".")


def high_frequency_share(waveform, rate, intervals, shift):
    """Mean share of the power above 3500 Hz in intervals moved by `shift` seconds."""
    shares = []
    for start, end, _ in intervals:
        piece = waveform[max(0, int((start + shift) * rate)) : max(0, int((end + shift) * rate))]
        if len(piece) > 100:
            power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
            shares.append(power[int(len(power) * 3500 / (rate / 2)) :].sum() / power.sum())
    return np.mean(shares) if shares else np.nan


def test_the_alignment_fits_the_sound(all_voices):
    # Hissing consonants have their power high up: less of it must be found when their intervals are moved.
    folder, utterances = all_voices
    alignment = read_alignment(folder)
    shares = {shift: [] for shift in (-0.06, 0.0, 0.06)}
    for row in utterances[::4]:
        waveform, rate = read_wav(row.file)
        hissing = [entry for entry in alignment[row.file, "phoneme"] if entry[2] in ("s", "ʃ", "z", "tʃ")]
        for shift, values in shares.items():
            values.append(high_frequency_share(waveform, rate, hissing, shift))
    mean = {shift: np.nanmean(values) for shift, values in shares.items()}
    assert mean[0.0] > 1.5 * mean[-0.06]
    assert mean[0.0] > 1.5 * mean[0.06]


def log_mel_statistics(path):
    """Mean and deviation over time of 40 log-Mel energies and their first two differences."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 40
    front_end = kaldi_native_fbank.OnlineFbank(options)
    waveform, rate = read_wav(path)
    front_end.accept_waveform(rate, waveform.tolist())
    front_end.input_finished()
    static = np.stack([front_end.get_frame(i) for i in range(front_end.num_frames_ready)])
    delta = np.gradient(static, axis=0)
    features = np.concatenate([static, delta, np.gradient(delta, axis=0)], axis=1)
    return np.concatenate([features.mean(axis=0), features.std(axis=0)])


@pytest.mark.skipif(kaldi_native_fbank is None, reason="the baseline needs kaldi-native-fbank")
@pytest.mark.skipif(sklearn is None, reason="the baseline needs scikit-learn")
def test_a_classical_baseline_finds_the_task_neither_impossible_nor_trivial(all_voices):
    from sklearn.metrics import recall_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    _, utterances = all_voices
    features = np.stack([log_mel_statistics(row.file) for row in utterances])
    labels, speakers = ([getattr(row, name) for row in utterances] for name in ("label", "speaker"))
    model = make_pipeline(StandardScaler(), SVC(C=3))
    predicted = cross_val_predict(model, features, labels, groups=speakers, cv=GroupKFold(len(VOICES)))
    assert 0.55 < recall_score(labels, predicted, average="macro") < 0.85


def test_another_sample_rate_keeps_the_alignment(tmp_path):
    for rate in (16000, 22050):
        render_corpus(tmp_path / str(rate), n_voices=1, sentences_per_emotion=1, sample_rate=rate)
    first, second = (read_alignment(tmp_path / str(rate)) for rate in (16000, 22050))
    for a, b in zip(first.values(), second.values(), strict=True):
        np.testing.assert_allclose([x[:2] for x in a], [x[:2] for x in b], atol=2e-3)
    assert read_wav(next((tmp_path / "22050").rglob("*.wav")))[1] == 22050


def test_progress_counts_to_the_total(tmp_path):
    seen = []
    render_corpus(tmp_path / "c", n_voices=1, sentences_per_emotion=2, progress=lambda *state: seen.append(state))
    assert seen == [(i + 1, 8) for i in range(8)]


def test_the_same_corpus_is_reused(corpus, monkeypatch):
    folder, utterances = corpus

    def refuse(*_, **__):
        raise AssertionError("rendered again")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert render_corpus(folder, **SMALL) == utterances


def test_another_corpus_is_neither_reused_nor_overwritten(corpus):
    folder, _ = corpus
    before = contents(folder)
    with pytest.raises(CorpusError, match=r"holds another corpus \(seed is 3, not 5\); choose another folder"):
        render_corpus(folder, **{**SMALL, "seed": 5})
    assert contents(folder) == before


def test_a_corpus_of_other_versions_is_not_reused(corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus[0], folder)
    description = json.loads((folder / "corpus.json").read_text())
    description["versions"]["soxr"] = "0.0"
    (folder / "corpus.json").write_text(json.dumps(description))
    with pytest.raises(CorpusError, match="versions is"):
        render_corpus(folder, **SMALL)


@pytest.mark.parametrize("name", ["wav/f01/f01_sad_01.wav", "manifest.csv", "alignment.csv"])
def test_a_damaged_corpus_is_refused(corpus, tmp_path, name):
    folder = tmp_path / "copy"
    shutil.copytree(corpus[0], folder)
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorpusError, match="is damaged"):
        render_corpus(folder, **SMALL)
    (folder / name).unlink()
    with pytest.raises(CorpusError, match="is damaged"):
        render_corpus(folder, **SMALL)


@pytest.mark.parametrize("description", [None, "", "[]", "{"])
def test_a_folder_with_other_things_is_left_alone(tmp_path, description):
    (tmp_path / "thesis.txt").write_text("precious")
    if description is not None:
        (tmp_path / "corpus.json").write_text(description)
    before = contents(tmp_path)
    with pytest.raises(CorpusError, match="choose another folder"):
        render_corpus(tmp_path, **SMALL)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_used_and_a_file_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(render_corpus(tmp_path / "empty", n_voices=1, sentences_per_emotion=1)) == 4
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="is a file"):
        render_corpus(tmp_path / "file", n_voices=1, sentences_per_emotion=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_of_two_writers_the_first_wins_and_nothing_is_mixed(tmp_path, seed):
    small = {"n_voices": 1, "sentences_per_emotion": 1}

    def overtake(done, total):
        if done == 1:
            render_corpus(tmp_path / "corpus", seed=seed, **small)

    if seed == 0:
        render_corpus(tmp_path / "corpus", progress=overtake, **small)
    else:
        with pytest.raises(CorpusError, match="holds another corpus"):
            render_corpus(tmp_path / "corpus", progress=overtake, **small)
    assert len(render_corpus(tmp_path / "corpus", seed=seed, **small)) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def test_a_stopped_render_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_corpus(tmp_path / "corpus", n_voices=2, sentences_per_emotion=2, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_render_leaves_no_corpus(tmp_path):
    code = (
        "import os, sys; from satn_fast.data import render_corpus\n"
        "render_corpus(sys.argv[1], n_voices=2, progress=lambda done, total: os._exit(9) if done == 5 else None)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "corpus")], env=environment, check=False)
    assert killed.returncode == 9
    assert not (tmp_path / "corpus").exists()
    assert len(render_corpus(tmp_path / "corpus", n_voices=1, sentences_per_emotion=1)) == 4


def test_a_failing_renderer_is_reported_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false") or pytest.skip("no program that fails"))
    with pytest.raises(CorpusError, match="could not be rendered: exit status 1"):
        render_corpus(tmp_path / "corpus", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("n_voices", 0), ("n_voices", 999), ("sentences_per_emotion", 0), ("sample_rate", 100)],
)
def test_arguments_out_of_range_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} must be from .* got {value}"):
        render_corpus(tmp_path / "corpus", **{name: value})


def test_missing_espeak_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"espeakng.loader.*satn-fast\[demo\]"):
        render_corpus(tmp_path / "corpus", **SMALL)
    assert list(tmp_path.iterdir()) == []
