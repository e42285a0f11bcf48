import numpy as np
import pytest
import torch

from satn_fast import LogMel
from satn_fast.training.augmentation import Equalizer, MelWarp, SpecAugment, StyleMixing, uniform, utterance_keys

LENGTHS = torch.tensor([60, 25])


def features():
    x = torch.randn(2, 60, 30)
    x[1, 25:] = 0.0
    return x


def test_masks_hide_bands_in_all_three_orders_and_leave_padding_zero():
    x = features()
    y = SpecAugment(band_share=0.3, time_masks=0)(x, LENGTHS, torch.Generator().manual_seed(0))
    changed = (y != x).any(1)
    assert changed.any()
    static, delta, delta_delta = changed.split(10, dim=1)
    assert torch.equal(static, delta)
    assert torch.equal(static, delta_delta)
    assert not y[1, 25:].any()
    mean = x[0].mean(0)
    hidden = static[0].nonzero()[0, 0]
    torch.testing.assert_close(y[0, :, hidden], mean[hidden].expand(60))


def test_time_masks_stay_inside_the_utterance_and_within_their_share():
    x = features()
    for seed in range(20):
        y = SpecAugment(band_masks=0, time_masks=1, time_share=0.2)(x, LENGTHS, torch.Generator().manual_seed(seed))
        hidden = (y != x).any(2)
        assert hidden[0].sum() <= 13
        assert hidden[1].sum() <= 6
        assert not hidden[1, 25:].any()


def test_no_masks_change_nothing():
    x = features()
    assert torch.equal(SpecAugment(band_masks=0, time_masks=0)(x, LENGTHS, torch.Generator()), x)


def test_keyed_masks_depend_on_seed_epoch_and_utterance_alone():
    x, lengths, indices = torch.randn(8, 60, 30), torch.full((8,), 60), torch.arange(100, 108)
    keys = utterance_keys(indices, epoch=3, seed=5)
    whole = SpecAugment().keyed(x, lengths, keys)
    order = torch.tensor([5, 1, 7])
    torch.testing.assert_close(SpecAugment().keyed(x[order], lengths[order], keys[order]), whole[order])
    wider = torch.nn.functional.pad(x, (0, 0, 0, 13))
    torch.testing.assert_close(SpecAugment().keyed(wider, lengths, keys)[:, :60], whole)
    for epoch, seed in ((4, 5), (3, 6), (3, -5), (3, 2**63)):
        other = SpecAugment().keyed(x, lengths, utterance_keys(indices, epoch, seed))
        assert not torch.equal(other, whole)


