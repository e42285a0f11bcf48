import pytest
import torch

from satn_fast.functional import attentive_pool

from .cases import poison_padding


def arguments(batch=3, n_frames=6, channels=4, size=5):
    return (
        torch.randn(batch, n_frames, channels).double(),
        torch.randn(size, channels).double(),
        torch.randn(size).double(),
        torch.randn(size).double(),
    )


def test_follows_the_definition():
    h, weight, bias, context = arguments()
    pooled, weights = attentive_pool(h, weight, bias, context, lengths=torch.tensor([6, 2, 1]))
    for row, length in enumerate((6, 2, 1)):
        scores = torch.stack([context @ torch.tanh(weight @ h[row, t] + bias) for t in range(length)])
        expected = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[row, :length], expected)
        torch.testing.assert_close(pooled[row], expected @ h[row, :length])


def test_padding_is_inert_and_empty_rows_are_zero():
    lengths = torch.tensor([6, 2, 0])
    h, *parameters = arguments()
    clean, weights = attentive_pool(h, *parameters, lengths=lengths)
    poisoned = poison_padding(h, lengths).requires_grad_()
    pooled, _ = attentive_pool(poisoned, *parameters, lengths=lengths)
    pooled.sum().backward()
    torch.testing.assert_close(pooled, clean)
    assert torch.isfinite(poisoned.grad).all()
    assert not poisoned.grad[1, 2:].any()
    assert not pooled[2].any()
    assert not weights[2].any()
    assert not weights[1, 2:].any()


def test_gradients_pass_gradcheck():
    inputs = [tensor.requires_grad_() for tensor in arguments()]
    lengths = torch.tensor([6, 3, 0])
    assert torch.autograd.gradcheck(lambda *tensors: attentive_pool(*tensors, lengths=lengths), inputs)


def test_no_frames_give_zeros():
    h, *parameters = arguments(n_frames=0)
    pooled, weights = attentive_pool(h, *parameters)
    assert pooled.shape == (3, 4)
    assert weights.shape == (3, 0)
    assert not pooled.any()


@pytest.mark.parametrize(("position", "name"), [(0, "h"), (1, "weight"), (2, "bias"), (3, "context")])
def test_unfit_arguments_are_named(position, name):
    tensors = list(arguments())
    tensors[position] = torch.zeros(7)
    with pytest.raises(ValueError, match=f"{name} has shape"):
        attentive_pool(*tensors)
