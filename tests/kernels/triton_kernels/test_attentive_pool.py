import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from satn_fast.functional import attentive_pool
from satn_fast.kernels.attentive_pool import DEVIATION_FLOOR, reference
from satn_fast.kernels.attentive_pool.tiles import LARGEST_HIDDEN
from satn_fast.kernels.backend import set_backend
from satn_fast.kernels.triton_runtime import INTERPRETED

from ..cases import draw_lengths, frames, poison_padding, seeds

NAMES = ("pooled", "weights", "dh", "dweight", "dbias", "dcontext")
sizes = st.sampled_from([1, 5, 16, 33, 80])
# Shrinking a failure takes the interpreter minutes.
many = settings(
    max_examples=10 if INTERPRETED else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],
)


@dataclasses.dataclass
class Case:
    """Parameters, layers, gradients of the results, in float64, exactly representable in the tested dtype."""

    inputs: list[torch.Tensor]
    lengths: torch.Tensor | None
    deviation: bool
    dpooled: torch.Tensor
    dweights: torch.Tensor | None

    def run(self, function, dtype, device, poison=False):
        """Pooled, weights, and the gradients of all layers side by side, of weight, bias and context."""
        inputs = [x.to(device, dtype) for x in self.inputs]
        upstream = [x.to(device, dtype) for x in (self.dpooled, self.dweights) if x is not None]
        if poison:
            inputs[3:] = [poison_padding(x, self.lengths) for x in inputs[3:]]
            upstream[1:] = [poison_padding(x, self.lengths) for x in upstream[1:]]
        leaves = [x.requires_grad_() for x in inputs]
        lengths = None if self.lengths is None else self.lengths.to(device)
        layers = leaves[3] if len(leaves) == 4 else leaves[3:]
        results = function(layers, *leaves[:3], lengths=lengths, deviation=self.deviation)
        dweight, dbias, dcontext, *dlayers = torch.autograd.grad(results[: len(upstream)], leaves, upstream)
        gradients = (torch.cat(dlayers, -1), dweight, dbias, dcontext)
        return [result.detach().cpu().double() for result in (*results, *gradients)]


def random_case(
    dtype, batch, n_frames, channels, hidden, lengths=None, with_dweights=True, deviation=False, offset=0.0
):
    """Of one layer where `channels` is a number. An offset of the channels leaves the scores as they are."""
    widths = [channels] if isinstance(channels, int) else channels

    def random(*shape):
        return torch.randn(shape).to(dtype).double()

    total = sum(widths)
    weight = (random(hidden, total) * total**-0.5).to(dtype).double()
    bias = (random(hidden) - offset * weight.sum(1)).to(dtype).double()
    layers = [(random(batch, n_frames, width) + offset).to(dtype).double() for width in widths]
    dpooled = random(batch, (1 + deviation) * total)
    inputs = [weight, bias, random(hidden), *layers]
    return Case(inputs, lengths, deviation, dpooled, random(batch, n_frames) if with_dweights else None)


def draw_widths(data):
    """One layer, several of equal width, or of any."""
    if data.draw(st.booleans(), label="equal widths"):
        return [data.draw(sizes, label="C")] * data.draw(st.integers(1, 3), label="layers")
    return data.draw(st.lists(sizes, min_size=2, max_size=3), label="widths")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@given(data=st.data())
@many
def test_errs_no_more_than_pytorch_does(device, dtype, data):
    torch.manual_seed(data.draw(seeds, label="seed"))
    batch, n_frames = data.draw(st.integers(1, 3), label="B"), data.draw(frames, label="T")
    lengths = draw_lengths(data, batch, n_frames)
    shape = (batch, n_frames, draw_widths(data), data.draw(sizes, label="A"))
    with_dweights, deviation = data.draw(st.booleans()), data.draw(st.booleans(), label="deviation")
    case = random_case(dtype, *shape, lengths, with_dweights, deviation)
    exact = case.run(reference.attentive_pool, torch.float64, "cpu")
    plain = case.run(reference.attentive_pool, dtype, device)
    ours = case.run(attentive_pool, dtype, device, poison=True)
    for index, name in enumerate(NAMES):
        assert torch.isfinite(ours[index]).all(), name
        error, plain_error = ((result[index] - exact[index]).norm() for result in (ours, plain))
        # Where PyTorch happens to be exact, a few units in the last place are no error.
        rounding = 4 * torch.finfo(dtype).eps * exact[index].norm()
        # What a sum cancels: one frame, or one weight, has a gradient of exactly zero.
        cancelled = 4 * torch.finfo(dtype).eps * float(exact[2].norm()) if index > 2 else 1e-30
        assert error <= max((2 if index < 2 else 3) * plain_error, rounding, cancelled), (
            name,
            float(error),
            float(plain_error),
        )
    for row, length in enumerate([] if lengths is None else lengths.tolist()):
        assert not ours[1][row, length:].any()
        assert not ours[2][row, length:].any()
        assert length or not ours[0][row].any()


