"""Attentive pooling and the attention-transfer losses as PyTorch's compiler, exporter, autocast and so on meet them."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from satn_fast.functional import attention_transfer_loss, attentive_pool


class Student(nn.Module):
    """Pools what it hears and makes of it, and is pulled towards a source's attention."""

    def __init__(self, device, loss="kl"):
        super().__init__()
        self.loss = loss
        self.query, self.projection = (nn.Linear(6, n, device=device) for n in (8, 5))
        # A bias of the keys changes no attention map: its gradient would be rounding alone.
        self.key = nn.Linear(6, 8, bias=False, device=device)
        self.context = nn.Parameter(torch.randn(5, device=device))

    def forward(self, h, lengths=None):
        q, k = (layer(h).unflatten(-1, (2, 4)) for layer in (self.query, self.key))
        source = h.unflatten(-1, (2, 3))
        loss = attention_transfer_loss(q, k, source, source, lengths=lengths, window=5, loss=self.loss)
        parameters = (self.projection.weight, self.projection.bias, self.context)
        pooled, weights = attentive_pool(h, *parameters, lengths=lengths)
        both = parameters[0].repeat(1, 2), *parameters[1:]
        statistics, _ = attentive_pool([h, h.tanh()], *both, lengths=lengths, deviation=True)
        return loss + pooled.square().sum() + weights.square().sum() + statistics.square().sum()


def value_and_gradients(function, module, h, lengths=None):
    h = h.detach().clone().requires_grad_()
    value = function(h, lengths)
    return [value, *torch.autograd.grad(value, [h, *module.parameters()])]


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "kl", "at"])
def test_opcheck_of_the_transfer_losses(device, loss):
    q, k = (torch.randn(2, 7, 2, 4, device=device).requires_grad_() for _ in range(2))
    source, lengths = torch.randn(2, 7, 2, 3, device=device), torch.tensor([7, 3], device=device)
    window = None if loss == "kl" else 3
    arguments = (q, k, source, source.clone(), lengths, loss, window, 0.5, 0.7)
    torch.library.opcheck(torch.ops.satn_fast.attention_transfer_loss, arguments)


@pytest.mark.parametrize("deviation", [False, True])
@pytest.mark.parametrize("widths", [[6], [3, 3], [2, 4]], ids=str)
def test_opcheck_of_attentive_pool(device, widths, deviation):
    layers = [torch.randn(2, 7, width, device=device).requires_grad_() for width in widths]
    parameters = [torch.randn(s, device=device).requires_grad_() for s in ((5, 6), (5,), (5,))]
    arguments = (layers, *parameters, torch.tensor([7, 3], device=device), deviation)
    torch.library.opcheck(torch.ops.satn_fast.attentive_pool, arguments)


@pytest.mark.parametrize(("backend", "loss"), [("aot_eager", "at"), ("inductor", "kl")])
def test_compiles_as_one_graph_with_its_backward(device, backend, loss):
    module = Student(device, loss)
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for n_frames in (11, 12, 29):
        h, lengths = torch.randn(2, n_frames, 6, device=device), torch.tensor([n_frames, 4], device=device)
        assert_equal(value_and_gradients(compiled, module, h, lengths), value_and_gradients(module, module, h, lengths))


def test_exports_with_any_batch_and_length(device):
    module = Student(device).eval()
    batch = torch.export.Dim("batch")
    dimensions = {"h": {0: batch, 1: torch.export.Dim("frames")}, "lengths": {0: batch}}
    example = (torch.randn(2, 37, 6, device=device), torch.tensor([37, 3], device=device))
    program = torch.export.export(module, example, dynamic_shapes=dimensions)
    targets = {str(node.target) for node in program.graph.nodes}
    assert {"satn_fast.attention_transfer_loss.default", "satn_fast.attentive_pool.default"} <= targets
    h, lengths = torch.randn(3, 5, 6, device=device), torch.tensor([5, 2, 0], device=device)
    torch.testing.assert_close(program.module()(h, lengths), module(h, lengths))


