import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.functional import causal_conv1d
from satn_fast.kernels.causal_conv1d import reference

from .cases import assert_all_close, batches, draw_lengths, frames, poison_padding, seeds, values_and_gradients


def by_definition(x, weight, bias, dilation):
    """y[t] = bias + sum_j w[K-1-j] x[t - j*d], written as loops."""
    batch, n_frames, _ = x.shape
    taps = weight.shape[2]
    y = np.tile(bias, (batch, n_frames, 1))
    for t in range(n_frames):
        for j in range(taps):
            if t - j * dilation >= 0:
                y[:, t] += x[:, t - j * dilation] @ weight[:, :, taps - 1 - j].T
    return y


def test_reference_follows_the_definition():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 17, 3)), rng.normal(size=(5, 3, 4)), rng.normal(size=5)
    y = reference.causal_conv1d(*(torch.from_numpy(a) for a in (x, weight, bias)), dilation=3)
    np.testing.assert_allclose(y.numpy(), by_definition(x, weight, bias, 3), atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 5])
def test_reference_gradients_pass_gradcheck(dilation):
    x, residual = torch.randn(2, 6, 3).double(), torch.randn(2, 6, 4).double()
    weight, bias = torch.randn(4, 3, 3).double(), torch.randn(4).double()
    lengths = torch.tensor([6, 4])

    def function(x, weight, bias, residual):
        return reference.causal_conv1d(
            x, weight, bias, dilation=dilation, residual=residual, activation="relu", lengths=lengths
        )

    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias, residual)]
    assert torch.autograd.gradcheck(function, inputs)


@given(st.data(), batches, frames, st.integers(1, 5), st.sampled_from([1, 2, 8, 120]), seeds)
def test_equals_the_reference_with_nan_in_padding(data, batch, n_frames, taps, dilation, seed):
    torch.manual_seed(seed)
    lengths = draw_lengths(data, batch, n_frames)
    activation = data.draw(st.sampled_from([None, "relu"]))
    with_bias, with_residual = data.draw(st.booleans()), data.draw(st.booleans())
    x = torch.randn(batch, n_frames, 5)
    weight = torch.randn(6, 5, taps)
    bias = torch.randn(6) if with_bias else None
    residual = torch.randn(batch, n_frames, 6) if with_residual else None
    upstream = torch.randn(batch, n_frames, 6)

    def run(op, x, residual, dtype):
        def function(*tensors):
            x, weight, bias, residual = tensors
            return op(x, weight, bias, residual=residual, dilation=dilation, activation=activation, lengths=lengths)

        inputs = [None if a is None else a.to(dtype) for a in (x, weight, bias, residual)]
        return values_and_gradients(function, inputs, upstream.to(dtype))

    poisoned = None if residual is None else poison_padding(residual, lengths)
    ours = run(causal_conv1d, poison_padding(x, lengths), poisoned, torch.float32)
    expected = run(reference.causal_conv1d, x, residual, torch.float64)
    assert_all_close(ours, expected, 1e-5)
    if lengths is not None:
        for row, length in enumerate(lengths.tolist()):
            assert not ours[0][row, length:].any()
            assert not ours[1][row, length:].any()


def test_future_frames_change_nothing():
    x, weight = torch.randn(1, 20, 3), torch.randn(4, 3, 3)
    changed = x.clone()
    changed[:, 11:] += 1.0
    before, after = (causal_conv1d(tensor, weight, dilation=2) for tensor in (x, changed))
    torch.testing.assert_close(before[:, :11], after[:, :11], rtol=0, atol=0)
    assert not torch.allclose(before[:, 11:], after[:, 11:])


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    x = torch.ones(4, 500, 8)
    y = causal_conv1d(x, torch.ones(8, 8, 1), dropout_p=0.25)
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.02
    assert abs(float(y.mean()) - 8.0) < 0.25


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3)])
def test_nothing_in_nothing_out(shape):
    y = causal_conv1d(torch.zeros(shape), torch.zeros(5, 3, 3), dilation=4)
    assert y.shape == (*shape[:2], 5)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"x": torch.zeros(4, 3)}, "x has shape"),
        ({"weight": torch.zeros(5, 2, 3)}, "weight has shape"),
        ({"bias": torch.zeros(4)}, "bias has shape"),
        ({"residual": torch.zeros(2, 4, 4)}, "residual has shape"),
        ({"dilation": 0}, "dilation is 0"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
        ({"dropout_p": 1.0}, "dropout_p is 1.0"),
    ],
)
def test_unfit_arguments_are_named(changes, name):
    arguments = {"x": torch.zeros(2, 4, 3), "weight": torch.zeros(5, 3, 3)} | changes
    with pytest.raises(ValueError, match=name):
        causal_conv1d(**arguments)
