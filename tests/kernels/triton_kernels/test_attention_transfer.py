import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from satn_fast.functional import attention_transfer_loss
from satn_fast.kernels.attention_transfer import reference, triton_backend
from satn_fast.kernels.attention_transfer.tiles import LARGEST_HEAD
from satn_fast.kernels.backend import set_backend
from satn_fast.kernels.triton_runtime import INTERPRETED

from ..cases import draw_lengths, frames, poison_padding, seeds

LOSSES = ("mse", "kl", "at")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
sizes = st.sampled_from([1, 8, 20, 33])
windows = st.sampled_from([None, 1, 5, 40, 10**12])
# Shrinking a failure takes the interpreter minutes.
many = settings(
    max_examples=5 if INTERPRETED else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],
)
losses = pytest.mark.parametrize("loss", LOSSES)


@dataclasses.dataclass
class Case:
    """q, k, q_source, k_source in float64, exactly representable in the dtype that is tested."""

    inputs: list[torch.Tensor]
    lengths: torch.Tensor | None
    window: int | None
    loss: str

    def run(self, function, dtype, device, poison=False, upstream=1.0):
        inputs = [x.to(device, dtype) for x in self.inputs]
        if poison:
            inputs = [poison_padding(x, self.lengths) for x in inputs]
        q, k = (x.requires_grad_() for x in inputs[:2])
        lengths = None if self.lengths is None else self.lengths.to(device)
        value = function(q, k, *inputs[2:], lengths=lengths, window=self.window, loss=self.loss)
        gradients = torch.autograd.grad(value, (q, k), torch.tensor(upstream, dtype=value.dtype, device=device))
        return [result.detach().cpu().double() for result in (value, *gradients)]


def random_inputs(dtype, batch, n_frames, n_heads, size, size_source):
    shapes = [(batch, n_frames, n_heads, s) for s in (size, size, size_source, size_source)]
    return [torch.randn(shape).to(dtype).double() for shape in shapes]


def draw_case(data, dtype, loss):
    torch.manual_seed(data.draw(seeds, label="seed"))
    batch, n_frames = data.draw(st.integers(1, 2), label="B"), data.draw(frames, label="T")
    inputs = random_inputs(dtype, batch, n_frames, data.draw(st.integers(1, 2)), data.draw(sizes), data.draw(sizes))
    return Case(inputs, draw_lengths(data, batch, n_frames), data.draw(windows, label="window"), loss)


def assert_errs_no_more(ours, plain, exact, dtype, allowed):
    # Where PyTorch happens to be exact, a few units in the last place are no error: sums of few terms often are.
    for name, left, middle, right in zip(("loss", "dq", "dk"), ours, plain, exact, strict=True):
        assert torch.isfinite(left).all(), name
        error, plain_error = (left - right).norm(), (middle - right).norm()
        limit = max((2 if name == "loss" else 3) * plain_error, 4 * torch.finfo(dtype).eps * right.norm(), allowed)
        assert error <= limit, (name, float(error), float(plain_error))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@losses
@given(data=st.data())
@many
def test_errs_no_more_than_pytorch_does(device, loss, dtype, data):
    case = draw_case(data, dtype, loss)
    exact = case.run(reference.attention_transfer_loss, torch.float64, "cpu")
    plain = case.run(reference.attention_transfer_loss, dtype, device)
    ours = case.run(attention_transfer_loss, dtype, device, poison=True)
    # One visible key: the loss is exactly zero, and so is its gradient.
    assert_errs_no_more(ours, plain, exact, dtype, allowed=1e-9)
    for row, length in enumerate([] if case.lengths is None else case.lengths.tolist()):
        for gradient in ours[1:]:
            assert not gradient[row, length:].any()


@losses
def test_nearly_equal_maps_do_not_cancel(device, loss):
    """Maps that differ by 1e-3: sums of squares, or log-sum-exps, agree in all but their last digits."""
    torch.manual_seed(3)
    q, k = (torch.randn(1, 150, 1, 32).double() for _ in range(2))
    inputs = [x.float().double() for x in (q, k, q + 1e-3 * torch.randn_like(q), k)]
    case = Case(inputs, None, None, loss)
    exact = case.run(reference.attention_transfer_loss, torch.float64, "cpu")
    plain = case.run(reference.attention_transfer_loss, torch.float32, device)
    assert_errs_no_more(case.run(attention_transfer_loss, torch.float32, device), plain, exact, torch.float32, 0.0)


