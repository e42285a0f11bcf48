import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satn_fast.functional import self_attention
from satn_fast.kernels.self_attention import reference, triton_backend
from satn_fast.kernels.triton_runtime import INTERPRETED

from ..cases import draw_lengths, frames, poison_padding, seeds, values_and_gradients

head_sizes = st.sampled_from([1, 8, 16, 24, 40, 64, 128])
windows = st.sampled_from([None, 1, 2, 5, 33, 70, 1000])
many = settings(max_examples=8 if INTERPRETED else 200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(batch, n_frames, heads, head_size, dtype):
    """Queries, keys and values as views of one projection."""
    return torch.randn(batch, n_frames, 3, heads, head_size).to(dtype).unbind(2)


def run(function, inputs, upstream, lengths, window, dtype, device, poison=False):
    lengths = None if lengths is None else lengths.to(device)
    inputs, upstream = [x.to(device, dtype) for x in inputs], upstream.to(device, dtype)
    if poison:
        inputs, upstream = [poison_padding(x, lengths) for x in inputs], poison_padding(upstream, lengths)
    results = values_and_gradients(lambda q, k, v: function(q, k, v, lengths=lengths, window=window), inputs, upstream)
    return [result.cpu().double() for result in results]


def assert_errs_no_more(ours, plain, exact, dtype, cancelling):
    for name, own, other, right in zip(("y", "dq", "dk", "dv"), ours, plain, exact, strict=True):
        assert torch.isfinite(own).all(), name
        error, plain_error = (own - right).norm(), (other - right).norm()
        # Where PyTorch happens to be exact, half a unit in the last place is no error.
        rounding = max(torch.finfo(dtype).eps / 2 * right.norm(), cancelling)
        assert error <= max((2 if name == "y" else 3) * plain_error, rounding), (name, float(error), float(plain_error))


def cancelling_terms(upstream, v, lengths, window):
    """Half a unit in the last place (float32) of the terms whose difference the gradients of q and k are.

    With one key they are equal, and with few keys nearly so; PyTorch's fused attention rounds as these kernels do.
    """
    n_seen = v.shape[1] if lengths is None else int(lengths.max())
    if min(n_seen, window or n_seen) > 5:
        return 0.0
    return 2**-24 * upstream.double().norm() * v.double().norm() / (v.numel() / v.shape[-1]) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@given(
    data=st.data(), batch=st.integers(1, 2), n_frames=frames, heads=st.integers(1, 2), size=head_sizes, window=windows
)
@many
def test_errs_no_more_than_pytorch_does(device, dtype, data, batch, n_frames, heads, size, window):
    torch.manual_seed(data.draw(seeds, label="seed"))
    lengths = draw_lengths(data, batch, n_frames)
    inputs = packed(batch, n_frames, heads, size, dtype)
    upstream = torch.randn(batch, n_frames, heads, size).to(dtype)
    exact = run(reference.self_attention, inputs, upstream, lengths, window, torch.float64, "cpu")
    plain = run(reference.self_attention, inputs, upstream, lengths, window, dtype, device)
    ours = run(self_attention, inputs, upstream, lengths, window, dtype, device, poison=True)
    assert_errs_no_more(ours, plain, exact, dtype, cancelling_terms(upstream, inputs[2], lengths, window))
    for row, length in enumerate([] if lengths is None else lengths.tolist()):
        assert not any(result[row, length:].any() for result in ours)


def gradients_of(inputs, upstream, **options):
    return values_and_gradients(lambda q, k, v: self_attention(q, k, v, **options), inputs, upstream)


def test_gradients_are_the_same_to_the_last_bit_every_time(device):
    inputs = packed(2, 67, 2, 24, torch.float32)
    lengths = torch.tensor([67, 40], device=device)
    inputs, upstream = [x.to(device) for x in inputs], torch.randn(2, 67, 2, 24, device=device)
    first, second = (gradients_of(inputs, upstream, lengths=lengths) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert torch.equal(left, right)


def as_views(x):
    """The same values in memory of other layouts, and whether the kernels read them as they are."""
    batch, n_frames, heads, size = x.shape
    wide = x.new_full((batch, n_frames, heads * size + 3), torch.nan)
    wide[..., 3:] = x.flatten(2)
    return [
        (x.contiguous(), True),
        (x.transpose(1, 2).contiguous().transpose(1, 2), True),
        (x.transpose(0, 1).contiguous().transpose(0, 1), True),
        (wide[..., 3:].unflatten(-1, (heads, size)), True),
        (x.flip(1).repeat_interleave(2, 1)[:, ::2].flip(1), True),
        (x.transpose(2, 3).contiguous().transpose(2, 3), False),
    ]


@pytest.mark.parametrize("rotation", range(6))
def test_strided_inputs_are_read_where_they_are(device, rotation):
    inputs = packed(2, 37, 3, 16, torch.float32)
    layouts = [as_views(x.to(device))[(rotation + i) % 6] for i, x in enumerate(inputs)]
    upstream = torch.randn(16, device=device).expand(2, 37, 3, 16)
    for x, readable in layouts:
        assert (triton_backend._readable(x) is x) == readable
    leaves = [x.detach().requires_grad_() for x, _ in layouts]
    y = self_attention(*leaves, window=20)
    ours = [y.detach(), *torch.autograd.grad(y, leaves, upstream)]
    exact = run(reference.self_attention, inputs, upstream, None, 20, torch.float64, "cpu")
    for left, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-4)


def test_views_of_one_projection_are_not_copied():
    for x in packed(2, 5, 4, 32, torch.bfloat16):
        assert triton_backend._readable(x) is x


@pytest.mark.parametrize("shape", [(2, 0, 3, 16), (0, 4, 3, 16)])
def test_nothing_in_nothing_out(device, shape):
    for result in gradients_of([torch.zeros(shape, device=device)] * 3, torch.zeros(shape, device=device)):
        assert result.shape == shape


def test_empty_rows_are_zero_whatever_stands_there(device):
    nan = torch.full((2, 40, 2, 16), torch.nan, device=device)
    for result in gradients_of([nan] * 3, nan, lengths=torch.tensor([0, 0], device=device)):
        assert not result.any()


@pytest.mark.parametrize("scale", [0.0, -0.7, 3.0])
def test_any_scale(device, scale):
    inputs, upstream = packed(2, 37, 2, 16, torch.float32), torch.randn(2, 37, 2, 16)
    lengths = torch.tensor([37, 20])
    exact = values_and_gradients(
        lambda q, k, v: reference.self_attention(q, k, v, lengths=lengths, scale=scale),
        [x.double() for x in inputs],
        upstream.double(),
    )
    inputs, upstream = [x.to(device) for x in inputs], upstream.to(device)
    ours = gradients_of(inputs, upstream, lengths=lengths.to(device), scale=scale)
    for left, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-4)


