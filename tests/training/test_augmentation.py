import torch

from satn_fast.training.augmentation import SpecAugment, _uniform, utterance_keys

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
    numbers = torch.stack([_uniform(keys, index) for index in range(6)])
    assert ((numbers >= 0) & (numbers < 1)).all()
    torch.testing.assert_close(numbers.mean(1), torch.full((6,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(numbers.var(1), torch.full((6,), 1 / 12), atol=0.003, rtol=0)
    assert (torch.corrcoef(numbers) - torch.eye(6)).abs().max() < 0.03
    assert len(keys.unique()) == len(keys)
