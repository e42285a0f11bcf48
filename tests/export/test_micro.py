"""`model.mcu.tflite` in TFLite Micro's own interpreter: int8 at its border, and the decisions of the float stream."""

import re
from copy import deepcopy
from functools import cache

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from satn_fast import SATN, SATNConfig, Stream
from satn_fast.export import ExportError, load
from satn_fast.export.micro.exporter import to_micro
from satn_fast.export.micro.file import interface
from satn_fast.export.micro.host import Host, HostTables
from satn_fast.export.micro.pooling import PADDING, ChannelScales
from satn_fast.export.micro.runtime import MicroModel, arena_bytes
from satn_fast.export.micro.step import ANY_SCORES, step
from satn_fast.export.weights import folded
from tests.export import speechlike
from tests.frontend.building import ROOT

pytest.importorskip("tflite_micro", reason="the package tflite-micro is not installed")

# Those of tensorflow/lite/micro/micro_mutable_op_resolver.h that a step may use, and where it is as the presets are.
OPERATORS = {
    "ADD", "BATCH_MATMUL", "CONCATENATION", "FULLY_CONNECTED", "GATHER", "L2_NORMALIZATION", "MEAN", "QUANTIZE",
    "RESHAPE", "SLICE", "SOFTMAX", "SUB", "TANH", "TRANSPOSE",
}  # fmt: skip
OPERATORS_OF_STATISTICS = OPERATORS | {"CONV_2D", "MAX_POOL_2D", "MUL", "RSQRT", "SQUARED_DIFFERENCE", "SUM"}
POOLING_FRAMES = 210

# The fields of `speechlike.config` that make what pools the logits of frames, and what pools mean and deviation.
MEAN = {}
STATISTICS = {
    "pooling": "statistics",
    "pooling_layers": "all",
    "embedding_norm": True,
    "normalization": "running_level",
    "spectral_channels": 4,
}


def untrained(**overrides):
    """`speechlike.untrained`; what the embedding is standardised with differs from its start too."""
    model = speechlike.untrained(**overrides)
    norm = model.embedding_norm
    if norm is not None:
        norm.running_mean.copy_(torch.randn_like(norm.running_mean))
        norm.running_var.copy_(torch.rand_like(norm.running_var) + 0.5)
    return model


@cache
def trained(pooling):
    return speechlike.trained(**{"mean": MEAN, "statistics": STATISTICS}[pooling])


@pytest.fixture(scope="module", params=["mean", "statistics"])
def model(request):
    return trained(request.param)


@pytest.fixture(scope="module")
def calibration():
    return speechlike.corpus(11, 24)[0]


@pytest.fixture(scope="module")
def path(model, calibration, tmp_path_factory):
    file = tmp_path_factory.mktemp("micro") / "model.mcu.tflite"
    return to_micro(model, file, calibration, pooling_frames=POOLING_FRAMES)


@pytest.fixture(scope="module")
def micro(path):
    return MicroModel(path)


def float_logits(model, features):
    with torch.no_grad():
        return model(torch.from_numpy(features)[None]).logits[0].numpy()


def normalised(model, features):
    """(T, F) features as the host makes them, in float."""
    normalization = model.encoder.normalization
    return normalization(torch.from_numpy(features)[None]).numpy()[0]


def steps_in_float(model, graph, features, chunk_frames):
    """What each step of the graph gives, tensor by tensor."""
    state, frames = graph.initial_state(), normalised(model, features)
    padding = np.zeros((1, chunk_frames), np.float32)
    for start in range(0, len(frames), chunk_frames):
        values = graph.run({"features": frames[None, start : start + chunk_frames], "padding": padding, **state})
        state = {kept.input: values[kept.output] for kept in graph.states}
        yield values


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"normalization": "global"},
        {"kernel_size": 1},
        {"attention_window": 2},
        {"pooling_layers": "all"},
        {"pooling": "statistics"},
        {"pooling": "statistics", "embedding_norm": True},
        STATISTICS,
        {**STATISTICS, "n_blocks": 1, "normalization": "running"},
        {**STATISTICS, "front_end": {**speechlike.FRONT_END, "hop_seconds": 0.04}},
    ],
)
@pytest.mark.parametrize("chunk_frames", [1, 7])
def test_step_in_float_is_the_stream(overrides, chunk_frames):
    model = untrained(**overrides)
    features = speechlike.utterance(np.random.default_rng(0), 70, 1)
    graph, stream = step(folded(model), chunk_frames, POOLING_FRAMES, ANY_SCORES), Stream(model)
    for index, values in enumerate(steps_in_float(model, graph, features, chunk_frames)):
        expected = stream.push(features[index * chunk_frames : (index + 1) * chunk_frames])
        np.testing.assert_allclose(values["logits"], expected, atol=1e-3)


