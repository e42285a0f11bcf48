"""The whole model on the Triton kernels: numbers of the reference, nothing left to PyTorch's own, one graph."""

import pytest
import torch
import torch.nn.functional as F

from satn_fast import SATN, SATNConfig, reference

from ..cases import poison_padding


@pytest.fixture(params=[50, None], ids=["window", "whole utterance"])
def models(device, request):
    config = SATNConfig.preset("micro", attention_window=request.param)
    plain, fast = reference.SATN(config).to(device), SATN(config).to(device)
    fast.load_state_dict(plain.state_dict())
    return plain.eval(), fast.eval()


def logits_and_gradients(model, features, lengths):
    logits = model(features, lengths).logits
    return [logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))]


def test_model_equals_the_reference_with_nan_in_padding(device, models):
    features, lengths = torch.randn(3, 70, 192, device=device), torch.tensor([70, 1, 33], device=device)
    plain, fast = models
    expected = logits_and_gradients(plain, features, lengths)
    ours = logits_and_gradients(fast, poison_padding(features, lengths), lengths)
    for left, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_model_compiles_as_one_graph(device, models):
    features, lengths = torch.randn(2, 12, 192, device=device), torch.tensor([12, 7], device=device)
    _, fast = models
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, lengths).logits, fast(features, lengths).logits)


def test_every_operation_of_the_model_is_ours(device, models, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("PyTorch computed what a kernel should")

    _, fast = models
    for name in ("conv1d", "conv2d", "scaled_dot_product_attention", "softmax"):
        monkeypatch.setattr(F, name, refused)
    monkeypatch.setattr(torch, "softmax", refused)
    logits_and_gradients(fast, torch.randn(2, 40, 192, device=device), torch.tensor([40, 7], device=device))


def test_dropout_differs_from_step_to_step_and_is_reproducible(device, models):
    features, lengths = torch.randn(2, 12, 192, device=device), torch.tensor([12, 7], device=device)
    fast = models[1].train()

    def step(seed):
        torch.manual_seed(seed)
        return logits_and_gradients(fast, features, lengths)

    first, second, other = step(0), step(0), step(1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_model_exports_with_any_batch_and_length(device, models):
    features, lengths = torch.randn(3, 70, 192, device=device), torch.tensor([70, 1, 33], device=device)
    _, fast = models
    batch, frames = torch.export.Dim("batch", min=2), torch.export.Dim("frames", min=2)
    with torch.no_grad():
        program = torch.export.export(
            fast, (features, lengths), dynamic_shapes={"features": {0: batch, 1: frames}, "lengths": {0: batch}}
        )
        features, lengths = torch.randn(2, 31, 192, device=device), torch.tensor([31, 8], device=device)
        torch.testing.assert_close(program.module()(features, lengths).logits, fast(features, lengths).logits)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"satn_fast.causal_conv1d.default", "satn_fast.self_attention.default"} <= targets
