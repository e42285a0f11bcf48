"""The op as PyTorch's compiler, exporter, autocast, checkpointing and function transforms meet it."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from satn_fast import nn as fast
from satn_fast import reference, set_backend
from satn_fast.functional import self_attention


class Attention(nn.Module):
    """The model's own module, with its result alone."""

    def __init__(self, device, window=None, module=fast.SelfAttention):
        super().__init__()
        torch.manual_seed(0)
        self.inner = module(24, 2, window).to(device)

    def forward(self, h, lengths=None):
        return self.inner(h, lengths)[0]


def result_and_gradients(module, h, lengths=None):
    h = h.detach().clone().requires_grad_()
    y = module(h, lengths)
    return [y, *torch.autograd.grad(y.square().sin().sum(), [h, *module.parameters()])]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("window", "with_lengths"), [(None, True), (3, False)])
def test_opcheck(device, window, with_lengths):
    inputs = [torch.randn(2, 7, 2, 8, device=device).requires_grad_() for _ in range(3)]
    lengths = torch.tensor([7, 3], device=device) if with_lengths else None
    torch.library.opcheck(torch.ops.satn_fast.self_attention, (*inputs, lengths, window, 0.3))


@pytest.mark.parametrize("window", [None, 5])
def test_module_equals_the_reference(device, window):
    plain, module = (Attention(device, window, kind) for kind in (reference.SelfAttention, fast.SelfAttention))
    h, lengths = torch.randn(2, 37, 24, device=device), torch.tensor([37, 9], device=device)
    assert_equal(result_and_gradients(module, h, lengths), result_and_gradients(plain, h, lengths))


def test_compiles_as_one_graph_with_its_backward(device):
    module = Attention(device)
    compiled = torch.compile(module, fullgraph=True)
    for n_frames in (11, 12, 29):
        h, lengths = torch.randn(2, n_frames, 24, device=device), torch.tensor([n_frames, 4], device=device)
        assert_equal(result_and_gradients(compiled, h, lengths), result_and_gradients(module, h, lengths))


def test_exports_with_any_batch_and_length(device):
    module = Attention(device, window=6).eval()
    batch, n_frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    dimensions = {"h": {0: batch, 1: n_frames}, "lengths": {0: batch}}
    example = (torch.randn(2, 37, 24, device=device), torch.tensor([37, 3], device=device))
    program = torch.export.export(module, example, dynamic_shapes=dimensions)
    assert "satn_fast.self_attention.default" in {str(node.target) for node in program.graph.nodes}
    h, lengths = torch.randn(3, 5, 24, device=device), torch.tensor([5, 2, 0], device=device)
    torch.testing.assert_close(program.module()(h, lengths), module(h, lengths))


def test_autocast_computes_in_half_and_gives_gradients_in_float32(device):
    inputs = [torch.randn(2, 11, 2, 16, device=device, requires_grad=True) for _ in range(3)]
    with torch.autocast(device.type, torch.bfloat16):
        y = self_attention(*inputs)
    assert y.dtype == torch.bfloat16
    assert all(gradient.dtype == torch.float32 for gradient in torch.autograd.grad(y.float().sum(), inputs))
    torch.testing.assert_close(y.float(), self_attention(*inputs), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_changes_nothing(device, use_reentrant):
    module, h = Attention(device), torch.randn(2, 11, 24, device=device)
    expected = result_and_gradients(module, h)
    h.requires_grad_()
    checkpoint(module, h, use_reentrant=use_reentrant).square().sin().sum().backward()
    assert_equal([h.grad, *(p.grad for p in module.parameters())], expected[1:])


def test_second_order_gradients_are_refused(device):
    q = torch.randn(1, 5, 1, 16, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(self_attention(q, q, q).sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="no second-order gradients"):
        gradient.sum().backward()


def test_function_transforms_are_refused(device):
    q = torch.randn(1, 5, 1, 16, device=device)

    def function(q):
        return self_attention(q, q, q)

    transforms = (
        lambda: torch.func.vmap(function)(q[None]),
        lambda: torch.func.grad(lambda q: function(q).sum())(q),
        lambda: torch.func.jvp(function, (q,), (q,)),
    )
    for transform in transforms:
        with pytest.raises(RuntimeError, match=r'set_backend\("torch"\)'):
            transform()


def test_unlike_dtypes_are_named(device):
    q = torch.zeros(1, 4, 1, 16, device=device)
    with pytest.raises(ValueError, match=r"v is torch\.float16"):
        self_attention(q, q, q.half())


def test_large_heads_are_refused(device):
    q = torch.zeros(1, 4, 1, 129, device=device)
    with pytest.raises(RuntimeError, match="head sizes up to 128, not 129"):
        self_attention(q, q, q)
    with set_backend("torch"):
        assert self_attention(q, q, q).shape == q.shape
