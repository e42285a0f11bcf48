import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satn_fast.functional import self_attention
from satn_fast.kernels.self_attention import reference

from .cases import assert_all_close, batches, draw_lengths, frames, poison_padding, seeds, values_and_gradients

windows = st.sampled_from([None, 1, 2, 5, 16, 1000])


def by_definition(q, k, v, length, window):
    """One utterance and head, written as loops over queries."""
    y = torch.zeros_like(v)
    for t in range(length):
        keys = range(length) if window is None else range(max(0, t - window + 1), t + 1)
        scores = torch.stack([q[t] @ k[s] for s in keys]) * q.shape[-1] ** -0.5
        weights = scores.exp() / scores.exp().sum()
        y[t] = sum(w * v[s] for w, s in zip(weights, keys, strict=True))
    return y


@pytest.mark.parametrize("window", [None, 1, 4])
def test_reference_follows_the_definition(window):
    q, k, v = torch.randn(3, 1, 9, 1, 4).double()
    y = reference.self_attention(q, k, v, lengths=torch.tensor([7]), window=window)
    expected = by_definition(q[0, :, 0], k[0, :, 0], v[0, :, 0], 7, window)
    torch.testing.assert_close(y[0, :, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 2])
def test_reference_gradients_pass_gradcheck(window):
    lengths = torch.tensor([5, 3, 0])
    inputs = [torch.randn(3, 5, 2, 3).double().requires_grad_() for _ in range(3)]
    assert torch.autograd.gradcheck(
        lambda q, k, v: reference.self_attention(q, k, v, lengths=lengths, window=window), inputs
    )


@given(st.data(), batches, frames, windows, seeds)
def test_equals_the_reference_with_nan_in_padding(data, batch, n_frames, window, seed):
    torch.manual_seed(seed)
    lengths = draw_lengths(data, batch, n_frames)
    inputs = [torch.randn(batch, n_frames, 2, 8) for _ in range(3)]
    upstream = torch.randn(batch, n_frames, 2, 8)
    ours = values_and_gradients(
        lambda q, k, v: self_attention(q, k, v, lengths=lengths, window=window),
        [poison_padding(x, lengths) for x in inputs],
        upstream,
    )
    expected = values_and_gradients(
        lambda q, k, v: reference.self_attention(q, k, v, lengths=lengths, window=window),
        [x.double() for x in inputs],
        upstream.double(),
    )
    assert_all_close(ours, expected, 1e-5)
    for row, length in enumerate([] if lengths is None else lengths.tolist()):
        assert not ours[0][row, length:].any()


def test_window_of_one_hour_needs_no_map_of_one_hour():
    n_frames = 36_000
    q = torch.randn(1, n_frames, 1, 4)
    y = self_attention(q, q, q, window=50)  # the full map would be 5 GB
    chosen = slice(20_000, 20_100)
    expected = reference.self_attention(*[q[:, 19_951:20_100]] * 3, window=50)[:, 49:]
    torch.testing.assert_close(y[:, chosen], expected, rtol=1e-4, atol=1e-5)


def test_scale_is_used():
    q, k, v = torch.randn(3, 1, 6, 2, 4)
    assert torch.allclose(self_attention(q, k, v, scale=0.0), v.mean(1, keepdim=True).expand_as(v), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"q": torch.zeros(2, 4, 6)}, "q has shape"),
        ({"k": torch.zeros(2, 5, 2, 3)}, "k has shape"),
        ({"v": torch.zeros(2, 4, 2, 5)}, "v has shape"),
        ({"window": 0}, "window is 0"),
        ({"lengths": torch.tensor([9, 9])}, "lengths reaches"),
    ],
)
def test_unfit_arguments_are_named(changes, name):
    arguments = {letter: torch.zeros(2, 4, 2, 3) for letter in "qkv"} | changes
    with pytest.raises(ValueError, match=name):
        self_attention(**arguments)


@pytest.mark.parametrize("window", [None, 3])
def test_op_computes_without_triton_too(window):
    inputs = [torch.randn(3, 7, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    lengths, scale = torch.tensor([7, 3, 0]), 0.3
    torch.library.opcheck(torch.ops.satn_fast.self_attention, (*inputs, lengths, window, scale))

    def op(q, k, v):
        return torch.ops.satn_fast.self_attention(q, k, v, lengths, window, scale)[0]

    def function(q, k, v):
        return self_attention(q, k, v, lengths=lengths, window=window, scale=scale)

    upstream = torch.randn(3, 7, 2, 5, dtype=torch.float64)
    poisoned = [poison_padding(x.detach(), lengths) for x in inputs]
    ours = values_and_gradients(op, poisoned, poison_padding(upstream, lengths))
    assert_all_close(ours, values_and_gradients(function, inputs, upstream), 1e-6)
