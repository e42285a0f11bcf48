"""What a training step gets: passes, epochs, crops, versions, and what decides them."""

import dataclasses

import numpy as np
import pytest
import torch

from satn_fast.training import FeatureDataset, MappedFeatures, ResidentFeatures, TrainingOptions, Versions
from satn_fast.training.augmentation import utterance_keys
from satn_fast.training.dataset import Crops
from satn_fast.training.loading import TrainingBatches, crop_starts
from satn_fast.training.options import default_steps

LENGTHS = [40, 7, 25, 60, 31, 12, 50, 44, 20, 33]


def numbered(lengths=LENGTHS, versions=1):
    """Frame `t` of utterance `u` in version `v` is (u, v, t)."""
    features = [
        torch.stack([torch.full((n,), float(u)), torch.full((n,), float(v)), torch.arange(float(n))], 1)
        for v in range(versions)
        for u, n in enumerate(lengths)
    ]
    return FeatureDataset(features, [torch.tensor(u) for _ in range(versions) for u in range(len(lengths))])


def loaded(data, options, crop_frames, epochs, **place):
    """All batches of all epochs."""
    batches = TrainingBatches(data, options, crop_frames, **place)
    return [list(batches.loader(epoch)) for epoch in range(epochs)]


def utterances_of(batches):
    return [int(number) for loaded in batches for number in loaded.batch.targets]


@pytest.mark.parametrize("crop_frames", [None, 15])
def test_an_epoch_of_passes_has_every_utterance_once(crop_frames):
    options = TrainingOptions(epochs=3, batch_size=4)
    for epoch in loaded(Versions(numbered()), options, crop_frames, 3):
        assert sorted(utterances_of(epoch)) == list(range(10))


@pytest.mark.parametrize("crop_frames", [None, 15])
def test_epochs_of_steps_have_their_steps_and_go_through_one_pass_after_the_other(crop_frames):
    options = TrainingOptions(steps=701, batch_size=4)
    assert options.n_epochs == 3
    epochs = loaded(Versions(numbered()), options, crop_frames, 3)
    assert [len(epoch) for epoch in epochs] == [233, 234, 234]
    said = utterances_of(batch for epoch in epochs for batch in epoch)
    passes = [said[start : start + 10] for start in range(0, len(said) - 9, 10)]
    assert all(sorted(heard) == list(range(10)) for heard in passes)
    # Whole utterances of similar length go together: so few make three batches, which have six orders.
    assert len(set(map(tuple, passes))) > (5 if crop_frames is None else 100)


@pytest.mark.parametrize("crop_frames", [None, 15])
def test_an_epoch_depends_on_its_number_alone(crop_frames):
    options = TrainingOptions(steps=1000, batch_size=4, seed=3)
    data = Versions(numbered(versions=3), 3)
    in_order = loaded(data, options, crop_frames, 4)
    batches = TrainingBatches(data, options, crop_frames)
    for epoch in (2, 0, 3, 1):
        for ours, theirs in zip(batches.loader(epoch), in_order[epoch], strict=True):
            assert torch.equal(ours.batch.features, theirs.batch.features)
            assert torch.equal(ours.keys, theirs.keys)


def test_passes_are_cut_into_equal_batches_and_nobody_is_alone():
    for count, batch_size in ((450, 32), (33, 32), (9, 4), (5, 2)):
        data = Versions(numbered([20] * count))
        (epoch,) = loaded(data, TrainingOptions(epochs=1, batch_size=batch_size), 5, 1)
        sizes = {len(step.keys) for step in epoch}
        assert max(sizes) <= max(batch_size, 3)
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 1
    # Of such lengths that padding parts them: batch normalisation needs two all the same.
    (epoch,) = loaded(Versions(numbered([2, 90, 3000])), TrainingOptions(epochs=1, batch_size=8), None, 1)
    assert [len(step.keys) for step in epoch] == [3]


def test_a_crop_is_a_stretch_of_its_utterance_and_short_ones_are_repeated():
    for epoch in loaded(Versions(numbered()), TrainingOptions(epochs=20, batch_size=4), 15, 20):
        for step in epoch:
            assert isinstance(step.batch, Crops)
            assert step.batch.lengths is None
            assert step.batch.features.shape[1] == 15
            for crop, target in zip(step.batch.features, step.batch.targets, strict=True):
                length = LENGTHS[int(target)]
                assert (crop[:, 0] == target).all()
                expected = (crop[0, 2] + torch.arange(15)) % length
                assert torch.equal(crop[:, 2], expected)
                if length >= 15:
                    assert crop[-1, 2] == crop[0, 2] + 14


def test_crops_begin_everywhere():
    keys = utterance_keys(torch.arange(4000), epoch=0, seed=0)
    for length, places in ((20, 6), (15, 1), (7, 7)):
        starts = crop_starts(keys, torch.full((4000,), length), 15)
        counts = torch.bincount(starts, minlength=places)
        assert len(counts) == places
        assert counts.min() > 0.8 * 4000 / places


