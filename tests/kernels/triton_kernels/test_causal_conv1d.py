import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satn_fast.functional import causal_conv1d
from satn_fast.kernels.causal_conv1d import reference, tiles, torch_backend, triton_backend
from satn_fast.kernels.causal_conv1d.settings import Settings
from satn_fast.kernels.triton_runtime import INTERPRETED, architecture_of

from ..cases import draw_lengths, frames, poison_padding, seeds, values_and_gradients

# Aligned channels go through tensor descriptors where those are chosen, the others through pointers.
channels = st.sampled_from([1, 7, 16, 24, 40])
many = settings(max_examples=12 if INTERPRETED else 200, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = ("y", "dx", "dweight", "dbias", "dresidual")


@pytest.fixture(params=["pointers", "descriptors"])
def copies(request, monkeypatch):
    """The two ways in which the kernels read memory; on a GPU the table decides."""
    if not INTERPRETED:
        pytest.skip("the table of tile sizes decides on a GPU") if request.param == "descriptors" else None
        return
    for table in (tiles.FORWARD, tiles.BACKWARD_INPUT):
        chosen = {
            name: tile._replace(descriptors=request.param == "descriptors")
            for name, tile in table["interpreter"].items()
        }
        monkeypatch.setitem(table, "interpreter", chosen)


@dataclasses.dataclass
class Case:
    """Inputs in float64, exactly representable in `dtype`; `upstream` is zero where rounding decides a ReLU."""

    dtype: torch.dtype
    inputs: list[torch.Tensor | None]
    lengths: torch.Tensor | None
    upstream: torch.Tensor
    dilation: int
    activation: str | None

    def run(self, function, dtype, device, poison=False):
        x, weight, bias, residual = (None if a is None else a.to(device, dtype) for a in self.inputs)
        lengths = None if self.lengths is None else self.lengths.to(device)
        upstream = self.upstream.to(device, dtype)
        if poison:
            x, upstream = poison_padding(x, self.lengths), poison_padding(upstream, self.lengths)
            residual = None if residual is None else poison_padding(residual, self.lengths)

        def of(x, weight, bias, residual):
            options = {"dilation": self.dilation, "activation": self.activation, "lengths": lengths}
            return function(x, weight, bias, residual=residual, **options)

        return [result.cpu().double() for result in values_and_gradients(of, [x, weight, bias, residual], upstream)]


def draw_case(data, dtype):
    torch.manual_seed(data.draw(seeds, label="seed"))
    batch, n_frames = data.draw(st.integers(1, 3), label="B"), data.draw(frames, label="T")
    n_in, n_out = data.draw(channels, label="Cin"), data.draw(channels, label="Cout")
    taps = data.draw(st.integers(1, 8), label="K")
    dilation = data.draw(st.sampled_from([1, 2, 5, 31, 200]), label="dilation")
    lengths = draw_lengths(data, batch, n_frames)
    activation = data.draw(st.sampled_from([None, "relu"]))

    def random(*shape):
        return torch.randn(shape).to(dtype).double()

    x, weight = random(batch, n_frames, n_in), (random(n_out, n_in, taps) / (n_in * taps) ** 0.5).to(dtype).double()
    bias = random(n_out) if data.draw(st.booleans(), label="bias") else None
    residual = random(batch, n_frames, n_out) if data.draw(st.booleans(), label="residual") else None
    before = reference.causal_conv1d(x, weight, bias, dilation=dilation, lengths=lengths)
    decisive = before.abs() > 1e-3 if dtype == torch.float32 else before.abs() > 0.05
    if residual is not None:
        after = before.relu() + residual if activation else before + residual
        decisive &= after.abs() > (1e-3 if dtype == torch.float32 else 0.1)
    upstream = torch.where(decisive, random(*before.shape), 0.0)
    return Case(dtype, [x, weight, bias, residual], lengths, upstream, dilation, activation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@given(data=st.data())
@many
def test_errs_no_more_than_pytorch_does(copies, device, dtype, data):
    case = draw_case(data, dtype)
    exact = case.run(reference.causal_conv1d, torch.float64, "cpu")
    plain = case.run(torch_backend.causal_conv1d, dtype, device)
    ours = case.run(causal_conv1d, dtype, device, poison=True)
    names = [name for name, given in zip(NAMES, [True, *(a is not None for a in case.inputs)], strict=True) if given]
    for index, name in enumerate(names):
        assert torch.isfinite(ours[index]).all(), name
        error, plain_error = ((result[index] - exact[index]).norm() for result in (ours, plain))
        # Where PyTorch happens to be exact, half a unit in the last place is no error.
        rounding = torch.finfo(dtype).eps / 2 * exact[index].norm()
        assert error <= max((3 if index else 2) * plain_error, rounding), (name, float(error), float(plain_error))
    for row, length in enumerate([] if case.lengths is None else case.lengths.tolist()):
        assert not ours[0][row, length:].any()
        assert not ours[1][row, length:].any()


def run_op(x, weight, bias=None, residual=None, lengths=None, seed=None, dilation=1, relu=True, p=0.0):
    op = torch.ops.satn_fast.causal_conv1d
    return op(x, weight, bias, residual, lengths, seed, dilation, relu, p, relu and residual is not None)[0]


def test_gradients_are_the_same_to_the_last_bit_every_time(device):
    x = torch.randn(3, 67, 40, device=device)
    weight, bias, residual = (torch.randn(s, device=device) for s in ((24, 40, 3), (24,), (3, 67, 24)))
    upstream = torch.randn(3, 67, 24, device=device)
    first, second = (
        values_and_gradients(lambda *a: run_op(*a, dilation=4), [x, weight, bias, residual], upstream) for _ in range(2)
    )
    for left, right in zip(first, second, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("dilation", "lengths"), [(20, None), (10, [150, 149, 97])])
def test_utterances_of_many_tiles(copies, device, dilation, lengths, activation):
    # Tiles inside an utterance, across two, and inside one but with a tap that leaves it.
    torch.manual_seed(dilation)
    inputs = [torch.randn(3, 150, 16).double(), torch.randn(16, 16, 3).double(), None, None]
    lengths = None if lengths is None else torch.tensor(lengths)
    case = Case(torch.float32, inputs, lengths, torch.randn(3, 150, 16).double(), dilation, activation)
    exact = case.run(reference.causal_conv1d, torch.float64, "cpu")
    for left, right in zip(case.run(causal_conv1d, torch.float32, device, poison=True), exact, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-3)


def test_strided_inputs(copies, device):
    x = torch.randn(16, 50, 2, device=device).permute(2, 1, 0)
    weight = torch.randn(24, 3, 16, device=device).transpose(1, 2)
    bias, residual = torch.randn(48, device=device)[::2], torch.randn(2, 100, 24, device=device)[:, ::2]
    lengths = torch.tensor([50, 0, 21, 0], device=device)[::2]
    upstream = torch.randn(24, device=device).expand(2, 50, 24)
    inputs = [x, weight, bias, residual]
    ours = values_and_gradients(lambda *a: run_op(*a, lengths=lengths), inputs, upstream)

    def plain(x, weight, bias, residual):
        return reference.causal_conv1d(x, weight, bias, residual=residual, activation="relu", lengths=lengths.cpu())

    exact = values_and_gradients(plain, [a.cpu().double() for a in inputs], upstream.cpu().double())
    for left, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(left.cpu().double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3)])
