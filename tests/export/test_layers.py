"""The report of every layer's error names the layer where a file goes wrong."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from satn_fast.export import ExportError, layer_errors, onnx_graph, to_onnx
from tests.export import speechlike

ONNX_FILES = ("model.onnx", "model.int8.onnx", "model.stream.onnx", "model.stream.int8.onnx")


def by_layer(*arguments):
    return {error.layer: error for error in layer_errors(*arguments)}


@pytest.mark.parametrize("name", ONNX_FILES)
def test_every_layer_is_compared_and_the_worst_comes_first(exported, name):
    errors = layer_errors(exported.folder / name, exported.model, exported.features[:5])
    assert len({error.layer for error in errors}) == len(errors) == 1 + 2 * 3 + 3 + 2
    relative = [error.relative_error for error in errors]
    assert relative == sorted(relative, reverse=True)
    if "int8" in name:
        assert 1e-4 < relative[-1] <= relative[0] < 0.15
    else:
        assert relative[0] < 1e-5
        assert max(error.max_error for error in errors) < 1e-4


def test_logits_error_is_that_of_the_verification(exported):
    errors = by_layer(exported.folder / "model.int8.onnx", exported.model, exported.features)
    entry = next(entry for entry in exported.manifest.files if entry.name == "model.int8.onnx")
    assert errors["classifier"].max_error == pytest.approx(entry.max_logit_error, rel=1e-3)


def test_as_many_frames_as_channels_are_not_mixed_up(exported):
    features = speechlike.utterance(np.random.default_rng(4), exported.model.config.channels)
    assert layer_errors(exported.folder / "model.onnx", exported.model, [features])[0].relative_error < 1e-5


@pytest.mark.parametrize(
    ("weight", "first_wrong", "still_right"),
    [
        ("block1_conv2_weight", "encoder.tcn.blocks.1", "encoder.tcn.blocks.1.conv1"),
        ("query_key_value_weight", "encoder.attention.attend", "encoder.tcn.blocks.2"),
        ("norm_scale", "encoder.attention", "encoder.attention.output"),
        ("context", "pooling", "encoder.attention"),
    ],
)
def test_damaged_weight_is_traced_to_its_layer(exported, tmp_path, weight, first_wrong, still_right):
    model = onnx.load(exported.folder / "model.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    values = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).normal(size=values.shape) * np.abs(values).mean()
    tensor.CopyFrom(numpy_helper.from_array((values + noise).astype(np.float32), weight))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    (tmp_path / "model.onnx").write_bytes(onnx_graph.finished(model, metadata))
    errors = by_layer(tmp_path / "model.onnx", exported.model, exported.features[:3])
    assert errors[first_wrong].relative_error > 0.01
    assert errors[still_right].relative_error < 1e-5


def test_utterance_with_the_largest_error_is_named(exported):
    features = [0.2 * x + exported.features[0].mean(0) for x in exported.features[:4]]
    features[2] = features[2] + 1000.0  # far beyond the range of the calibration
    errors = by_layer(exported.folder / "model.int8.onnx", exported.model, features)
    assert errors["encoder.normalization"].utterance == 2
    assert errors["encoder.normalization"].max_error > 100


def test_what_cannot_be_compared_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="features is empty"):
        layer_errors(exported.folder / "model.onnx", exported.model, [])
    with pytest.raises(ExportError, match=r"model\.tflite: layers are compared in \.onnx files only"):
        layer_errors(exported.folder / "model.tflite", exported.model, exported.features[:1])
    with pytest.raises(ExportError, match=r"features has shape \(5, 3\)"):
        layer_errors(exported.folder / "model.onnx", exported.model, [np.zeros((5, 3))])
    larger = speechlike.untrained(n_blocks=4)
    with pytest.raises(ExportError, match=r"model\.onnx: has no block3_output, block3_relu1"):
        layer_errors(exported.folder / "model.onnx", larger, exported.features[:1])
    wider = to_onnx(speechlike.untrained(channels=64), tmp_path / "wider.onnx")
    with pytest.raises(ExportError, match=r"wider\.onnx: block0_relu1 has shape"):
        layer_errors(wider, exported.model, exported.features[:1])
