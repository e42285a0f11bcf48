"""The report of every layer's error names the layer where a file goes wrong."""

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from satn_fast import SATN
from satn_fast.export import ExportError, layer_errors, to_micro, to_onnx, to_tflite
from satn_fast.export.names import STREAM, UTTERANCE, is_int8
from satn_fast.export.onnx import graph as onnx_graph
from tests.export import speechlike
from tests.export.conftest import FILES


@pytest.fixture
def rewritten(exported, tmp_path):
    """Changes a constant of model.onnx or model.tflite."""

    def rewrite(name, constant, change):
        path = tmp_path / name
        if name.endswith(".onnx"):
            model = onnx.load(exported.folder / name)
            tensor = next(tensor for tensor in model.graph.initializer if tensor.name == constant)
            values = change(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(values, constant))
            path.write_bytes(onnx_graph.finished(model, {entry.key: entry.value for entry in model.metadata_props}))
        else:
            model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((exported.folder / name).read_bytes(), 0))
            tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name.decode() == constant)
            values = change(np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32))
            model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
            builder = flatbuffers.Builder(1 << 20)
            builder.Finish(model.Pack(builder), b"TFL3")
            path.write_bytes(bytes(builder.Output()))
        return path

    return rewrite


def by_layer(*arguments):
    return {error.layer: error for error in layer_errors(*arguments)}


@pytest.mark.parametrize("name", FILES)
def test_every_layer_is_compared_and_the_worst_comes_first(exported, name):
    errors = layer_errors(exported.folder / name, exported.model, exported.features[:5])
    pooling = 0 if "mcu" in name else 1
    assert len({error.layer for error in errors}) == len(errors) == 1 + 2 * 3 + 3 + pooling + 1
    relative = [error.relative_error for error in errors]
    assert relative == sorted(relative, reverse=True)
    if is_int8(name):
        assert 1e-4 < relative[-1] <= relative[0] < 0.15
    else:
        assert relative[0] < 1e-5
        assert max(error.max_error for error in errors) < 1e-4


@pytest.mark.parametrize("name", [*UTTERANCE, *STREAM])
def test_every_layer_is_compared_where_all_of_them_are_pooled(pooled, name):
    errors = by_layer(pooled.folder / name, pooled.model, pooled.features[:5])
    assert len(errors) == 2 + 2 * 3 + 3 + 1 + 1
    assert {"encoder.spectral", "encoder.attention", "encoder.tcn.blocks.0", "pooling", "classifier"} < set(errors)
    worst = max(error.relative_error for error in errors.values())
    assert 1e-4 < worst < 0.15 if is_int8(name) else worst < 1e-5


@pytest.mark.parametrize("overrides", [{"pooling_layers": "last"}, {"pooling": "mean"}, {"normalization": "level"}])
def test_layers_of_other_ways_to_pool_are_found(pooled, tmp_path, overrides):
    model = speechlike.untrained(**speechlike.STATISTICS | overrides)
    for write, name in ((to_onnx, "model.onnx"), (to_tflite, "model.tflite")):
        path = write(model, tmp_path / name)
        assert layer_errors(path, model, pooled.features[:2])[0].relative_error < 1e-5


# LiteRT's own kernels round otherwise than its delegate, which the verification runs.
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("model.int8.onnx", 1e-3),
        ("model.stream.int8.onnx", 1e-3),
        ("model.int8.tflite", 0.1),
        ("model.mcu.tflite", 1e-3),
    ],
)
def test_logits_error_is_that_of_the_verification(exported, name, share):
    errors = by_layer(exported.folder / name, exported.model, exported.features)
    entry = next(entry for entry in exported.manifest.files if entry.name == name)
    assert errors["classifier"].max_error == pytest.approx(entry.max_logit_error, rel=share)


@pytest.mark.parametrize(
    "overrides",
    [
        {"attention_window": None},
        {"attention_window": 2},
        {"normalization": "global"},
        {"normalization": "utterance"},
        {"kernel_size": 1},
        {"channels": 48, "n_heads": 3, "n_blocks": 1},
    ],
)
def test_layers_of_other_models_are_found(exported, tmp_path, overrides):
    model = speechlike.untrained(**overrides)
    with torch.no_grad():
        model.encoder.attention.norm.bias += 1.0
    path = to_tflite(model, tmp_path / "model.tflite")
    assert layer_errors(path, model, exported.features[:2])[0].relative_error < 1e-5
    path = to_tflite(model, tmp_path / "model.tflite", int8=True, calibration=exported.calibration[:4])
    assert layer_errors(path, model, exported.features[:2])[0].relative_error < 0.2
    if model.config.attention_window is None or model.config.normalization == "utterance":
        return
    path = to_micro(model, tmp_path / "model.mcu.tflite", exported.calibration[:4])
    assert layer_errors(path, model, exported.features[:2])[0].relative_error < 0.2