def test_nothing_in_nothing_out(device, shape):
    x, weight = torch.zeros(shape, device=device), torch.ones(5, 3, 3, device=device)
    bias, residual = torch.ones(5, device=device), torch.zeros(*shape[:2], 5, device=device)
    y, *gradients = values_and_gradients(run_op, [x, weight, bias, residual], residual)
    assert y.shape == (*shape[:2], 5)
    for gradient, tensor in zip(gradients, (x, weight, bias, residual), strict=True):
        assert gradient.shape == tensor.shape
        assert not gradient.any()


def test_a_weight_stored_packed_is_not_copied():
    weight = torch.randn(3, 5, 7).permute(2, 1, 0)
    assert triton_backend.packed(weight).data_ptr() == weight.data_ptr()


def test_not_a_number_is_not_hidden(device):
    x = torch.zeros(1, 5, 2, device=device)
    x[0, 2, 0] = torch.nan
    y = run_op(x, torch.ones(4, 2, 1, device=device))
    assert y.isnan().all(-1).flatten().tolist() == [False, False, True, False, False]


def mask_of(device, seed, p=0.3, shape=(3, 67, 40), **options):
    """Where dropout kept something, (B, T, C): the convolution gives ones."""
    x, weight = torch.ones(*shape[:2], 1, device=device), torch.ones(shape[2], 1, 1, device=device)
    return run_op(x, weight, seed=torch.tensor([seed], device=device), p=p, **options) > 0


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_dropout_backward_drops_what_forward_dropped(device, relu, with_residual):
    p, seed = 0.3, torch.tensor([987654321987654321], device=device)
    mask = mask_of(device, int(seed), p)
    x, weight = torch.randn(3, 67, 8, device=device), torch.randn(40, 8, 3, device=device)
    residual = torch.randn(3, 67, 40, device=device) if with_residual else None
    upstream = torch.randn(3, 67, 40, device=device)

    def fused(x, weight, residual):
        return run_op(x, weight, residual=residual, seed=seed, relu=relu, p=p, dilation=2)

    def plain(x, weight, residual):
        y = reference.causal_conv1d(x, weight, dilation=2, activation="relu" if relu else None) * mask / (1 - p)
        return y if residual is None else (y + residual).relu()

    inputs = [x, weight, residual]
    ours = values_and_gradients(fused, inputs, upstream)
    expected = values_and_gradients(plain, inputs, upstream)
    for left, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_dropout_mask_is_random(device):
    shape = (250, 3, 64)
    of_frames = mask_of(device, 5, p=0.3, shape=shape)
    assert torch.equal(of_frames, of_frames[:, :1].expand_as(of_frames)), "drops whole channels of an utterance"
    mask = of_frames[:, 0].double()
    deviation = (0.3 * 0.7) ** 0.5
    # Five standard deviations of the mean, and of the correlation between neighbours and between seeds.
    assert abs(mask.mean() - 0.7) < 5 * deviation / mask.numel() ** 0.5
    centred = (mask - 0.7) / deviation
    others = [centred.roll(1, dim) for dim in range(2)]
    others += [(mask_of(device, seed, 0.3, shape)[:, 0].double() - 0.7) / deviation for seed in (4, 5 + 2**32)]
    for other in others:
        assert abs((centred * other).mean()) < 5 / mask.numel() ** 0.5
    assert (mask.mean(0) - 0.7).abs().max() < 5 * deviation / 250**0.5
    assert (mask.mean(1) - 0.7).abs().max() < 5 * deviation / 64**0.5


