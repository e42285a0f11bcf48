"""Protocols, baselines in their folds, kept results and their tables, on tiny made-up corpora."""

import csv
import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.recognition import functionals as functionals_module
from benchmarks.recognition import kept as kept_module
from benchmarks.recognition.__main__ import main, read_changes
from benchmarks.recognition.baselines import BASELINES, Baseline, C, cross_validate
from benchmarks.recognition.exported import measure_exported, read_exported
from benchmarks.recognition.functionals import functionals
from benchmarks.recognition.kept import confusion_of, read, read_all, run_baseline, run_ours
from benchmarks.recognition.protocols import (
    Protocol,
    ProtocolError,
    Published,
    choose_protocol,
    prepare,
    read_protocols,
)
from benchmarks.recognition.tables import draw_confusions, protocol_table, render
from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.audio import read_audio
from satn_fast.data import SpeakerOverlapWarning, Utterance, read_folds
from satn_fast.evaluation import Predictions, utterance_name, write_predictions
from tests.conftest import REPOSITORY

LABELS = ("high", "low")
SPEAKERS = ("anna", "ben", "cleo", "dan")
PATTERN = r"(?P<speaker>\w+)/(?P<label>\w+)-\d+\."


def nothing(*_, **__):
    """A progress bar that nobody sees."""


def start(what):
    return nothing


# --- Protocols -------------------------------------------------------------------------------------------------------


def rows_of(protocol: Protocol) -> list[dict[str, str]]:
    with open(protocol.folds, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("protocol", read_protocols().values(), ids=lambda protocol: protocol.name)
def test_every_protocol_leaves_each_speaker_out_once_and_says_where_it_is_from(protocol):
    rows = rows_of(protocol)
    folds = {row["speaker"]: row["fold"] for row in rows}
    assert len(folds) == len(rows)
    assert len(set(folds.values())) >= 3
    assert re.search(r"(19|20)\d\d", protocol.source)
    for row in rows:
        if row.get("validation"):
            assert row["validation"] in set(folds.values()) - {row["fold"]}
    for one in protocol.published:
        assert 100 / len(protocol.labels) < one.ua < 100
        assert one.source


def test_folds_are_those_that_were_published():
    parts: dict[str, set[int]] = {}
    for row in rows_of(choose_protocol("ravdess-reslstm")):
        parts.setdefault(row["fold"], set()).add(int(row["speaker"]))
    assert list(dict(sorted(parts.items())).values()) == [
        {2, 5, 14, 15, 16}, {3, 6, 7, 13, 18}, {10, 11, 12, 19, 20}, {8, 17, 21, 23, 24}, {1, 4, 9, 22},
    ]  # fmt: skip
    chosen = {int(row["speaker"]): row["validation"] for row in rows_of(choose_protocol("ravdess-reslstm"))}
    assert {s: f for s, f in chosen.items() if f} == {
        3: "1", 6: "1", 10: "2", 11: "2", 8: "3", 17: "3", 1: "4", 14: "4", 2: "5", 5: "5",
    }  # fmt: skip
    sizes = [sum(row["fold"] == str(fold) for row in rows_of(choose_protocol("cremad-5"))) for fold in range(1, 6)]
    assert sorted(sizes) == [18, 18, 18, 18, 19]


@pytest.mark.parametrize("name", read_protocols())
def test_protocols_fit_the_corpora_that_are_here(real_speech, name):
    protocol = choose_protocol(name)
    corpora = real_speech / "corpora"
    if not any((folder / protocol.root).is_dir() for folder in (corpora, corpora.parent)):
        pytest.skip(f"{corpora / protocol.root}: is not there")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpeakerOverlapWarning)
        names = read_folds(protocol.folds, protocol.read(corpora))
    assert set(names) == {row["fold"] for row in rows_of(protocol)}


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        ("emovo-loso", ["f1/dis-f1-b1.wav", "m3/gio-m3-n5.wav"], [("disgusted", "f1", "b1"), ("happy", "m3", "n5")]),
        ("savee-loso", ["DC/sa01.wav", "KL_s/KL_su15.wav"], [("sad", "DC", "01"), ("surprised", "KL", "15")]),
        ("savee-loso", ["DC_a01.wav", "JE_n30.wav"], [("angry", "DC", "01"), ("neutral", "JE", "30")]),
    ],
)
def test_patterns_read_names_as_published(tmp_path, name, files, found):
    labels = [label for label, *_ in found]
    codes = {code: label for code, label in choose_protocol(name).relabel.items() if label in labels}
    protocol = replace(choose_protocol(name), labels=labels, relabel=codes)
    for file in files:
        path = tmp_path / protocol.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = protocol.read(tmp_path)
    assert [(row.label, row.speaker, row.extra["sentence"]) for row in rows] == found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("title = 'x'", "x has too much or lacks corpus, folds, labels, root, settings, source"),
        ("{all}\nspeed = 3", "lacks speed"),
        ("{all}\nlabels = ['b', 'a']", "sort them"),
        ("{all}\nlabels = ['a', 'b']\nsettings = 'guessed'", "settings 'guessed'; write chosen or confirm"),
    ],
)
def test_bad_protocols_are_named(tmp_path, entry, message):
    everything = "title = 'x'\ncorpus = 'emodb'\nroot = 'x'\nfolds = 'x.csv'\nsource = 'x'"
    text = entry.replace("{all}", everything)
    for needed in ("settings = 'confirm'", "labels = ['a']"):
        if everything in text and needed.split()[0] not in text:
            text += f"\n{needed}"
    (tmp_path / "protocols.toml").write_text(f"[x]\n{text}\n")
    with pytest.raises(ProtocolError, match=re.escape(message)):
        read_protocols(tmp_path / "protocols.toml")


