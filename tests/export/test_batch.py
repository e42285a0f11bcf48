"""Files that take several utterances at once: each row is that of the utterance alone, whatever the padding holds."""

import numpy as np
import onnxruntime
import pytest

from satn_fast.export import ExportError, export, layer_errors, load, to_onnx
from tests.export import speechlike
from tests.export.test_parity import reference_logits

LENGTHS = (37, 300, 1, 120, 19, 20, 21)


def utterances():
    generator = np.random.default_rng(5)
    return [speechlike.utterance(generator, n_frames, n_frames % 3) for n_frames in LENGTHS]


@pytest.fixture(scope="module")
def batch_folder(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "export"
    features, truth = exported.features[:12], exported.truth[:12]
    calibration = exported.calibration
    return folder, export(
        exported.model, folder, calibration=calibration, evaluation=features, truth=truth, batched=True
    )


@pytest.mark.parametrize("normalization", ["global", "utterance", "running"])
@pytest.mark.parametrize("window", [None, 1, 20, 200])
def test_rows_are_those_of_the_utterances_alone(tmp_path, normalization, window):
    model = speechlike.untrained(normalization=normalization, attention_window=window)
    alone, together = load(to_onnx(model, tmp_path / "a.onnx")), load(to_onnx(model, tmp_path / "b.onnx", batched=True))
    expected = np.stack([alone(features) for features in utterances()])
    np.testing.assert_allclose(together.batch(utterances()), expected, atol=1e-5)
    np.testing.assert_allclose(together(utterances()[0]), expected[0], atol=1e-5)


@pytest.mark.parametrize("normalization", ["level", "running_level"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("layers", ["last", "all"])
def test_rows_are_those_of_the_utterances_alone_with_their_deviation(tmp_path, normalization, window, layers):
    overrides = {"normalization": normalization, "attention_window": window, "pooling_layers": layers}
    model = speechlike.untrained(**speechlike.STATISTICS | overrides)
    together = load(to_onnx(model, tmp_path / "model.onnx", batched=True))
    expected = np.stack([reference_logits(model, features) for features in utterances()])
    np.testing.assert_allclose(together.batch(utterances()), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("garbage", [np.nan, 1e30])
def test_padding_changes_no_deviation(pooled, int8, garbage):
    path = pooled.folder / f"model.batch{'.int8' if int8 else ''}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    features = np.full((len(LENGTHS), 333, 48), garbage, np.float32)
    for row, frames in zip(features, utterances(), strict=True):
        row[: len(frames)] = frames
    logits = session.run(["logits"], {"features": features, "lengths": np.array(LENGTHS)})[0]
    alone = load(pooled.folder / path.name.replace(".batch", ""))
    expected = np.stack([alone(frames) for frames in utterances()])
    # In int8, a value on the brink may be rounded the other way.
    np.testing.assert_allclose(logits, expected, atol=(0.02 if int8 else 1e-4) * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["", ".int8"])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30, 0.0])
def test_padding_changes_nothing(exported, batch_folder, kind, garbage):
    folder, _ = batch_folder
    session = onnxruntime.InferenceSession(folder / f"model.batch{kind}.onnx", providers=["CPUExecutionProvider"])
    features = np.full((len(LENGTHS), 333, 48), garbage, np.float32)
    for row, frames in zip(features, utterances(), strict=True):
        row[: len(frames)] = frames
    logits = session.run(["logits"], {"features": features, "lengths": np.array(LENGTHS)})[0]
    alone = load(folder / f"model.batch{kind}.onnx")
    np.testing.assert_allclose(logits, np.stack([alone(frames) for frames in utterances()]), atol=1e-5)


def test_int8_decides_like_the_file_for_one_utterance(exported, batch_folder):
    folder, _ = batch_folder
    together, alone = load(folder / "model.batch.int8.onnx"), load(folder / "model.int8.onnx")
    expected = np.stack([alone(frames) for frames in exported.features])
    np.testing.assert_allclose(together.batch(exported.features), expected, atol=1e-5)


def test_manifest_says_what_goes_in(batch_folder):
    entries = {entry.name: entry for entry in batch_folder[1].files}
    for name in ("model.batch.onnx", "model.batch.int8.onnx"):
        assert entries[name].inputs == [
            {"name": "features", "shape": [None, None, 48], "dtype": "float32"},
            {"name": "lengths", "shape": [None], "dtype": "int64"},
        ]
        assert entries[name].outputs == [{"name": "logits", "shape": [None, 3], "dtype": "float32"}]
        assert entries[name].agreement >= 0.9


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "there are no utterances"),
        ([np.zeros((5, 48)), np.zeros((0, 48))], "utterance 1 holds no frame"),
        ([np.zeros((5, 47))], r"features has shape \(5, 47\)"),
        ([np.full((5, 48), np.nan)], "features holds NaN"),
    ],
)
def test_unusable_utterances_are_refused(batch_folder, features, message):
    with pytest.raises(ExportError, match=message):
        load(batch_folder[0] / "model.batch.onnx").batch(features)


def test_layers_are_compared_where_one_utterance_goes_in(exported, batch_folder):
    with pytest.raises(ExportError, match="take the features of one utterance"):
        layer_errors(batch_folder[0] / "model.batch.onnx", exported.model, exported.features)


@pytest.mark.parametrize("other", ["streaming", "audio_input"])
def test_batch_is_neither_a_stream_nor_of_audio(exported, tmp_path, other):
    with pytest.raises(ValueError, match="choose one of streaming, audio_input and batched"):
        to_onnx(exported.model, tmp_path / "model.onnx", batched=True, **{other: True})