@pytest.mark.parametrize("channels", [40, [24, 24, 24]])
def test_gradients_are_the_same_to_the_last_bit_every_time(device, channels):
    case = random_case(torch.float32, 3, 101, channels, 20, torch.tensor([101, 50, 0]), deviation=True)
    first, second = (case.run(attentive_pool, torch.float32, device) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert torch.equal(left, right)


def test_many_tiles_and_channels(device):
    """More tiles of time than the combining kernel adds at once, and more channels than it has tiles."""
    for shape in ((1, 1100, [3, 3], 2), (2, 3, [100, 100, 100], 20)):
        case = random_case(torch.float32, *shape, deviation=True)
        exact = case.run(reference.attentive_pool, torch.float64, "cpu")
        for left, right in zip(case.run(attentive_pool, torch.float32, device), exact, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_deviations_around_a_large_mean(device):
    """Mean squares less squared means would keep one digit of them: the mean is 1000 deviations, T many tiles."""
    case = random_case(torch.float32, 2, 300, [20, 20], 8, torch.tensor([300, 77]), deviation=True, offset=1000.0)
    exact = case.run(reference.attentive_pool, torch.float64, "cpu")
    plain = case.run(reference.attentive_pool, torch.float32, device)
    ours = case.run(attentive_pool, torch.float32, device)
    for name, result, other, right in zip(NAMES[:3], ours, plain, exact, strict=False):
        assert (result - right).norm() <= max(3 * (other - right).norm(), 1e-6 * right.norm()), name
    spread, other, right = (results[0][:, 40:] for results in (ours, plain, exact))
    assert (spread - right).norm() <= 3 * (other - right).norm()
    torch.testing.assert_close(spread, right, rtol=1e-4, atol=0)
    # Their sums over time cancel once more: what the rounding of the mean does to a frame, times 1000 for h.
    for name, result, right in zip(NAMES[3:], ours[3:], exact[3:], strict=True):
        assert (result - right).norm() <= 5e-3 * right.norm(), name


def test_a_constant_channel_deviates_by_the_floor(device):
    h = torch.full((1, 70, 3), 7.0, device=device, requires_grad=True)
    parameters = [torch.ones(s, device=device) for s in ((2, 3), (2,), (2,))]
    pooled, _ = attentive_pool(h, *parameters, deviation=True)
    torch.testing.assert_close(pooled[:, 3:], torch.full_like(pooled[:, 3:], DEVIATION_FLOOR**0.5))
    (gradient,) = torch.autograd.grad(pooled[:, 3:].sum(), h)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-5)


def test_strided_layers(device):
    layers = [torch.randn(50, 2, 8, device=device).transpose(0, 1), torch.randn(2, 50, 16, device=device)[..., ::2]]
    inputs = [torch.randn(s, device=device) for s in ((5, 16), (5,), (5,))]
    leaves = [x.detach().requires_grad_() for x in (*inputs, *layers)]
    exact_leaves = [x.detach().cpu().double().requires_grad_() for x in leaves]
    pooled, _ = attentive_pool(leaves[3:], *leaves[:3], deviation=True)
    exact, _ = reference.attentive_pool(exact_leaves[3:], *exact_leaves[:3], deviation=True)
    upstream = torch.randn(32, device=device).expand(2, 32)
    ours = torch.autograd.grad(pooled, leaves, upstream)
    expected = torch.autograd.grad(exact, exact_leaves, upstream.cpu().double())
    for left, right in zip((pooled, *ours), (exact, *expected), strict=True):
        torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-4)


def test_strided_inputs(device):
    h = torch.randn(50, 2, 16, device=device).transpose(0, 1)
    weight, vector = torch.randn(16, 5, device=device).T, torch.randn(10, device=device)[::2]
    lengths = torch.tensor([50, 0, 31, 0], device=device)[::2]
    inputs = [x.detach().requires_grad_() for x in (h, weight, vector, vector)]
    exact_inputs = [x.detach().cpu().double().requires_grad_() for x in inputs]
    pooled, _ = attentive_pool(*inputs, lengths=lengths)
    exact, _ = reference.attentive_pool(*exact_inputs, lengths=lengths.cpu())
    upstream = torch.randn(16, device=device).expand(2, 16)
    ours = torch.autograd.grad(pooled, inputs, upstream)
    expected = torch.autograd.grad(exact, exact_inputs, upstream.cpu().double())
    for left, right in zip((pooled, *ours), (exact, *expected), strict=True):
        torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [[3], [3, 3], [2, 4]], ids=str)
@pytest.mark.parametrize("deviation", [False, True])
@pytest.mark.parametrize("shape", [(2, 0), (0, 4), (2, 5)])
def test_no_real_frames_give_zeros(device, shape, deviation, widths):
    channels = sum(widths)
    parameters = [torch.ones(s, device=device, requires_grad=True) for s in ((4, channels), (4,), (4,))]
    layers = [torch.randn(*shape, width, device=device, requires_grad=True) for width in widths]
    lengths = torch.zeros(shape[0], dtype=torch.int64, device=device)
    pooled, weights = attentive_pool(layers, *parameters, lengths=lengths, deviation=deviation)
    (pooled.sum() + weights.sum()).backward()
    assert pooled.shape == (shape[0], (1 + deviation) * channels)
    assert weights.shape == shape
    for tensor in (pooled, weights, *(x.grad for x in (*layers, *parameters))):
        assert not tensor.any()


def test_large_scores_neither_overflow_nor_hide_what_is_not_a_number(device):
    h = torch.full((1, 40, 2), 1e4, device=device)
    h[0, 35] = -1e4
    weight, bias = torch.ones(1, 2, device=device), torch.zeros(1, device=device)
    pooled, weights = attentive_pool(h, weight, bias, torch.full((1,), 1000.0, device=device))
    torch.testing.assert_close(pooled, torch.full_like(pooled, 1e4))
    assert weights[0, 35] == 0
    h[0, 7, 1] = torch.nan
    pooled, weights = attentive_pool(h, weight, bias, bias)
    assert pooled.isnan().all()


def test_hidden_sizes_too_large_are_refused_and_auto_takes_pytorch(device):
    arguments = [torch.zeros(s, device=device) for s in ((1, 2, 3), (LARGEST_HIDDEN + 1, 3))]
    arguments += [torch.zeros(LARGEST_HIDDEN + 1, device=device)] * 2
    with pytest.raises(RuntimeError, match="up to 512"):
        attentive_pool(*arguments)
    with set_backend("auto"):
        attentive_pool(*arguments)