def test_unknown_protocols_and_missing_corpora_are_named(tmp_path):
    with pytest.raises(ProtocolError, match="tess: is no protocol; choose one of emodb-loso"):
        choose_protocol("tess")
    with pytest.raises(ProtocolError, match="emodb: no such folder; unpack the corpus of emodb-loso there"):
        prepare(choose_protocol("emodb-loso"), tmp_path, tmp_path / "run")


@pytest.fixture
def protocol(tmp_path) -> Protocol:
    """Four speakers, each in a pitch of their own, who speak `high` or `low`: three recordings of each."""
    rng = np.random.default_rng(0)
    for number, speaker in enumerate(SPEAKERS):
        for label, hertz in (("high", 700.0), ("low", 300.0)):
            for take in range(3):
                path = tmp_path / "corpora" / "tones" / speaker / f"{label}-{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                wave = np.sin(2 * np.pi * (hertz + 20 * number) * np.arange(8000) / 16000)
                soundfile.write(path, 0.3 * wave + 0.01 * rng.standard_normal(8000), 16000)
    folds = tmp_path / "tones.csv"
    folds.write_text("speaker,fold\n" + "".join(f"{speaker},{speaker}\n" for speaker in SPEAKERS))
    return Protocol(
        name="tones",
        title="Tones of four",
        corpus="pattern",
        root="tones",
        labels=LABELS,
        folds=folds,
        source="Made up, 2026",
        settings="confirm",
        pattern=PATTERN,
        published=(Published(name="Ears", ua=98.76, deviation=1.2, parameters=46_800, source="We", differs="in all"),),
    )


@pytest.fixture
def prepared(protocol, tmp_path):
    return prepare(protocol, tmp_path / "corpora", tmp_path / "run")


def test_shuffled_folds_share_speakers_and_are_as_many(protocol, tmp_path):
    shuffled = prepare(protocol, tmp_path / "corpora", tmp_path / "run", shuffled=True)
    assert len(set(shuffled.names)) == 4
    spread = {(row.speaker, fold) for row, fold in zip(shuffled.utterances, shuffled.names, strict=True)}
    assert len(spread) > 4
    for fold in set(shuffled.names):
        labels = [row.label for row, name in zip(shuffled.utterances, shuffled.names, strict=True) if name == fold]
        assert labels.count("high") == labels.count("low") == 3
    with pytest.warns(SpeakerOverlapWarning):
        assert read_folds(shuffled.folds, shuffled.utterances) == list(shuffled.names)


# --- Baselines -------------------------------------------------------------------------------------------------------


