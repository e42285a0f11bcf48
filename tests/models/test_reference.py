import math

import pytest
import torch
from torch.utils._pytree import tree_leaves

from satn_fast import SATNConfig, reference

SMALL = {"channels": 8, "n_blocks": 2, "n_heads": 2, "pooling_size": 4, "dropout": 0.0}
# Mean and deviation of every block and of attention, standardised before the classifier.
SPECTRAL = {"spectral_channels": 2, "front_end": {"n_mels": 18}}
STATISTICS = {"pooling": "statistics", "pooling_layers": "all", "embedding_norm": True}
FRONT_END = {"preset": "kaldi", "sample_rate": 16000, "n_mels": 2}
normalizations = pytest.mark.parametrize("normalization", ["global", "level", "running_level", "utterance", "running"])


def small_config(**changes) -> SATNConfig:
    return SATNConfig(**({**SMALL, "front_end": FRONT_END} | changes))


def away_from_kinks(module: torch.nn.Module) -> torch.nn.Module:
    """float64, with random parameters and statistics, so that no gradient is zero by chance."""
    module = module.double()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.1
    return module


class OneLayer(torch.nn.Module):
    """Pools one layer, given as it is."""

    def __init__(self, pooling: reference.AttentivePooling) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x, lengths):
        return self.pooling([x], lengths)


modules = {
    "Normalization": (lambda: reference.Normalization(6, "utterance"), (3, 5, 6)),
    "CausalConv1d": (lambda: reference.CausalConv1d(3, 4, 3, 2), (2, 5, 3)),
    "SpectralConvolution": (lambda: reference.SpectralConvolution(2), (2, 4, 54)),
    "ResidualBlock": (lambda: reference.ResidualBlock(3, 4, 2, 2, 0.0), (2, 5, 3)),
    "TemporalConvNet": (lambda: reference.TemporalConvNet(3, 4, 2, 2, 0.0), (2, 5, 3)),
    "SelfAttention": (lambda: reference.SelfAttention(4, 2, None), (2, 5, 4)),
    "SelfAttention in a window": (lambda: reference.SelfAttention(4, 2, 2), (2, 5, 4)),
    "Encoder": (lambda: reference.Encoder(small_config()), (2, 4, 6)),
    "AttentivePooling": (lambda: OneLayer(reference.AttentivePooling(4, 3, deviation=False)), (2, 5, 4)),
    "AttentivePooling, with deviation": (lambda: OneLayer(reference.AttentivePooling(4, 3, True)), (2, 5, 4)),
    "SATN": (lambda: reference.SATN(small_config()), (2, 4, 6)),
    "SATN, statistics of all layers": (lambda: reference.SATN(small_config(**STATISTICS)).eval(), (2, 4, 6)),
    "SATN, spectral convolution": (lambda: reference.SATN(small_config(**SPECTRAL)), (2, 4, 54)),
    "SourceModel": (lambda: reference.SourceModel(small_config(), ("a", "b"), 2), (2, 5, 6)),
}


@pytest.mark.parametrize("name", modules)
def test_every_module_passes_gradcheck_in_float64(name):
    make, shape = modules[name]
    module = away_from_kinks(make())
    x = torch.randn(shape).double().requires_grad_()
    lengths = torch.tensor([shape[1], shape[1] - 2, 0][: shape[0]])
    parameters = dict(module.named_parameters())

    def function(x, *values):
        output = torch.func.functional_call(
            module, dict(zip(parameters, values, strict=True)), (x,), {"lengths": lengths}
        )
        return tuple(y for y in tree_leaves(output) if y is not None and y.is_floating_point())

    assert torch.autograd.gradcheck(function, (x, *parameters.values()), atol=1e-6)


