"""`satn-fast pretrain` and `train`, from a manifest to a run folder that says what was done."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from satn_fast import SATN, AutoencoderModel, SourceModel
from satn_fast.audio import write_wav
from satn_fast.data import Utterance, read_manifest, write_manifest
from satn_fast.evaluation import read_predictions

TINY = '{"channels": 8, "n_blocks": 2, "n_heads": 2, "pooling_size": 4}'
QUICK = ("--model", TINY, "--epochs", 2, "--speeds", "1", "--accelerator", "cpu")
SPEAKERS = ("anna", "ben", "carl")


def say(path, hertz, rng):
    """Half a second of a tone, the label's or the letter's."""
    time_ = np.arange(8000) / 16000
    write_wav(path, (0.3 * np.sin(2 * np.pi * hertz * time_) + 0.05 * rng.normal(size=8000)).astype(np.float32), 16000)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder, rng, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0), []
    for speaker in SPEAKERS:
        for label, hertz in (("high", 1500), ("low", 300)):
            for number in range(3):
                file = folder / f"{speaker}_{label}_{number}.wav"
                say(file, hertz * rng.uniform(0.9, 1.1), rng)
                session = "first" if speaker == "anna" else "second"
                row = Utterance(file, label, speaker, session=session, text="Hi you", extra={"phonemes": "h aɪ j u"})
                rows.append(row)
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def wait_for(path, process):
    """Until the process wrote that file."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def record(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def weights(folder):
    return {name: value.clone() for name, value in SATN.from_pretrained(folder).state_dict().items()}


def assert_equal_weights(a, b):
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_run_folder_says_what_was_done(satn_fast, manifest, tmp_path):
    result = satn_fast("train", manifest, "-o", tmp_path / "run", *QUICK, "--validation", "carl", "--seed", 3)
    assert result.code == 0, result.errors
    said = record(tmp_path / "run")
    assert said["status"] == "finished"
    assert said["seed"] == 3
    assert said["transfer"] == "none"
    assert said["speakers"] == {"train": ["anna", "ben"], "validation": ["carl"]}
    assert said["data"]["utterances"] == 18
    assert len(said["data"]["sha256"]) == 64
    assert said["versions"]["torch"] == torch.__version__
    assert [row["epoch"] for row in said["history"]] == [1, 2]
    assert set(said["history"][0]) == {"epoch", "loss", "ua", "validation_loss"}
    assert said["best"] == said["history"][said["best_epoch"] - 1]
    assert said["calibration"]["temperature"] > 0
    assert said["throughput"]["utterances_per_second"] > 0
    model = SATN.from_pretrained(tmp_path / "run")
    assert model.config.labels == ("high", "low")
    assert model.config.channels == 8
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["seed"] == 3
    assert "ua" in result.output


def test_its_yaml_does_the_same_again(satn_fast, manifest, tmp_path):
    assert satn_fast("train", manifest, "-o", tmp_path / "a", *QUICK, "--seed", 5, "--no-spec-augment").code == 0
    again = satn_fast("train", manifest, "-o", tmp_path / "b", "--config", tmp_path / "a" / "run.yaml")
    assert again.code == 0, again.errors
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    other = satn_fast("train", manifest, "-o", tmp_path / "c", "--config", tmp_path / "a" / "run.yaml", "--seed", 6)
    assert other.code == 0
    assert record(tmp_path / "c")["seed"] == 6
    assert record(tmp_path / "c")["data"] == record(tmp_path / "a")["data"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("epoch: 3", "epoch: no such setting"), ("[1, 2]", "must name settings"), ("a: [", "is not YAML")],
)
def test_a_yaml_file_that_cannot_be_used_is_named(satn_fast, manifest, tmp_path, content, complaint):
    (tmp_path / "settings.yaml").write_text(content)
    result = satn_fast("train", manifest, "-o", tmp_path / "run", "--config", tmp_path / "settings.yaml")
    assert result.code == 1
    assert f"settings.yaml: {complaint}" in result.errors
    assert not (tmp_path / "run").exists()


def test_what_is_there_is_not_trained_again_or_over(satn_fast, manifest, tmp_path):
    run = ("train", manifest, "-o", tmp_path / "run", *QUICK)
    assert satn_fast(*run).code == 0
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    again = satn_fast(*run)
    assert again.code == 0
    assert "has finished already" in again.errors
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    other = satn_fast(*run, "--learning-rate", 0.5)
    assert other.code == 1
    assert "other settings: learning_rate (0.002 there, 0.5 here)" in other.errors
    restarted = satn_fast(*run, "--learning-rate", 0.5, "--restart")
    assert restarted.code == 0, restarted.errors
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns != before


