"""Each operation, forward and backward, against PyTorch in its several ways."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.cases import Batch, compiled, forward, forward_and_backward, on_backend
from benchmarks.gpu.conftest import BACKWARD_ALLOWANCE, FORWARD_ALLOWANCE
from benchmarks.roofline import Work
from satn_fast import functional
from satn_fast.kernels.attention_transfer import reference as transfer_reference
from satn_fast.kernels.attentive_pool import reference as pool_reference
from satn_fast.kernels.causal_conv1d import reference as conv_reference
from satn_fast.kernels.causal_conv1d import torch_backend as conv_channels_last

passes = pytest.mark.parametrize("training", [False, True], ids=["forward", "forward and backward"])
# From a single utterance of 3 s to all that a large batch holds: 300 to 384,000 rows.
BATCHES = [Batch(1, 300), Batch(16, 500), Batch(64, 1500), Batch(64, 1500, 0.5), Batch(128, 3000)]
CONVOLUTIONS = [
    *((channels, batch, torch.bfloat16) for channels in (128, 256, 512) for batch in BATCHES),
    *((256, Batch(64, 1500), dtype) for dtype in (torch.float16, torch.float32)),
]
ATTENTIONS = [
    (4, 32, Batch(16, 500), torch.bfloat16),
    (4, 64, Batch(32, 1000), torch.bfloat16),
    (4, 64, Batch(32, 1000, 0.5), torch.bfloat16),
    (8, 64, Batch(16, 3000), torch.bfloat16),
    (8, 64, Batch(16, 3000, 0.5), torch.bfloat16),
    (4, 64, Batch(32, 1000), torch.float16),
    (4, 64, Batch(32, 1000), torch.float32),
]


def label(value: object) -> str | None:
    """How a parameter is called in a benchmark's name."""
    return str(value).removeprefix("torch.") if isinstance(value, Batch | torch.dtype) else None


def bytes_of(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def runner(training, gradient):
    """Makes a contender of a function and its inputs."""
    if training:
        return lambda function, inputs: forward_and_backward(function, inputs, gradient.to(inputs[0].dtype))
    return forward


def as_list(found) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


@passes
@pytest.mark.parametrize(("channels", "batch", "dtype"), CONVOLUTIONS, ids=label)
def test_causal_conv1d(race, device, dry_run, channels, batch, dtype, training):
    batch, channels = (batch.small(), 16) if dry_run else (batch, channels)
    taps, dilation, lengths = 3, 4, batch.lengths(device)
    x, residual, gradient = torch.randn(3, batch.size, batch.frames, channels, device=device).to(dtype)
    weight = (torch.randn(channels, channels, taps, device=device) / (taps * channels) ** 0.5).to(dtype)
    bias = torch.randn(channels, device=device).to(dtype)
    inputs = [x, weight, bias, residual]

    def of(function):
        return lambda x, weight, bias, residual: function(
            x, weight, bias, dilation=dilation, residual=residual, activation="relu", lengths=lengths
        )

    contender = runner(training, gradient)
    exact = as_list(contender(of(conv_reference.causal_conv1d), [t.double() for t in inputs])())
    product = 2.0 * batch.real_frames * taps * channels * channels
    traffic = 3.0 * batch.real_frames * channels * x.element_size() + bytes_of(weight)
    peers = {
        "eager": contender(of(conv_reference.causal_conv1d), inputs),
        "eager, channels last": contender(of(conv_channels_last.causal_conv1d), inputs),
    }
    if not dry_run:
        peers["torch.compile"] = contender(compiled(of(conv_reference.causal_conv1d)), inputs)
    race(
        contender(of(functional.causal_conv1d), inputs),
        peers,
        exact=exact,
        dtype=dtype,
        allowance=BACKWARD_ALLOWANCE if training else FORWARD_ALLOWANCE,
        work=Work(product, traffic) if not training else Work(3 * product, 3 * traffic),
        channels=channels,
        batch=str(batch),
        training=training,
    )


@passes
@pytest.mark.parametrize(("heads", "head_size", "batch", "dtype"), ATTENTIONS, ids=label)
def test_self_attention(race, device, dry_run, heads, head_size, batch, dtype, training):
    batch, head_size = (batch.small(), 16) if dry_run else (batch, head_size)
    lengths = batch.lengths(device)
    shape = (batch.size, batch.frames, heads, head_size)
    q, k, v, gradient = torch.randn(4, *shape, device=device).to(dtype)
    visible = None
    if lengths is not None:
        visible = (torch.arange(batch.frames, device=device) < lengths[:, None])[:, None, None, :]
        gradient = gradient * visible[:, 0, 0, :, None, None]

    def ours(q, k, v):
        return functional.self_attention(q, k, v, lengths=lengths)

    def peer(backend):
        def attend(q, k, v):
            with sdpa_kernel(backend):
                y = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), attn_mask=visible)
            y = y.transpose(1, 2)
            return y if visible is None else y * visible[:, 0, 0, :, None, None]

        return attend

    contender = runner(training, gradient)
    exact = as_list(contender(peer(SDPBackend.MATH), [t.double() for t in (q, k, v)])())
    peers = {"math": contender(peer(SDPBackend.MATH), [q, k, v])}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        try:
            contender(peer(backend), [q, k, v])()
        except RuntimeError as refusal:
            print(f"  {backend.name} cannot: {str(refusal).splitlines()[0]}")
        else:
            peers[backend.name.lower()] = contender(peer(backend), [q, k, v])
    pairs = batch.size * heads * (batch.frames * batch.fill) ** 2
    race(
        contender(ours, [q, k, v]),
        peers,
        exact=exact,
        dtype=dtype,
        allowance=BACKWARD_ALLOWANCE if training else FORWARD_ALLOWANCE,
        work=Work(
            (14.0 if training else 4.0) * pairs * head_size, (9.0 if training else 4.0) * batch.fill * bytes_of(q)
        ),
        heads=heads,
        head_size=head_size,
        batch=str(batch),
        training=training,
    )