def test_large_scores_neither_overflow_nor_vanish(device):
    inputs = [x.to(device) * 30 for x in packed(1, 70, 1, 64, torch.float32)]
    ours = gradients_of(inputs, torch.ones(1, 70, 1, 64, device=device))
    exact = values_and_gradients(
        reference.self_attention, [x.cpu().double() for x in inputs], torch.ones(1, 70, 1, 64).double()
    )
    for left, right in zip(ours, exact, strict=True):
        assert (left.cpu().double() - right).norm() <= 1e-3 * right.norm() + 1e-3


def test_tiles_outside_of_the_window_are_not_read(device):
    # Whatever a tile reads it multiplies, and zero times NaN is NaN.
    block = 64 if INTERPRETED else 128
    q, k, v = (x.to(device) for x in packed(1, 5 * block, 1, 16, torch.float32))
    for hidden, seeing in (
        (slice(0, block), slice(3 * block, 5 * block)),
        (slice(4 * block, 5 * block), slice(0, 3 * block)),
    ):
        poisoned = v.clone()
        poisoned[:, hidden] = torch.nan
        y = self_attention(q, k, poisoned, window=block - 10)
        assert torch.isfinite(y[:, seeing]).all()
        assert y[:, hidden].isnan().all()


def test_not_a_number_is_not_hidden(device):
    q, k, v = (x.to(device) for x in packed(1, 50, 2, 16, torch.float32))
    k[0, 20, 1] = torch.nan
    y = self_attention(q, k, v)
    assert torch.isfinite(y[:, :, 0]).all()
    assert y[:, :, 1].isnan().all()


def test_lengths_may_be_a_view(device):
    q, k, v = (x.to(device) for x in packed(2, 9, 1, 16, torch.float32))
    table = torch.tensor([[4, 0], [7, 0]], device=device)
    expected = self_attention(q, k, v, lengths=torch.tensor([4, 7], device=device))
    torch.testing.assert_close(self_attention(q, k, v, lengths=table[:, 0]), expected, rtol=0, atol=0)