def test_autocast_computes_in_half_and_gives_the_loss_and_gradients_in_float32(device):
    module, h = Student(device), torch.randn(2, 11, 6, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        results = value_and_gradients(module, module, h)
        q = torch.randn(1, 3, 1, 4, device=device)
        assert attention_transfer_loss(q, q, q, q).dtype == torch.float32
        pooled, _ = attentive_pool(h, module.projection.weight, module.projection.bias, module.context)
        assert pooled.dtype == torch.bfloat16
        # A convolution's output is in half precision there, a LayerNorm's in float32.
        weight = module.projection.weight.repeat(1, 2)
        pooled, _ = attentive_pool([h.bfloat16(), h], weight, module.projection.bias, module.context, deviation=True)
        assert pooled.dtype == torch.bfloat16
    assert all(result.dtype == torch.float32 for result in results[1:])
    for ours, exact in zip(results, value_and_gradients(module, module, h), strict=True):
        assert (ours - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_gives_the_same_gradients(device, use_reentrant):
    module, h = Student(device), torch.randn(2, 11, 6, device=device, requires_grad=True)
    expected = value_and_gradients(module, module, h)
    checkpoint(module, h, None, use_reentrant=use_reentrant).backward()
    assert_equal([h.grad, *(p.grad for p in module.parameters())], expected[1:])


def operations(device):
    h, weight, vector = (torch.randn(s, device=device) for s in ((1, 5, 6), (4, 6), (4,)))
    q = torch.randn(1, 5, 2, 4, device=device)
    return [
        (h, lambda h: attentive_pool(h, weight, vector, vector)[0].square().sum()),
        (h, lambda h: attentive_pool(h.split(3, -1), weight, vector, vector, deviation=True)[0].square().sum()),
        (q, lambda q: attention_transfer_loss(q, q, q.detach() * 2, q.detach())),
    ]


def test_second_order_gradients_are_refused(device):
    for x, function in operations(device):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(function(x), x, create_graph=True)
        with pytest.raises(RuntimeError, match="no second-order gradients"):
            gradient.sum().backward()


def test_function_transforms_are_refused(device):
    for x, function in operations(device):
        with pytest.raises(RuntimeError, match=r'set_backend\("torch"\)'):
            torch.func.vmap(function)(x[None])
        with pytest.raises(RuntimeError, match=r'set_backend\("torch"\)'):
            torch.func.grad(function)(x)
        with pytest.raises(RuntimeError, match=r'set_backend\("torch"\)'):
            torch.func.jvp(function, (x,), (x,))


def test_unlike_dtypes_are_named(device):
    q, half = (torch.zeros(1, 4, 2, 3, device=device, dtype=dtype) for dtype in (torch.float32, torch.float16))
    with pytest.raises(ValueError, match=r"q_source is torch\.float16"):
        attention_transfer_loss(q, q, half, half)
    vector = torch.zeros(2, device=device)
    with pytest.raises(ValueError, match=r"weight is torch\.float16"):
        attentive_pool(q[:, :, 0], torch.zeros(2, 3, device=device, dtype=torch.float16), vector, vector)


def test_the_source_gets_no_gradient(device):
    q, source = (torch.randn(1, 5, 2, 4, device=device, requires_grad=True) for _ in range(2))
    attention_transfer_loss(q, q, source, source).backward()
    assert source.grad is None
    value = torch.ops.satn_fast.attention_transfer_loss(q, q, source, source, None, "kl", None, 0.5, 0.5)[0]
    with pytest.raises(RuntimeError, match="detach q_source"):
        value.backward()


@pytest.mark.parametrize("loss", ["mse", "kl", "at"])
def test_the_ops_compute_without_triton_too(loss):
    """In float64, which no kernel computes: as an exported program does on a machine without Triton."""
    q, k = (torch.randn(2, 5, 2, 4).double().requires_grad_() for _ in range(2))
    source, lengths = torch.randn(2, 5, 2, 3).double(), torch.tensor([5, 2])

    def transfer(q, k):
        return torch.ops.satn_fast.attention_transfer_loss(q, k, source, source, lengths, loss, 4, 0.5, 0.7)[0]

    def pool(first, second, *parameters):
        mean = torch.ops.satn_fast.attentive_pool([first, second], *parameters, lengths, False)
        return *mean, *torch.ops.satn_fast.attentive_pool([first, second], *parameters, lengths, True)

    arguments = [torch.randn(s).double().requires_grad_() for s in ((2, 5, 2), (2, 5, 4), (5, 6), (5,), (5,))]
    # Results are float32: steps and tolerances to match.
    assert torch.autograd.gradcheck(transfer, (q, k), eps=1e-2, atol=1e-3, rtol=1e-2)
    assert torch.autograd.gradcheck(pool, arguments, eps=1e-2, atol=2e-3, rtol=1e-2)
