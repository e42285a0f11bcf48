import numpy as np
import pytest
import torch

from satn_fast import LogMel
from satn_fast.audio import AudioError, write_wav
from satn_fast.data import Utterance
from satn_fast.training import FeatureDataset, batches, extract_features


def dataset(lengths):
    features = [torch.full((n, 6), float(i)) for i, n in enumerate(lengths)]
    return FeatureDataset(features, [torch.tensor(i) for i in range(len(features))])


def test_every_utterance_comes_once_with_its_target_and_zeros_after_it():
    lengths = [5, 1, 9, 3, 7, 2, 8]
    seen = []
    for batch in batches(dataset(lengths), 3):
        for features, length, target in zip(
            batch.features, batch.lengths.tolist(), batch.targets.tolist(), strict=True
        ):
            assert length == lengths[target]
            assert (features[:length] == target).all()
            assert not features[length:].any()
            seen.append(target)
    assert sorted(seen) == list(range(7))


def test_batches_go_from_short_to_long():
    batch_lengths = [batch.lengths.tolist() for batch in batches(dataset([5, 1, 9, 3, 7, 2, 8]), 3)]
    assert batch_lengths == [[1, 2, 3], [5, 7, 8], [9]]


def test_symbol_targets_are_padded():
    data = FeatureDataset([torch.zeros(4, 6)] * 2, [torch.tensor([3, 1, 2]), torch.tensor([5])])
    (batch,) = batches(data, 2)
    assert batch.targets.tolist() == [[3, 1, 2], [5, 0, 0]]
    assert batch.target_lengths.tolist() == [3, 1]


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="targets has 1"):
        FeatureDataset([torch.zeros(4, 6)] * 2, [torch.tensor(1)])


def test_features_are_the_front_ends_of_the_part_that_the_manifest_names(tmp_path):
    waveform = np.random.default_rng(0).normal(size=32000).astype(np.float32) / 10
    write_wav(tmp_path / "a.wav", waveform, 16000)
    front_end, done = LogMel(), []
    whole, part = extract_features(
        [Utterance(tmp_path / "a.wav", "x", "s"), Utterance(tmp_path / "a.wav", "x", "s", start=0.5, end=1.5)],
        front_end,
        progress=lambda *args: done.append(args),
    )
    quantised = np.round(waveform * 32768) / 32768
    np.testing.assert_allclose(whole.numpy(), front_end(quantised.astype(np.float32)), atol=1e-5)
    np.testing.assert_allclose(part.numpy(), front_end(quantised[8000:24000].astype(np.float32)), atol=1e-5)
    assert done == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("start", "end", "complaint"), [(0.0, 0.01, "too short"), (5.0, 6.0, "lasts 1 s")])
def test_parts_without_a_frame_are_named(tmp_path, start, end, complaint):
    write_wav(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    with pytest.raises(AudioError, match=complaint) as error:
        extract_features([Utterance(tmp_path / "a.wav", "x", "s", start=start, end=end)], LogMel())
    assert "a.wav" in str(error.value)