def test_other_data_in_the_same_folder_are_refused(satn_fast, manifest, tmp_path):
    assert satn_fast("train", manifest, "-o", tmp_path / "run", *QUICK).code == 0
    text = manifest.read_text().replace("anna_low_0.wav,low", "anna_low_0.wav,high")
    (manifest.parent / "other.csv").write_text(text)
    result = satn_fast("train", manifest.parent / "other.csv", "-o", tmp_path / "run", *QUICK)
    assert result.code == 1
    assert "holds a run on other data" in result.errors


def test_cross_validation_leaves_every_speaker_out_once_per_seed(satn_fast, manifest, tmp_path):
    folder = tmp_path / "run"
    result = satn_fast("train", manifest, "-o", folder, *QUICK, "--leave-out", "speaker", "--seeds", 2)
    assert result.code == 0, result.errors
    predictions = read_predictions(folder / "predictions.csv")
    assert len(predictions) == 18 * 2
    assert set(zip(predictions.folds, predictions.speakers, predictions.seeds, strict=True)) == {
        (speaker, speaker, seed) for speaker in SPEAKERS for seed in (0, 1)
    }
    for speaker in SPEAKERS:
        for seed in (0, 1):
            said = record(folder / speaker / f"seed-{seed}")
            assert said["speakers"]["train"] == [name for name in SPEAKERS if name != speaker]
            assert (said["left_out"], said["seed"]) == (speaker, seed)
    assert json.loads((folder / "metrics.json").read_text())["ua"] == pytest.approx(predictions.metrics().ua)
    for line in (*SPEAKERS, "mean of folds", "mean of seeds"):
        assert line in result.output
    # The fold's model is what its predictions are from, and depends on its seed alone.
    alone = satn_fast("train", manifest, "-o", tmp_path / "one", *QUICK, "--leave-out", "speaker", "--seed", 1)
    assert alone.code == 0
    assert_equal_weights(folder / "ben" / "seed-1", tmp_path / "one" / "ben" / "seed-1")


def test_sessions_can_be_left_out_and_several_seeds_trained_on_everything(satn_fast, manifest, tmp_path):
    assert satn_fast("train", manifest, "-o", tmp_path / "s", *QUICK, "--leave-out", "session").code == 0
    assert record(tmp_path / "s" / "first" / "seed-0")["speakers"]["train"] == ["ben", "carl"]
    assert satn_fast("train", manifest, "-o", tmp_path / "n", *QUICK, "--seeds", 2, "--seed", 7).code == 0
    assert [record(tmp_path / "n" / f"seed-{n}")["seed"] for n in (7, 8)] == [7, 8]
    assert not (tmp_path / "n" / "predictions.csv").exists()


@pytest.mark.parametrize("keep", ["device", "disk"])
def test_features_give_the_same_model_wherever_they_are(satn_fast, manifest, tmp_path, keep):
    cached = ("--cache", tmp_path / "cache", "--keep", keep)
    assert satn_fast("train", manifest, "-o", tmp_path / "a", *QUICK).code == 0
    for _ in range(2):
        assert satn_fast("train", manifest, "-o", tmp_path / "b", *QUICK, *cached, "--restart").code == 0
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 18
    assert not (tmp_path / "b" / "features.npy").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "figure"),
    [
        (("--targets", "phonemes"), SourceModel, "error_rate"),
        (("--targets", "characters"), SourceModel, "error_rate"),
        (("--task", "autoencoder"), AutoencoderModel, "error"),
    ],
)
def test_every_source_task_transfers(satn_fast, manifest, tmp_path, arguments, kind, figure):
    result = satn_fast("pretrain", manifest, "-o", tmp_path / "source", *QUICK, *arguments, "--validation", "ben")
    assert result.code == 0, result.errors
    said = record(tmp_path / "source")
    assert figure in said["best"]
    source = kind.from_pretrained(tmp_path / "source")
    symbols = {"phonemes": ["aɪ", "h", "j", "u"], "characters": [" ", "h", "i", "o", "u", "y"]}
    assert said["symbols"] == symbols.get(arguments[1], [])
    run = ("--epochs", 1, "--speeds", "1", "--source", tmp_path / "source", "--transfer", "both", "--frozen-epochs", 1)
    trained = satn_fast("train", manifest, "-o", tmp_path / "run", *run)
    assert trained.code == 0, trained.errors
    assert record(tmp_path / "run")["transfer"] == "both"
    model = SATN.from_pretrained(tmp_path / "run")
    assert model.config.channels == 8  # the source's
    assert torch.equal(model.encoder.attention.query.weight, source.encoder.attention.query.weight)


