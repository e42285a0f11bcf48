import copy
import dataclasses

import pytest
import torch

from satn_fast import SATN
from satn_fast.training import TrainingOptions, train_emotion
from satn_fast.training.dataset import collate
from satn_fast.training.emotion import EmotionTask
from satn_fast.training.options import TransferOptions
from satn_fast.training.quantization import fake_quantized, rounded_activation, rounded_weight

from ..models.test_reference import small_config
from .tones import emotions

CONFIG = small_config(labels=("low", "high"), normalization="global", dropout=0.1)
OPTIONS = TrainingOptions(epochs=3, batch_size=8)


def a_model(**changes):
    torch.manual_seed(3)
    return SATN(dataclasses.replace(CONFIG, **changes)).eval()


def logits_of_rounding(model, features, lengths=None):
    with fake_quantized(model):
        return model(features, lengths).logits


def test_weights_have_a_grid_per_output_channel():
    weight = torch.randn(4, 5, 3) * torch.tensor([1e-3, 1.0, 50.0, 0.0])[:, None, None]
    steps = weight.abs().amax((1, 2), keepdim=True) / 64
    rounded = rounded_weight(weight)
    assert torch.all((rounded - weight).abs() <= steps / 2 * 1.001)
    assert torch.equal(rounded[3], weight[3])
    assert all(len(channel.unique()) <= 129 for channel in rounded)
    assert not torch.equal(rounded[:3], weight[:3])


def test_activations_have_256_steps_over_the_range_of_the_real_frames():
    x = torch.randn(2, 400, 6) + 2.0
    lengths = torch.tensor([400, 30])
    x[1, 30:] = 1e6
    rounded = rounded_activation(x, lengths)
    assert torch.all(rounded[1, 30:] == 0.0)
    assert 128 < len(rounded.unique()) <= 256
    real = torch.cat([x[0], x[1, :30]])
    step = (real.max() - real.min().clamp(max=0)) / 255
    assert (torch.cat([rounded[0], rounded[1, :30]]) - real).abs().max() <= step
    assert torch.equal(rounded_activation(torch.zeros(1, 3, 2)), torch.zeros(1, 3, 2))


def test_gradients_go_straight_through():
    weight, x = torch.randn(4, 5, requires_grad=True), torch.randn(1, 20, 5, requires_grad=True)
    (rounded_weight(weight).sum() + rounded_activation(x).sum()).backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert (x.grad == 1.0).float().mean() > 0.95


def test_the_model_rounds_inside_the_block_and_is_untouched_outside():
    model, features = a_model(), torch.randn(2, 25, 6)
    before, state = model(features).logits, copy.deepcopy(model.state_dict())
    classes = [type(module) for module in model.modules()]
    rounded = logits_of_rounding(model, features)
    assert 0 < (rounded - before).abs().max() < 0.2 * before.abs().max()
    assert torch.equal(model(features).logits, before)
    assert [type(module) for module in model.modules()] == classes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError, match="inside"), fake_quantized(model):
        raise RuntimeError("inside")
    assert [type(module) for module in model.modules()] == classes


def test_every_part_that_int8_files_round_is_rounded_and_the_classifier_is_not():
    with fake_quantized(model := a_model()):
        kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    rounding = {name for name, kind in kinds.items() if kind.startswith("_")}
    names = {"encoder.attention", "pooling"} | {f"encoder.attention.{p}" for p in ("query", "key", "value", "output")}
    for block in range(CONFIG.n_blocks):
        names |= {f"encoder.tcn.blocks.{block}{part}" for part in ("", ".conv1", ".conv2")}
    assert rounding - {"encoder.tcn.blocks.0.project"} == names
    assert "encoder.tcn.blocks.0.project" in rounding
    assert kinds["classifier"] == "Linear"


def test_padding_stays_inert():
    model = a_model()
    features, lengths = torch.randn(2, 25, 6), torch.tensor([25, 9])
    expected = logits_of_rounding(model, features, lengths)
    features[1, 9:] = torch.nan
    assert torch.equal(logits_of_rounding(model, features, lengths), expected)


def test_the_model_learns_with_rounding():
    options = TrainingOptions(epochs=12, batch_size=8, learning_rate=0.01, augmentation=())
    result = train_emotion(CONFIG, emotions(64, 0), emotions(16, 1), options, quantization_aware=12)
    assert result.history[-1]["ua"] > 0.9


def test_only_the_last_epochs_round_and_one_of_them_is_kept():
    plain = train_emotion(CONFIG, emotions(32, 0), emotions(16, 1), OPTIONS)
    aware = train_emotion(CONFIG, emotions(32, 0), emotions(16, 1), OPTIONS, quantization_aware=1)
    assert aware.history[:2] == plain.history[:2]
    assert aware.history[2] != plain.history[2]
    assert aware.best_epoch == 3
    assert aware.model.state_dict().keys() == plain.model.state_dict().keys()


def test_validation_rounds_too():
    model, data = a_model(), emotions(8, 0)
    batch = collate(list(zip(data.features, data.targets, strict=True)))
    counts = [
        EmotionTask(model, OPTIONS, 0.0, None, TransferOptions(), epochs).count(batch)[-1, 0] for epochs in (0, 3)
    ]
    assert counts[0] != counts[1]


def test_a_run_that_is_taken_up_comes_to_the_same_weights(tmp_path, monkeypatch):
    def train(folder):
        return train_emotion(
            CONFIG, emotions(32, 0), emotions(16, 1), OPTIONS, quantization_aware=2, folder=tmp_path / folder
        )

    whole = train("whole")
    start = EmotionTask.on_train_batch_start

    def killed(task, batch, index):
        if task.current_epoch == 2:
            raise InterruptedError
        start(task, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(EmotionTask, "on_train_batch_start", killed)
        with pytest.raises(InterruptedError):
            train("killed")
    taken_up = train("killed")
    assert taken_up.history == whole.history
    assert all(torch.equal(v, whole.model.state_dict()[k]) for k, v in taken_up.model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "epochs", "message"),
    [
        (OPTIONS, 4, "quantization_aware is 4, there are 3 epochs"),
        (OPTIONS, -1, "quantization_aware is -1"),
        (dataclasses.replace(OPTIONS, patience=2), 1, "patience is 2"),
    ],
)
def test_epochs_that_cannot_come_are_refused(options, epochs, message):
    with pytest.raises(ValueError, match=message):
        train_emotion(CONFIG, emotions(8, 0), None, options, quantization_aware=epochs)
