"""Other libraries' TCNs after `satn_fast.accelerate` against the same as they were, on this machine's processor."""

import copy

import pytest
import torch

from benchmarks.peers import peer_module
from satn_fast import accelerate
from tests.models.tcn_models import TemporalConvNet


def locuslab(channels):
    return TemporalConvNet(120, (channels,) * 5, kernel_size=3)


def pytorch_tcn(channels):
    return peer_module("pytorch_tcn", "pytorch-tcn").TCN(120, (channels,) * 5, kernel_size=3, dropout=0.0)


SHAPES = {"1 x 0.3 s": (1, 32), "1 x 5 s": (1, 500), "16 x 3 s": (16, 300)}
FULL = [("16 x 3 s", 128), *((shape, 64) for shape in SHAPES)]
makers = pytest.mark.parametrize("make", [locuslab, pytorch_tcn])
sizes = pytest.mark.parametrize(
    ("shape", "channels"),
    [
        pytest.param(
            shape, channels, marks=pytest.mark.full if (name, channels) in FULL else (), id=f"{name}-{channels}"
        )
        for name, shape in SHAPES.items()
        for channels in (25, 64, 128)
    ],
)


def accelerated_and_plain(make, channels):
    torch.manual_seed(0)
    ours, plain = make(channels), make(channels)
    plain.load_state_dict(ours.state_dict())
    assert not accelerate(ours).left_alone
    return ours, plain


@makers
@sizes
def test_inference(compare, make, shape, channels):
    ours, plain = (model.eval() for model in accelerated_and_plain(make, channels))
    x = torch.randn(shape[0], 120, shape[1])
    with torch.inference_mode():
        expected = plain(x)
        compare(
            lambda: ours(x),
            lambda: plain(x),
            peer_name=f"the same {make.__name__} model before",
            max_error=float((ours(x) - expected).abs().max() / expected.abs().max()),
            allowed=1e-5,
        )


@makers
@sizes
def test_training_step(compare, make, shape, channels):
    ours, plain = accelerated_and_plain(make, channels)
    x = torch.randn(shape[0], 120, shape[1])

    def gradients(model, x=x):
        parameters = list(model.parameters())
        found = torch.autograd.grad(model(x).square().mean(), parameters, allow_unused=True)
        return torch.cat([gradient.flatten() for gradient in found if gradient is not None])

    # In float64: in float32 an activation next to zero may fall to either side, and takes its gradient along.
    found, expected = (gradients(copy.deepcopy(model).double(), x.double()) for model in (ours, plain))
    compare(
        lambda: gradients(ours),
        lambda: gradients(plain),
        peer_name=f"the same {make.__name__} model before",
        max_error=float((found - expected).norm() / expected.norm()),
        allowed=1e-12,
    )
