import os
import subprocess
import sys
import warnings

import pytest
import torch

import satn_fast
from satn_fast.functional import causal_conv1d
from satn_fast.kernels import backend, triton_runtime

X, WEIGHT = torch.ones(1, 4, 2), torch.ones(3, 2, 2)


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(backend, "_chosen", "auto")
    monkeypatch.setattr(backend, "_told", set())


def test_is_chosen_from_here_on_or_within_a_block():
    assert backend.backend() == "auto"
    with satn_fast.set_backend("torch"):
        assert backend.backend() == "torch"
        satn_fast.set_backend("triton")
        assert backend.backend() == "triton"
    assert backend.backend() == "auto"


def test_unknown_names_are_refused_and_change_nothing():
    with pytest.raises(ValueError, match="backend is 'cuda'; choose one of auto, triton, torch"):
        satn_fast.set_backend("cuda")
    assert backend.backend() == "auto"


@pytest.mark.parametrize(("value", "printed"), [("torch", "torch"), ("", "auto")])
def test_is_chosen_by_the_environment(value, printed):
    code = "from satn_fast.kernels.backend import backend; print(backend())"
    environment = {**os.environ, backend.VARIABLE: value}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == printed


@pytest.mark.skipif(triton_runtime.INTERPRETED, reason="the interpreter runs on a CPU")
def test_triton_that_cannot_run_says_why():
    with satn_fast.set_backend("triton"), pytest.raises(RuntimeError, match="'triton' cannot run: .* on the cpu"):
        causal_conv1d(X, WEIGHT)


def test_auto_on_a_cpu_is_pytorch_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not backend.runs_on_triton(X)


def test_auto_on_a_gpu_falls_back_and_says_why_once(monkeypatch):
    monkeypatch.setattr(triton_runtime, "why_not", lambda device_type, dtype: "the GPU is from 2015")
    with pytest.warns(UserWarning, match="PyTorch instead of Triton: the GPU is from 2015"):
        assert not backend._decide("auto", "cuda", torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not backend._decide("auto", "cuda", torch.float32)


def test_reasons(monkeypatch):
    assert "not in float64" in triton_runtime.why_not.__wrapped__("cuda", torch.float64)
    monkeypatch.setattr(triton_runtime.importlib.util, "find_spec", lambda name: None)
    assert 'pip install "satn-fast[triton]"' in triton_runtime.why_not.__wrapped__("cuda", torch.float32)


@pytest.mark.parametrize("everything", [True, False])
def test_op_computes_without_triton_too(everything):
    x, weight = torch.randn(2, 7, 5, requires_grad=True), torch.randn(6, 5, 3, requires_grad=True)
    arguments = (x, weight, None, None, None, None, 4, False, 0.0, False)
    if everything:
        bias, residual = torch.randn(6, requires_grad=True), torch.randn(2, 7, 6, requires_grad=True)
        arguments = (x, weight, bias, residual, torch.tensor([7, 3]), torch.tensor([11]), 4, True, 0.3, True)
    torch.library.opcheck(torch.ops.satn_fast.causal_conv1d, arguments)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("with_residual", [True, False])
def test_op_without_triton_has_the_gradients_of_the_function(activation, with_residual):
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 7, 5), (6, 5, 3), (6,), (2, 7, 6))]
    inputs = inputs if with_residual else inputs[:3]
    lengths = torch.tensor([7, 3])

    def op(x, weight, bias, residual=None):
        relu = activation == "relu"
        return torch.ops.satn_fast.causal_conv1d(x, weight, bias, residual, lengths, None, 2, relu, 0.0, True)[0]

    def function(x, weight, bias, residual=None):
        return causal_conv1d(x, weight, bias, residual=residual, dilation=2, activation=activation, lengths=lengths)

    upstream = torch.randn(2, 7, 6, dtype=torch.float64)
    for left, right in zip(*(torch.autograd.grad(f(*inputs), inputs, upstream) for f in (op, function)), strict=True):
        torch.testing.assert_close(left, right)


def test_op_without_triton_repeats_its_dropout_in_backward():
    shapes = ((3, 5, 1), 0.0), ((40, 1, 1), 1.0), ((40,), 1.0), ((3, 5, 40), 1.0)
    inputs = [torch.full(shape, value, requires_grad=True) for shape, value in shapes]
    seed = torch.tensor([3])
    y, _ = torch.ops.satn_fast.causal_conv1d(*inputs, None, seed, 1, True, 0.5, True)
    _, _, dbias, dresidual = torch.autograd.grad(y.sum(), inputs)
    assert torch.equal(y, y[:, :1].expand_as(y)), "drops whole channels"
    assert set(y.unique().tolist()) == {1.0, 3.0}
    torch.testing.assert_close(dbias, (y - 1).sum((0, 1)))
    assert bool((dresidual == 1).all())