def test_kept_channels_are_scaled(device):
    x, weight = torch.ones(3, 5, 1, device=device), torch.ones(40, 1, 1, device=device)
    y = run_op(x, weight, seed=torch.tensor([5], device=device), p=0.25)
    torch.testing.assert_close(y.unique().cpu(), torch.tensor([0.0, 1 / 0.75]))


@pytest.mark.skipif(not INTERPRETED, reason="the table of tile sizes decides on a GPU")
def test_dropout_mask_does_not_depend_on_the_tiles(device, monkeypatch):
    before = mask_of(device, 7)
    other = {name: tile._replace(rows=16, out_channels=16) for name, tile in tiles.FORWARD["interpreter"].items()}
    monkeypatch.setitem(tiles.FORWARD, "interpreter", other)
    assert torch.equal(before, mask_of(device, 7))
    assert not torch.equal(before, mask_of(device, 8))


def test_functional_draws_a_new_mask_every_time_and_the_same_from_the_same_seed(device):
    x, weight = torch.ones(2, 40, 4, device=device), torch.ones(8, 4, 1, device=device)
    torch.manual_seed(1)
    first, second = (causal_conv1d(x, weight, dropout_p=0.5) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(first, causal_conv1d(x, weight, dropout_p=0.5))
    assert not torch.equal(first, second)


@pytest.mark.skipif(not INTERPRETED, reason="counts reads through the interpreter's poison")
def test_tiles_of_padding_read_nothing(device, monkeypatch):
    # All taps of rows in padding are skipped: an infinite weight would make NaN of what is multiplied.
    x, weight = torch.zeros(1, 96, 16, device=device), torch.full((16, 16, 3), torch.inf, device=device)
    y = run_op(x, weight, lengths=torch.tensor([0], device=device))
    assert not y.any()


@pytest.mark.parametrize("n_frames", [1, 7, 16, 100])
def test_tiles_of_padding_are_left_out_of_the_weight_gradient(device, monkeypatch, n_frames):
    monkeypatch.setattr(tiles, "LISTED_TOGETHER", 4)
    lengths = torch.randint(0, n_frames + 1, (20,), device=device)
    lengths[3:9] = 0
    x = torch.zeros(20, n_frames, 16, device=device)
    launch = triton_backend.real_tiles_launch(x, lengths, architecture_of(x.device))
    launch.run(x.device)
    count, *listed = launch.arguments["real_tiles"].tolist()
    real = (torch.arange(n_frames, device=device) < lengths[:, None]).flatten()
    needed = {row // launch.arguments["BLOCK_ROWS"] for row in real.nonzero().flatten().tolist()}
    assert needed <= set(listed[:count])
    assert listed[:count] == sorted(set(listed[:count]))
    # A tile may be listed in vain only where an utterance begins in it.
    assert count - len(needed) <= len(lengths)


def test_rows_beyond_32_bits_are_refused():
    x = torch.empty(3, 2**30, 1, device="meta")
    with pytest.raises(ValueError, match="split the batch"):
        triton_backend.backward_epilogue_launch(x, None, None, None, None, None, x, Settings())