def described(n_features: int = 5) -> tuple[np.ndarray, list[Utterance]]:
    """Features that tell two labels apart in part, and not alike for each speaker."""
    rng = np.random.default_rng(1)
    rows = [Utterance(Path(f"{s}{i}.wav"), LABELS[i % 2], s) for s in SPEAKERS for i in range(8)]
    features = rng.standard_normal((len(rows), n_features)).astype(np.float32)
    features[:, 0] += [1.5 * (row.label == "high") + SPEAKERS.index(row.speaker) for row in rows]
    return features, rows


def left_out(features, rows, *, per_speaker=False):
    folds = [row.speaker for row in rows]
    done = list(cross_validate(Baseline("logmel", per_speaker), features, rows, LABELS, folds, nothing))
    return {one.predictions.folds[0]: (one.predictions.decisions.tolist(), one.chosen_c) for one in done}


def test_labels_of_the_tested_speaker_choose_nothing():
    features, rows = described()
    turned = [replace(row, label=LABELS[row.label == "high"]) if row.speaker == "cleo" else row for row in rows]
    before, after = left_out(features, rows), left_out(features, turned)
    assert after["cleo"] == before["cleo"]
    assert after["anna"] != before["anna"]


def test_features_of_the_tested_speaker_change_no_other_decision():
    features, rows = described()
    changed = features.copy()
    changed[[row.speaker for row in rows].index("cleo")] = 1e3
    before, after = left_out(features, rows)["cleo"], left_out(changed, rows)["cleo"]
    assert after[0][1:] == before[0][1:]
    assert after[1] == before[1]


def test_standardised_per_speaker_hears_no_offset_of_a_speaker():
    features, rows = described()
    shifted = features + np.array([[10.0 * (row.speaker == "cleo")] for row in rows], dtype=np.float32)
    plain, per_speaker = left_out(features, rows), left_out(features, rows, per_speaker=True)
    assert left_out(shifted, rows, per_speaker=True)["cleo"] == per_speaker["cleo"]
    assert left_out(shifted, rows)["cleo"] != plain["cleo"]


def test_what_never_varies_and_what_is_plain_to_see():
    features, rows = described()
    features[:, 1], features[:, 2] = 7.0, [10.0 * (row.label == "high") for row in rows]
    found = left_out(features, rows)
    assert {fold: decided for fold, (decided, _) in found.items()} == {s: [0, 1] * 4 for s in SPEAKERS}
    assert {c for _, c in found.values()} <= set(C)


def test_one_speaker_to_train_on_cannot_choose():
    features, rows = described()
    with pytest.raises(ValueError, match="ben is the only speaker to train on"):
        left_out(features[:16], rows[:16])


def test_log_mel_functionals_are_mean_and_deviation_and_are_computed_once(prepared, tmp_path, monkeypatch):
    found = functionals(prepared.utterances, "logmel", tmp_path / "cache", nothing)
    frames = LogMel()(read_audio(prepared.utterances[3].file).waveform)
    np.testing.assert_allclose(found[3], np.r_[frames.mean(0), frames.std(0)], rtol=1e-5)
    monkeypatch.setattr(functionals_module, "read_audio", None)
    np.testing.assert_array_equal(functionals(prepared.utterances, "logmel", tmp_path / "cache", nothing), found)


# --- Kept results ----------------------------------------------------------------------------------------------------


def test_a_baseline_is_kept_and_not_done_again(prepared, tmp_path, monkeypatch):
    places = {"cache": tmp_path / "cache", "results": tmp_path / "results"}
    record = run_baseline(prepared, Baseline("logmel"), start=start, **places)
    path = tmp_path / "results" / "tones" / "logmel-svm.json"
    assert [(one["fold"], one["seed"]) for one in record["trainings"]] == [(speaker, 0) for speaker in SPEAKERS]
    assert record["ua"]["mean"] == 1.0
    assert confusion_of(record).tolist() == [[12, 0], [0, 12]]
    assert all(one["c"] in C for one in record["trainings"])
    text = path.read_text()
    assert str(tmp_path) not in text
    assert json.loads(text) == record == read(path)
    monkeypatch.setattr(kept_module, "functionals", None)
    assert run_baseline(prepared, Baseline("logmel"), start=start, **places) == record
    fewer = replace(prepared, utterances=prepared.utterances[1:], names=prepared.names[1:])
    with pytest.raises(ProtocolError, match=r"logmel-svm\.json: holds results with another data \("):
        run_baseline(fewer, Baseline("logmel"), start=start, **places)