def test_what_is_drawn_of_an_utterance_does_not_depend_on_the_others():
    options = TrainingOptions(epochs=2, batch_size=4, seed=5)
    data = numbered(versions=3)
    drawn = []
    for chosen in (None, [7, 2, 3]):
        found = {}
        for number, epoch in enumerate(loaded(Versions(data, 3, chosen=chosen), options, 15, 2)):
            for step in epoch:
                for crop, key in zip(step.batch.features, step.keys, strict=True):
                    found[number, int(crop[0, 0])] = (int(crop[0, 1]), int(crop[0, 2]), int(key))
        drawn.append(found)
    everybody, some = drawn
    assert set(some) == {(epoch, number) for epoch in (0, 1) for number in (2, 3, 7)}
    assert all(everybody[which] == what for which, what in some.items())
    assert len({version for version, _, _ in everybody.values()}) == 3
    assert any(everybody[0, number] != everybody[1, number] for number in range(10))


def test_every_version_has_the_target_of_its_utterance():
    data = Versions(numbered(versions=3), 3, chosen=[4, 1], drawn=(0, 2))
    assert [int(target) for target in data.targets_of_features] == [4, 1, 4, 1]
    assert len(data.features) == 4


def test_only_versions_that_are_asked_for_are_drawn():
    data = Versions(numbered(versions=3), 3, drawn=(1, 2))
    (epoch,) = loaded(data, TrainingOptions(epochs=1, batch_size=4), 15, 1)
    assert {int(version) for step in epoch for version in step.batch.features[:, 0, 1]} == {1, 2}
    assert len(data.features) == 20
    with pytest.raises(ValueError, match="drawn reaches from 1 to 3, there are 3"):
        Versions(numbered(versions=3), 3, drawn=(1, 3))
    with pytest.raises(ValueError, match="chosen reaches from -1 to 10, there are 10"):
        Versions(numbered(), chosen=[-1, 10])


@pytest.mark.parametrize("crop_frames", [None, 15])
def test_processes_share_every_batch(crop_frames):
    options = TrainingOptions(epochs=2, batch_size=4)
    data = Versions(numbered())
    whole = loaded(data, options, crop_frames, 2)
    parts = [loaded(data, options, crop_frames, 2, rank=rank, world_size=2) for rank in (0, 1)]
    for epoch, left, right in zip(whole, *parts, strict=True):
        for one, first, second in zip(epoch, left, right, strict=True):
            assert sorted(one.keys.tolist()) == sorted(first.keys.tolist() + second.keys.tolist())
            assert first.share.utterances + second.share.utterances == pytest.approx(2.0)
            assert first.share.frames + second.share.frames == pytest.approx(2.0)


def test_a_process_without_an_utterance_counts_nothing():
    options = TrainingOptions(epochs=1, batch_size=1)
    (epoch,) = loaded(Versions(numbered()), options, None, 1, rank=1, world_size=2)
    assert len(epoch) == 10
    assert all(step.share == (0.0, 0.0) and len(step.keys) == 1 for step in epoch)


def test_every_store_gives_the_same_crops(tmp_path):
    plain = numbered()
    MappedFeatures.write(tmp_path / "corpus.npy", plain.features)
    indices, starts = torch.tensor([3, 1, 1, 8]), torch.tensor([41, 6, 0, 13])
    expected = plain.crops(indices, starts, 19)
    stores = (ResidentFeatures(plain.features, plain.targets), MappedFeatures(tmp_path / "corpus.npy", plain.targets))
    for store in stores:
        for ours, theirs in zip(store.crops(indices, starts, 19), expected, strict=True):
            assert torch.equal(ours, theirs)
        with pytest.raises(IndexError, match="there are 10"):
            store.crops(torch.tensor([10]), starts[:1], 5)
    symbols = dataclasses.replace(plain, targets=[torch.arange(1 + u % 3) for u in range(10)])
    resident = ResidentFeatures(symbols.features, symbols.targets)
    for ours, theirs in zip(resident.crops(indices, starts, 19), symbols.crops(indices, starts, 19), strict=True):
        assert torch.equal(ours, theirs)


def test_empty_utterances_are_refused():
    with pytest.raises(ValueError, match="an utterance has no frame"):
        TrainingBatches(Versions(numbered([5, 0, 3])), TrainingOptions(epochs=1), 4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"steps": 5, "epochs": 5}, "steps is 5, epochs is 5"),
        ({"steps": 0}, "steps is 0"),
        ({"crop_seconds": -1.0}, "crop_seconds is -1"),
        ({"crop_seconds": float("nan")}, "crop_seconds is nan"),
        ({"weight_average": 1.0}, "weight_average is 1.0"),
    ],
)
def test_impossible_lengths_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        TrainingOptions(**options)


def test_a_length_is_known_once_the_number_of_utterances_is():
    with pytest.raises(ValueError, match="resolve"):
        _ = TrainingOptions().n_epochs
    assert TrainingOptions().resolved(450).steps == default_steps(450) == 1500
    assert TrainingOptions(epochs=7).resolved(450).steps is None
    assert TrainingOptions(steps=7).resolved(450).steps == 7
    assert default_steps(1) == 500
    assert default_steps(10**9) == 30_000
    growing = [default_steps(n) for n in (100, 450, 1440, 7442)]
    assert growing == sorted(growing)
    for steps in (1, 100, 250, 2000, 2001, 29_999):
        options = TrainingOptions(steps=steps)
        lengths = [options.steps_of_epoch(epoch) for epoch in range(options.n_epochs)]
        assert sum(lengths) == steps
        assert np.ptp(lengths) <= 1
