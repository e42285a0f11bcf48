"""The whole model, inference and training step, against the plain reference: eager and compiled."""

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu.cases import Batch, compiled, on_backend
from benchmarks.gpu.conftest import BACKWARD_ALLOWANCE
from satn_fast import SATN, SATNConfig, graphed, reference

BATCHES = [Batch(32, 500), Batch(64, 1500, 0.5)]


def models(preset: str, device: torch.device, dtype: torch.dtype) -> tuple[SATN, reference.SATN, reference.SATN]:
    """The fast model, the plain one and the plain one in float64, with equal weights and without dropout."""
    torch.manual_seed(0)
    fast = SATN(SATNConfig.preset(preset, dropout=0.0))
    plain = reference.SATN(fast.config)
    plain.load_state_dict(fast.state_dict())
    exact = copy.deepcopy(plain).double()
    return fast.to(device, dtype), plain.to(device, dtype), exact.to(device)


def inference(model: nn.Module, features: Tensor, lengths: Tensor | None):
    model.eval()

    def run() -> Tensor:
        with torch.no_grad():
            return model(features, lengths).logits

    return run


def training_step(model: nn.Module, features: Tensor, lengths: Tensor | None):
    """Logits and the gradient of every parameter."""
    model.train()
    parameters = list(model.parameters())

    def run() -> list[Tensor]:
        logits = model(features, lengths).logits
        gradients = torch.autograd.grad(logits.float().square().sum(), parameters)
        return [logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])]

    return run


@pytest.mark.parametrize("task", [inference, training_step], ids=["inference", "training step"])
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("preset", ["base", "large"])
def test_model(race, device, dry_run, preset, batch, task):
    batch, dtype = (batch.small() if dry_run else batch), torch.bfloat16
    fast, plain, exact = models("edge" if dry_run else preset, device, dtype)
    features = torch.randn(batch.size, batch.frames, fast.config.n_features, device=device)
    lengths = batch.lengths(device)
    half = features.to(dtype)
    peers = {"eager": task(plain, half, lengths), "torch backend": _on_torch(task(fast, half, lengths))}
    if not dry_run:
        peers["torch.compile"] = task(compiled(copy.deepcopy(plain), mode="max-autotune"), half, lengths)
    wanted = task(exact, features.double(), lengths)()
    race(
        task(fast, half, lengths),
        peers,
        exact=[wanted] if isinstance(wanted, Tensor) else wanted,
        dtype=dtype,
        allowance=BACKWARD_ALLOWANCE,
        preset=preset,
        batch=str(batch),
        task=task.__name__,
    )


@pytest.mark.parametrize("preset", ["base", "edge"])
def test_latency(race, device, dry_run, preset):
    """One utterance of 5 s: what a listener waits for."""
    if dry_run:
        pytest.skip("CUDA graphs need a GPU")
    batch, dtype = Batch(1, 500), torch.bfloat16
    fast, plain, exact = models(preset, device, dtype)
    features = torch.randn(batch.size, batch.frames, fast.config.n_features, device=device)
    half = features.to(dtype)
    replayed = graphed(fast.eval(), buckets=[batch.frames])
    race(
        lambda: replayed(half).logits,
        {
            "eager": inference(plain, half, None),
            "torch.compile": inference(compiled(copy.deepcopy(plain), mode="max-autotune"), half, None),
        },
        exact=[inference(exact, features.double(), None)()],
        dtype=dtype,
        allowance=BACKWARD_ALLOWANCE,
        preset=preset,
        batch=str(batch),
        task="graph replay",
    )


def _on_torch(run):
    return on_backend("torch", run)