def test_results_of_tested_speakers_data_and_shared_speakers_say_so(protocol, tmp_path):
    shuffled = prepare(protocol, tmp_path / "corpora", tmp_path / "run", shuffled=True)
    places = {"cache": tmp_path / "cache", "results": tmp_path / "results"}
    record = run_baseline(shuffled, Baseline("logmel", per_speaker=True), start=start, **places)
    assert record["variant"] == "logmel-svm-per-speaker-shuffled"
    assert not record["comparable"]
    assert [note.split(":")[0] for note in record["notes"]] == [
        "uses the recordings of the tested speakers, without their labels",
        "folds share speakers between training and test",
    ]
    table = protocol_table(protocol, tmp_path / "results")
    assert table[-2].startswith("| log-Mel functionals, linear SVM, standardised per speaker, speakers shared |")


class Settings(dict):
    """In place of `EmotionSettings`, which has epochs and speeds here."""

    @classmethod
    def read(cls, values):
        return cls({"epochs": 16, "speeds": "1"} | values)

    def plain(self):
        return dict(self)


class Trainer:
    """In place of `train`: is wrong about as many recordings of each speaker as the seed says; fails at a seed."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.seeds, self.settings = fails_at, [], []

    def __call__(self, manifest, settings, folder, *, start, notify):
        if settings["seed"] == self.fails_at:
            raise OSError("no space left")
        self.seeds.append(settings["seed"])
        self.settings.append(settings)
        rows, names = self.prepared.utterances, self.prepared.names
        said = np.array([LABELS.index(row.label) for row in rows])
        nth = [[other.speaker for other in rows[:i]].count(row.speaker) for i, row in enumerate(rows)]
        decided = np.where(np.array(nth) < settings["seed"], 1 - said, said)
        predictions = Predictions(
            tuple(utterance_name(row) for row in rows),
            LABELS,
            said,
            tuple(row.speaker for row in rows),
            tuple(names),
            (settings["seed"],) * len(rows),
            np.eye(2)[decided],
        )
        write_predictions(folder / "predictions.csv", predictions)
        return predictions


def ours(prepared, tmp_path, monkeypatch, trainer, seeds, name="small", **changes):
    trainer.prepared = prepared
    monkeypatch.setattr(kept_module, "train", trainer)
    monkeypatch.setattr(kept_module, "EmotionSettings", Settings)
    places = {"folder": tmp_path / "run", "results": tmp_path / "results"}
    return run_ours(prepared, name, changes, seeds=range(seeds), jobs=2, start=start, notify=nothing, **places)


def test_every_seed_is_kept_as_it_ends_and_none_is_trained_twice(prepared, tmp_path, monkeypatch):
    path = tmp_path / "results" / "tones" / "small.json"
    with pytest.raises(OSError, match="no space left"):
        ours(prepared, tmp_path, monkeypatch, Trainer(fails_at=1), 3, epochs=2)
    assert read(path)["seeds"] == [0]
    trainer = Trainer()
    record = ours(prepared, tmp_path, monkeypatch, trainer, 3, epochs=2)
    assert trainer.seeds == [1, 2]
    asked = trainer.settings[0]
    assert (asked["folds"], asked["jobs"], asked["epochs"]) == (str(prepared.folds), 2, 2)
    assert len(record["trainings"]) == 12
    assert record["ua"]["by_seed"] == [1.0, round(5 / 6, 4), round(4 / 6, 4)]
    assert math.isclose(record["ua"]["deviation"], 1 / 6, abs_tol=1e-3)
    assert record["ua_interval"]["seeds"] == 3
    assert read(path) == record
    again = Trainer()
    assert ours(prepared, tmp_path, monkeypatch, again, 2, epochs=2) == record
    assert again.seeds == []


def test_other_settings_need_another_name(prepared, tmp_path, monkeypatch):
    ours(prepared, tmp_path, monkeypatch, Trainer(), 1, epochs=2)
    with pytest.raises(ProtocolError, match=r"with another epochs \(2 there, 3 here\); give these another --name"):
        ours(prepared, tmp_path, monkeypatch, Trainer(), 1, epochs=3)
    assert ours(prepared, tmp_path, monkeypatch, Trainer(), 1, name="longer", epochs=3)["seeds"] == [0]


def test_changed_defaults_are_other_settings_and_new_ones_are_not(prepared, tmp_path, monkeypatch):
    kept = ours(prepared, tmp_path, monkeypatch, Trainer(), 1)
    monkeypatch.setattr(Settings, "read", classmethod(lambda cls, values: cls({"epochs": 16, "crop": 2} | values)))
    assert ours(prepared, tmp_path, monkeypatch, Trainer(), 1) == kept
    monkeypatch.setattr(Settings, "read", classmethod(lambda cls, values: cls({"epochs": 80} | values)))
    with pytest.raises(ProtocolError, match="another epochs"):
        ours(prepared, tmp_path, monkeypatch, Trainer(), 1)


def test_figures_stay_where_the_run_is_gone(prepared, tmp_path, monkeypatch):
    before = ours(prepared, tmp_path, monkeypatch, Trainer(), 1)
    (tmp_path / "run" / "small" / "seed-0" / "predictions.csv").unlink()
    after = ours(prepared, tmp_path, monkeypatch, Trainer(), 2)
    assert after["trainings"][:4] == before["trainings"]
    assert after["seeds"] == [0, 1]
    assert after["ua_interval"]["seeds"] == 1


def test_a_damaged_result_is_named(tmp_path):
    for text in ("{", "[]", "{}"):
        (tmp_path / "small.json").write_text(text)
        with pytest.raises(ProtocolError, match=r"small\.json: is no result of a protocol"):
            read(tmp_path / "small.json")


# --- Tables ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(prepared, tmp_path, monkeypatch) -> Path:
    run_baseline(prepared, Baseline("logmel"), cache=tmp_path / "cache", results=tmp_path / "results", start=start)
    ours(prepared, tmp_path, monkeypatch, Trainer(), 3)
    return tmp_path / "results"


def test_the_table_has_baselines_ours_and_what_others_published(protocol, results):
    introduction, *table = [line for line in protocol_table(protocol, results) if line]
    assert introduction == "Tones of four; nothing was chosen on it."
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[0] for row in cells] == ["log-Mel functionals, linear SVM", "SATN, small", "*Ears*"]
    assert [row[1] for row in cells] == ["100.0", "83.3 ± 16.7", "98.8 ± 1.2"]
    assert re.fullmatch(r"[\d.]+ to [\d.]+ \(utterances\)", cells[1][2])
    # Always sure, and wrong as often; two trainings of three are right about every utterance but those of the first.
    assert [row[3] for row in cells] == ["", "16.7", ""]
    assert [row[4] for row in cells] == ["", "3", ""]
    assert [row[5] for row in cells] == ["241", "", "46.8 k"]
    assert [row[6] for row in cells] == ["", "probabilities of 3 trainings averaged: 83.3", "We; in all"]


def test_tables_stand_between_the_comments_of_a_document(protocol, results, tmp_path):
    document = tmp_path / "results.md"
    document.write_text("Before\n<!-- recognition: tones -->\nold\n<!-- end of recognition -->\nAfter\n")
    assert render(document, {"tones": protocol}, results) == ["tones"]
    first = document.read_text()
    assert first.startswith("Before\n<!-- recognition: tones -->\n\nTones of four")
    assert first.endswith("|\n\n<!-- end of recognition -->\nAfter\n")
    assert "old" not in first
    render(document, {"tones": protocol}, results)
    assert document.read_text() == first
    assert not (tmp_path / "images").exists()
    render(document, {"tones": protocol}, results, pictured="small")
    assert "![Who was heard as what, Tones of four](images/confusion-tones.png)" in document.read_text()
    assert (tmp_path / "images" / "confusion-tones.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"results\.md: tones is no protocol; choose one of other"):
        render(document, {"other": protocol}, results)


def test_int8_files_of_every_fold_are_evaluated_and_shown(protocol, prepared, results, tmp_path):
    places = {"folder": tmp_path / "run", "results": results}
    with pytest.raises(ProtocolError, match=r"seed-0.*: holds no model; run tones with this --output first"):
        measure_exported(prepared, "small", seeds=[0], start=start, **places)
    for number, speaker in enumerate(SPEAKERS):
        torch.manual_seed(number)
        model = SATN(SATNConfig.preset("micro", labels=LABELS)).eval()
        model.save_pretrained(tmp_path / "run" / "small" / "seed-0" / speaker / "seed-0")
    record = measure_exported(prepared, "small", seeds=[0], start=start, **places)
    assert read_exported(results, "tones") == [record]
    assert [file["name"] for file in record["files"]] == ["model.int8.onnx", "model.int8.tflite", "model.mcu.tflite"]
    for file in record["files"]:
        assert file["agreement"] >= 0.75
        assert abs(file["ua"] - record["ua"]) <= 1 - file["agreement"]
        assert file["ua_by_seed"] == [file["ua"]]
        assert 10_000 < file["bytes"] < 200_000
        assert file["milliseconds"] > 0
    *_, about, _, head, _, onnx, tflite, micro, _ = protocol_table(protocol, results)
    assert about == "SATN, small, 1 training of each fold; times of 3 s of speech on one thread:"
    assert head.startswith("| int8 file | KB | UA % |")
    names = [row.split("|")[1].strip() for row in (onnx, tflite, micro)]
    assert names == ["`model.int8.onnx`", "`model.int8.tflite`", "`model.mcu.tflite`"]


def test_confusions_are_drawn(protocol, results, tmp_path):
    pictures = draw_confusions(protocol, results, tmp_path / "images")
    assert [path.name for path in pictures] == ["tones-logmel-svm.png", "tones-small.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_kept_results_are_of_protocols_that_there_are():
    protocols = read_protocols()
    for folder in sorted(kept_module.RESULTS.glob("*")):
        for record in read_all(kept_module.RESULTS, folder.name):
            assert record["protocol"] == folder.name
            assert record["labels"] == list(protocols[folder.name].labels)
            folds = {row["fold"] for row in rows_of(protocols[folder.name])}
            if not record["comparable"]:
                folds = {str(number) for number in range(1, len(folds) + 1)}
            done = [(one["fold"], one["seed"]) for one in record["trainings"]]
            assert sorted(done) == sorted((fold, seed) for fold in folds for seed in record["seeds"])
            sizes = {confusion.sum() for confusion in map(np.array, [one["confusion"] for one in record["trainings"]])}
            assert min(sizes) > 0


# --- The command -----------------------------------------------------------------------------------------------------


def test_settings_are_read_by_what_they_are():
    assert read_changes(["epochs=3", "speeds=0.9,1", "learning_rate=1e-3", 'model={"channels": 8}']) == {
        "epochs": 3,
        "speeds": "0.9,1",
        "learning_rate": 0.001,
        "model": '{"channels": 8}',
    }


@pytest.mark.parametrize("change", ["epochs", "colour=red", "seed=1", "epochs=-1"])
def test_settings_that_there_are_not_are_named(change):
    with pytest.raises(ValueError, match=r"--set .*: is not NAME=VALUE|epochs"):
        read_changes([change])


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.recognition", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def test_the_command_runs_every_baseline_of_a_protocol_with_opensmile(tmp_path):
    pytest.importorskip("opensmile")
    rng = np.random.default_rng(0)
    for speaker in ("m1", "m2", "m3"):
        for label in "asn":
            for word, number in (("a", 1), ("b", 2)):
                path = tmp_path / "corpora" / "polish-emotions" / f"{speaker}.{label}_{word}_{number}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)
    kept = tmp_path / "results"
    arguments = ["--corpora", tmp_path / "corpora", "--output", tmp_path / "run", "--results", kept]
    done = run_command("baselines", "polish-loso", *arguments)
    assert done.returncode == 0, done.stderr
    records = {record["variant"]: record for record in read_all(kept, "polish-loso")}
    assert sorted(records) == sorted(baseline.variant for baseline in BASELINES)
    sizes = {name: record["parameters"] // 3 - 1 for name, record in records.items()}
    assert (sizes["egemaps-svm"], sizes["compare-svm"], sizes["logmel-svm"]) == (88, 6373, 240)
    shown = run_command("table", "--results", kept)
    assert shown.stdout.startswith("<!-- recognition: polish-loso -->")
    assert "eGeMAPSv02, linear SVM" in shown.stdout


def test_errors_of_the_command_are_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["recognition", "baselines", "tess", "--corpora", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1
    assert "tess: is no protocol" in errors
