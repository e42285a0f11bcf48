import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.training import (
    FeatureDataset,
    LengthBuckets,
    MappedFeatures,
    ResidentFeatures,
    TrainingOptions,
    batches,
    train_emotion,
)

from ..models.test_reference import small_config
from . import tones


def corpus(lengths, symbols=False, n_features=6):
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(n, n_features, generator=generator) for n in lengths]
    targets = [torch.arange(1, 2 + i % 4) if symbols else torch.tensor(i) for i in range(len(features))]
    return FeatureDataset(features, targets)


def mapped(folder, data, dtype=torch.float32):
    MappedFeatures.write(folder / "corpus.npy", data.features, dtype)
    return MappedFeatures(folder / "corpus.npy", data.targets)


def assert_same(found, expected):
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("symbols", [False, True])
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), data=st.data())
def test_resident_equals_mapped_equals_plain_padding(tmp_path_factory, symbols, lengths, data):
    plain = corpus(lengths, symbols)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=15))
    expected = plain.batch(indices)
    if sum(lengths):
        store = mapped(tmp_path_factory.mktemp("corpus"), plain)
        assert_same(store.batch(indices), expected)
        assert_same(pickle.loads(pickle.dumps(store)).batch(indices), expected)
        assert_same(ResidentFeatures(store).batch(torch.tensor(indices)), expected)
    resident = ResidentFeatures(plain.features, plain.targets)
    assert_same(resident.batch(np.array(indices)), expected)
    assert resident.lengths == plain.lengths == list(lengths)
    assert_same(resident.features, plain.features)


def test_half_precision_stores_give_the_rounded_values(tmp_path):
    plain = corpus([5, 9, 3])
    rounded = FeatureDataset([x.half().float() for x in plain.features], plain.targets)
    expected = rounded.batch([2, 0, 1])
    assert_same(mapped(tmp_path, plain, torch.float16).batch([2, 0, 1]), expected)
    assert_same(ResidentFeatures(plain.features, plain.targets, dtype=torch.float16).batch([2, 0, 1]), expected)


def test_a_batch_goes_into_the_callers_memory(tmp_path):
    plain = corpus([5, 9, 3])
    store, memory = mapped(tmp_path, plain), torch.full((2000,), torch.nan)
    for indices in ([1, 2], [0], [2, 2, 0]):
        batch = store.batch(indices, out=memory)
        assert_same(batch, plain.batch(indices))
        assert batch.features.data_ptr() == memory.data_ptr()
    for wrong in (memory[:20], memory.double(), memory[::2]):
        with pytest.raises(ValueError, match="out has"):
            store.batch([1, 2], out=wrong)


@pytest.mark.gpu
def test_a_corpus_on_the_gpu_gives_the_same(cuda):
    plain = corpus([5, 90, 33, 61])
    resident = ResidentFeatures(plain.features, plain.targets, cuda, torch.float32)
    batch = resident.batch([3, 0, 1])
    assert batch.features.device.type == "cuda"
    assert_same([x.cpu() for x in batch], plain.batch([3, 0, 1]))


def test_training_is_the_same_from_every_dataset(tmp_path):
    config = small_config(labels=("low", "high"), normalization="global", dropout=0.1)
    options = TrainingOptions(epochs=2, batch_size=4)
    training, validation = tones.emotions(12, 0), tones.emotions(4, 1)
    histories = []
    for data in (
        training,
        ResidentFeatures(training.features, training.targets),
        mapped(tmp_path, training),
    ):
        histories.append(train_emotion(config, data, validation, options).history)
    assert histories[0] == histories[1] == histories[2]
    resident = ResidentFeatures(training.features, training.targets)
    for a, b in zip(batches(resident, 5), batches(training, 5), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:100], lambda c: c[:-1], lambda c: c + b"1", lambda c: b"", lambda c: b"x" + c]
)
def test_damaged_files_are_named(tmp_path, damage):
    plain = corpus([5, 9, 3])
    mapped(tmp_path, plain)
    path = tmp_path / "corpus.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"corpus.npy.*write it again"):
        MappedFeatures(path, plain.targets)


def test_misuse_is_refused(tmp_path):
    plain = corpus([5, 9, 3])
    for store in (mapped(tmp_path, plain), ResidentFeatures(plain.features, plain.targets)):
        for wrong in ([3], [-1], [0, 1, 7]):
            with pytest.raises(IndexError, match="there are 3"):
                store.batch(wrong)
        with pytest.raises(ValueError, match="empty"):
            store.batch([])
    with pytest.raises(ValueError, match="targets has 2"):
        MappedFeatures(tmp_path / "corpus.npy", plain.targets[:2])
    with pytest.raises(ValueError, match="dtype"):
        ResidentFeatures(plain.features, plain.targets, dtype=torch.float64)
    with pytest.raises(ValueError, match="at least one"):
        ResidentFeatures([], [])
    before = (tmp_path / "corpus.npy").read_bytes()
    with pytest.raises(ValueError, match=r"features\[1\]"):
        MappedFeatures.write(tmp_path / "corpus.npy", [torch.zeros(2, 6), torch.zeros(2, 5)])
    assert (tmp_path / "corpus.npy").read_bytes() == before


@given(
    lengths=st.lists(st.integers(1, 2000), max_size=120),
    batch_size=st.integers(1, 20),
    max_padding=st.floats(0, 0.99),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_every_utterance_once_little_padding_and_the_same_order_again(lengths, batch_size, max_padding, seed, epoch):
    def sampler():
        buckets = LengthBuckets(lengths, batch_size, max_padding=max_padding, seed=seed)
        buckets.set_epoch(epoch)
        return buckets

    found = list(sampler())
    assert sorted(sum(found, [])) == list(range(len(lengths)))
    assert len(found) == len(sampler())
    for batch in found:
        assert 1 <= len(batch) <= batch_size
        longest = max(lengths[i] for i in batch)
        padded = sum(longest - lengths[i] for i in batch)
        assert padded <= max_padding * len(batch) * longest + 1e-6
    assert list(sampler()) == found


def test_epochs_and_seeds_differ_and_batches_are_full_where_lengths_allow():
    lengths = np.random.default_rng(0).integers(100, 600, 1000).tolist()

    def order(seed, epoch):
        buckets = LengthBuckets(lengths, 16, seed=seed)
        buckets.set_epoch(epoch)
        return list(buckets)

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert len(order(0, 0)) < 1.35 * 1000 / 16


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(([3, 0], 2), "at least 1"), (([3], 0), "batch_size"), (([3], 1, 1.0), "max_padding")],
)
def test_impossible_samplers_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        LengthBuckets(*arguments[:2], **({"max_padding": arguments[2]} if len(arguments) > 2 else {}))