@pytest.mark.parametrize("overrides", [MEAN, {"pooling_layers": "all"}, STATISTICS])
def test_step_in_float_pools_the_last_frames(overrides):
    model = untrained(**overrides)
    features = speechlike.utterance(np.random.default_rng(4), 200, 2)
    *_, values = steps_in_float(model, step(folded(model), 10, 60, ANY_SCORES), features, 10)
    with torch.no_grad():
        encoded = model.encoder(torch.from_numpy(features)[None])
        last = encoded._replace(
            hidden=encoded.hidden[:, -60:], blocks=tuple(block[:, -60:] for block in encoded.blocks)
        )
        expected = model.classify(last).logits
    np.testing.assert_allclose(values["logits"], expected, atol=1e-3)


def test_scales_of_channels_change_nothing_in_float():
    model = untrained(**STATISTICS)
    channels, features = model.config.pooled_channels, speechlike.utterance(np.random.default_rng(5), 80, 0)
    generator = np.random.default_rng(0)
    scales = ChannelScales(*generator.uniform(0.2, 5.0, (len(ChannelScales._fields), channels)))
    last = [
        list(steps_in_float(model, step(folded(model), 10, 40, ANY_SCORES, chosen), features, 10))[-1]
        for chosen in (None, scales)
    ]
    assert np.abs(last[0]["chunk_means_next"] - last[1]["chunk_means_next"]).max() > 1, "the scales have to matter"
    np.testing.assert_allclose(last[0]["logits"], last[1]["logits"], atol=1e-3)


def test_padding_in_float_changes_nothing(model):
    graph = step(folded(model), 8, 32, ANY_SCORES._replace(attention=(-99, 99), pooling=(-20, 20)))
    features = speechlike.utterance(np.random.default_rng(0), 8, 1)
    padding = np.array([[0] * 5 + [PADDING] * 3], np.float32)
    for rest in (0.0, 7.0):
        frames = normalised(model, features)
        frames[5:] = rest
        logits = graph.run({"features": frames[None], "padding": padding, **graph.initial_state()})["logits"][0]
        np.testing.assert_allclose(logits, float_logits(model, features[:5]), atol=1e-3)


def test_decides_like_the_float_model(model, micro):
    utterances, truth = speechlike.corpus(12, 60)
    expected = np.stack([float_logits(model, features) for features in utterances])
    logits = np.stack([micro(features) for features in utterances])
    spread = expected.std()
    assert (expected.argmax(-1) == truth).mean() > 0.8, "the model has to be worth something"
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.95
    assert 0 < np.abs(logits - expected).mean() < 0.015 * spread
    # Features beyond what calibration saw are cut, and the spectral convolution reads them at every place.
    largest = 0.06 if model.encoder.spectral is None else 0.09
    assert np.abs(logits - expected).max() < largest * spread


@pytest.mark.parametrize("n_frames", [1, 9, 10, 11, 25])
def test_short_utterances_are_not_drowned_by_absent_frames(model, micro, n_frames):
    utterances = [speechlike.utterance(np.random.default_rng(seed), n_frames, seed % 3) for seed in range(20)]
    expected = np.stack([float_logits(model, features) for features in utterances])
    logits = np.stack([micro(features) for features in utterances])
    # One frame deviates by nothing, which no utterance of calibration does: int16 has few variances near zero, and
    # logits go beyond those of calibration.
    tolerance = 2.5 if (n_frames, model.config.pooling) == (1, "statistics") else 1
    # Their zeros would shrink all logits.
    assert np.abs((logits * expected).sum() / np.square(expected).sum() - 1) < 0.03 * tolerance
    assert np.abs(logits - expected).mean() < 0.035 * tolerance * expected.std()


@pytest.mark.parametrize("piece", [1, 4, 10, 33])
def test_pieces_do_not_matter(micro, piece):
    features = speechlike.utterance(np.random.default_rng(5), 57, 1)
    expected = micro(features)
    micro.reset()
    for start in range(0, 57, piece):
        heard = micro.push(features[start : start + piece])
        assert (heard is None) == (start + piece < micro.chunk_frames and start + piece < 57)
    np.testing.assert_array_equal(micro.finish(), expected)
    with pytest.raises(ExportError, match=r"finished; call reset\(\)"):
        micro.push(features)


@pytest.mark.parametrize("overrides", [MEAN, STATISTICS])
def test_long_stream_forgets_without_a_trace(calibration, tmp_path, overrides):
    model = speechlike.trained(steps=5, **(overrides | {"normalization": "global"}))
    micro = MicroModel(to_micro(model, tmp_path / "m.mcu.tflite", calibration, pooling_frames=30))
    generator = np.random.default_rng(6)
    last = speechlike.utterance(generator, 120, 0)
    endings = []
    for before in (speechlike.utterance(generator, 100, 1), speechlike.utterance(generator, 3000, 2) + 5):
        micro.reset()
        micro.push(before)
        endings.append(micro.push(last))
    np.testing.assert_array_equal(*endings)