@passes
@pytest.mark.parametrize("loss", ["mse", "kl", "at"])
@pytest.mark.parametrize("batch", [Batch(16, 500, 0.5), Batch(4, 3000)], ids=label)
def test_attention_transfer_loss(race, device, dry_run, batch, loss, training):
    batch = batch.small() if dry_run else batch
    lengths, heads, head_size = batch.lengths(device), 4, 16 if dry_run else 32
    shape = (batch.size, batch.frames, heads, head_size)
    q, k, q_source, k_source = torch.randn(4, *shape, device=device)

    def of(function, dtype):
        sources = q_source.to(dtype), k_source.to(dtype)
        return lambda q, k: function(q, k, *sources, lengths=lengths, loss=loss)

    contender = runner(training, torch.ones((), device=device))
    unfused = transfer_reference.attention_transfer_loss
    peers = {"unfused": contender(of(unfused, torch.float32), [q, k])}
    if not dry_run:
        peers["torch.compile"] = contender(compiled(of(unfused, torch.float32)), [q, k])
    race(
        contender(of(functional.attention_transfer_loss, torch.float32), [q, k]),
        peers,
        exact=as_list(contender(of(unfused, torch.float64), [q.double(), k.double()])()),
        dtype=torch.float32,
        allowance=BACKWARD_ALLOWANCE if training else FORWARD_ALLOWANCE,
        loss=loss,
        batch=str(batch),
        training=training,
    )


@passes
@pytest.mark.parametrize("batch", [Batch(1, 500), Batch(64, 1500, 0.5)], ids=label)
def test_attentive_pool(race, device, dry_run, batch, training):
    batch = batch.small() if dry_run else batch
    lengths, channels, hidden, dtype = batch.lengths(device), 128, 128, torch.bfloat16
    h = torch.randn(batch.size, batch.frames, channels, device=device).to(dtype)
    weight = (torch.randn(hidden, channels, device=device) / channels**0.5).to(dtype)
    bias, context = torch.randn(2, hidden, device=device).to(dtype)
    inputs = [h, weight, bias, context]

    def of(function):
        return lambda h, weight, bias, context: function(h, weight, bias, context, lengths=lengths)[0]

    contender = runner(training, torch.randn(batch.size, channels, device=device))
    peers = {"eager": contender(of(pool_reference.attentive_pool), inputs)}
    if not dry_run:
        peers["torch.compile"] = contender(compiled(of(pool_reference.attentive_pool)), inputs)
    product = 2.0 * batch.real_frames * channels * hidden
    race(
        contender(of(functional.attentive_pool), inputs),
        peers,
        exact=as_list(contender(of(pool_reference.attentive_pool), [t.double() for t in inputs])()),
        dtype=dtype,
        allowance=BACKWARD_ALLOWANCE if training else FORWARD_ALLOWANCE,
        work=Work(product * (3 if training else 1), batch.fill * bytes_of(h) * (3 if training else 1)),
        batch=str(batch),
        training=training,
    )


def test_backends_agree_on_what_they_are(device):
    """`torch` is a peer of `triton` only if the two are not the same code."""
    x, weight = torch.randn(1, 8, 16, device=device), torch.randn(16, 16, 3, device=device)
    plain = on_backend("torch", lambda x: functional.causal_conv1d(x, weight))(x)
    torch.testing.assert_close(functional.causal_conv1d(x, weight), plain, rtol=1e-2, atol=1e-2)
