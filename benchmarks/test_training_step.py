"""A whole training step on one thread of a CPU, the fast model against the plain reference with the same weights.

Forward, backward, clipping and AdamW, with dropout. Before anything is timed, the gradients without dropout are held
against the reference in float64.
"""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks import roofline
from benchmarks.memory import peak_memory
from benchmarks.test_model import largest_error
from satn_fast import SATN, SATNConfig, reference

# Mel bands, and the frames of each utterance.
BATCHES = {
    "32 crops of 50 frames": (64, [50] * 32),
    "16 utterances of 60 to 140 frames": (40, torch.linspace(60, 140, 16).long().tolist()),
}


def model(kind: type[nn.Module], n_mels: int, *, dropout: bool) -> nn.Module:
    """With the same weights for either kind, and with the preset's dropout or none."""
    torch.manual_seed(0)
    front_end = {"preset": "kaldi", "sample_rate": 16000, "n_mels": n_mels}
    none = {} if dropout else {"dropout": 0.0, "embedding_dropout": 0.0}
    fast = SATN(SATNConfig.preset("edge", front_end=front_end, **none))
    made = kind(fast.config)
    made.load_state_dict(fast.state_dict())
    return made.train()


def gradients(trained: nn.Module, features: Tensor, lengths: Tensor | None) -> list[Tensor]:
    logits = trained(features, lengths).logits
    return list(torch.autograd.grad(logits.square().sum(), list(trained.parameters())))


def training_step(trained: nn.Module, features: Tensor, lengths: Tensor | None) -> Callable[[], None]:
    parameters = list(trained.parameters())
    optimizer = torch.optim.AdamW(parameters, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        trained(features, lengths).logits.square().sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


@pytest.mark.parametrize("batch", BATCHES)
def test_training_step(compare, one_thread, batch):
    n_mels, frames = BATCHES[batch]
    features = torch.randn(len(frames), max(frames), 3 * n_mels)
    lengths = None if len(set(frames)) == 1 else torch.tensor(frames)

    plain = model(reference.SATN, n_mels, dropout=False)
    exact = gradients(copy.deepcopy(plain).double(), features.double(), lengths)
    error, plain_error = (
        largest_error(gradients(trained, features, lengths), exact)
        for trained in (model(SATN, n_mels, dropout=False), plain)
    )
    fast, plain = (model(kind, n_mels, dropout=True) for kind in (SATN, reference.SATN))
    ours, theirs = (training_step(trained, features, lengths) for trained in (fast, plain))
    compare(
        ours,
        theirs,
        peer_name="eager PyTorch",
        max_error=error,
        allowed=3 * plain_error + 1e-6,
        work=roofline.model(fast.config, frames) * roofline.TRAINING,
        memory=peak_memory(ours),
        peer_memory=peak_memory(theirs),
    )