@normalizations
@pytest.mark.parametrize("changes", [{}, STATISTICS, SPECTRAL], ids=["mean", "statistics", "spectral"])
@pytest.mark.parametrize("window", [None, 3])
def test_padding_is_inert_even_where_it_is_nan(normalization, window, changes):
    # In evaluation: the statistics of a batch, which training standardises with, are of all its rows.
    model = reference.SATN(small_config(normalization=normalization, attention_window=window, **changes)).eval()
    alone = [torch.randn(1, n, model.config.n_features) for n in (9, 4, 1)]
    padded = torch.full((4, 9, model.config.n_features), torch.nan)
    for row, features in enumerate(alone):
        padded[row, : features.shape[1]] = features[0]
    lengths = torch.tensor([9, 4, 1, 0])
    padded.requires_grad_()

    output = model(padded, lengths, return_weights=True)
    for row, features in enumerate(alone):
        torch.testing.assert_close(output.logits[row], model(features).logits[0])
    torch.testing.assert_close(output.logits[3], model.score(torch.zeros(1, model.config.embedding_size))[0])
    assert torch.isfinite(output.attention).all()
    assert not output.attention[1, :, 4:].any()
    assert not output.attention[1, :, :, 4:].any()

    together = torch.autograd.grad(output.logits[:3].sum(), [padded, *model.parameters()])
    one_by_one = torch.autograd.grad(sum(model(x).logits.sum() for x in alone), list(model.parameters()))
    assert not torch.cat([together[0][row, n:] for row, n in enumerate((9, 4, 1, 0))]).any()
    for ours, expected in zip(together[1:], one_by_one, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_hidden_states_of_padding_are_exactly_zero():
    encoder = reference.Encoder(small_config())
    hidden = encoder(torch.randn(2, 7, 6), torch.tensor([7, 3])).hidden
    assert not hidden[1, 3:].any()
    assert hidden[1, :3].any()


def test_symbol_scores_are_of_whole_groups_of_real_frames_only():
    model = reference.SourceModel(small_config(), ("a", "b"), frames_per_score=3).eval()
    alone = torch.randn(1, 8, 6)
    padded = torch.full((2, 12, 6), torch.nan)
    padded[0, :8] = alone[0]
    scores, lengths = model(padded, torch.tensor([8, 2]))
    assert lengths.tolist() == [2, 0]
    torch.testing.assert_close(scores[0, :2], model(alone, torch.tensor([8]))[0][0])
    assert not scores[0, 2:].any()
    assert not scores[1].any()
    hidden = model.encoder(alone).hidden
    torch.testing.assert_close(scores[0, 1], model.head(hidden[0, 3:6].mean(0)))


def test_weights_are_given_on_request_only_and_sum_to_one():
    model = reference.SATN(small_config()).eval()
    features = torch.randn(2, 5, 6)
    assert model(features).attention is None
    assert model(features).pooling is None
    output = model(features, return_weights=True)
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(2, 2, 5))
    torch.testing.assert_close(output.pooling.sum(-1), torch.ones(2))


@pytest.mark.parametrize("normalization", ["global", "running", "running_level"])
def test_windowed_model_with_running_mean_is_causal(normalization):
    encoder = reference.Encoder(small_config(normalization=normalization, attention_window=3)).eval()
    features = torch.randn(1, 12, 6)
    changed = features.clone()
    changed[:, 8:] += 1.0
    before, after = encoder(features).hidden, encoder(changed).hidden
    torch.testing.assert_close(before[:, :8], after[:, :8], rtol=0, atol=0)


def test_receptive_field_is_what_the_configuration_says():
    config = small_config()
    tcn = reference.TemporalConvNet(6, 8, config.n_blocks, config.kernel_size, 0.0)
    for parameter in tcn.parameters():
        parameter.data.abs_()  # no ReLU ever closes, so influence is visible
    x = torch.rand(1, 40, 6, requires_grad=True)
    tcn(x)[-1][0, -1].sum().backward()
    reached = x.grad[0].abs().sum(-1).nonzero()
    assert 40 - int(reached.min()) == config.receptive_field


@normalizations
def test_fitted_features_have_zero_mean_and_unit_deviation(normalization):
    normalization = reference.Normalization(3, normalization, prior_frames=100)
    utterances = [5.0 + 3.0 * torch.randn(n, 3) + torch.randn(3) for n in (400, 150, 777)]
    normalization.fit(utterances)
    frames = torch.cat([normalization(x[None])[0] for x in utterances])
    if normalization.mode != "running":  # which lags behind
        torch.testing.assert_close(frames.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.square().mean(0).sqrt(), torch.ones(3), atol=1e-4, rtol=0)


def test_running_mean_forgets_its_start_and_then_equals_the_utterances_mean():
    running, utterance = (reference.Normalization(1, mode, prior_frames=100) for mode in ("running", "utterance"))
    x = torch.full((1, 50_000, 1), 4.0)
    assert running(x)[0, 0].item() > 3.9  # one frame says next to nothing about the mean
    assert running(x)[0, 0].item() == pytest.approx(4.0 * (1 - 1 / (1 + 100)))
    assert running(x)[0, -1].item() == pytest.approx(utterance(x)[0, -1].item(), abs=0.01)


def test_level_takes_the_loudness_and_nothing_else():
    """Louder recordings become the same; the shape of the spectrum, and deltas, stay as they are."""
    x = torch.randn(1, 20, 9).double()
    louder = x.clone()
    louder[..., :3] += 2.5
    level = reference.Normalization(9, "level").double()
    running = reference.Normalization(9, "running_level").double()
    torch.testing.assert_close(level(louder), level(x))
    torch.testing.assert_close(running(louder), running(x))
    of_frames = x[0, :, :3].mean(1)
    loudness = (0.3 * of_frames).exp()
    expected = (of_frames * loudness).sum() / loudness.sum()
    torch.testing.assert_close(x[..., :3] - level(x)[..., :3], expected.expand(1, 20, 3))
    torch.testing.assert_close(level(x)[..., 3:], x[..., 3:])
    torch.testing.assert_close(running(x)[:, -1], level(x)[:, -1])
    torch.testing.assert_close(running(x)[:, :7], running(x[:, :7]))


@pytest.mark.parametrize(("log", "unit"), [("ln", 1.0), ("log10", 1 / math.log(10)), ("db", 10 / math.log(10))])
def test_the_level_is_the_same_in_every_logarithm(log, unit):
    """Frames weigh as much whatever the logarithm of the front end is: what is removed is the same, in its unit."""
    natural, other = (
        reference.Encoder(small_config(normalization="running_level", front_end={"n_mels": 3, "log": name}))
        for name in ("ln", log)
    )
    x = 2 * torch.randn(1, 20, 9).double()
    removed = unit * natural.normalization.level(x, None)
    torch.testing.assert_close(other.normalization.level(unit * x, None), removed)


