"""The ops as PyTorch's compiler, exporter, autocast, checkpointing and function transforms meet them."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from satn_fast import set_backend
from satn_fast.functional import causal_conv1d
from satn_fast.kernels.causal_conv1d import weight_norm


class TwoConvolutions(nn.Module):
    """A residual block, as a model would write it."""

    def __init__(self, device, dropout_p=0.0):
        super().__init__()
        self.v = nn.Parameter(torch.randn(8, 5, 3, device=device))
        self.g = nn.Parameter(torch.randn(8, 1, 1, device=device))
        self.weight = nn.Parameter(torch.randn(5, 8, 3, device=device))
        self.bias = nn.Parameter(torch.randn(8, device=device))
        self.dropout_p = dropout_p

    def forward(self, x, lengths=None):
        options = {"dilation": 2, "activation": "relu", "lengths": lengths, "dropout_p": self.dropout_p}
        h = causal_conv1d(x, weight_norm(self.v, self.g), self.bias, **options)
        return causal_conv1d(h, self.weight, residual=x, **options).tanh()


def result_and_gradients(module, x, lengths=None):
    x = x.detach().clone().requires_grad_()
    y = module(x, lengths)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *module.parameters()])]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("everything", [True, False])
def test_opcheck(device, everything):
    def leaf(*shape):
        return torch.randn(shape, device=device).requires_grad_()

    x, weight = leaf(2, 7, 5), leaf(6, 5, 3)
    if everything:
        lengths, seed = torch.tensor([7, 3], device=device), torch.tensor([11], device=device)
        arguments = (x, weight, leaf(6), leaf(2, 7, 6), lengths, seed, 4, True, 0.3, True)
    else:
        arguments = (x, weight, None, None, None, None, 4, False, 0.0, False)
    torch.library.opcheck(torch.ops.satn_fast.causal_conv1d, arguments)


def test_opcheck_of_weight_norm(device):
    v, g = (torch.randn(shape, device=device).requires_grad_() for shape in ((4, 5, 3), (4, 1, 1)))
    torch.library.opcheck(torch.ops.satn_fast.weight_norm, (v, g, torch.float32))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_as_one_graph_with_its_backward(device, backend):
    module = TwoConvolutions(device)
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for n_frames in (11, 12, 29):
        x, lengths = torch.randn(2, n_frames, 5, device=device), torch.tensor([n_frames, 4], device=device)
        compiled_results = result_and_gradients(compiled, x, lengths)
        assert_equal(compiled_results, result_and_gradients(module, x, lengths))


def test_compiled_dropout_is_reproducible(device):
    compiled = torch.compile(TwoConvolutions(device, dropout_p=0.4), backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 11, 5, device=device)
    torch.manual_seed(3)
    first, second = compiled(x), compiled(x)
    torch.manual_seed(3)
    assert torch.equal(first, compiled(x))
    assert not torch.equal(first, second)


def test_exports_with_any_batch_and_length(device):
    module = TwoConvolutions(device).eval()
    batch, n_frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    dimensions = {"x": {0: batch, 1: n_frames}, "lengths": {0: batch}}
    example = (torch.randn(2, 37, 5, device=device), torch.tensor([37, 3], device=device))
    program = torch.export.export(module, example, dynamic_shapes=dimensions)
    targets = {str(node.target) for node in program.graph.nodes}
    assert {"satn_fast.causal_conv1d.default", "satn_fast.weight_norm.default"} <= targets
    x, lengths = torch.randn(3, 5, 5, device=device), torch.tensor([5, 2, 0], device=device)
    torch.testing.assert_close(program.module()(x, lengths), module(x, lengths))


def test_autocast_computes_in_half_and_gives_gradients_in_float32(device):
    module, x = TwoConvolutions(device), torch.randn(2, 11, 5, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        ours = result_and_gradients(module, x)
        with set_backend("torch"):
            plain = result_and_gradients(module, x)
    assert ours[0].dtype == torch.bfloat16
    assert all(gradient.dtype == torch.float32 for gradient in ours[1:])
    for ours_one, plain_one, exact in zip(ours, plain, result_and_gradients(module, x), strict=True):
        assert (ours_one - exact).norm() < 3 * (plain_one - exact).norm()


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_repeats_the_dropout(device, use_reentrant):
    module, x = TwoConvolutions(device, dropout_p=0.4), torch.randn(2, 11, 5, device=device)
    torch.manual_seed(3)
    expected = result_and_gradients(module, x)
    torch.manual_seed(3)

    def checkpointed(x, lengths):
        return checkpoint(module, x, lengths, use_reentrant=use_reentrant)

    checkpointed.parameters = module.parameters
    if use_reentrant:
        # A reentrant checkpoint gives gradients by backward() alone.
        x = x.requires_grad_()
        checkpointed(x, None).square().sum().backward()
        assert_equal([x.grad, *(p.grad for p in module.parameters())], expected[1:])
    else:
        assert_equal(result_and_gradients(checkpointed, x), expected)


def test_trains_in_distributed_data_parallel(device, tmp_path):
    torch.distributed.init_process_group(
        "gloo" if device.type == "cpu" else "nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        module, x = TwoConvolutions(device), torch.randn(2, 11, 5, device=device)
        expected = result_and_gradients(module, x)
        with warnings.catch_warnings():
            # Such as: a gradient whose strides are not its parameter's, which would be copied every time.
            warnings.simplefilter("error", UserWarning)
            parallel = nn.parallel.DistributedDataParallel(module)
            for _ in range(2):
                module.zero_grad()
                parallel(x).square().sum().backward()
        assert_equal([parameter.grad for parameter in module.parameters()], expected[2:])
    finally:
        torch.distributed.destroy_process_group()


def test_second_order_gradients_are_refused(device):
    x = torch.randn(1, 5, 3, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        causal_conv1d(x, torch.randn(4, 3, 2, device=device), activation="relu").sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="no second-order gradients"):
        gradient.sum().backward()


def test_function_transforms_are_refused(device):
    x, weight = torch.randn(1, 5, 3, device=device), torch.randn(4, 3, 2, device=device)

    def function(x):
        return causal_conv1d(x, weight)

    transforms = (
        lambda: torch.func.vmap(function)(x[None]),
        lambda: torch.func.grad(lambda x: function(x).sum())(x),
        lambda: torch.func.jvp(function, (x,), (x,)),
    )
    for transform in transforms:
        with pytest.raises(RuntimeError, match=r'set_backend\("torch"\)'):
            transform()


def test_unlike_dtypes_are_named(device):
    with pytest.raises(ValueError, match=r"weight is torch\.float16"):
        causal_conv1d(torch.zeros(1, 4, 3, device=device), torch.zeros(2, 3, 1, device=device, dtype=torch.float16))


def test_float64_is_refused(device):
    with pytest.raises(RuntimeError, match="not in float64"):
        causal_conv1d(torch.zeros(1, 4, 3, device=device).double(), torch.zeros(2, 3, 1, device=device).double())