def test_longer_utterance_is_judged_by_its_last_frames(model, micro):
    features = speechlike.utterance(np.random.default_rng(6), 700, 2)
    *_, values = steps_in_float(model, step(folded(model), 10, POOLING_FRAMES, ANY_SCORES), features, 10)
    assert np.abs(values["logits"][0] - float_logits(model, features)).max() > 0.02, "the window has to matter"
    np.testing.assert_allclose(micro(features), values["logits"][0], atol=0.1)


@pytest.mark.parametrize("damage", ["dead", "far"])
def test_channels_that_are_dead_or_far_from_others_leave_them_their_precision(calibration, tmp_path, damage):
    model = deepcopy(trained("statistics"))
    # What a channel's embedding counts for, whatever its scale.
    embedding_norm, first = model.embedding_norm, model.encoder.tcn.blocks[0]
    with torch.no_grad():
        if damage == "dead":
            # Without bias and residual path a channel of the first block is zero, and those behind it never hear it.
            for parameter in (first.conv2.weight_g, first.conv2.bias, first.project.weight, first.project.bias):
                parameter[:4] = 0.0
        else:
            first.conv2.bias[:2] += 40.0
        pooled = [model.encoder(torch.from_numpy(x)[None]) for x in calibration]
        embeddings = [model.pooling(model.pooled_layers(x.blocks, x.hidden))[0] for x in pooled]
        joined = torch.cat(embeddings)
        embedding_norm.running_mean.copy_(joined.mean(0))
        embedding_norm.running_var.copy_(joined.var(0))
    micro = MicroModel(to_micro(model, tmp_path / "m.mcu.tflite", calibration, pooling_frames=POOLING_FRAMES))
    utterances, _ = speechlike.corpus(13, 30)
    expected = np.stack([float_logits(model, features) for features in utterances])
    logits = np.stack([micro(features) for features in utterances])
    assert np.abs(logits - expected).mean() < 0.065 * expected.std()


def test_states_are_tied_to_the_last_bit(path, model):
    inputs, outputs = interface(path.read_bytes())
    assert [port.name for port in inputs[:2]] == ["features", "padding"]
    assert outputs[0].name == "logits"
    assert len(inputs) - 2 == len(outputs) - 1 == 2 * 3 + (5 if model.config.pooling == "mean" else 7)
    for before, after in zip(inputs[2:], outputs[1:], strict=True):
        assert after == before._replace(name=f"{before.name}_next")
    assert {port.dtype for port in (*inputs, *outputs)} == {"int8"}


def test_file_is_integer_inline_and_of_operators_that_tflite_micro_has(path, model):
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    known = OPERATORS if model.config.pooling == "mean" else OPERATORS_OF_STATISTICS
    assert {names[code.builtinCode] for code in content.operatorCodes} <= known
    assert all(not code.customCode for code in content.operatorCodes)
    assert all(not buffer.offset and not buffer.size for buffer in content.buffers)
    integers = {schema.TensorType.INT8, schema.TensorType.INT16, schema.TensorType.INT32}
    wide_biases = {schema.TensorType.INT64} if model.config.pooling == "statistics" else set()
    assert {tensor.type for tensor in content.subgraphs[0].tensors} == integers | wide_biases


def test_weights_start_at_multiples_of_16(path):
    content = path.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(flatbuffers.number_types.UOffsetTFlags.py_type(4)))
    assert len(starts) > 20
    assert not any(start % 16 for start in starts)


def test_arena_is_the_smallest_and_stays(path):
    size = arena_bytes(path)
    with pytest.raises(ExportError, match=f"does not run in an arena of {size - 16} bytes"):
        MicroModel(path, arena_bytes=size - 16)
    in_smallest, features = MicroModel(path, arena_bytes=size), speechlike.utterance(np.random.default_rng(1), 900, 0)
    np.testing.assert_array_equal(in_smallest(features), MicroModel(path)(features))


def test_same_model_gives_the_same_bytes(path, model, calibration, tmp_path):
    again = to_micro(model, tmp_path / "again.mcu.tflite", calibration, pooling_frames=POOLING_FRAMES)
    assert again.read_bytes() == path.read_bytes()


def test_load_knows_the_file_by_its_name(path, micro):
    features = speechlike.utterance(np.random.default_rng(2), 64, 0)
    loaded = load(path)
    assert (loaded.kind, loaded.labels, loaded.quantization) == ("tflite-micro", speechlike.LABELS, "int8")
    np.testing.assert_array_equal(loaded(features), micro(features))


