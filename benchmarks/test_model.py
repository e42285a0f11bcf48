"""The fast model against the plain reference as its users make it faster, and against the runtimes of exported files.

Forward and training step, on this machine's processor; both are held against the reference in float64.
"""

import copy

import numpy as np
import pytest
import torch

from benchmarks import roofline
from benchmarks.memory import peak_memory
from benchmarks.models import PEERS
from satn_fast import SATN, SATNConfig, reference
from satn_fast.export import load

# Utterances, and seconds of each.
SHAPES = {"1 x 5 s": (1, 5.0), "8 x 5 s": (8, 5.0)}
# Of the logits, that of rounding being 1e-7: much of what goes wrong inside moves those of an untrained model little.
ALLOWED = 1e-5

# torch.compile takes long to compile, and for every shape again.
DEFAULT = {
    *((preset, peer, "1 x 5 s") for preset in ("base", "edge") for peer in PEERS if peer != "torch.compile"),
    *(("base", peer, "8 x 5 s") for peer in ("eager PyTorch", "eager PyTorch, channels last")),
    ("edge", "torch.compile", "1 x 5 s"),
}
TRAINED_BY_DEFAULT = {("base", "eager PyTorch"), ("edge", "eager PyTorch"), ("edge", "eager PyTorch, channels last")}


def cases(names, default):
    """Parameters of which those that are not in `default` run with --benchmark-full only."""
    return [pytest.param(*name, marks=() if name in default else pytest.mark.full) for name in names]


def models(preset: str, training: bool) -> tuple[SATN, reference.SATN]:
    torch.manual_seed(0)
    fast = SATN(SATNConfig.preset(preset, dropout=0.0, embedding_dropout=0.0)).train(training)
    plain = reference.SATN(fast.config).train(training)
    plain.load_state_dict(fast.state_dict())
    return fast, plain


@pytest.mark.parametrize(
    ("preset", "peer", "shape"),
    cases([(preset, peer, shape) for preset in ("base", "edge") for peer in PEERS for shape in SHAPES], DEFAULT),
)
def test_inference(compare, preset, peer, shape):
    fast, plain = models(preset, training=False)
    batch, seconds = SHAPES[shape]
    n_frames = round(seconds / fast.config.hop_seconds)
    theirs, features = PEERS[peer](plain), torch.randn(batch, n_frames, fast.config.n_features)
    with torch.inference_mode():
        exact = copy.deepcopy(plain).double()(features.double()).logits
        assert torch.allclose(theirs(features).logits.double(), exact, rtol=0, atol=ALLOWED), f"{peer} is wrong"
        compare(
            lambda: fast(features),
            lambda: theirs(features),
            peer_name=peer,
            max_error=float((fast(features).logits - exact).abs().max()),
            allowed=ALLOWED,
            work=roofline.model(fast.config, [n_frames] * batch),
            memory=peak_memory(lambda: fast(features)),
            peer_memory=peak_memory(lambda: theirs(features)),
        )


@pytest.mark.parametrize(
    ("preset", "peer"), cases([(preset, peer) for preset in ("base", "edge") for peer in PEERS], TRAINED_BY_DEFAULT)
)
def test_training_step(compare, preset, peer):
    """Logits of a padded batch and the gradient of every parameter."""
    fast, plain = models(preset, training=True)
    features, lengths = torch.randn(4, 75, fast.config.n_features), torch.linspace(25, 75, 4).long()
    theirs = PEERS[peer](plain)

    def gradients(model, features=features):
        return torch.autograd.grad(model(features, lengths).logits.square().sum(), list(model.parameters()))

    exact = copy.deepcopy(plain).double()
    with torch.no_grad():
        wanted = exact(features.double(), lengths).logits
        assert torch.allclose(theirs(features, lengths).logits.double(), wanted, rtol=0, atol=ALLOWED), (
            f"{peer} is wrong"
        )
    exact_gradients = gradients(exact, features.double())
    compare(
        lambda: gradients(fast),
        lambda: gradients(theirs),
        peer_name=peer,
        max_error=largest_error(gradients(fast), exact_gradients),
        allowed=3 * largest_error(gradients(plain), exact_gradients) + 1e-6,
        work=roofline.model(fast.config, lengths.tolist()) * roofline.TRAINING,
        memory=peak_memory(lambda: gradients(fast)),
        peer_memory=peak_memory(lambda: gradients(theirs)),
    )


@pytest.mark.parametrize(("runtime", "file"), [("ONNX Runtime", "model.onnx"), ("LiteRT", "model.tflite")])
@pytest.mark.parametrize("seconds", [1, 5], ids=["1 s", "5 s"])
def test_runtimes(compare, shipped, one_thread, runtime, file, seconds):
    """The preset `edge` in PyTorch against its float32 exports."""
    n_frames = round(seconds / shipped.model.config.hop_seconds)
    features = shipped.frames(n_frames)
    batch, theirs = torch.from_numpy(features)[None], load(shipped.exported / file)
    with torch.inference_mode():
        compare(
            lambda: shipped.model(batch).logits,
            lambda: theirs(features),
            peer_name=runtime,
            max_error=float(np.abs(shipped.model(batch).logits[0].numpy() - theirs(features)).max()),
            allowed=ALLOWED,
            work=roofline.model(shipped.model.config, [n_frames]),
        )


def largest_error(gradients, exact) -> float:
    """Over all parameters, relative to the largest entry of all gradients (some, like a key's bias, are zero)."""
    largest = max(float(gradient.abs().max()) for gradient in exact)
    # Not Python's maximum, which may overlook NaN.
    return float(torch.stack([(a - b).abs().max() for a, b in zip(gradients, exact, strict=True)]).max()) / largest
