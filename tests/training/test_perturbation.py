import numpy as np
import pytest
import torch

from satn_fast import LogMel
from satn_fast.audio import write_wav
from satn_fast.data import Utterance
from satn_fast.training import (
    LengthBuckets,
    Perturbation,
    PerturbedUtterances,
    extract_features,
    normalize_per_speaker,
)


def tone(hertz, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000).astype(np.float32) / 4


def loudest_hertz(waveform):
    return np.abs(np.fft.rfft(waveform)).argmax() * 16000 / len(waveform)


@pytest.mark.parametrize("speed", [0.9, 1.1, 1.25])
def test_a_faster_tone_is_shorter_and_higher(speed):
    changed = Perturbation.apply(tone(1000), 16000, speed)
    assert abs(len(changed) - 16000 / speed) <= 1
    assert abs(loudest_hertz(changed) - 1000 * speed) < 3
    assert changed.dtype == np.float32


def test_a_gain_is_in_decibels_and_moves_log_energies_by_a_constant():
    x = np.random.default_rng(0).normal(size=16000).astype(np.float32) / 10
    louder = Perturbation.apply(x, 16000, gain=20.0)
    np.testing.assert_allclose(louder, 10 * x, rtol=1e-6)
    np.testing.assert_allclose((LogMel()(louder) - LogMel()(x))[:, :40], np.log(100.0), atol=1e-3)


def test_what_is_drawn_covers_all_speeds_and_the_whole_range():
    draws = [Perturbation(gain_decibels=6.0).draw(epoch, i) for epoch in range(5) for i in range(100)]
    speeds, gains = zip(*draws, strict=True)
    assert {speeds.count(speed) > 120 for speed in (0.9, 1.0, 1.1)} == {True}
    assert -6 <= min(gains) < -5.5
    assert 5.5 < max(gains) <= 6
    assert len(set(gains)) == 500
    assert Perturbation(gain_decibels=0.0).draw(1, 1)[1] == 0.0


@pytest.mark.parametrize("arguments", [{"speeds": ()}, {"speeds": (0.1,)}, {"gain_decibels": -1.0}])
def test_impossible_perturbations_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Perturbation(**arguments)


def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    utterances = []
    for index in range(7):
        write_wav(tmp_path / f"{index}.wav", tone(300 + 50 * index, 0.2 + 0.05 * index), 16000)
        utterances.append(Utterance(tmp_path / f"{index}.wav", "sad", "anna"))
    targets = [torch.tensor(i) for i in range(7)]
    lengths = [len(x) for x in extract_features(utterances, LogMel())]
    perturbation = Perturbation(gain_decibels=3.0)

    def epoch(number, n_workers, batch_size=2):
        data = PerturbedUtterances(utterances, targets, LogMel(), perturbation)
        found = {}
        for batch in data.loader(LengthBuckets(lengths, batch_size), number, n_workers):
            for x, length, target in zip(batch.features, batch.lengths, batch.targets, strict=True):
                found[int(target)] = x[:length]
        return [found[i] for i in range(7)]

    expected = extract_features(utterances, LogMel(), perturbation=perturbation, epoch=4)
    for found in (epoch(4, 0), epoch(4, 2), epoch(4, 0, batch_size=3)):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(epoch(5, 0), expected, strict=True))


def test_per_speaker_normalisation_says_what_it_uses(caplog):
    features = [3 * torch.randn(50, 6) + i for i in range(4)]
    found = normalize_per_speaker(features, ["a", "b", "a", "b"])
    assert "unlabelled data of all 2 speakers" in caplog.text
    for pair in (found[::2], found[1::2]):
        frames = torch.cat(pair)
        torch.testing.assert_close(frames.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(frames.std(0, correction=0), torch.ones(6))
    with pytest.raises(ValueError, match="'b' has no frame"):
        normalize_per_speaker([torch.zeros(1, 6), torch.zeros(0, 6)], ["a", "b"])
    with pytest.raises(ValueError, match="speakers has 1"):
        normalize_per_speaker(features, ["a"])
