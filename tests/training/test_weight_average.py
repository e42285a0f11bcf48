"""The moving average of weights: what it is, where it is used, and that a run can be taken up with it."""

import dataclasses

import pytest
import torch
from torch import nn

from satn_fast import SATN
from satn_fast.training import SpecAugment, TrainingOptions, evaluate, train_emotion
from satn_fast.training.callbacks import KeepBest, WeightAverage
from satn_fast.training.checkpoint import SafetensorsCheckpointIO
from satn_fast.training.emotion import EmotionTask

from ..models.test_reference import small_config
from .tones import emotions

CONFIG = small_config(labels=("low", "high"), normalization="global", dropout=0.1)
OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=0.01, augmentation=(SpecAugment(),))


@pytest.fixture
def watched(monkeypatch):
    """The weights after every step, and what was validated."""
    seen = {"steps": [], "validated": []}
    after, begins = WeightAverage.on_train_batch_end, EmotionTask.on_validation_epoch_end

    def on_train_batch_end(self, trainer, task, *rest):
        seen["steps"].append({name: value.clone() for name, value in task.model.state_dict().items()})
        after(self, trainer, task, *rest)

    def on_validation_epoch_end(task):
        seen["validated"].append({name: value.clone() for name, value in task.model.state_dict().items()})
        begins(task)

    monkeypatch.setattr(WeightAverage, "on_train_batch_end", on_train_batch_end)
    monkeypatch.setattr(EmotionTask, "on_validation_epoch_end", on_validation_epoch_end)
    return seen


def averaged(steps, first, decay):
    """The definition, in float64."""
    average = {name: value.double() for name, value in first.items()}
    for step, weights in enumerate(steps):
        kept = min(decay, (1 + step) / (10 + step))
        average = {name: kept * value + (1 - kept) * weights[name].double() for name, value in average.items()}
    return average


def test_the_model_is_the_average_of_all_steps_and_so_is_what_is_validated(watched, monkeypatch):
    firsts = []
    begins = WeightAverage.on_train_start

    def on_train_start(self, trainer, task):
        firsts.append({name: value.clone() for name, value in task.model.state_dict().items()})
        begins(self, trainer, task)

    monkeypatch.setattr(WeightAverage, "on_train_start", on_train_start)
    options = dataclasses.replace(OPTIONS, weight_average=0.6)
    result = train_emotion(CONFIG, emotions(22, 0), emotions(9, 1), options)
    steps = watched["steps"]
    assert len(steps) == 12
    for epoch, validated in enumerate(watched["validated"]):
        expected = averaged(steps[: 3 * (epoch + 1)], firsts[0], 0.6)
        for name, value in validated.items():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    best = watched["validated"][result.best_epoch - 1]
    assert all(torch.equal(value, best[name]) for name, value in result.model.state_dict().items())
    assert result.history[result.best_epoch - 1]["ua"] == pytest.approx(evaluate(result.model, emotions(9, 1)).ua)
    # Validation leaves the weights as they were: the next step starts from the last one's, not from the average.
    moved = (steps[3]["classifier.weight"] - steps[2]["classifier.weight"]).abs().max()
    assert 0 < moved < 0.02


def test_without_an_average_the_last_weights_are_kept():
    options = dataclasses.replace(OPTIONS, weight_average=0.0)
    plain = train_emotion(CONFIG, emotions(22, 0), None, options).model
    average = train_emotion(CONFIG, emotions(22, 0), None, dataclasses.replace(OPTIONS, weight_average=0.9)).model
    assert not torch.equal(plain.classifier.weight, average.classifier.weight)
    again = train_emotion(CONFIG, emotions(22, 0), None, options).model
    assert torch.equal(plain.classifier.weight, again.classifier.weight)


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)


class _Trainer:
    def __init__(self):
        self.global_step = 0


class _Task:
    validates = False

    def __init__(self, model):
        self.model = model

    def finish_epoch(self):
        return {"epoch": 1.0, "loss": 0.0}


def test_statistics_are_averaged_and_counters_are_the_models():
    task, trainer, average = _Task(Normalised()), _Trainer(), WeightAverage(0.5)
    average.on_train_start(trainer, task)
    for _ in range(5):
        task.model.norm(task.model.linear(torch.randn(6, 3) + 4.0))
        trainer.global_step += 1
        average.on_train_batch_end(trainer, task)
    kept = KeepBest(None, average)
    kept.on_train_epoch_end(trainer, task)
    assert kept.weights.keys() == task.model.state_dict().keys()
    assert int(kept.weights["norm.num_batches_tracked"]) == 5
    assert not torch.equal(kept.weights["norm.running_mean"], task.model.norm.running_mean)
    assert torch.equal(kept.weights["linear.weight"], task.model.linear.weight)  # nothing moved it
    task.model.load_state_dict(kept.weights)


@pytest.mark.parametrize("crop_seconds", [0.0, 0.15])
@pytest.mark.parametrize("length", [{"epochs": 4}, {"steps": 700}])
def test_a_run_that_was_killed_comes_to_the_same_average(tmp_path, monkeypatch, length, crop_seconds):
    if "steps" in length:
        monkeypatch.setattr("satn_fast.training.options.STEPS_PER_EPOCH", 5)
        length = {"steps": 19}
    options = dataclasses.replace(OPTIONS, **({"epochs": None} | length), crop_seconds=crop_seconds)

    class KilledError(Exception):
        pass

    def killed(done, total, record):
        if done == 11:
            raise KilledError

    def train(**place):
        return train_emotion(CONFIG, emotions(22, 0), emotions(9, 1), options, **place)

    whole = train()
    assert len(whole.history) == 4
    with pytest.raises(KilledError):
        train(folder=tmp_path, progress=killed)
    saved = SafetensorsCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert saved["callbacks"]["WeightAverage"]["averages"].keys() <= SATN(CONFIG).state_dict().keys()
    for _ in range(2):  # taken up, and looked at when nothing is left to do
        again = train(folder=tmp_path)
        assert again.history == whole.history
        assert again.best_epoch == whole.best_epoch
        assert all(torch.equal(value, whole.model.state_dict()[k]) for k, value in again.model.state_dict().items())


def test_the_average_of_rounding_epochs_is_a_plain_model():
    result = train_emotion(CONFIG, emotions(22, 0), emotions(9, 1), OPTIONS, quantization_aware=2)
    assert result.best_epoch > 2
    assert type(result.model.classifier) is nn.Linear
    assert {
        type(module).__name__ for module in result.model.modules() if type(module).__name__.startswith("_")
    } == set()