def test_host_is_the_running_normalisation(model):
    features = speechlike.utterance(np.random.default_rng(3), 300, 1)
    std = model.encoder.normalization.std.numpy()
    tables = HostTables(model.encoder.normalization.mean.numpy(), np.float32(20) / std)
    rows = Host(model.config, tables, zero_point=-7).quantized(features)
    expected = np.clip(20 * normalised(model, features) - 7, -128, 127)
    assert np.abs(rows - expected).max() < 0.501


def test_extreme_features_are_cut_off_and_do_not_wrap(model):
    tables = HostTables(*np.float32([[0] * 48, [10] * 48]))
    features = np.full((1, 48), 1e6, np.float32) * np.where(np.arange(48) % 2, 1, -1).astype(np.float32)
    np.testing.assert_array_equal(Host(model.config, tables, 3).quantized(features)[0, :2], [-128, 127])


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "foreign"])
def test_damaged_file_is_refused_before_it_can_crash_the_interpreter(path, tmp_path, damage):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    contents = {"flipped": content, "short": path.read_bytes()[:-1], "empty": b"", "foreign": b"x" * 5000}
    (tmp_path / "m.mcu.tflite").write_bytes(contents[damage])
    with pytest.raises(ExportError, match="m.mcu.tflite: is damaged or no file of to_micro .* export the model again"):
        MicroModel(tmp_path / "m.mcu.tflite")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ExportError, match="none.mcu.tflite: cannot be read"):
        MicroModel(tmp_path / "none.mcu.tflite")


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ({"attention_window": None}, {}, "attention_window is None"),
        ({"attention_window": 1}, {}, "attention_window is 1"),
        (
            {"normalization": "utterance"},
            {},
            'normalization is "utterance", .*; train with normalization="running_level"',
        ),
        ({"normalization": "level"}, {}, 'normalization is "level", which needs the whole utterance'),
        ({}, {"chunk_frames": 0}, "chunk_frames is 0"),
        ({}, {"pooling_frames": 10}, "pooling_frames is 10; choose more than the 10 of chunk_frames"),
        (STATISTICS, {"pooling_frames": 55}, "pooling_frames is 55; .* choose a multiple of chunk_frames, 10"),
        ({}, {"chunk_frames": 170}, "no utterance of 170 frames or more"),
    ],
)
def test_what_cannot_be_exported_is_refused(calibration, tmp_path, overrides, options, message):
    with pytest.raises(ValueError, match=message):
        to_micro(speechlike.untrained(**overrides), tmp_path / "m.mcu.tflite", calibration, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "chunk_frames", "frames"),
    [
        ({}, 10, 1000),
        ({"front_end": {**speechlike.FRONT_END, "hop_seconds": 0.04}}, 10, 250),
        ({**STATISTICS, "front_end": {**speechlike.FRONT_END, "hop_seconds": 0.04}}, 7, 252),
    ],
)
def test_logits_are_of_the_last_ten_seconds_unless_told_otherwise(
    calibration, tmp_path, overrides, chunk_frames, frames
):
    path = to_micro(untrained(**overrides), tmp_path / "m.mcu.tflite", calibration[:4], chunk_frames=chunk_frames)
    assert MicroModel(path).pooling_frames == frames


@pytest.mark.parametrize(
    ("calibration", "message"),
    [([], "calibration is empty"), ([np.zeros((20, 7))], r"calibration\[0\] has shape \(20, 7\)"),
     ([np.full((20, 48), np.nan)], r"calibration\[0\] holds NaN")],
)  # fmt: skip
def test_unusable_calibration_is_refused(model, tmp_path, calibration, message):
    with pytest.raises(ValueError, match=message):
        to_micro(model, tmp_path / "m.mcu.tflite", calibration)


def documented_sizes():
    """Rows of the table in docs/microcontrollers.md: preset, and bytes of file, arena and states."""
    document = (ROOT / "docs" / "microcontrollers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(edge|micro)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", document, re.MULTILINE)
    return {preset: [int(number.replace(",", "")) for number in numbers] for preset, *numbers in rows}


@pytest.mark.parametrize("preset", ["edge", "micro"])
def test_documented_sizes_are_right(preset, tmp_path):
    model = SATN(SATNConfig.preset(preset, labels=("angry", "happy", "neutral", "sad"))).eval()
    file = to_micro(
        model, tmp_path / "m.mcu.tflite", [np.random.default_rng(0).normal(size=(30, model.config.n_features))]
    )
    inputs, _ = interface(file.read_bytes())
    measured = [file.stat().st_size, arena_bytes(file), sum(int(np.prod(port.shape)) for port in inputs[2:])]
    np.testing.assert_allclose(documented_sizes()[preset], measured, rtol=0.01)