def test_a_trained_model_is_a_source_too(satn_fast, manifest, tmp_path):
    assert satn_fast("train", manifest, "-o", tmp_path / "first", *QUICK).code == 0
    run = ("--epochs", 1, "--speeds", "1", "--source", tmp_path / "first", "--transfer", "init", "--frozen-epochs", 1)
    assert satn_fast("train", manifest, "-o", tmp_path / "second", *run).code == 0
    ours, theirs = weights(tmp_path / "second"), weights(tmp_path / "first")
    assert torch.equal(ours["encoder.attention.key.weight"], theirs["encoder.attention.key.weight"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--transfer", "init"), "there is no source"),
        (("--validation", "zoe"), "validation names zoe, but the speakers are anna, ben, carl"),
        (("--validation", "anna,ben,carl"), "leaves nobody"),
        (("--speeds", "fast"), "speeds is 'fast'"),
        (("--speeds", "9"), "speeds are (9.0,)"),
        (("--model", '{"depth": 3}'), "give a JSON object with fields of"),
        (("--model", '{"channels": 9}'), "n_heads is 4, which does not divide channels = 9"),
        (("--epochs", "0"), "epochs is 0"),
        (("--source", "nowhere/at/all"), "nowhere/at/all"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(satn_fast, manifest, tmp_path, arguments, complaint):
    result = satn_fast("train", manifest, "-o", tmp_path / "run", *arguments)
    assert result.code == 1
    assert complaint in result.errors
    assert "Traceback" not in result.errors
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_file_among_many_is_named_or_skipped(satn_fast, manifest, tmp_path):
    (manifest.parent / "broken.wav").write_bytes(b"RIFF")
    text = manifest.read_text().replace("ben_low_1.wav", "broken.wav")
    (manifest.parent / "broken.csv").write_text(text)
    run = ("train", manifest.parent / "broken.csv", "-o", tmp_path / "run", *QUICK)
    stopped = satn_fast(*run)
    assert stopped.code == 1
    assert "broken.wav" in stopped.errors
    skipped = satn_fast(*run, "--on-error", "skip")
    assert skipped.code == 0, skipped.errors
    assert "1 of 18 utterances skipped: broken.wav" in skipped.errors
    assert record(tmp_path / "run")["data"]["utterances"] == 17


def test_two_runs_do_not_share_a_folder(satn_fast, manifest, tmp_path):
    import fcntl

    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = satn_fast("train", manifest, "-o", tmp_path / "run", *QUICK)
    assert result.code == 1
    assert "another process trains into it" in result.errors


def test_whoever_stops_a_training_is_told_that_it_can_go_on(manifest, tmp_path):
    run = ["train", manifest, "-o", tmp_path / "run", *QUICK, "--epochs", 500]
    command = [sys.executable, "-c", "from satn_fast.cli import main; main()", *map(str, run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on after the last epoch" in errors


def test_normalisation_per_speaker_says_what_it_uses(satn_fast, manifest, tmp_path):
    result = satn_fast("train", manifest, "-o", tmp_path / "run", *QUICK, "--normalization", "speaker")
    assert result.code == 0
    assert "this uses unlabelled data of all 3 speakers" in " ".join(result.errors.split())
    model = SATN.from_pretrained(tmp_path / "run")
    assert model.config.normalization == "speaker"
    torch.testing.assert_close(model.encoder.normalization.mean, torch.zeros(120), atol=1e-4, rtol=0)
    evaluated = satn_fast("evaluate", tmp_path / "run", manifest, "--json")
    assert evaluated.code == 0, evaluated.errors
    assert "this uses unlabelled data of all 3 speakers" in " ".join(evaluated.errors.split())
    for command in (("predict", tmp_path / "run", manifest.parent / "anna_low_0.wav"),):
        refused = satn_fast(*command)
        assert refused.code == 1
        assert "normalised per speaker" in refused.errors


def test_quantization_aware_epochs_and_their_model_card(satn_fast, manifest, tmp_path):
    for name, options in (("plain", ()), ("aware", ("--quantization-aware", 1))):
        result = satn_fast("train", manifest, "-o", tmp_path / name, *QUICK, "--validation", 0.4, *options)
        assert result.code == 0, result.errors
    assert record(tmp_path / "aware")["history"][-1] != record(tmp_path / "plain")["history"][-1]
    best = record(tmp_path / "aware")["best"]
    assert best["epoch"] == len(record(tmp_path / "aware")["history"])
    assert f"chose the epoch: {best['ua']:.1%}." in " ".join((tmp_path / "aware" / "README.md").read_text().split())
    refused = satn_fast("train", manifest, "-o", tmp_path / "no", *QUICK, "--quantization-aware", 1000)
    assert refused.code == 1
    assert "quantization_aware is 1000" in refused.errors


def test_a_killed_run_comes_to_the_same_numbers(satn_fast, manifest, tmp_path):
    epochs = ("--epochs", 40)
    assert satn_fast("train", manifest, "-o", tmp_path / "whole", *QUICK, *epochs).code == 0
    run = ["train", manifest, "-o", tmp_path / "killed", *QUICK, *epochs]
    command = [sys.executable, "-c", "from satn_fast.cli import main; main()", *map(str, run)]
    # As many threads as here: the last digits depend on it.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    wait_for(tmp_path / "killed" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert record(tmp_path / "killed")["status"] == "running"
    resumed = satn_fast(*run)
    assert resumed.code == 0, resumed.errors
    assert "takes up" in resumed.errors
    assert record(tmp_path / "killed")["history"] == record(tmp_path / "whole")["history"]
    assert_equal_weights(tmp_path / "killed", tmp_path / "whole")


def test_steps_or_epochs_say_how_long(satn_fast, manifest, tmp_path):
    quick = ("--model", TINY, "--speeds", "1", "--accelerator", "cpu")
    assert satn_fast("train", manifest, "-o", tmp_path / "run", *quick, "--steps", 7).code == 0
    assert [row["epoch"] for row in record(tmp_path / "run")["history"]] == [1]
    both = satn_fast("train", manifest, "-o", tmp_path / "both", *quick, "--steps", 7, "--epochs", 2)
    assert both.code == 1
    assert "steps is 7, epochs is 2: both say how long to train; leave one of them out" in both.errors
    longer = satn_fast("pretrain", manifest, "-o", tmp_path / "source", *quick, "--steps", 7)
    assert longer.code == 0, longer.errors
    assert len(record(tmp_path / "source")["history"]) == 1
    crops = satn_fast("pretrain", manifest, "-o", tmp_path / "crops", *quick, "--epochs", 1, "--crop-seconds", 1)
    assert crops.code == 1
    assert "crop_seconds is 1.0, but speech recognition needs whole utterances" in crops.errors
    rebuilt = ("--task", "autoencoder", "--epochs", 1, "--crop-seconds", 0.2)
    assert satn_fast("pretrain", manifest, "-o", tmp_path / "rebuilt", *quick, *rebuilt).code == 0


def with_rooms(manifest, name, change=lambda row: row):
    """A manifest with a column `room`, and whatever else is changed."""
    rows = []
    for row in read_manifest(manifest):
        room = "hall" if row.speaker == "anna" else "studio"
        rows.append(change(dataclasses.replace(row, extra={**row.extra, "room": room})))
    write_manifest(manifest.parent / name, [row for row in rows if row is not None])
    return manifest.parent / name


def test_any_column_can_be_left_out(satn_fast, manifest, tmp_path):
    rooms = with_rooms(manifest, "rooms.csv")
    result = satn_fast("train", rooms, "-o", tmp_path / "run", *QUICK, "--leave-out", "room")
    assert result.code == 0, result.errors
    assert record(tmp_path / "run" / "hall" / "seed-0")["speakers"]["train"] == ["ben", "carl"]
    assert record(tmp_path / "run" / "studio" / "seed-0")["speakers"]["train"] == ["anna"]
    unknown = satn_fast("train", rooms, "-o", tmp_path / "no", *QUICK, "--leave-out", "colour")
    assert unknown.code == 1
    assert "column colour: is not in the manifest" in unknown.errors


def test_published_folds_are_read_from_a_file(satn_fast, manifest, tmp_path):
    folds = tmp_path / "folds.csv"
    folds.write_text("speaker,fold\nanna,b\nben,a\ncarl,b\n")
    run = ("train", manifest, "-o", tmp_path / "run", *QUICK, "--folds", folds, "--seeds", 2)
    result = satn_fast(*run)
    assert result.code == 0, result.errors
    predictions = read_predictions(tmp_path / "run" / "predictions.csv")
    assert {(fold, who) for fold, who in zip(predictions.folds, predictions.speakers, strict=True)} == {
        ("b", "anna"),
        ("a", "ben"),
        ("b", "carl"),
    }
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["ua"] == pytest.approx(predictions.metrics().ua)
    assert set(metrics["folds"]) == {"a", "b"}
    assert set(metrics["seeds"]) == {"0", "1"}
    first = predictions.take(np.array([seed == 0 for seed in predictions.seeds]))
    assert metrics["seeds"]["0"]["ua"] == pytest.approx(first.metrics().ua)
    # Other folds in the file are another run.
    folds.write_text("speaker,fold\nanna,a\nben,a\ncarl,b\n")
    other = satn_fast(*run)
    assert other.code == 1
    assert "holds a run on other data" in other.errors
    both = satn_fast(*run, "--leave-out", "speaker")
    assert both.code == 1
    assert "both part the corpus" in both.errors


def test_a_label_that_a_fold_does_not_hear_is_said_and_one_that_it_does_not_say_is_not_counted(
    satn_fast, manifest, tmp_path
):
    # Only anna is ever tired, and she is never low.
    def change(row):
        return dataclasses.replace(row, label="tired") if (row.speaker, row.label) == ("anna", "low") else row

    rooms = with_rooms(manifest, "tired.csv", change)
    result = satn_fast("train", rooms, "-o", tmp_path / "run", *QUICK, "--leave-out", "speaker")
    assert result.code == 0, result.errors
    said = " ".join(result.errors.split())
    assert said.count("nobody who is trained on says") == 1
    assert "fold anna, seed 0: nobody who is trained on says tired" in said
    predictions = read_predictions(tmp_path / "run" / "predictions.csv")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for speaker in SPEAKERS:
        theirs = predictions.take(np.array([fold == speaker for fold in predictions.folds]))
        recalls = [theirs.right[theirs.truth == label].mean() for label in set(theirs.truth.tolist())]
        assert len(recalls) == 2
        assert metrics["folds"][speaker]["ua"] == pytest.approx(np.mean(recalls))


def test_several_jobs_come_to_the_numbers_of_one(satn_fast, manifest, tmp_path):
    run = (*QUICK, "--leave-out", "speaker", "--seeds", 2, "--crop-seconds", 0.3, "--validation", 0.4)
    assert satn_fast("train", manifest, "-o", tmp_path / "one", *run).code == 0
    result = satn_fast("train", manifest, "-o", tmp_path / "two", *run, "--jobs", 2)
    assert result.code == 0, result.errors
    assert (tmp_path / "one" / "predictions.csv").read_text() == (tmp_path / "two" / "predictions.csv").read_text()
    assert (tmp_path / "one" / "metrics.json").read_text() == (tmp_path / "two" / "metrics.json").read_text()
    for speaker in SPEAKERS:
        for seed in (0, 1):
            place = f"{speaker}/seed-{seed}"
            assert_equal_weights(tmp_path / "one" / place, tmp_path / "two" / place)
            assert record(tmp_path / "one" / place)["history"] == record(tmp_path / "two" / place)["history"]
            assert record(tmp_path / "two" / place)["machine"]["threads"] == 1
    assert "6/6" in result.errors
    assert not list((tmp_path / "two").glob(".features*"))
    # The number of jobs is no other run.
    again = satn_fast("train", manifest, "-o", tmp_path / "one", *run, "--jobs", 2)
    assert again.code == 0
    assert again.errors.count("has finished already") == 6


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fold_that_fails_is_named_in_one_line(satn_fast, manifest, tmp_path, jobs):
    (tmp_path / "run" / "ben" / "seed-0").mkdir(parents=True)
    (tmp_path / "run" / "ben" / "seed-0" / "run.yaml").write_text("a: [")
    run = ("train", manifest, "-o", tmp_path / "run", *QUICK, "--leave-out", "speaker", "--jobs", jobs)
    result = satn_fast(*run)
    assert result.code == 1
    assert "satn-fast: fold ben, seed 0: " in result.errors
    assert "run.yaml: is damaged; start anew with --restart" in result.errors
    assert "Traceback" not in result.errors


def test_jobs_do_not_go_with_several_devices(satn_fast, manifest, tmp_path):
    result = satn_fast("train", manifest, "-o", tmp_path / "run", *QUICK, "--jobs", 2, "--devices", 2)
    assert result.code == 1
    assert "jobs is 2, devices 2, nodes 1; give one of them only" in result.errors


def test_stopping_several_jobs_stops_all_of_them(manifest, tmp_path):
    run = ["train", manifest, "-o", tmp_path / "run", *QUICK, "--epochs", 5000, "--leave-out", "speaker", "--jobs", 2]
    command = [sys.executable, "-c", "from satn_fast.cli import main; main()", *map(str, run)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for speaker in SPEAKERS[:2]:
        wait_for(tmp_path / "run" / speaker / "seed-0" / "last.ckpt", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    _, errors = process.communicate(timeout=60)  # which ends when no process holds the pipe
    assert process.returncode == 130
    assert "the same command goes on after the last epoch" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").glob(".features*"))
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
