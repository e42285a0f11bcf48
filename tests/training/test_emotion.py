import copy
import dataclasses
from statistics import median

import pytest
import torch

from satn_fast import SATN, AutoencoderModel, SourceModel
from satn_fast.functional import attention_transfer_loss
from satn_fast.training import TrainingOptions, TransferOptions, evaluate, train_emotion
from satn_fast.training.dataset import collate
from satn_fast.training.emotion import balanced_weights
from satn_fast.training.options import default_steps
from satn_fast.training.settings import EmotionSettings
from satn_fast.training.task import crop_frames

from ..models.test_reference import small_config
from .tones import emotions

CONFIG = small_config(labels=("low", "high"), normalization="global", dropout=0.1)
QUICK = TrainingOptions(epochs=2, batch_size=8)


def a_source(**changes) -> SourceModel:
    torch.manual_seed(9)
    return SourceModel(dataclasses.replace(CONFIG, **changes), ("a", "b"))


@pytest.mark.parametrize("mode", ["none", "init", "map", "both"])
def test_learns_with_every_transfer(mode):
    options = TrainingOptions(epochs=12, batch_size=8, learning_rate=0.01, augmentation=())
    result = train_emotion(
        CONFIG, emotions(64, 0), emotions(16, 1), options, source=a_source(), transfer=TransferOptions(mode=mode)
    )
    assert evaluate(result.model, emotions(32, 2)).ua > 0.9
    assert not result.model.training
    best = max(result.history, key=lambda record: (record["ua"], -record["validation_loss"]))
    assert best["epoch"] == result.best_epoch


