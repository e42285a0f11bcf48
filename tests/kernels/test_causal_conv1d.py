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


@pytest.mark.parametrize("function", [reference.causal_conv1d, causal_conv1d])
def test_dropout_drops_its_share_of_whole_channels_of_an_utterance_and_scales_the_others(function):
    torch.manual_seed(0)
    y = function(torch.ones(40, 13, 1), torch.ones(50, 1, 1), dropout_p=0.25)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    dropped = (y[:, 0] == 0).float()
    # Five standard deviations, over all and over the utterances of one channel.
    assert abs(float(dropped.mean()) - 0.25) < 5 * (0.25 * 0.75 / 2000) ** 0.5
    assert float((dropped.mean(0) - 0.25).abs().max()) < 5 * (0.25 * 0.75 / 40) ** 0.5
    assert len(dropped.unique(dim=0)) == 40


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_dropout_backward_drops_what_forward_dropped(relu, with_residual):
    options = {"dilation": 2, "activation": "relu" if relu else None}
    x, weight, bias = torch.randn(3, 17, 5).double(), torch.randn(6, 5, 3).double(), torch.randn(6).double()
    residual = torch.randn(3, 17, 6).double() if with_residual else None
    upstream = torch.randn(3, 17, 6).double()

    def dropped(function):
        torch.manual_seed(5)
        return values_and_gradients(
            lambda x, weight, bias, residual: function(
                x, weight, bias, residual=residual, dropout_p=0.4, lengths=torch.tensor([17, 9, 0]), **options
            ),
            [x, weight, bias, residual],
            upstream,
        )

    for ours, expected in zip(dropped(causal_conv1d), dropped(reference.causal_conv1d), strict=True):
        torch.testing.assert_close(ours, expected)


def layouts(x):
    """The same (B, T, C) values in the orders that they may have in memory."""
    yield x.contiguous()
    yield x.transpose(0, 1).contiguous().transpose(0, 1)
    yield x.mT.contiguous().mT
    yield x.repeat_interleave(2, 1)[:, ::2]


@pytest.mark.parametrize("dilation", [1, 4, 9])
def test_every_layout_in_memory_gives_the_same(dilation):
    torch.manual_seed(dilation)
    x, weight, bias = torch.randn(3, 9, 5).double(), torch.randn(6, 5, 3).double(), torch.randn(6).double()
    residual, upstream = torch.randn(3, 9, 6).double(), torch.randn(3, 9, 6).double()

    def run(function, x, residual, upstream):
        leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias, residual)]
        y = function(*leaves[:3], residual=leaves[3], dilation=dilation, activation="relu")
        return [y, *torch.autograd.grad(y, leaves, upstream)]

    expected = run(reference.causal_conv1d, x, residual, upstream)
    for ours in map(run, [causal_conv1d] * 4, layouts(x), layouts(residual), layouts(upstream)):
        assert_all_close(ours, expected, 1e-12)


def test_result_lies_in_memory_as_its_input_does():
    batch_first, frames_first, *_ = layouts(torch.randn(3, 9, 5))
    weight = torch.randn(6, 5, 3)
    assert causal_conv1d(batch_first, weight).is_contiguous()
    assert causal_conv1d(frames_first, weight).transpose(0, 1).is_contiguous()


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_of_both_orders_pass_gradcheck(residual):
    torch.manual_seed(1)
    inputs = [torch.randn(size).double() for size in ((2, 6, 3), (4, 3, 2), (4,), (2, 6, 4))[: 4 if residual else 3]]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    lengths = torch.tensor([6, 4])

    def function(x, weight, bias, residual=None):
        torch.manual_seed(2)
        return causal_conv1d(
            x, weight, bias, dilation=2, residual=residual, activation="relu", dropout_p=0.3, lengths=lengths
        )

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_only_the_gradients_that_are_wanted():
    x, weight, bias = torch.randn(2, 6, 3), torch.randn(4, 3, 2), torch.randn(4)
    for index in range(3):
        inputs = [tensor.clone().requires_grad_(i == index) for i, tensor in enumerate((x, weight, bias))]
        causal_conv1d(*inputs, activation="relu").sum().backward()
        assert [tensor.grad is not None for tensor in inputs] == [i == index for i in range(3)]


def test_function_transforms_see_through_it():
    x, weight = torch.randn(2, 6, 3), torch.randn(4, 3, 2)

    def total(x):
        return causal_conv1d(x, weight, activation="relu").sum()

    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(total)(x), torch.autograd.grad(total(leaf), leaf)[0])
    each = torch.func.vmap(lambda row: causal_conv1d(row[None], weight)[0])(x)
    torch.testing.assert_close(each, causal_conv1d(x, weight))
    _, tangent = torch.func.jvp(lambda x: causal_conv1d(x, weight), (x,), (x,))
    torch.testing.assert_close(tangent, causal_conv1d(x, weight))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph_with_its_gradients(backend):
    weight, lengths = torch.randn(4, 3, 2), torch.tensor([6, 2])

    def function(x, weight):
        return causal_conv1d(x, weight, activation="relu", dilation=2, lengths=lengths)

    x, upstream = torch.randn(2, 6, 3), torch.randn(2, 6, 4)
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    ours, expected = (values_and_gradients(f, [x, weight], upstream) for f in (compiled, function))
    assert_all_close(ours, expected, 1e-5)


def test_autocast_computes_in_half_and_gives_gradients_in_float32():
    x, weight, bias = torch.randn(2, 16, 8), torch.randn(8, 8, 3), torch.randn(8)
    upstream = torch.randn(2, 16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert causal_conv1d(x, weight, bias).dtype == torch.bfloat16
    exact = values_and_gradients(causal_conv1d, [x, weight, bias], upstream)

    def cast(*inputs):
        with torch.autocast("cpu", torch.bfloat16):
            return causal_conv1d(*inputs)

    ours = values_and_gradients(cast, [x, weight, bias], upstream.bfloat16())
    assert all(gradient.dtype == torch.float32 for gradient in ours[1:])
    for left, right in zip(ours, exact, strict=True):
        assert (left - right).norm() < 0.02 * right.norm()


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
