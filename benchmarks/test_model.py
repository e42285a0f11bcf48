"""The fast model against the plain reference, forward and training step, on this machine's processor."""

import copy

import pytest
import torch

from satn_fast import SATN, SATNConfig, reference

SHAPES = {"1 x 5 s": (1, 500), "32 x 5 s": (32, 500)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
presets = pytest.mark.parametrize("preset", ["base", "edge"])


def models(preset: str) -> tuple[SATN, reference.SATN]:
    torch.manual_seed(0)
    fast = SATN(SATNConfig.preset(preset, dropout=0.0))
    plain = reference.SATN(fast.config)
    plain.load_state_dict(fast.state_dict())
    return fast, plain


@presets
@shapes
def test_inference(compare, preset, shape):
    fast, plain = (model.eval() for model in models(preset))
    features = torch.randn(*shape, 120)
    with torch.inference_mode():
        error = float((fast(features).logits - plain(features).logits).abs().max())
        compare(
            lambda: fast(features),
            lambda: plain(features),
            peer_name="plain PyTorch reference",
            max_error=error,
            allowed=1e-4,
        )


@presets
def test_training_step(compare, preset):
    fast, plain = models(preset)
    features, lengths = torch.randn(16, 300, 120), torch.linspace(100, 300, 16).long()

    def gradients(model, features=features):
        return torch.autograd.grad(model(features, lengths).logits.square().sum(), list(model.parameters()))

    exact = gradients(copy.deepcopy(plain).double(), features.double())
    compare(
        lambda: gradients(fast),
        lambda: gradients(plain),
        peer_name="plain PyTorch reference",
        max_error=largest_error(gradients(fast), exact),
        allowed=3 * largest_error(gradients(plain), exact),
    )


def largest_error(gradients, exact) -> float:
    """Over all parameters, relative to the largest entry of all gradients (some, like a key's bias, are zero)."""
    largest = max(float(gradient.abs().max()) for gradient in exact)
    return max(float((a - b).abs().max()) for a, b in zip(gradients, exact, strict=True)) / largest