def test_keyed_numbers_are_uniform_and_independent():
    keys = utterance_keys(torch.arange(20_000), epoch=0, seed=0)
    numbers = uniform(keys, 0, 6).T
    assert torch.equal(uniform(keys, 3, 1)[:, 0], numbers[3])
    assert ((numbers >= 0) & (numbers < 1)).all()
    torch.testing.assert_close(numbers.mean(1), torch.full((6,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(numbers.var(1), torch.full((6,), 1 / 12), atol=0.003, rtol=0)
    assert (torch.corrcoef(numbers) - torch.eye(6)).abs().max() < 0.03
    assert len(keys.unique()) == len(keys)


@pytest.mark.parametrize("preset", ["kaldi", "librosa", "torchaudio"])
def test_warped_bands_are_those_of_a_stretched_spectrum(preset):
    front_end = LogMel(preset=preset)
    settings = front_end.describe()
    warp = MelWarp(0.15, settings["low_hz"], settings["high_hz"], settings["mel_scale"])
    time = np.arange(16000) / 16000
    for hertz in (1200, 2500):
        plain, lower = (front_end(np.sin(2 * np.pi * f * time).astype(np.float32) / 3) for f in (hertz, hertz / 1.1))
        frames = torch.from_numpy(plain[None, 50:51, :40])
        warped = frames @ warp.matrices(torch.tensor([1.1]), 40).transpose(1, 2)
        # A factor of 1.1 reads each band 10 % higher up: what was at f is now where f / 1.1 was.
        assert abs(int(warped[0, 0].argmax()) - int(lower[50, :40].argmax())) <= 1
        assert int(warped[0, 0].argmax()) < plain[50, :40].argmax()


def test_warp_of_one_changes_nothing_and_rows_sum_to_one():
    for scale in ("htk", "slaney"):
        matrices = MelWarp(0.2, 0.0, 8000.0, scale).matrices(torch.tensor([1.0, 0.85, 1.2]), 40)
        torch.testing.assert_close(matrices[0], torch.eye(40), atol=2e-4, rtol=0)
        torch.testing.assert_close(matrices.sum(2), torch.ones(3, 40))


def test_warp_follows_the_key_and_warps_deltas_alike():
    warp, keys = MelWarp(0.15), utterance_keys(torch.tensor([3, 4, 3]), epoch=1, seed=0)
    x = torch.randn(1, 9, 40).repeat(3, 1, 3)
    warped = warp.keyed(x, torch.tensor([9, 9, 9]), keys)
    assert torch.equal(warped[0], warped[2])
    assert not torch.equal(warped[0], warped[1])
    assert torch.equal(warped[..., :40], warped[..., 40:80])
    assert torch.equal(warped, warp.keyed(x, torch.tensor([9, 9, 9]), keys))
    other = warp.keyed(x, torch.tensor([9, 9, 9]), utterance_keys(torch.tensor([3, 4, 3]), epoch=2, seed=0))
    assert not torch.equal(warped, other)
    with pytest.raises(ValueError, match="largest is -1"):
        MelWarp(-1)


def test_without_lengths_all_frames_are_real():
    x, keys = torch.randn(4, 60, 30), utterance_keys(torch.arange(4), epoch=1, seed=0)
    for augmentation in (SpecAugment(), MelWarp(0.1), Equalizer(0.3)):
        whole = augmentation.keyed(x, torch.full((4,), 60), keys)
        torch.testing.assert_close(augmentation.keyed(x, None, keys), whole)


def test_equalizer_adds_a_smooth_curve_to_static_bands_alone():
    x, keys = torch.randn(3, 20, 3 * 64), utterance_keys(torch.tensor([3, 4, 3]), epoch=1, seed=0)
    x[2] = x[0]
    coloured = Equalizer(0.5).keyed(x, torch.tensor([20, 9, 20]), keys)
    assert torch.equal(coloured[..., 64:], x[..., 64:])
    assert torch.equal(coloured[1, 9:], x[1, 9:])  # padding stays what it was
    assert torch.equal(coloured[0], coloured[2])
    curve = (coloured - x)[:, :9, :64]
    torch.testing.assert_close(curve, curve[:, :1].expand_as(curve), atol=1e-5, rtol=0)
    assert not torch.allclose(curve[0], curve[1])
    # Straight lines between five knots bend three times, apart from rounding.
    bends = curve[0, 0].double().diff().diff().abs() > 1e-4
    assert 1 <= bends.sum() <= 6


def test_equalizers_have_the_deviation_that_was_asked_for():
    curves = Equalizer(0.3).curves(utterance_keys(torch.arange(20_000), epoch=0, seed=0), 64)
    knots = curves[:, [0, 63]]
    torch.testing.assert_close(knots.std(0), torch.full((2,), 0.3), atol=0.01, rtol=0)
    torch.testing.assert_close(knots.mean(0), torch.zeros(2), atol=0.01, rtol=0)
    assert torch.corrcoef(knots.T)[0, 1].abs() < 0.03
    assert knots.abs().max() < 0.3 * 6
    with pytest.raises(ValueError, match="deviation is -1"):
        Equalizer(-1)


def test_shares_of_masks_are_shares():
    with pytest.raises(ValueError, match="time_share is 1.5"):
        SpecAugment(time_share=1.5)


def styled(count=40, n_bands=4):
    """Utterances, each with a mean and a deviation of its own in every band."""
    return [torch.randn(50, 3 * n_bands) * (i + 1) / 10 + i for i in range(count)]


def test_a_mixed_style_lies_between_two_utterances_and_scales_the_deltas():
    partner = torch.randn(500, 12) * 3.0 + 7.0
    mixing = StyleMixing(1.0).fit([partner])
    x, keys = torch.randn(6, 50, 12), utterance_keys(torch.arange(6), epoch=2, seed=1)
    mixed = mixing.keyed(x, None, keys)
    mean, deviation = x[..., :4].mean(1), x[..., :4].std(1, correction=0)
    place = (mixed[..., :4].mean(1) - mean) / (partner[:, :4].mean(0) - mean)
    assert (place.amax(1) - place.amin(1)).max() < 1e-4  # one share for all bands
    assert ((place > 0) & (place < 1)).all()
    scale = mixed[..., :4].std(1, correction=0) / deviation
    torch.testing.assert_close(scale, 1 + place * (partner[:, :4].std(0, correction=0) / deviation - 1))
    for order in (1, 2):
        torch.testing.assert_close(mixed[..., 4 * order :][..., :4], x[..., 4 * order :][..., :4] * scale[:, None])


def test_styles_are_mixed_for_their_share_by_key_alone_and_padding_stays_zero():
    mixing = StyleMixing(0.5).fit(styled())
    x, keys = torch.randn(400, 20, 12), utterance_keys(torch.arange(400), epoch=0, seed=0)
    mixed = mixing.keyed(x, None, keys)
    changed = (mixed - x).abs().amax((1, 2)) > 1e-5
    assert 160 < int(changed.sum()) < 240
    order = torch.tensor([7, 3, 350])
    torch.testing.assert_close(mixing.keyed(x[order], None, keys[order]), mixed[order])
    lengths = torch.full((400,), 15)
    shorter = torch.where(torch.arange(20)[:, None] < 15, x, 0.0)
    padded = mixing.keyed(shorter, lengths, keys)
    assert not padded[:, 15:].any()
    torch.testing.assert_close(padded[:, :15], mixing.keyed(x[:, :15], None, keys))


def test_styles_are_those_of_utterances_of_the_same_label():
    labels = torch.arange(40) % 3
    # A band's mean tells which utterance a style is from, and with that its label.
    utterances = [torch.randn(50, 12) * 0.01 + 10.0 * i for i in range(40)]
    mixing = StyleMixing(1.0).fit(utterances, [*labels])
    x, keys = torch.zeros(500, 20, 12), utterance_keys(torch.arange(500), epoch=0, seed=0)
    targets = torch.arange(500) % 3
    partners = mixing._partners(uniform(keys, 0, 1)[:, 0], targets)
    numbers = (mixing.styles[partners, 0, 0] / 10.0).round().long()
    assert torch.equal(labels[numbers], targets)
    assert len(numbers.unique()) == 40
    order = torch.tensor([7, 3, 350])
    mixed = mixing.keyed(x, None, keys, targets)
    torch.testing.assert_close(mixing.keyed(x[order], None, keys[order], targets[order]), mixed[order])
    with pytest.raises(ValueError, match="give the targets"):
        mixing.keyed(x, None, keys)


def test_styles_are_those_of_stretches_as_long_as_a_crop():
    speech, silence = 10.0 + torch.randn(100, 12), torch.full((100, 12), -10.0)
    utterance = torch.cat([silence, speech, silence])
    whole = StyleMixing(1.0).fit([utterance]).styles
    assert whole.shape == (1, 2, 4)
    assert whole[:, 1].min() > 9  # silence and speech are far apart
    styles = StyleMixing(1.0).fit([utterance, speech[:20]], [torch.tensor(1), torch.tensor(0)], n_frames=50)
    assert styles.places.tolist() == [[0, 1], [1, 11]]
    torch.testing.assert_close(styles.styles[0, 0], speech[:20, :4].mean(0))
    torch.testing.assert_close(styles.styles[6, 0], utterance[125:175, :4].mean(0))
    assert (styles.styles[:, 1] < 2).all(1).sum() >= 7


def test_silence_takes_over_a_style_without_blowing_up():
    mixing = StyleMixing(1.0).fit([torch.randn(50, 12)])
    mixed = mixing.keyed(torch.zeros(3, 20, 12), None, utterance_keys(torch.arange(3), 0, 0))
    assert torch.isfinite(mixed).all()
    assert mixed.abs().max() < 3


def test_styles_must_be_known():
    with pytest.raises(ValueError, match="call fit with the training utterances"):
        StyleMixing(1.0).keyed(torch.zeros(1, 5, 12), None, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="share is 1.5"):
        StyleMixing(1.5)