@losses
def test_equal_maps_cost_exactly_nothing(device, loss):
    q, k = (torch.randn(2, 37, 2, 8, device=device) for _ in range(2))
    value = attention_transfer_loss(q, k, q, k, loss=loss)
    # Norms are rounded differently from the distance that they cancel.
    assert abs(value.item()) <= (1e-12 if loss == "at" else 0.0)


def test_gradients_are_the_same_to_the_last_bit_every_time(device):
    inputs = random_inputs(torch.float32, 2, 37, 1, 16, 8)
    for loss in LOSSES:
        case = Case(inputs, torch.tensor([37, 20]), None, loss)
        first, second = (case.run(attention_transfer_loss, torch.float32, device) for _ in range(2))
        for left, right in zip(first, second, strict=True):
            assert torch.equal(left, right)


@losses
def test_small_gradients_survive_float16(device, loss):
    """Flat maps of 101 keys: gradients of scores are far below what float16 can hold."""
    torch.manual_seed(5)
    inputs = [x * 0.1 for x in random_inputs(torch.float16, 1, 101, 1, 16, 16)]
    inputs = [x.half().double() for x in inputs]
    case = Case(inputs, None, None, loss)
    exact = case.run(reference.attention_transfer_loss, torch.float64, "cpu", upstream=4096.0)
    ours = case.run(attention_transfer_loss, torch.float16, device, upstream=4096.0)
    for left, right in zip(ours[1:], exact[1:], strict=True):
        assert (left - right).norm() < 0.01 * right.norm()


@losses
def test_strided_inputs_are_read_in_place(device, loss):
    """Heads of one projection (B, T, 3 * C), time first, every second frame: strides of all kinds."""
    projected = torch.randn(50, 2, 3 * 24, device=device).transpose(0, 1)
    q, k, other = projected.unflatten(2, (3, 2, 12)).unbind(2)
    inputs = [q, k, other, torch.randn(2, 100, 2, 12, device=device)[:, ::2]]
    assert not any(x.is_contiguous() for x in inputs)
    assert all(a is b for a, b in zip(inputs, triton_backend.Inputs.readable(*inputs, None), strict=False))
    last_is_not_contiguous = torch.randn(2, 50, 12, 2, device=device).transpose(2, 3)
    for x in (inputs, [*inputs[:3], last_is_not_contiguous]):
        case = Case([tensor.cpu().double() for tensor in x], None, 7, loss)
        exact = case.run(reference.attention_transfer_loss, torch.float64, "cpu")
        leaves = [tensor.detach().requires_grad_() for tensor in x[:2]]
        value = attention_transfer_loss(*leaves, *x[2:], window=7, loss=loss)
        ours = [value.detach(), *torch.autograd.grad(value, leaves)]
        for left, right in zip(ours, exact, strict=True):
            torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-6)


@losses
@pytest.mark.parametrize("shape", [(2, 0, 2, 8), (0, 4, 2, 8), (2, 5, 2, 8)])
def test_no_real_frames_cost_nothing(device, loss, shape):
    q, k = (torch.randn(shape, device=device, requires_grad=True) for _ in range(2))
    lengths = torch.zeros(shape[0], dtype=torch.int64, device=device)
    value = attention_transfer_loss(q, k, q.detach(), k.detach(), lengths=lengths, loss=loss)
    value.backward()
    assert value.item() == 0.0
    assert not q.grad.any()
    assert not k.grad.any()


def test_not_a_number_is_not_hidden(device):
    q, k = (torch.randn(1, 5, 1, 4, device=device) for _ in range(2))
    q[0, 2, 0, 0] = torch.nan
    for loss in LOSSES:
        assert attention_transfer_loss(q, k, k, k, loss=loss).isnan()


def test_one_side_may_be_frozen(device):
    q, k = (torch.randn(1, 9, 2, 4, device=device) for _ in range(2))
    source = torch.randn(1, 9, 2, 4, device=device)
    both = [x.clone().requires_grad_() for x in (q, k)]
    expected = torch.autograd.grad(attention_transfer_loss(*both, source, source), both)
    for index in range(2):
        inputs = [q.clone(), k.clone()]
        inputs[index].requires_grad_()
        (gradient,) = torch.autograd.grad(attention_transfer_loss(*inputs, source, source), inputs[index])
        assert torch.equal(gradient, expected[index])


def test_heads_too_large_are_refused_and_auto_takes_pytorch(device):
    q = torch.zeros(1, 2, 1, LARGEST_HEAD + 1, device=device)
    with pytest.raises(RuntimeError, match="up to 256"):
        attention_transfer_loss(q, q, q, q)
    with set_backend("auto"):
        assert attention_transfer_loss(q, q, q, q).item() == 0.0
