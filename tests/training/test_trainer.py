import csv
import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from satn_fast import SourceModel
from satn_fast.hub import CheckpointError
from satn_fast.training import Hardware, SpecAugment, TrainingOptions, TransferOptions, Versions, train_emotion

from ..models.test_reference import small_config
from .tones import emotions

CONFIG = small_config(labels=("low", "high"), normalization="global", dropout=0.2)
OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=0.01, augmentation=(SpecAugment(),))


def run(folder=None, progress=None, options=OPTIONS, **changes):
    torch.manual_seed(5)
    source = SourceModel(CONFIG, ("a", "b"))
    arguments = {
        "source": source,
        "transfer": TransferOptions("both", part="encoder", frozen_epochs=1),
        "folder": folder,
    }
    return train_emotion(CONFIG, emotions(22, 0), emotions(9, 1), options, progress=progress, **(arguments | changes))


def assert_equal_runs(a, b):
    assert a.history == b.history
    assert a.best_epoch == b.best_epoch
    for name, value in a.model.state_dict().items():
        assert torch.equal(value, b.model.state_dict()[name]), name


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [2, 3, 8, 11])
def test_a_run_that_was_interrupted_gives_the_numbers_of_one_that_was_not(tmp_path, step):
    def stop(done, total, record):
        if done == step:
            raise Stop

    whole = run()
    with pytest.raises(Stop):
        run(tmp_path, stop)
    torch.randn(100)  # other numbers were drawn meanwhile
    assert_equal_runs(run(tmp_path), whole)
    assert_equal_runs(run(tmp_path), whole)  # nothing is left to do


def test_logs_have_every_epoch(tmp_path):
    result = run(tmp_path)
    with open(tmp_path / "logs" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    logged = [float(row["loss"]) for row in rows if row["loss"]]
    assert logged == pytest.approx([record["loss"] for record in result.history])
    assert list((tmp_path / "logs").glob("events.out.tfevents.*"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    run(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        run(tmp_path)


def test_progress_goes_from_the_first_step_to_the_last_and_knows_the_figures():
    told = []
    result = run(progress=lambda done, total, record: told.append((done, total, record)))
    assert [done for done, _, _ in told] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12, 12]
    assert {total for _, total, _ in told} == {12}
    assert told[0][2] is None
    assert told[-1][2] == result.history[-1]


def test_where_the_time_goes_is_measured():
    throughput = run().throughput
    assert throughput["utterances_per_second"] > 0
    shares = [throughput[stage] for stage in ("data", "forward", "backward", "optimizer")]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0


def test_every_epoch_draws_versions():
    data = emotions(6, 0)
    doubled = dataclasses.replace(
        data, features=[*data.features, *(x + 100.0 for x in data.features)], targets=[*data.targets, *data.targets]
    )
    both = Versions(doubled, 2)
    assert len(both) == 6
    model = train_emotion(CONFIG, both, None, OPTIONS).model
    mean = model.encoder.normalization.mean
    torch.testing.assert_close(mean, torch.cat(doubled.features).mean(0))
    with pytest.raises(ValueError, match="12 utterances are not 5 versions"):
        Versions(doubled, 5)


def test_mixed_precision_trains():
    result = run(hardware=Hardware(accelerator="cpu", precision="bf16-mixed"))
    assert len(result.history) == 4
    assert all(parameter.dtype == torch.float32 for parameter in result.model.parameters())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"accelerator": "tpu"}, "accelerator is 'tpu'"),
        ({"devices": 0}, "devices is 0"),
        ({"precision": "8"}, "precision is '8'"),
    ],
)
def test_unknown_hardware_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Hardware(**options)


PROCESS = """
import json, sys, torch
from satn_fast.training import FeatureDataset, Hardware, TrainingOptions, TransferOptions, train_emotion
from satn_fast import SourceModel
from tests.models.test_reference import small_config
from tests.training.tones import emotions

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # so that nothing but a wrong share of the loss can make a difference
config = small_config(labels=("low", "high"), normalization="global", dropout=0.0)
results = []
double = lambda data: FeatureDataset([x.double() for x in data.features], data.targets)
for loss in ("kl", "at"):
    torch.manual_seed(5)
    source = SourceModel(config, ("a", "b"))
    result = train_emotion(
        config, double(emotions(13, 0)), double(emotions(5, 1)),
        TrainingOptions(epochs=3, batch_size=4, learning_rate=0.01),
        source=source, transfer=TransferOptions("both", part="encoder", map_loss=loss, frozen_epochs=1),
        hardware=Hardware(accelerator="cpu", devices=int(sys.argv[1])),
    )
    results.append({"history": result.history, "sum": float(sum(p.abs().sum() for p in result.model.parameters()))})
import os
if os.environ.get("RANK", "0") == "0":
    open(sys.argv[2], "w").write(json.dumps(results))
"""


def test_two_processes_give_the_numbers_of_one(tmp_path, pytestconfig):
    # 13 utterances in batches of 4, one of which takes the last utterance in, and 5 to validate on: parts differ in
    # size.
    script = tmp_path / "train.py"
    script.write_text(PROCESS)
    numbers = []
    for devices in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if devices == 2 else []
        command = [sys.executable, *launcher, str(script), str(devices), str(tmp_path / f"{devices}.json")]
        environment = {"PYTHONPATH": str(pytestconfig.rootpath), "PATH": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        numbers.append(json.loads((tmp_path / f"{devices}.json").read_text()))
    for one, two in zip(*numbers, strict=True):
        assert one["sum"] == pytest.approx(two["sum"], rel=1e-9)
        for left, right in zip(one["history"], two["history"], strict=True):
            assert left == pytest.approx(right, rel=1e-6)