def test_equal_seeds_give_equal_numbers_and_other_seeds_do_not():
    def history(seed):
        options = dataclasses.replace(QUICK, seed=seed)
        transfer = TransferOptions(mode="both")
        return train_emotion(
            CONFIG, emotions(24, 0), emotions(8, 1), options, source=a_source(), transfer=transfer
        ).history

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_init_starts_from_the_source_and_stays_there_while_frozen():
    source = a_source()
    transfer = TransferOptions(mode="init", part="encoder", frozen_epochs=2)
    result = train_emotion(CONFIG, emotions(24, 0), emotions(8, 1), QUICK, source=source, transfer=transfer)
    for ours, theirs in zip(result.model.encoder.parameters(), source.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    thawed = train_emotion(
        CONFIG, emotions(24, 0), emotions(8, 1), QUICK, source=source, transfer=TransferOptions("init", "encoder")
    )
    assert not torch.equal(thawed.model.encoder.attention.query.weight, source.encoder.attention.query.weight)
    assert all(parameter.requires_grad for parameter in thawed.model.parameters())


def test_map_pulls_the_attention_towards_the_source_and_leaves_the_source_alone():
    source = a_source()
    before = copy.deepcopy(source.state_dict())
    data = emotions(32, 0)
    batch = collate(list(zip(data.features, data.targets, strict=True)))

    def distance(model):
        with torch.no_grad():
            ours, theirs = (m.encoder(batch.features, batch.lengths) for m in (model, source))
        return float(
            attention_transfer_loss(ours.query, ours.key, theirs.query, theirs.key, lengths=batch.lengths, loss="kl")
        )

    options = TrainingOptions(epochs=10, batch_size=8, learning_rate=0.01, augmentation=())
    free, pulled = (
        train_emotion(
            CONFIG,
            data,
            emotions(8, 1),
            options,
            source=source,
            transfer=TransferOptions(mode="map", map_weight=weight),
        ).model
        for weight in (0.0, 3.0)
    )
    assert distance(pulled) < 0.5 * distance(free)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize("mode", ["init", "map", "both"])
def test_transfer_without_a_source_is_refused(mode):
    with pytest.raises(ValueError, match="source is None"):
        train_emotion(CONFIG, emotions(4, 0), emotions(4, 1), QUICK, transfer=TransferOptions(mode=mode))


@pytest.mark.parametrize(
    ("mode", "changes", "name"),
    [
        ("init", {"channels": 12}, "channels"),
        ("init", {"n_heads": 4}, "n_heads"),
        ("both", {"attention_window": 3}, "attention_window"),
        ("map", {"front_end": {"preset": "psf", "n_mels": 2}}, "front_end"),
    ],
)
def test_a_source_that_does_not_fit_is_named(mode, changes, name):
    with pytest.raises(ValueError, match=f"source has {name}"):
        train_emotion(
            CONFIG, emotions(4, 0), emotions(4, 1), QUICK, source=a_source(**changes), transfer=TransferOptions(mode)
        )


@pytest.mark.parametrize(
    ("part", "changes", "name"),
    [("tcn", {"n_blocks": 3}, "n_blocks"), ("attention", {"n_heads": 4}, "n_heads")],
)
def test_only_the_part_that_is_transferred_has_to_fit(part, changes, name):
    other = {"tcn": "attention", "attention": "tcn"}[part]
    for chosen, refused in ((part, True), (other, False)):
        transfer = TransferOptions("init", part=chosen, frozen_epochs=2)
        source = a_source(**changes)
        if refused:
            with pytest.raises(ValueError, match=f"source has {name}"):
                train_emotion(CONFIG, emotions(8, 0), emotions(4, 1), QUICK, source=source, transfer=transfer)
            continue
        encoder = train_emotion(
            CONFIG, emotions(8, 0), emotions(4, 1), QUICK, source=source, transfer=transfer
        ).model.encoder
        copied = getattr(encoder, chosen).state_dict()
        assert all(torch.equal(copied[k], v) for k, v in getattr(source.encoder, chosen).state_dict().items())
        assert not torch.equal(
            next(iter(getattr(encoder, part).parameters())), next(iter(getattr(source.encoder, part).parameters()))
        )


def test_feature_statistics_are_those_of_the_training_data():
    source, data = a_source(), emotions(8, 0)
    source.encoder.normalization.mean.fill_(7.0)
    model = train_emotion(CONFIG, data, None, QUICK, source=source, transfer=TransferOptions("init", "encoder")).model
    torch.testing.assert_close(model.encoder.normalization.mean, torch.cat(data.features).mean(0))


def test_what_starts_from_the_source_can_learn_more_slowly():
    def distance(factor):
        source = a_source()
        transfer = TransferOptions("init", learning_rate_factor=factor)
        model = train_emotion(CONFIG, emotions(24, 0), None, QUICK, source=source, transfer=transfer).model
        ours, theirs = model.encoder.attention.query.weight, source.encoder.attention.query.weight
        return float((ours - theirs).detach().norm())

    assert distance(0.0) == 0.0
    assert 0.0 < distance(0.1) < 0.3 * distance(1.0)


def test_heads_of_the_source_can_be_chosen():
    source = a_source(n_heads=4)
    with pytest.raises(ValueError, match="the source offers 4 heads, the model has n_heads = 2"):
        train_emotion(CONFIG, emotions(8, 0), None, QUICK, source=source, transfer=TransferOptions("map"))
    with pytest.raises(ValueError, match="heads 0 to 3"):
        train_emotion(CONFIG, emotions(8, 0), None, QUICK, source=source, transfer=TransferOptions("map", heads=(0, 4)))
    weights = [
        train_emotion(
            CONFIG, emotions(8, 0), None, QUICK, source=source, transfer=TransferOptions("map", heads=heads)
        ).model.encoder.attention.query.weight
        for heads in ((0, 1), (0, 1), (2, 3))
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_any_model_with_an_encoder_is_a_source():
    for source in (AutoencoderModel(CONFIG), SATN(dataclasses.replace(CONFIG, labels=("x", "y", "z")))):
        result = train_emotion(
            CONFIG, emotions(8, 0), None, QUICK, source=source, transfer=TransferOptions("both", frozen_epochs=2)
        )
        assert torch.equal(result.model.encoder.attention.query.weight, source.encoder.attention.query.weight)


def test_map_weight_falls_to_nothing_or_stays():
    falling = TransferOptions("map", map_weight=0.4, map_schedule="falling")
    assert falling.map_weight_at(0.0) == 0.4
    assert falling.map_weight_at(0.5) == pytest.approx(0.2)
    assert falling.map_weight_at(1.0) == pytest.approx(0.0)
    assert TransferOptions("map", map_weight=0.4).map_weight_at(1.0) == 0.4


def test_without_validation_the_last_epoch_is_kept():
    result = train_emotion(CONFIG, emotions(8, 0), None, QUICK)
    assert result.best_epoch == 2
    assert [sorted(record) for record in result.history] == [["epoch", "loss"]] * 2


def test_training_stops_when_validation_gets_no_better():
    options = TrainingOptions(epochs=9, learning_rate=1e-9, patience=3)
    result = train_emotion(CONFIG, emotions(8, 0), emotions(8, 1), options)
    assert len(result.history) < 9
    assert len(result.history) - result.best_epoch == 3


def test_map_works_between_models_of_different_width():
    source = a_source(channels=12)
    result = train_emotion(
        CONFIG, emotions(8, 0), emotions(4, 1), QUICK, source=source, transfer=TransferOptions(mode="map")
    )
    assert len(result.history) == 2


def test_unknown_transfer_is_named():
    with pytest.raises(ValueError, match="mode is 'copy'"):
        TransferOptions(mode="copy")


def test_diverging_training_says_so():
    data = emotions(8, 0)
    data.features[3][0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="epoch 1"):
        train_emotion(CONFIG, data, emotions(4, 1), QUICK)


def test_class_weights_are_inverse_frequencies_with_mean_one():
    targets = [torch.tensor(label) for label in (0, 0, 0, 0, 0, 0, 2, 2)]
    weights = balanced_weights(targets, 4)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 0.0, 2.0, 0.0]))
    assert weights[torch.stack(targets)].mean() == pytest.approx(1.0)
    assert torch.equal(balanced_weights(targets[5:7], 4)[[0, 2]], torch.ones(2))


