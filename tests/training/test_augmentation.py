import torch

from satn_fast.training.augmentation import SpecAugment

LENGTHS = torch.tensor([60, 25])


def features():
    x = torch.randn(2, 60, 30)
    x[1, 25:] = 0.0
    return x


def test_masks_hide_bands_in_all_three_orders_and_leave_padding_zero():
    x = features()
    y = SpecAugment(time_masks=0)(x, LENGTHS, torch.Generator().manual_seed(0))
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
