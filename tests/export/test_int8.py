"""The int8 files are really in int8, and decide like the float model."""

from collections import Counter

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema

from satn_fast.export import load, to_onnx, to_tflite
from satn_fast.export.metadata import Metadata
from satn_fast.export.stream_state import stream_state
from satn_fast.export.tflite.file import finished
from tests.export import speechlike

CONVOLUTIONS = 2 * 3 + 1  # two per block, and the projection of the first block's input


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.int8.tflite"])
def test_decides_like_the_float_model(exported, name):
    float_model, int8 = load(exported.folder / name.replace(".int8", "")), load(exported.folder / name)
    expected = np.stack([float_model(x) for x in exported.features])
    logits = np.stack([int8(x) for x in exported.features])
    spread = expected.std()
    assert (expected.argmax(-1) == exported.truth).mean() > 0.8, "the model has to be worth something"
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.95
    assert 0 < np.abs(logits - expected).mean() < 0.05 * spread
    assert np.abs(logits - expected).max() < 0.3 * spread


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.stream.int8.onnx", "model.int8.tflite"])
def test_decides_like_the_float_model_by_mean_and_deviation(pooled, name):
    float_model, int8 = load(pooled.folder / name.replace(".int8", "")), load(pooled.folder / name)
    expected = np.stack([float_model(x) for x in pooled.features])
    logits = np.stack([int8(x) for x in pooled.features])
    assert (expected.argmax(-1) == pooled.truth).mean() > 0.8, "the model has to be worth something"
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.95
    assert 0 < np.abs(logits - expected).mean() < 0.02 * expected.std()
    assert np.abs(logits - expected).max() < 0.1 * expected.std()


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite"])
def test_one_frame_silence_and_two_minutes_have_a_deviation(pooled, name):
    model, float_model = load(pooled.folder / name), load(pooled.folder / "model.onnx")
    speech = speechlike.utterance(np.random.default_rng(2), 3000, 2, pooled.model.config.hop_seconds)
    for features in (
        speech[:1],
        np.full((1, 48), -15.9, np.float32),
        np.full((75, 48), -15.9),
        np.zeros((75, 48)),
        speech,
    ):
        assert np.isfinite(model(features)).all()
    expected = float_model(speech)
    assert np.abs(model(speech) - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.int8.tflite"])
def test_utterance_longer_than_all_of_the_calibration_does_not_saturate(exported, name):
    features = speechlike.utterance(np.random.default_rng(2), 3000, 2)
    float_model, int8 = load(exported.folder / name.replace(".int8", "")), load(exported.folder / name)
    expected = float_model(features)
    assert np.abs(int8(features) - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["model.int8.onnx", "model.int8.tflite"])
def test_int8_file_is_smaller(exported, name):
    float_name = name.replace(".int8", "")
    assert (exported.folder / name).stat().st_size < 0.75 * (exported.folder / float_name).stat().st_size


def test_every_convolution_fuses_to_an_integer_one(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(exported.folder / "model.int8.onnx", options, ["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert operators["QLinearConv"] == CONVOLUTIONS
    assert operators["Conv"] == operators["FusedConv"] == 0
    assert operators["QLinearAdd"] == 3
    assert operators["QGemm"] == 3, "query, key and value in one, output and pooling; the classifier stays in float"
    assert operators["QuantizeLinear"] == 3, "input, attended, hidden: the convolutions pass integers on"
    assert operators["DequantizeLinear"] == 1, (
        "the sum before LayerNorm is in float; the pooled frames were never in int8"
    )


def test_blocks_stay_in_integers_where_they_are_pooled_too(pooled, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(pooled.folder / "model.int8.onnx", options, ["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert operators["QLinearConv"] == CONVOLUTIONS + 1
    assert operators["Conv"] == operators["FusedConv"] == 0
    assert operators["QLinearAdd"] == operators["QGemm"] == 3
    assert operators["QuantizeLinear"] == 4, "image, features beside patterns, attended, layers: no other"
    assert operators["DequantizeLinear"] == 1 + 3 + 1, "patterns, every block that is pooled, the sum before LayerNorm"
    assert operators["Sqrt"] == 1


def test_tflite_blocks_stay_in_integers_where_they_are_pooled_too(pooled):
    model = read_tflite(pooled.folder / "model.int8.tflite")
    kinds, types = {}, [tensor.type for tensor in model.subgraphs[0].tensors]
    for name, operator in operators_of(model):
        kinds.setdefault(name, []).append(types[operator.outputs[0]])
    int8, float32 = schema.TensorType.INT8, schema.TensorType.FLOAT32
    assert kinds["CONV_2D"] == [int8] * (CONVOLUTIONS + 1)
    assert kinds["MAX_POOL_2D"] == [int8]
    assert Counter(kinds["CONCATENATION"]) == {int8: 1, float32: 2}, "patterns to features; layers; mean and deviation"
    assert Counter(kinds["FULLY_CONNECTED"])[int8] == 3
    assert len(kinds["QUANTIZE"]) == 5, "image, features, patterns to the scale of features, attended, layers"
    for name in ("SQRT", "SQUARED_DIFFERENCE", "BATCH_MATMUL", "SOFTMAX"):
        assert set(kinds[name]) == {float32}, name
    assert all(not code.customCode for code in model.operatorCodes)


def test_onnx_opset_is_old_enough_to_be_read_widely(exported):
    for name in ("model.onnx", "model.int8.onnx"):
        model = onnx.load(exported.folder / name)
        assert [(entry.domain, entry.version) for entry in model.opset_import if not entry.domain] == [("", 17)]
        assert model.ir_version <= 8
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize(("name", "axis"), [("model.onnx", "frames"), ("model.stream.int8.onnx", "chunk_frames")])
def test_length_can_be_fixed_when_the_file_is_opened(exported, name, axis):
    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name(axis, 40)
    session = onnxruntime.InferenceSession(exported.folder / name, options, ["CPUExecutionProvider"])
    features = exported.features[0][:40]
    state = {tensor.name: tensor.zeros() for tensor in stream_state(exported.model.config)} if "stream" in name else {}
    logits = session.run(["logits"], {"features": features[None], **state})[0][0]
    np.testing.assert_allclose(logits, load(exported.folder / name)(features), atol=2e-3)


def read_tflite(path):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))


def operators_of(model):
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [(names[codes[operator.opcodeIndex]], operator) for operator in model.subgraphs[0].operators]


@pytest.mark.parametrize("name", ["model.tflite", "model.int8.tflite"])
def test_tflite_needs_neither_flex_nor_custom_operators(exported, name):
    model = read_tflite(exported.folder / name)
    assert all(not code.customCode for code in model.operatorCodes)
    assert "CUSTOM" not in {operator for operator, _ in operators_of(model)}


def with_largest_buffer_outside(content):
    """The same model with its largest buffer behind the flatbuffer, as the quantizer stores those of large models."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    buffer = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    data, buffer.data, buffer.size = bytes(buffer.data), None, len(buffer.data)
    packed = b"?"
    for _ in range(2):  # once to learn the size of the flatbuffer, once with the true position
        buffer.offset = len(packed)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        packed = bytes(builder.Output())
    return packed + data


def test_buffers_behind_the_flatbuffer_are_taken_inside(exported, tmp_path):
    metadata = Metadata(exported.model.config, "float32").to_json()
    outside = with_largest_buffer_outside((exported.folder / "model.tflite").read_bytes())
    (tmp_path / "model.tflite").write_bytes(finished(outside, metadata))
    model = read_tflite(tmp_path / "model.tflite")
    assert all(not buffer.offset and not buffer.size for buffer in model.buffers)
    features = exported.features[0]
    expected = load(exported.folder / "model.tflite")(features)
    np.testing.assert_array_equal(load(tmp_path / "model.tflite")(features), expected)


@pytest.mark.parametrize("name", ["model.tflite", "model.int8.tflite"])
def test_tflite_keeps_its_buffers_inside_the_flatbuffer(exported, name):
    model = read_tflite(exported.folder / name)
    assert all(not buffer.offset and not buffer.size for buffer in model.buffers)
    filled = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    assert filled > sum(parameter.numel() for parameter in exported.model.parameters() if parameter.dim() > 1)


def test_tflite_convolutions_are_int8_and_what_must_be_float_is_float(exported):
    model = read_tflite(exported.folder / "model.int8.tflite")
    tensors, operators = model.subgraphs[0].tensors, operators_of(model)
    kinds = {name: [] for name, _ in operators}
    for name, operator in operators:
        kinds[name].append(tensors[operator.outputs[0]].type)
    int8, float32 = schema.TensorType.INT8, schema.TensorType.FLOAT32
    assert kinds["CONV_2D"] == [int8] * CONVOLUTIONS
    assert Counter(kinds["FULLY_CONNECTED"])[int8] == 3  # query, key and value in one, output, pooling
    for name in ("SOFTMAX", "BATCH_MATMUL", "CUMSUM", "RSQRT", "SQUARED_DIFFERENCE"):
        assert set(kinds[name]) == {float32}, name
    for tensor in (*model.subgraphs[0].inputs, *model.subgraphs[0].outputs):
        assert tensors[tensor].type == float32


@pytest.mark.parametrize(("write", "suffix"), [(to_onnx, ".onnx"), (to_tflite, ".tflite")])
@pytest.mark.parametrize("int8", [False, True])
def test_exporting_twice_gives_the_same_bytes(exported, tmp_path, write, suffix, int8):
    path = write(exported.model, tmp_path / f"again{suffix}", int8=int8, calibration=exported.calibration)
    name = f"model{'.int8' if int8 else ''}{suffix}"
    assert path.read_bytes() == (exported.folder / name).read_bytes()


@pytest.mark.parametrize(("write", "name"), [(to_onnx, "model.onnx"), (to_tflite, "model.tflite")])
@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "calibration is empty"),
        ([], "calibration is empty"),
        ([np.zeros((5, 7))], r"calibration\[0\] has shape \(5, 7\)"),
        ([np.zeros((0, 48))], r"calibration\[0\] has shape \(0, 48\)"),
        ([np.full((5, 48), np.nan)], r"calibration\[0\] holds NaN"),
    ],
)
def test_int8_without_usable_calibration_is_refused(exported, tmp_path, write, name, calibration, message):
    with pytest.raises(ValueError, match=message):
        write(exported.model, tmp_path / name, int8=True, calibration=calibration)
    assert not list(tmp_path.iterdir())