def test_the_tool_decides_the_logarithm():
    of_librosa, said = (small_config(front_end=FRONT_END | other) for other in ({"preset": "librosa"}, {"log": "db"}))
    assert of_librosa.loudness_exponent == said.loudness_exponent < small_config().loudness_exponent


@pytest.mark.parametrize(("mode", "largest"), [("level", 0.02), ("running_level", 0.2)])  # after one frame of speech
def test_silence_has_next_to_no_part_in_the_level(mode, largest):
    speech, silence = torch.randn(1, 20, 3), torch.full((1, 30, 3), -30.0)
    normalization = reference.Normalization(3, mode)
    together = normalization(torch.cat([silence, speech, silence], 1))[:, 30:50]
    torch.testing.assert_close(together, normalization(speech), atol=largest, rtol=0)
    for loudness in (-1e4, 1e4):  # finite beyond what any recording has
        assert torch.isfinite(normalization(torch.full((1, 500, 3), loudness))).all()


def test_statistics_of_all_layers_are_their_means_and_deviations():
    """With equal weights they are those of every channel over time, blocks first, attention last."""
    model = reference.SATN(small_config(**STATISTICS)).double().eval()
    torch.nn.init.zeros_(model.pooling.context)
    encoded = model.encoder(torch.randn(2, 9, 6).double())
    embedding, weights = model.pooling(model.pooled_layers(encoded.blocks, encoded.hidden))
    layers = torch.cat([*encoded.blocks, encoded.hidden], -1)
    assert layers.shape[-1] == model.config.pooled_channels == 24
    torch.testing.assert_close(weights, torch.full((2, 9), 1 / 9).double())
    torch.testing.assert_close(embedding[:, :24], layers.mean(1))
    torch.testing.assert_close(embedding[:, 24:], (layers.var(1, correction=0) + 1e-5).sqrt())


def test_spectral_convolution_finds_a_pattern_wherever_it_stands():
    """What rises through the bands is found higher up as it is lower down, and no frame looks at the next."""
    spectral = reference.SpectralConvolution(3).double()
    x = torch.zeros(1, 6, 3, 64).double()
    pattern = torch.randn(4, 3, 5).double()
    x[:, 1:5, :, 16:21] = pattern
    higher = torch.zeros_like(x)
    higher[:, 1:5, :, 32:37] = pattern  # two places of four, two bands apart each, further up
    low, high = spectral(x.flatten(2)).unflatten(2, (7, 3)), spectral(higher.flatten(2)).unflatten(2, (7, 3))
    torch.testing.assert_close(high[:, :, 2:], low[:, :, :5])
    assert (low[:, 1:] - low[:, :1]).abs().amax((0, 1, 3)).count_nonzero() in (2, 3)  # where the pattern is, only
    x[:, 3:] = 0
    torch.testing.assert_close(spectral(x.flatten(2)).unflatten(2, (7, 3))[:, :3], low[:, :3])


def test_spectral_convolution_is_one_over_time_and_frequency():
    spectral = reference.SpectralConvolution(4).double()
    x = torch.randn(2, 7, 3 * 20).double()
    image = torch.nn.functional.pad(x.unflatten(2, (3, 20)).transpose(1, 2), (0, 0, 2, 0))
    weight = spectral.convolution.normalized_weight().unflatten(1, (3, 9)).transpose(2, 3)
    found = torch.nn.functional.conv2d(image, weight, spectral.convolution.bias, stride=(1, 2)).relu()
    expected = torch.nn.functional.max_pool2d(found, (1, 4))  # (B, S, T, places)
    torch.testing.assert_close(spectral(x), expected.permute(0, 2, 3, 1).flatten(2))


def test_constant_features_and_no_features_when_fitting():
    normalization = reference.Normalization(2, "global")
    normalization.fit([torch.full((10, 2), 7.0)])
    assert torch.isfinite(normalization(torch.full((1, 3, 2), 7.0))).all()
    with pytest.raises(ValueError, match="utterances holds no frame"):
        normalization.fit([torch.zeros(0, 2)])


@pytest.mark.parametrize("shape", [(2, 5, 7), (5, 6)])
def test_wrong_feature_width_is_named(shape):
    with pytest.raises(ValueError, match=r"features has shape .* expects \(batch, frames, 6\)"):
        reference.SATN(small_config())(torch.zeros(shape))


def test_lengths_out_of_range_are_named():
    with pytest.raises(ValueError, match="lengths reaches"):
        reference.SATN(small_config())(torch.zeros(1, 5, 6), torch.tensor([6]))


@pytest.mark.parametrize("preset", ["base", "large", "edge", "micro"])
def test_every_preset_runs(preset):
    config = SATNConfig.preset(preset)
    assert reference.SATN(config).eval()(torch.randn(1, 12, config.n_features)).logits.shape == (1, 4)
