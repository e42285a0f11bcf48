import copy
import dataclasses

import pytest
import torch

from satn_fast import SourceModel
from satn_fast.functional import attention_transfer_loss
from satn_fast.training import TrainingOptions, TransferOptions, evaluate, train_emotion
from satn_fast.training.dataset import collate

from ..models.test_reference import small_config
from .tones import emotions

CONFIG = small_config(labels=("low", "high"), normalization="global", dropout=0.1)
QUICK = TrainingOptions(epochs=2, batch_size=8)


def a_source(**changes) -> SourceModel:
    torch.manual_seed(9)
    return SourceModel(dataclasses.replace(CONFIG, **changes), ("a", "b"))


@pytest.mark.parametrize("mode", ["none", "init", "map", "both"])
def test_learns_with_every_transfer(mode):
    options = TrainingOptions(epochs=12, batch_size=8, learning_rate=0.01, augmentation=None)
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
    transfer = TransferOptions(mode="init", frozen_epochs=2)
    result = train_emotion(CONFIG, emotions(24, 0), emotions(8, 1), QUICK, source=source, transfer=transfer)
    for ours, theirs in zip(result.model.encoder.parameters(), source.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    thawed = train_emotion(
        CONFIG, emotions(24, 0), emotions(8, 1), QUICK, source=source, transfer=TransferOptions("init", frozen_epochs=0)
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

    options = TrainingOptions(epochs=10, batch_size=8, learning_rate=0.01, augmentation=None)
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
        ("init", {"normalization": "utterance"}, "normalization"),
        ("map", {"n_heads": 4}, "n_heads"),
        ("both", {"attention_window": 3}, "attention_window"),
        ("map", {"front_end": {"preset": "psf", "n_mels": 2}}, "front_end"),
    ],
)
def test_a_source_that_does_not_fit_is_named(mode, changes, name):
    with pytest.raises(ValueError, match=f"source has {name}"):
        train_emotion(
            CONFIG, emotions(4, 0), emotions(4, 1), QUICK, source=a_source(**changes), transfer=TransferOptions(mode)
        )


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