def test_statistics_that_were_never_fitted_leave_no_normalisation(exported, tmp_path):
    """The converter then leaves it out of the graph."""
    model = SATN(speechlike.config(normalization="global")).eval()
    path = to_tflite(model, tmp_path / "model.tflite")
    assert layer_errors(path, model, exported.features[:2])[0].relative_error < 1e-5


def test_as_many_frames_as_channels_are_not_mixed_up(exported):
    features = speechlike.utterance(np.random.default_rng(4), exported.model.config.channels)
    assert layer_errors(exported.folder / "model.onnx", exported.model, [features])[0].relative_error < 1e-5


@pytest.mark.parametrize(
    ("name", "weight", "first_wrong", "still_right"),
    [
        ("model.onnx", "block1_conv2_weight", "encoder.tcn.blocks.1", "encoder.tcn.blocks.1.conv1"),
        ("model.onnx", "query_key_value_weight", "encoder.attention.attend", "encoder.tcn.blocks.2"),
        ("model.onnx", "norm_scale", "encoder.attention", "encoder.attention.output"),
        ("model.onnx", "context", "pooling", "encoder.attention"),
        ("model.tflite", "tcn/Conv2D_4", "encoder.tcn.blocks.1", "encoder.tcn.blocks.1.conv1"),
        ("model.tflite", "attention/MatMul", "encoder.attention.attend", "encoder.tcn.blocks.2"),
        ("model.tflite", "attention/layer_norm/mul_1/y", "encoder.attention", "encoder.attention.output"),
        ("model.tflite", "pooling/MatMul", "pooling", "encoder.attention"),
    ],
)
def test_damaged_weight_is_traced_to_its_layer(exported, rewritten, name, weight, first_wrong, still_right):
    def noisy(values):
        noise = np.random.default_rng(0).normal(size=values.shape) * np.abs(values).mean()
        return (values + noise).astype(np.float32)

    errors = by_layer(rewritten(name, weight, noisy), exported.model, exported.features[:3])
    assert errors[first_wrong].relative_error > 0.01
    assert errors[still_right].relative_error < 1e-5


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.int8.tflite", "model.mcu.tflite"])
def test_utterance_with_the_largest_error_is_named(exported, name):
    features = [0.2 * x + exported.features[0].mean(0) for x in exported.features[:4]]
    features[2] = features[2] + 1000.0  # far beyond the range of the calibration
    errors = by_layer(exported.folder / name, exported.model, features)
    assert errors["encoder.normalization"].utterance == 2
    assert errors["encoder.normalization"].max_error > 100


def test_what_cannot_be_compared_is_refused(exported, tmp_path):
    with pytest.raises(ValueError, match="features is empty"):
        layer_errors(exported.folder / "model.onnx", exported.model, [])
    with pytest.raises(ExportError, match=r"features has shape \(5, 3\)"):
        layer_errors(exported.folder / "model.onnx", exported.model, [np.zeros((5, 3))])
    exported.model.save_pretrained(tmp_path / "model")
    with pytest.raises(ExportError, match="is the checkpoint itself"):
        layer_errors(tmp_path / "model", exported.model, exported.features[:1])


@pytest.mark.parametrize(
    ("name", "missing", "wider"),
    [
        ("model.onnx", "block3_output, block3_relu1", "block0_relu1 has shape"),
        ("model.tflite", "tcn/Relu_9", "tcn/Relu has shape"),
        ("model.mcu.tflite", "block3, block3_conv1", "has 32 channels, the checkpoint 64"),
    ],
)
def test_file_of_another_model_is_refused(exported, name, missing, wider):
    with pytest.raises(ExportError, match=rf"{name}: has no {missing}"):
        layer_errors(exported.folder / name, speechlike.untrained(n_blocks=4), exported.features[:1])
    with pytest.raises(ExportError, match=rf"{name}: {wider}"):
        layer_errors(exported.folder / name, speechlike.untrained(channels=64), exported.features[:1])
