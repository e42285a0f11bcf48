"""The float32 files compute what the plain PyTorch model computes, for every length."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from satn_fast import reference
from satn_fast.export import load, to_onnx, to_tflite
from tests.export import speechlike

LENGTHS = (1, 2, 19, 20, 21, 37, 300, 1203)


def reference_logits(model, features):
    twin = reference.SATN(model.config).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        return twin(torch.from_numpy(features)[None]).logits[0].numpy()


def assert_equals_reference(model, path):
    exported, generator = load(path), np.random.default_rng(5)
    assert exported.kind in ("onnx", "tflite")
    # Long, short, long: what was allocated for one length must not survive into the next.
    for n_frames in (*LENGTHS, 2, 300):
        features = speechlike.utterance(generator, n_frames, 1)
        expected = reference_logits(model, features)
        error = np.abs(exported(features) - expected).max()
        assert error <= 1e-4 * np.abs(expected).max(), (n_frames, error)


@pytest.mark.parametrize("normalization", ["global", "utterance", "running"])
@pytest.mark.parametrize("window", [None, 1, 20, 5000])
def test_onnx_equals_reference(tmp_path, normalization, window):
    model = speechlike.untrained(normalization=normalization, attention_window=window)
    assert_equals_reference(model, to_onnx(model, tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("normalization", "window"), [("global", None), ("utterance", 1), ("running", 20), ("running", 5000)]
)
def test_tflite_equals_reference(tmp_path, normalization, window):
    model = speechlike.untrained(normalization=normalization, attention_window=window)
    assert_equals_reference(model, to_tflite(model, tmp_path / "model.tflite"))


POOLINGS = [("statistics", "all"), ("statistics", "last"), ("mean", "all")]


def pooling_model(normalization, window, pooling, layers):
    overrides = {"normalization": normalization, "attention_window": window, "pooling": pooling}
    return speechlike.untrained(**speechlike.STATISTICS | overrides | {"pooling_layers": layers})


@pytest.mark.parametrize("normalization", ["level", "running_level"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(("pooling", "layers"), POOLINGS)
def test_onnx_equals_reference_whatever_is_pooled(tmp_path, normalization, window, pooling, layers):
    model = pooling_model(normalization, window, pooling, layers)
    assert_equals_reference(model, to_onnx(model, tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("normalization", "window", "pooling", "layers"),
    [
        ("level", None, "statistics", "all"),
        ("running_level", 20, "statistics", "all"),
        ("level", 20, "statistics", "last"),
        ("running_level", None, "mean", "all"),
    ],
)
def test_tflite_equals_reference_whatever_is_pooled(tmp_path, normalization, window, pooling, layers):
    model = pooling_model(normalization, window, pooling, layers)
    assert_equals_reference(model, to_tflite(model, tmp_path / "model.tflite"))


@pytest.mark.parametrize("kind", ["utterance", "batch", "stream", "tflite"])
def test_deviation_of_channels_that_hardly_move_is_exact(tmp_path, kind):
    """Digital silence after a word: the square of the mean is ten million times the variance."""
    model = speechlike.untrained(**speechlike.STATISTICS)
    with torch.no_grad():
        model.encoder.attention.norm.weight.mul_(1e-2)
        model.encoder.attention.norm.bias.add_(30.0)
        model.embedding_norm.running_mean[model.config.pooled_channels :] = 0.01
        model.embedding_norm.running_var[model.config.pooled_channels :] = 1e-5
    twin = reference.SATN(model.config).eval().double()
    twin.load_state_dict(model.state_dict())
    features = speechlike.utterance(np.random.default_rng(5), 300, 1)
    features[40:] = np.log(1.2e-7) * (np.arange(48) < 16)
    if kind == "tflite":
        exported = load(to_tflite(model, tmp_path / "model.tflite"))
    else:
        options = {"streaming": kind == "stream", "batched": kind == "batch"}
        exported = load(to_onnx(model, tmp_path / "model.onnx", **options))
    for heard in (features, features[40:], features[:1]):
        with torch.no_grad():
            expected = twin(torch.from_numpy(heard).double()[None]).logits[0].numpy()
        np.testing.assert_allclose(exported(heard), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("write", "name"), [(to_onnx, "model.onnx"), (to_tflite, "model.tflite")])
@pytest.mark.parametrize(
    ("n_blocks", "pooling"),
    [(2, {}), (1, speechlike.STATISTICS | {"spectral_channels": 0})],
    ids=["mean", "statistics"],
)
def test_first_block_without_projection_and_other_kernel_sizes(tmp_path, write, name, n_blocks, pooling):
    sizes = {"channels": 3 * speechlike.N_MELS, "n_heads": 3, "kernel_size": 2, "n_blocks": n_blocks}
    model = speechlike.untrained(**sizes, **pooling)
    assert model.encoder.tcn.blocks[0].project is None
    calibration = speechlike.corpus(4, 3)[0]
    assert_equals_reference(model, write(model, tmp_path / name))
    int8 = load(write(model, tmp_path / f"int8-{name}", int8=True, calibration=calibration))
    error = np.abs(int8(calibration[0]) - reference_logits(model, calibration[0])).max()
    assert 0 < error < 0.1


def test_half_precision_model_is_exported_in_float32(tmp_path):
    model = speechlike.untrained().bfloat16()
    exported = load(to_onnx(model, tmp_path / "model.onnx"))
    features = speechlike.corpus(4, 1)[0][0]
    np.testing.assert_allclose(exported(features), reference_logits(model.float(), features), atol=1e-4)


def test_model_with_nan_is_refused(tmp_path):
    model = speechlike.untrained()
    with torch.no_grad():
        model.classifier.bias[1] = torch.nan
    with pytest.raises(ValueError, match=r"classifier\.bias holds NaN"):
        to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def with_scores_in_the_thousands():
    """A model, and an utterance whose hidden keys outweigh the visible ones by more than exp(87)."""
    model = speechlike.untrained()
    with torch.no_grad():
        model.encoder.attention.query.weight.mul_(1e3)
    return model, speechlike.utterance(np.random.default_rng(5), 300, 1)


def quick_attention_sufficed(path, features):
    """Whether the file did without the slower way to attend."""
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name="is_exact"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return bool(session.run(["is_exact"], {"features": features[None]})[0])


@pytest.mark.parametrize("streaming", [False, True])
def test_hidden_keys_that_outweigh_all_visible_ones_are_not_seen(tmp_path, streaming):
    model, features = with_scores_in_the_thousands()
    path = to_onnx(model, tmp_path / "model.onnx", streaming=streaming)
    assert streaming or not quick_attention_sufficed(path, features)
    np.testing.assert_allclose(load(path)(features), reference_logits(model, features), atol=2e-3)


@pytest.mark.parametrize("streaming", [False, True])
def test_scores_so_low_that_all_exponentials_vanish_are_computed_right(tmp_path, streaming):
    model = speechlike.untrained()
    with torch.no_grad():
        model.encoder.attention.query.bias.fill_(1.0)
        model.encoder.attention.key.bias.fill_(-100.0)  # the same for all keys of a query, so nothing to a softmax
    features = speechlike.utterance(np.random.default_rng(5), 300, 1)
    path = to_onnx(model, tmp_path / "model.onnx", streaming=streaming)
    assert streaming or not quick_attention_sufficed(path, features)
    np.testing.assert_allclose(load(path)(features), reference_logits(model, features), atol=2e-3)


@pytest.mark.parametrize("streaming", [False, True])
def test_values_that_overflow_once_weighted_are_computed_right(tmp_path, streaming):
    """Every exponential, and the sum of all, is within float32; the sum of weighted values is not."""
    model = speechlike.untrained()
    attention = model.encoder.attention
    with torch.no_grad():
        for projection in (attention.query, attention.key):
            projection.weight.zero_()
        attention.query.bias.fill_(1.0)
        attention.key.bias.fill_(80.0 / attention.query.bias.numel() ** 0.5 * attention.n_heads**0.5)  # scores are 80
        attention.value.bias.fill_(1e3)
    features = speechlike.utterance(np.random.default_rng(5), 300, 1)
    path = to_onnx(model, tmp_path / "model.onnx", streaming=streaming)
    assert streaming or not quick_attention_sufficed(path, features)
    np.testing.assert_allclose(load(path)(features), reference_logits(model, features), atol=2e-3)


@pytest.mark.parametrize("window", [20, None])
def test_batch_with_one_utterance_of_huge_scores_is_computed_right(tmp_path, window):
    model = speechlike.untrained(attention_window=window)
    with torch.no_grad():
        model.encoder.attention.query.weight.mul_(1e3)
    utterances = [speechlike.utterance(np.random.default_rng(5), n_frames, 1) for n_frames in (300, 40)]
    logits = load(to_onnx(model, tmp_path / "model.onnx", batched=True)).batch(utterances)
    expected = [reference_logits(model, features) for features in utterances]
    np.testing.assert_allclose(logits, expected, atol=2e-3)


def test_speech_is_attended_to_in_the_quick_way(exported):
    for name in ("model.onnx", "model.int8.onnx"):
        assert all(quick_attention_sufficed(exported.folder / name, features) for features in exported.features)


def test_hidden_keys_that_outweigh_all_visible_ones_are_nothing_to_tflite(tmp_path):
    model, features = with_scores_in_the_thousands()
    exported = load(to_tflite(model, tmp_path / "model.tflite"))
    np.testing.assert_allclose(exported(features), reference_logits(model, features), atol=2e-3)


def test_scores_that_differ_by_eighty_are_computed_right(tmp_path):
    model = speechlike.untrained()
    features = speechlike.utterance(np.random.default_rng(5), 300, 1)
    with torch.no_grad():
        attention = model.encoder.attention
        found = {}
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output[0]}))
            for name, layer in (("query", attention.query), ("key", attention.key))
        ]
        model(torch.from_numpy(features)[None])
        for hook in hooks:
            hook.remove()
        heads = (-1, model.config.n_heads, model.config.head_size)
        scores = torch.einsum("qhd,khd->hqk", found["query"].reshape(heads), found["key"].reshape(heads))
        spread = float((scores.amax(-1) - scores.amin(-1)).max()) * model.config.head_size**-0.5
        attention.query.weight.mul_(80.0 / spread)
        attention.query.bias.mul_(80.0 / spread)
    expected = reference_logits(model, features)
    for write, name in ((to_onnx, "model.onnx"), (to_tflite, "model.tflite")):
        np.testing.assert_allclose(load(write(model, tmp_path / name))(features), expected, atol=1e-3)
