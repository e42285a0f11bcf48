import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satn_fast import nn as fast
from satn_fast import reference
from satn_fast.kernels.causal_conv1d import weight_norm

from ..cases import values_and_gradients

sizes = st.sampled_from([1, 5, 16, 33])


@given(sizes, sizes, st.integers(1, 8), st.integers(0, 2**31))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_its_definition(device, n_out, n_in, taps, seed):
    torch.manual_seed(seed)
    v, g, upstream = (torch.randn(s, device=device) for s in ((n_out, n_in, taps), (n_out, 1, 1), (n_out, n_in, taps)))

    def definition(v, g):
        return g * v / torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True)

    ours = values_and_gradients(weight_norm, [v, g], upstream)
    exact = values_and_gradients(definition, [v.double(), g.double()], upstream.double())
    for left, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(left.double(), right, rtol=1e-4, atol=1e-5)


def test_weight_is_stored_as_the_convolution_reads_it(device):
    weight = weight_norm(torch.randn(6, 5, 3, device=device), torch.randn(6, 1, 1, device=device))
    assert weight.shape == (6, 5, 3)
    assert weight.permute(2, 1, 0).is_contiguous()


@pytest.fixture
def modules(device):
    plain = reference.CausalConv1d(5, 8, 3, dilation=2).to(device)
    module = fast.CausalConv1d(5, 8, 3, dilation=2).to(device)
    module.load_state_dict(plain.state_dict())
    return plain, module


def test_module_equals_the_reference(device, modules):
    plain, module = modules
    x = torch.randn(2, 11, 5, device=device)
    for left, right in zip(*(gradients(m, x) for m in (module, plain)), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def gradients(module, x):
    y = module(x)
    return [y, *torch.autograd.grad(y.square().sum(), list(module.parameters()))]


@torch.no_grad()
def test_evaluating_normalises_once_for_each_dtype(device, modules):
    _, module = modules
    module.eval()
    first = module.normalized_weight()
    assert module.normalized_weight() is first
    with torch.autocast(device.type, torch.bfloat16):
        cast = module.normalized_weight()
        assert cast.dtype == torch.bfloat16
        assert module.normalized_weight() is cast
    module.weight_g.mul_(2)
    torch.testing.assert_close(module.normalized_weight(), 2 * first)