def test_balanced_weights_recognise_what_is_rare():
    data = emotions(64, 0)
    rows = [row for row in range(64) if int(data.targets[row]) == 0 or row % 16 == 1]
    rare = dataclasses.replace(
        data,
        # So faint that a guess pays where one label is rare.
        features=[0.1 * data.features[row] + torch.randn_like(data.features[row]) for row in rows],
        targets=[data.targets[row] for row in rows],
    )
    options = TrainingOptions(epochs=6, batch_size=8, augmentation=())
    decided = {}
    for weights in ("balanced", "none"):
        model = train_emotion(CONFIG, rare, None, options, class_weights=weights).model
        batch = rare.batch(range(len(rows)))
        logits = model(batch.features, batch.lengths).logits.detach()
        decided[weights] = float(logits.softmax(-1)[:, 1].mean())
    assert decided["none"] < 0.3 < decided["balanced"]
    with pytest.raises(ValueError, match="class_weights is 'many'"):
        train_emotion(CONFIG, rare, None, options, class_weights="many")


def test_a_label_that_nobody_says_is_never_recognised_and_does_no_harm():
    config = dataclasses.replace(CONFIG, labels=("low", "high", "unheard"))
    options = TrainingOptions(epochs=12, batch_size=8, learning_rate=0.01, augmentation=())
    result = train_emotion(config, emotions(64, 0), emotions(16, 1), options)
    confusion = evaluate(result.model, emotions(32, 2)).confusion
    assert confusion[:, 2].sum() == 0
    assert result.history[-1]["ua"] > 0.9  # over the labels that are there


def test_learns_from_crops_and_recognises_whole_utterances():
    # The loud band is heard in frames 5 to 12 of 20 to 40: 25 frames have nearly always some of it.
    options = TrainingOptions(steps=150, batch_size=8, crop_seconds=0.25, learning_rate=0.01, augmentation=())
    result = train_emotion(CONFIG, emotions(64, 0), None, options)
    assert evaluate(result.model, emotions(32, 2)).ua > 0.9
    assert len(result.history) == options.n_epochs == 1


def test_without_options_it_trains_as_the_command_does(monkeypatch):
    asked = []
    monkeypatch.setattr("satn_fast.training.emotion.fit", lambda task, *rest, **place: asked.append(task))
    train_emotion(CONFIG, data := emotions(20, 0), None)
    (task,) = asked
    assert task.options.steps == default_steps(20)
    assert task.options.crop_seconds == EmotionSettings().crop_seconds
    assert task.crop_frames == round(median(data.lengths))
    assert [type(change).__name__ for change in task.options.augmentation] == [
        "MelWarp",
        "Equalizer",
        "StyleMixing",
        "SpecAugment",
    ]


@pytest.mark.parametrize(
    ("lengths", "frames"), [([500, 210, 900], 200), ([199, 40, 900], 199), ([30, 20], 25), ([1], 1)]
)
def test_crops_are_no_longer_than_the_middle_utterance(lengths, frames):
    assert crop_frames(CONFIG, TrainingOptions(crop_seconds=2.0), lengths) == frames  # of 10 ms
    assert crop_frames(CONFIG, TrainingOptions(crop_seconds=0.0), lengths) is None


def test_crops_shorter_than_a_frame_are_refused():
    with pytest.raises(ValueError, match=r"crop_seconds is 0.001, frames come every 0.01 s"):
        train_emotion(CONFIG, emotions(8, 0), None, TrainingOptions(crop_seconds=0.001))


def test_frozen_epochs_of_a_training_in_steps_are_stretches_of_steps(monkeypatch):
    monkeypatch.setattr("satn_fast.training.options.STEPS_PER_EPOCH", 4)
    source = a_source()
    moved = []
    for frozen in (2, 3):
        options = TrainingOptions(steps=12, batch_size=8)
        transfer = TransferOptions("init", frozen_epochs=frozen)
        model = train_emotion(CONFIG, emotions(24, 0), None, options, source=source, transfer=transfer).model
        moved.append(not torch.equal(model.encoder.attention.query.weight, source.encoder.attention.query.weight))
    assert moved == [True, False]
