import pytest
import torch

from satn_fast import SATN, SATNConfig, reference

from ..cases import poison_padding


@pytest.fixture
def models(device):
    config = SATNConfig.preset("micro")
    plain, fast = reference.SATN(config).to(device), SATN(config).to(device)
    fast.load_state_dict(plain.state_dict())
    return plain.eval(), fast.eval()


def logits_and_gradients(model, features, lengths):
    logits = model(features, lengths).logits
    return [logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))]


def test_model_equals_the_reference_with_nan_in_padding(device, models):
    features, lengths = torch.randn(3, 70, 120, device=device), torch.tensor([70, 1, 33], device=device)
    plain, fast = models
    expected = logits_and_gradients(plain, features, lengths)
    ours = logits_and_gradients(fast, poison_padding(features, lengths), lengths)
    for left, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_model_compiles_as_one_graph(device, models):
    features, lengths = torch.randn(3, 70, 120, device=device), torch.tensor([70, 1, 33], device=device)
    _, fast = models
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, lengths).logits, fast(features, lengths).logits)
