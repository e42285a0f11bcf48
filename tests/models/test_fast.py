import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import satn_fast
from satn_fast import SATN, SATNConfig, SourceModel, reference

from .test_reference import SPECTRAL, small_config

configurations = [
    small_config(),
    small_config(normalization="running", attention_window=4, channels=6, n_heads=3),
    small_config(normalization="global", kernel_size=2, n_blocks=4, channels=6, n_heads=1),
    small_config(normalization="running_level", attention_window=4, **SPECTRAL),
]


def pair(config: SATNConfig) -> tuple[SATN, reference.SATN]:
    """The fast model and a float64 reference with the same parameters."""
    fast, plain = SATN(config), reference.SATN(config).double()
    for tensor in (*fast.parameters(), *fast.buffers()):
        tensor.data.uniform_(0.2, 0.9) if tensor.min() >= 0 else tensor.data.mul_(1.5)
    plain.load_state_dict(fast.state_dict())
    return fast, plain


@settings(max_examples=20)
@given(
    config=st.sampled_from(configurations),
    n_frames=st.sampled_from([1, 2, 5, 13, 40]),
    lengths=st.one_of(st.none(), st.lists(st.floats(0, 1), min_size=3, max_size=3)),
    training=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_equal_the_reference(config, n_frames, lengths, training, seed):
    torch.manual_seed(seed)
    fast, plain = (model.train(training) for model in pair(config))
    features = torch.randn(3, n_frames, config.n_features)
    lengths = None if lengths is None else torch.tensor([round(share * n_frames) for share in lengths])
    upstream = torch.randn(3, 4)

    results = []
    for model, dtype in ((fast, torch.float32), (plain, torch.float64)):
        x = features.to(dtype).requires_grad_()
        output = model(x, lengths, return_weights=True)
        gradients = torch.autograd.grad(
            output.logits, [x, *model.parameters()], upstream.to(dtype), allow_unused=n_frames == 0
        )
        results.append([*output, *gradients])
    for ours, expected in zip(*results, strict=True):
        scale = max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-4 * scale)


def test_state_dicts_are_exchangeable():
    config = small_config()
    fast, plain = SATN(config), reference.SATN(config)
    assert list(fast.state_dict()) == list(plain.state_dict())
    fast.load_state_dict(plain.state_dict())
    plain.load_state_dict(fast.state_dict())


def test_every_module_with_a_fast_class_has_it():
    model = SATN(small_config())
    left = [name for name, module in model.named_modules() if type(module) in satn_fast.nn.FAST_CLASSES]
    assert left == []


def logits(model, features):
    with torch.no_grad():
        return model(features).logits


def test_folded_weights_follow_every_change_of_the_parameters():
    model, features = SATN(small_config()).eval(), torch.randn(1, 9, 6)
    before = logits(model, features)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(features).logits.square().sum().backward()
    optimizer.step()
    stepped = logits(model, features)
    assert not torch.allclose(stepped, before)

    other = SATN(small_config()).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(other, features), stepped)
    model.load_state_dict(SATN(small_config()).state_dict())
    assert not torch.allclose(logits(model, features), stepped)


def test_folded_weights_are_neither_saved_nor_copied_nor_stale_in_other_dtypes():
    model, features = SATN(small_config()).eval(), torch.randn(1, 9, 6)
    single = logits(model, features)
    assert list(model.state_dict()) == list(SATN(small_config()).state_dict())
    torch.testing.assert_close(logits(copy.deepcopy(model), features), single)
    double = logits(model.double(), features.double())
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


def test_inference_mode_gives_the_same():
    model, features = SATN(small_config()).eval(), torch.randn(1, 9, 6)
    with torch.inference_mode():
        inside = model(features).logits.clone()
        made_inside = SATN(small_config()).eval()
        made_inside.load_state_dict(model.state_dict())
        torch.testing.assert_close(made_inside(features).logits, inside)
    torch.testing.assert_close(inside, logits(model, features))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_errs_at_most_twice_as_much_as_the_reference(dtype):
    config = SATNConfig.preset("micro")
    fast, plain = (cls(config).eval() for cls in (SATN, reference.SATN))
    plain.load_state_dict(fast.state_dict())
    features = torch.randn(4, 60, config.n_features)
    exact = copy.deepcopy(plain).double()(features.double()).logits
    error, allowed = (
        float((model.to(dtype)(features.to(dtype)).logits.double() - exact).detach().abs().max())
        for model in (fast, plain)
    )
    assert error <= 2 * allowed + 1e-3


def test_dropout_acts_in_training_only():
    model = SATN(small_config(dropout=0.5))
    features = torch.randn(2, 9, 6)
    assert not torch.equal(model(features).logits, model(features).logits)
    model.eval()
    assert torch.equal(model(features).logits, model(features).logits)


def test_source_model_equals_its_reference():
    fast, plain = (cls(small_config(), ("a", "b", "c")).eval() for cls in (SourceModel, reference.SourceModel))
    plain.load_state_dict(fast.state_dict())
    features, lengths = torch.randn(2, 11, 6), torch.tensor([11, 4])
    (ours, n_ours), (theirs, n_theirs) = fast(features, lengths), plain(features, lengths)
    torch.testing.assert_close(ours, theirs)
    assert n_ours.tolist() == n_theirs.tolist() == [3, 1]


@pytest.mark.parametrize("changes", [{}, SPECTRAL], ids=["plain", "spectral"])
def test_compiles_without_a_graph_break(changes):
    model = SATN(small_config(attention_window=4, **changes))
    features = torch.randn(2, 9, model.config.n_features)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    lengths = torch.tensor([9, 3])
    torch.testing.assert_close(compiled(features, lengths).logits, model(features, lengths).logits)


@pytest.mark.parametrize("changes", [{}, SPECTRAL], ids=["plain", "spectral"])
def test_exports_with_any_number_of_frames(changes):
    model = SATN(small_config(**changes)).eval()
    features = torch.randn(2, 9, model.config.n_features)
    frames = torch.export.Dim("frames", min=2, max=1000)
    exported = torch.export.export(model, (features,), dynamic_shapes={"features": {1: frames}})
    longer = torch.randn(2, 30, model.config.n_features)
    torch.testing.assert_close(exported.module()(longer)[0], model(longer).logits)
