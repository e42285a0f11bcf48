"""Each operation on this machine's processor, forward and backward, against plain PyTorch that shares no line with it.

Errors are relative to the largest entry of the result and of each gradient, computed in float64.
"""

import pytest
import torch
from torch import Tensor

from benchmarks import plain, roofline
from benchmarks.gpu.cases import forward, forward_and_backward
from benchmarks.memory import peak_memory
from benchmarks.models import compiled_function
from satn_fast import functional

passes = pytest.mark.parametrize("training", [False, True], ids=["forward", "forward and backward"])
peers = pytest.mark.parametrize(
    "peer", ["eager PyTorch", pytest.param("torch.compile", marks=pytest.mark.full)], ids=lambda peer: peer
)

# float32, sums of a thousand terms in another order.
ALLOWED = 2e-5


def race(compare, ours, theirs, inputs, training, peer, work, **conditions) -> None:
    """Ours against theirs on the same inputs; both must give what theirs gives in float64."""
    torch.manual_seed(0)
    result = theirs(*inputs)
    gradient = torch.randn_like(result)

    def contender(function, inputs):
        if not training:
            return forward(function, inputs)
        return forward_and_backward(function, inputs, gradient.to(inputs[0].dtype))

    exact = contender(theirs, [tensor.double() for tensor in inputs])()
    run, other = (
        contender(ours, inputs),
        contender(compiled_function(theirs) if peer == "torch.compile" else theirs, inputs),
    )
    compare(
        run,
        other,
        peer_name=peer,
        max_error=largest_error(run(), exact),
        allowed=ALLOWED,
        work=work * (roofline.TRAINING if training else 1.0),
        memory=peak_memory(run),
        peer_memory=peak_memory(other),
        **conditions,
    )


def largest_error(found: Tensor | list[Tensor], exact: Tensor | list[Tensor]) -> float:
    pairs = zip(*(x if isinstance(x, list) else [x] for x in (found, exact)), strict=True)
    # Not Python's maximum, which may overlook NaN.
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


@passes
@peers
@pytest.mark.parametrize(("batch", "frames"), [(1, 500), (8, 300)], ids=["1 x 5 s", "8 x 3 s"])
@pytest.mark.parametrize("channels", [64, 128])
def test_causal_conv1d(compare, channels, batch, frames, peer, training):
    """A residual block's second convolution, of dilation 4."""
    torch.manual_seed(0)
    x, residual = torch.randn(2, batch, frames, channels)
    weight, bias = torch.randn(channels, channels, 3) / (3 * channels) ** 0.5, torch.randn(channels)
    race(
        compare,
        lambda x, weight, bias, residual: functional.causal_conv1d(
            x, weight, bias, dilation=4, residual=residual, activation="relu"
        ),
        lambda *inputs: plain.causal_conv1d(*inputs, dilation=4),
        [x, weight, bias, residual],
        training,
        peer,
        roofline.convolution(batch * frames, channels, channels, 3, 4),
    )


@passes
@peers
@pytest.mark.parametrize("window", [None, 100], ids=["whole utterance", "window of 1 s"])
def test_self_attention(compare, window, peer, training):
    torch.manual_seed(0)
    batch, frames, heads, size = 2, 600, 4, 32
    q, k, v = torch.randn(3, batch, frames, heads, size)
    position = torch.arange(frames)
    age = position[:, None] - position
    visible = None if window is None else (age >= 0) & (age < window)
    race(
        compare,
        lambda q, k, v: functional.self_attention(q, k, v, window=window),
        lambda q, k, v: plain.self_attention(q, k, v, visible=visible),
        [q, k, v],
        training,
        peer,
        roofline.attention(batch * roofline.visible_pairs(frames, window), batch * frames, heads, size, 4),
    )


@passes
@peers
@pytest.mark.parametrize("loss", ["mse", "kl", "at"])
def test_attention_transfer_loss(compare, loss, peer, training):
    torch.manual_seed(0)
    batch, frames, heads, size = 2, 500, 4, 32
    q, k, q_source, k_source = torch.randn(4, batch, frames, heads, size)
    race(
        compare,
        lambda q, k: functional.attention_transfer_loss(q, k, q_source.to(q.dtype), k_source.to(q.dtype), loss=loss),
        lambda q, k: plain.attention_transfer_loss(q, k, q_source.to(q.dtype), k_source.to(q.dtype), loss=loss),
        [q, k],
        training,
        peer,
        # Two maps, of which one product each is needed; queries and keys of both models are read.
        roofline.attention(batch * frames * frames, batch * frames, heads, size, 4),
    )


@passes
@peers
def test_attentive_pool(compare, peer, training):
    torch.manual_seed(0)
    batch, frames, channels, hidden = 8, 500, 128, 128
    h, weight = torch.randn(batch, frames, channels), torch.randn(hidden, channels) / channels**0.5
    bias, context = torch.randn(2, hidden)
    race(
        compare,
        lambda *inputs: functional.attentive_pool(*inputs)[0],
        plain.attentive_pool,
        [h, weight, bias, context],
        training,
        peer,
        roofline.pooling(batch * frames, channels, hidden, 4),
    )
