"""Exported steps of a stream: the logits of the whole utterance, however it is cut, with a state that does not grow."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from satn_fast import LogMel, Stream
from satn_fast.export import ExportedStream, ExportError, load, to_onnx
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.onnx import graph as onnx_graph
from satn_fast.export.onnx import stream_graph as onnx_stream_graph
from satn_fast.export.weights import folded
from tests.export import speechlike
from tests.export.test_parity import reference_logits

CHUNKS = (1, 7, 10, 100, 1000)
STREAMS = ("model.stream.onnx", "model.stream.int8.onnx")


@pytest.fixture(scope="module")
def stream(exported):
    return load(exported.folder / "model.stream.onnx")


def logits_of(stream, features, chunk_frames):
    stream.reset()
    for start in range(0, len(features), chunk_frames):
        logits = stream.push(features[start : start + chunk_frames])
    return logits


@pytest.mark.parametrize(
    ("window", "overrides"),
    [
        *((window, {"normalization": name}) for window in (1, 2, 20, 500) for name in ("global", "running")),
        *((window, speechlike.STATISTICS) for window in (1, 20, 500)),
        (20, speechlike.STATISTICS | {"normalization": "global", "pooling_layers": "last"}),
        (20, speechlike.STATISTICS | {"normalization": "running", "pooling": "mean"}),
    ],
)
def test_stream_equals_the_whole_utterance_however_it_is_cut(tmp_path, window, overrides):
    model = speechlike.untrained(**overrides | {"attention_window": window})
    stream, generator = load(to_onnx(model, tmp_path / "model.onnx", streaming=True)), np.random.default_rng(6)
    for n_frames in (1, 2, 19, 20, 21, 90, 700):
        features = speechlike.utterance(generator, n_frames, 1)
        expected = reference_logits(model, features)
        for chunk_frames in CHUNKS if n_frames < 700 else CHUNKS[2:]:
            error = np.abs(logits_of(stream, features, chunk_frames) - expected).max()
            assert error <= 1e-4 * np.abs(expected).max(), (n_frames, chunk_frames, error)
        assert np.abs(stream(features) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_every_push_gives_the_logits_of_all_that_was_heard(exported, stream):
    features, cuts = exported.features[0], (1, 2, 3, 17, 39)
    stream.reset()
    for start, end in zip((0, *cuts), cuts, strict=False):
        logits = stream.push(features[start:end])
        np.testing.assert_allclose(logits, reference_logits(exported.model, features[:end]), atol=1e-5)
        np.testing.assert_array_equal(logits, stream.logits)
        assert stream.frames == end


@pytest.mark.parametrize("model", ["one kernel tap", "first block without projection"])
def test_other_shapes(tmp_path, model):
    overrides = {"kernel_size": 1} if model == "one kernel tap" else {"channels": 48, "n_heads": 3, "kernel_size": 2}
    model = speechlike.untrained(**overrides)
    stream = load(to_onnx(model, tmp_path / "model.onnx", streaming=True))
    features = speechlike.corpus(4, 1)[0][0]
    np.testing.assert_allclose(logits_of(stream, features, 7), reference_logits(model, features), atol=1e-4)


def test_two_minutes_frame_by_frame_in_a_state_of_constant_size(exported, stream):
    features = speechlike.utterance(np.random.default_rng(8), 12_000, 2)
    stream.reset()
    sizes = set()
    for frame in features:
        logits = stream.push(frame[None])
        sizes.add(sum(tensor.nbytes for tensor in stream._state.values()))
    assert len(sizes) == 1
    np.testing.assert_allclose(logits, reference_logits(exported.model, features), atol=1e-4)


def test_deviation_of_two_hours_frame_by_frame_in_a_state_of_constant_size(pooled):
    """Of two minutes, whose sums are then those of two hours."""
    stream, whole = load(pooled.folder / "model.stream.onnx"), load(pooled.folder / "model.onnx")
    assert stream.chunk_frames == 2
    features = speechlike.utterance(np.random.default_rng(8), 3000, 2, pooled.model.config.hop_seconds)
    for frame in features:
        logits = stream.push(frame[None])
    assert {name: stream._state[name].shape for name in ("feature_sum", "weighted_sum", "weighted_squares")} == {
        "feature_sum": (1, 1, 2),
        "weighted_sum": (1, 128),
        "weighted_squares": (1, 128),
    }
    np.testing.assert_allclose(logits, reference_logits(pooled.model, features), atol=1e-4 * np.abs(logits).max())
    np.testing.assert_allclose(logits, whole(features), atol=1e-4 * np.abs(logits).max())
    for name in ("frames", "feature_sum", "weighted_sum", "weighted_squares", "normalizer"):
        stream._state[name] = stream._state[name] * 60
    # What was heard sixty times over has the same mean and deviation; one more frame hardly changes them.
    np.testing.assert_allclose(stream.push(features[-1:]), logits, atol=1e-3 * np.abs(logits).max())


def test_audio_of_other_frames_gives_what_its_features_give(pooled):
    stream = load(pooled.folder / "model.stream.onnx")
    audio = speechlike.waveform(np.random.default_rng(3), 40_000)
    features = LogMel(**stream.front_end)(audio)
    assert len(features) == 61
    for start in range(0, len(audio), 3000):
        stream.push(audio[start : start + 3000])
    logits = stream.finish()
    assert stream.frames == len(features)
    expected = reference_logits(pooled.model, features)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_int8_stream_pools_like_the_int8_file_for_whole_utterances(pooled):
    stream, whole = load(pooled.folder / "model.stream.int8.onnx"), load(pooled.folder / "model.int8.onnx")
    expected = np.stack([whole(x) for x in pooled.features])
    logits = np.stack([logits_of(stream, x, 3) for x in pooled.features])
    assert np.abs(logits - expected).max() < 0.02 * expected.std()


def test_single_frames_still_count_after_a_day(exported, stream):
    features = speechlike.utterance(np.random.default_rng(9), 201, 2)
    logits_of(stream, features[:200], 200)
    repeats = 8_640_000 // 200
    for name in ("frames", "feature_sum", "weighted_sum", "normalizer"):
        stream._state[name] = stream._state[name] * repeats
    before = dict(stream._state)
    stream.push(features[200:])
    step = stream._state["feature_sum"] - before["feature_sum"]
    expected = features[200] - exported.model.encoder.normalization.mean.numpy()
    np.testing.assert_allclose(step[0, 0], expected, rtol=1e-5)  # float32 would be off by 8
    assert stream._state["normalizer"] > before["normalizer"]
    assert stream._state["frames"] == before["frames"] + 1


def test_int8_stream_decides_like_the_int8_file_for_whole_utterances(exported):
    stream, whole = load(exported.folder / "model.stream.int8.onnx"), load(exported.folder / "model.int8.onnx")
    expected = np.stack([whole(x) for x in exported.features])
    logits = np.stack([logits_of(stream, x, 10) for x in exported.features])
    # A value that lies between two of 256 steps may fall to either side, by the order of a sum.
    assert np.abs(logits - expected).max() < 0.02 * expected.std()


def test_every_convolution_of_the_int8_step_is_an_integer_one(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(exported.folder / "model.stream.int8.onnx", options, ["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 7
    assert not {"Conv", "FusedConv"} & set(operators)


@pytest.mark.parametrize("name", STREAMS)
def test_state_is_in_the_manifest_and_starts_at_zero(exported, name):
    entry = next(entry for entry in exported.manifest.files if entry.name == name)
    session = onnxruntime.InferenceSession(exported.folder / name, providers=["CPUExecutionProvider"])
    for listed, real in ((entry.inputs, session.get_inputs()), (entry.outputs, session.get_outputs())):
        assert [tensor["name"] for tensor in listed] == [tensor.name for tensor in real]
        shapes = [[None if size == "chunk_frames" else size for size in tensor.shape] for tensor in real]
        assert [tensor["shape"] for tensor in listed] == shapes
        types = {"float32": "tensor(float)", "float64": "tensor(double)", "int64": "tensor(int64)"}
        assert [types[tensor["dtype"]] for tensor in listed] == [tensor.type for tensor in real]
    assert [tensor["name"] for tensor in entry.outputs[1:]] == [f"next_{tensor['name']}" for tensor in entry.inputs[1:]]
    state = {tensor["name"]: np.zeros(tensor["shape"], tensor["dtype"]) for tensor in entry.inputs[1:]}
    features = exported.features[0]
    for start in range(0, len(features), 10):
        logits, *rest = session.run(None, {"features": features[None, start : start + 10], **state})
        state = dict(zip(state, rest, strict=True))
    np.testing.assert_array_equal(logits[0], load(exported.folder / name)(features))


@pytest.mark.parametrize("name", STREAMS)
def test_listening_and_scoring_whole_utterances_leave_each_other_alone(exported, name):
    stream = load(exported.folder / name)
    assert isinstance(stream, ExportedStream)
    features, other = exported.features[:2]
    assert (stream.logits, stream.frames) == (None, 0)
    stream.push(features[:30])
    expected = stream(other)
    stream.push(features[30:])
    np.testing.assert_array_equal(logits_of(stream, other, 10), expected)
    np.testing.assert_allclose(stream.predict(other).scores["calm"], stream.probabilities(other)[0])
    stream.reset()
    assert (stream.logits, stream.frames) == (None, 0)


def test_audio_gives_what_its_features_give(exported, stream):
    audio = (0.1 * np.random.default_rng(3).normal(size=20_000)).astype(np.float32)
    features = LogMel(**stream.front_end)(audio)
    stream.reset()
    assert stream.push(audio[:100]) is None
    for start in range(100, len(audio), 3000):
        stream.push(audio[start : start + 3000])
    assert stream.frames == len(features) - 4
    final = stream.finish()
    assert stream.frames == len(features)
    np.testing.assert_allclose(final, reference_logits(exported.model, features), atol=1e-4)
    torch_stream = Stream(exported.model)
    np.testing.assert_allclose(final, torch_stream.push(features)[0], atol=1e-4)
    with pytest.raises(ExportError, match="stream is finished"):
        stream.push(audio)
    with pytest.raises(ExportError, match="stream is finished"):
        stream.finish()


def test_features_and_audio_do_not_mix(exported, stream):
    stream.reset()
    stream.push(np.zeros(100, np.float32))
    with pytest.raises(ExportError, match="features come after audio"):
        stream.push(exported.features[0])
    stream.reset()
    stream.push(exported.features[0])
    with pytest.raises(ExportError, match="audio comes after features"):
        stream.push(np.zeros(100, np.float32))


@pytest.mark.parametrize(
    "heard",
    [np.zeros((5, 3)), np.zeros((1, 5, 48)), np.full((5, 48), np.nan), np.full((5, 48), 1e38)],
)
def test_push_that_is_refused_leaves_the_stream_as_it_was(exported, stream, heard):
    features = exported.features[0]
    stream.reset()
    before = stream.push(features[:20])
    with pytest.raises(ExportError, match=r"model\.stream\.onnx: "):
        stream.push(heard)
    np.testing.assert_array_equal(stream.logits, before)
    assert stream.frames == 20
    np.testing.assert_allclose(stream.push(features[20:]), stream(features), atol=1e-5)


def test_nothing_heard_changes_nothing(exported, stream):
    stream.reset()
    assert stream.push(np.zeros((0, 48))) is None
    logits = stream.push(exported.features[0])
    np.testing.assert_array_equal(stream.push(np.zeros((0, 48))), logits)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"attention_window": None}, "attention_window is None"), ({"normalization": "utterance"}, "normalization is")],
)
def test_model_that_cannot_be_streamed_is_refused_with_the_remedy(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(speechlike.untrained(**overrides), tmp_path / "model.onnx", streaming=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("streaming", [False, True])
def test_step_and_whole_utterance_are_not_taken_for_each_other(exported, tmp_path, streaming):
    weights = folded(exported.model)
    graph = onnx_graph.build(weights) if streaming else onnx_stream_graph.build_step(weights)
    metadata = Metadata(exported.model.config, "float32", streaming).to_json()
    (tmp_path / "model.onnx").write_bytes(onnx_graph.finished(graph, {ENTRY: metadata}))
    with pytest.raises(ExportError, match="does not fit its metadata"):
        load(tmp_path / "model.onnx")


def test_metadata_of_a_model_that_cannot_be_streamed_is_refused(exported, tmp_path):
    metadata = json.loads(Metadata(exported.model.config, "float32", streaming=True).to_json())
    metadata["config"]["attention_window"] = None
    graph = onnx_stream_graph.build_step(folded(exported.model))
    (tmp_path / "model.onnx").write_bytes(onnx_graph.finished(graph, {ENTRY: json.dumps(metadata)}))
    with pytest.raises(ExportError, match="cannot be streamed"):
        load(tmp_path / "model.onnx")
