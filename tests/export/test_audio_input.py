"""Files that take audio: the front end in the graph is the C++ front end, and the network behind it is the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from satn_fast import SATN, LogMel
from satn_fast.export import ExportError, ToleranceError, export, layer_errors, load, to_onnx, to_tflite, verify
from satn_fast.export.audio_tables import audio_tables, least_samples
from satn_fast.export.cost import arena_bytes
from satn_fast.export.names import AUDIO
from tests.export import speechlike
from tests.export.test_parity import reference_logits

FRONT_ENDS = [
    {"preset": "kaldi"},
    {"preset": "kaldi-hamming", "n_mels": 23, "float_scale": 1000.0},
    {"preset": "htk", "hop_seconds": 0.0125, "preemphasis": 0.9},
    {"preset": "psf", "delta_window": 1},
    {"preset": "torchaudio", "fft_size": 1024, "remove_dc": True, "preemphasis": 0.5},
    {"preset": "librosa", "delta_window": 4},
    {"preset": "kaldi", "sample_rate": 8000, "window": "hann_periodic", "low_hz": 100.0, "log": "log10"},
    {"preset": "kaldi-hamming", "sample_rate": 11025, "n_mels": 12, "filter_norm": "slaney", "framing": "center_zero"},
    {"preset": "psf", "log": "none", "floor_mode": "zero", "mel_scale": "slaney", "filters": "hz"},
    {"preset": "kaldi", "hop_seconds": 0.03, "preemphasis": 0.0},
    {"preset": "kaldi", "n_mels": 64, "hop_seconds": 0.04, "window_seconds": 0.064},
    {"preset": "librosa", "n_mels": 64, "hop_seconds": 0.04, "window_seconds": 0.05, "fft_size": 1024},
]


@pytest.fixture(scope="module")
def exported(spoken):
    return spoken


def features_in_graph(path):
    """A function from audio to what the network behind the front end is fed."""
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name="features"))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda audio: session.run(["features"], {"audio": audio[None]})[0][0]


def lite_front_end(settings):
    """The same of a TFLite file of the front end alone."""
    from satn_fast.export.tflite import graph as tflite_graph
    from satn_fast.export.tflite.audio_graph import features_of_audio

    signature = tf.TensorSpec([1, None], tf.float32, name="audio")
    content = tflite_graph.converted(features_of_audio(audio_tables(settings)), signature)
    run = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    return lambda audio: run(audio=audio[None])["features"][0]


def complete(settings):
    return {"sample_rate": 16000, "n_mels": 40, **settings}


def assert_equals_front_end(compute, settings):
    front_end, generator = LogMel(**settings), np.random.default_rng(4)
    least, hop, window = least_samples(settings), front_end.hop_length, front_end.frame_length
    # Long, short, long; and lengths at which a frame begins or ends.
    for n_samples in (48123, least, least + 1, window + hop - 1, window + hop, window + 3 * hop + 7, 16000):
        audio = speechlike.waveform(generator, n_samples)
        expected, found = front_end(audio), compute(audio)
        assert found.shape == expected.shape, n_samples
        unit = np.abs(expected).max() if front_end.describe()["log"] == "none" else 1.0
        error = np.abs(found - expected) / unit
        assert (error <= 1e-4).mean() >= 0.999, (n_samples, error.max())
        assert error.max() <= 2e-3, n_samples


@pytest.mark.parametrize("settings", FRONT_ENDS, ids=lambda settings: settings["preset"])
def test_onnx_front_end_equals_that_in_cpp(tmp_path, settings):
    model = SATN(speechlike.config(front_end=complete(settings)))
    path = to_onnx(model, tmp_path / "model.onnx", audio_input=True)
    assert_equals_front_end(features_in_graph(path), complete(settings))


@pytest.mark.parametrize("settings", FRONT_ENDS[1:], ids=lambda settings: settings["preset"])
def test_tflite_front_end_equals_that_in_cpp(settings):
    assert_equals_front_end(lite_front_end(complete(settings)), complete(settings))


@pytest.mark.parametrize("settings", FRONT_ENDS, ids=lambda settings: settings["preset"])
def test_least_samples_are_those_of_the_first_frame(settings):
    front_end, least = LogMel(**complete(settings)), least_samples(complete(settings))
    assert front_end.frame_count(least) >= 1
    assert front_end.frame_count(least - 1) == 0


@pytest.mark.parametrize("name", AUDIO)
def test_gives_the_logits_of_the_file_that_takes_features(spoken, exported, name):
    of_audio, of_features = load(exported.folder / name), load(exported.folder / name.replace(".audio", ""))
    assert of_audio.takes_audio
    assert not of_features.takes_audio
    assert of_audio.front_end == of_features.front_end
    # In int8, a feature on the brink may be rounded the other way.
    tolerance = 0.02 if "int8" in name else 1e-3
    for audio, features in zip(spoken.audio, spoken.features, strict=True):
        np.testing.assert_allclose(of_audio(audio), of_features(features), atol=tolerance)
    prediction = of_audio.predict(spoken.audio[0])
    assert prediction.label == of_features.predict(spoken.features[0]).label


@pytest.mark.parametrize(("write", "name"), [(to_onnx, "model.onnx"), (to_tflite, "model.tflite")])
def test_logits_of_audio_with_few_long_frames(tmp_path, write, name):
    model = speechlike.untrained(**speechlike.STATISTICS | {"normalization": "level", "attention_window": None})
    of_audio, front_end = load(write(model, tmp_path / name, audio_input=True)), LogMel(**model.config.front_end)
    for audio in (*speechlike.spoken(3, 4), speechlike.spoken(3, 1)[0][:1024]):
        expected = reference_logits(model, front_end(audio))
        np.testing.assert_allclose(of_audio(audio), expected, atol=1e-3 * np.abs(expected).max())


def test_front_end_stays_in_float_and_the_network_as_it_is(exported):
    of_audio, of_features = (onnx.load(exported.folder / f"model{kind}.int8.onnx").graph for kind in (".audio", ""))
    front_end = of_audio.node[: len(of_audio.node) - len(of_features.node)]
    assert [*of_audio.node][len(front_end) :] == [*of_features.node]
    assert {node.op_type for node in front_end}.isdisjoint({"QuantizeLinear", "DequantizeLinear"})
    assert front_end[-1].output == ["features"]


def test_manifest_says_what_goes_in_and_verification_has_heard_it(exported):
    entries = {entry.name: entry for entry in exported.manifest.files}
    assert set(AUDIO) < set(entries)
    for name in AUDIO:
        assert entries[name].inputs == [{"name": "audio", "shape": [1, None], "dtype": "float32"}]
        assert entries[name].max_logit_error < (0.5 if "int8" in name else 1e-3)
    path = exported.folder / "model.audio.tflite"
    assert entries[path.name].arena_bytes == arena_bytes(path, (48000,)) > 48000 * 4


def test_verification_without_audio_complains_of_the_files_that_take_it(spoken, exported):
    reports = {report.name: report for report in verify(exported.folder, spoken.model, spoken.features)}
    assert {name for name, report in reports.items() if not report.ok} == set(AUDIO)
    assert "give the utterances' waveforms" in reports["model.audio.onnx"].complaint


def test_audio_of_other_utterances_is_found_out(spoken, exported, tmp_path):
    wrong = [spoken.audio[-1], *spoken.audio[1:]]
    reports = {report.name: report for report in verify(exported.folder, spoken.model, spoken.features, audio=wrong)}
    assert not reports["model.audio.onnx"].ok
    assert reports["model.onnx"].ok
    with pytest.raises(ToleranceError, match=r"model\.audio\.tflite: a logit is off"):
        export(
            spoken.model,
            tmp_path / "new",
            calibration=spoken.features,
            evaluation=spoken.features,
            evaluation_audio=wrong,
        )
    assert not list(tmp_path.iterdir())


def test_one_waveform_for_each_utterance(spoken, exported):
    with pytest.raises(ValueError, match="audio has 2 waveforms, features has 12"):
        verify(exported.folder, spoken.model, spoken.features, audio=spoken.audio[:2])


@pytest.mark.parametrize("name", ["model.audio.onnx", "model.audio.int8.tflite"])
@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(399, np.float32), "audio has 399 samples, too short for one frame; give at least 400"),
        (np.zeros(0), "audio has 0 samples"),
        (np.zeros((2, 16000)), r"takes audio, .* given float64 of shape \(2, 16000\)"),
        (np.zeros(16000, np.int16), "takes audio, .* at 16000 Hz; it was given int16"),
        (np.full(16000, np.nan), "audio holds NaN"),
    ],
)
def test_unusable_audio_is_refused(exported, name, audio, message):
    model = load(exported.folder / name)
    with pytest.raises(ExportError, match=message):
        model(audio)
    assert np.isfinite(model(np.zeros(400))).all(), "the shortest audio, and silence"


def test_features_for_a_file_that_takes_audio_are_refused(spoken, exported):
    with pytest.raises(ExportError, match="takes audio"):
        load(exported.folder / "model.audio.onnx")(spoken.features[0])
    with pytest.raises(ExportError, match="features has shape"):
        load(exported.folder / "model.onnx")(spoken.audio[0])


def test_layers_are_compared_where_features_go_in(spoken, exported):
    with pytest.raises(ExportError, match="take the features of one utterance"):
        layer_errors(exported.folder / "model.audio.int8.onnx", spoken.model, spoken.features)


@pytest.mark.parametrize("write", [to_onnx, to_tflite])
def test_front_end_in_double_precision_is_refused(tmp_path, write):
    model = SATN(speechlike.config(front_end={**speechlike.FRONT_END, "precision": "float64"}))
    with pytest.raises(ValueError, match="precision 'float64'"):
        write(model, tmp_path / "model", audio_input=True)
    assert not list(tmp_path.iterdir())


def test_step_of_a_stream_takes_features(spoken, tmp_path):
    with pytest.raises(ValueError, match="choose one of streaming, audio_input and batched"):
        to_onnx(spoken.model, tmp_path / "model.onnx", streaming=True, audio_input=True)
