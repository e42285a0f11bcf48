"""Which utterances int8 ranges are measured on, how, and what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from satn_fast import LogMel
from satn_fast.data import Utterance
from satn_fast.export import choose_calibration, export, to_micro, to_onnx, to_tflite
from satn_fast.export.calibration import Ranges
from tests.export import speechlike


def a_corpus():
    """Three speakers with very different shares of two labels."""
    counts = {("anna", "calm"): 50, ("anna", "angry"): 3, ("ben", "calm"): 20, ("ben", "angry"): 20, ("eva", "calm"): 9}
    return [
        Utterance(Path(f"{speaker}_{label}_{i}.wav"), label, speaker)
        for (speaker, label), count in counts.items()
        for i in range(count)
    ]


def test_speakers_and_labels_are_drawn_alike():
    corpus = a_corpus()
    chosen = [corpus[row] for row in choose_calibration(corpus, 25)]
    pairs = Counter((u.speaker, u.label) for u in chosen)
    assert len(set(chosen)) == 25
    assert pairs["anna", "angry"] == 3, "all there are"
    assert {count for pair, count in pairs.items() if pair != ("anna", "angry")} <= {5, 6}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_few_already_hold_every_label_or_speaker(size):
    corpus = a_corpus()
    chosen = [corpus[row] for row in choose_calibration(corpus, size)]
    assert {u.label for u in chosen} == {"calm", "angry"}
    assert len({u.speaker for u in chosen}) == min(size, 3)


def test_the_draw_depends_on_seed_and_content_but_not_on_order():
    corpus = a_corpus()
    backwards = corpus[::-1]
    drawn = [corpus[row] for row in choose_calibration(corpus, 10)]
    assert drawn == [backwards[row] for row in choose_calibration(backwards, 10)]
    assert drawn != [corpus[row] for row in choose_calibration(corpus, 10, seed=1)]
    assert sorted(choose_calibration(corpus, 1000)) == list(range(len(corpus)))


def test_an_empty_draw_is_refused():
    with pytest.raises(ValueError, match="no utterances to calibrate with"):
        choose_calibration([])
    with pytest.raises(ValueError, match="size is 0"):
        choose_calibration(a_corpus(), 0)


def test_percentiles_leave_out_what_is_outermost_in_an_utterance():
    values = np.linspace(-1, 1, 100_001)
    values[5] = 1000.0
    extremes, percentiles = Ranges("minmax"), Ranges("percentile")
    for ranges in (extremes, percentiles):
        ranges.add("x", values)
        ranges.add("x", values[:50_000] * 0.5)
    assert extremes["x"] == (-1.0, 1000.0)
    np.testing.assert_allclose(percentiles["x"], (-1.0, 1.0), atol=5e-4)
    assert percentiles["x"][0] > -1.0


def test_zero_is_always_in_the_range():
    ranges = Ranges("minmax")
    ranges.add("x", np.array([2.0, 3.0]))
    assert ranges["x"] == (0.0, 3.0)


def onnx_scale(path):
    """The scale of the first activation."""
    model = onnx.load(path)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    return float(constants[quantize.input[1]])


def tflite_scale(path):
    """The scale of the first activation."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    codes = [code.builtinCode for code in model.operatorCodes]
    quantize = next(o for o in model.subgraphs[0].operators if codes[o.opcodeIndex] == schema.BuiltinOperator.QUANTIZE)
    return float(model.subgraphs[0].tensors[quantize.outputs[0]].quantization.scale[0])


@pytest.mark.parametrize(
    ("write", "name", "scale"), [(to_onnx, "model.onnx", onnx_scale), (to_tflite, "model.tflite", tflite_scale)]
)
def test_every_utterance_counts_and_the_method_decides(exported, tmp_path, write, name, scale):
    calibration = [*exported.calibration[:5], exported.calibration[5].copy()]
    calibration[5][20, 3] = 60.0
    normalization = exported.model.encoder.normalization
    outlier = float((60.0 - normalization.mean[3]) / normalization.std[3])
    scales = {}
    for method in ("minmax", "percentile"):
        options = {"int8": True, "calibration": calibration, "calibration_method": method}
        scales[method] = scale(write(exported.model, tmp_path / name, **options))
    assert scales["minmax"] * 255 > 0.9 * outlier
    assert scales["percentile"] < 0.7 * scales["minmax"]


def test_a_stream_has_the_ranges_of_the_whole_utterances(exported):
    scales = [onnx_scale(exported.folder / name) for name in ("model.int8.onnx", "model.stream.int8.onnx")]
    assert scales[0] == pytest.approx(scales[1], rel=1e-3)


def test_an_unknown_method_is_named(exported, tmp_path):
    with pytest.raises(ValueError, match="'entropy'; choose one of minmax, percentile"):
        to_onnx(
            exported.model,
            tmp_path / "model.onnx",
            int8=True,
            calibration=exported.calibration,
            calibration_method="entropy",
        )


def micro(model, path, *, int8, calibration, **options):
    """`to_micro` with the arguments of the others; it is always int8."""
    return to_micro(model, path, calibration, **options)


WRITERS = [to_onnx, to_tflite, micro]


@pytest.mark.parametrize("write", WRITERS)
def test_no_calibration_is_refused(exported, tmp_path, write):
    with pytest.raises(ValueError, match="calibration is empty"):
        write(exported.model, tmp_path / "model", int8=True, calibration=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", WRITERS)
def test_features_of_other_settings_are_refused(exported, tmp_path, write):
    settings = dict(exported.model.config.front_end)
    options = {"int8": True, "calibration": exported.calibration}
    for name, value in (("sample_rate", 8000), ("preset", "htk"), ("low_hz", 60.0)):
        known = LogMel(**settings).describe()[name]
        with pytest.raises(ValueError, match=f"another front end: .*{name} \\({value} there, {known} in the model"):
            write(exported.model, tmp_path / "model", calibration_front_end=settings | {name: value}, **options)
    assert not list(tmp_path.iterdir())
    for same in (settings, LogMel(**settings).describe()):
        write(exported.model, tmp_path / "model", calibration_front_end=same, **options)


def test_features_of_another_scale_are_refused(exported, tmp_path):
    """As of a front end that takes samples in [-1, 1] where the model's takes 16-bit integers."""
    shifted = [features - np.float32(2 * np.log(32768)) * (np.arange(48) < 16) for features in exported.calibration]
    with pytest.raises(
        ValueError, match=r"another front end or level: its log-Mel bands are \d+\.\d standard deviations"
    ):
        export(exported.model, tmp_path / "out", calibration=shifted, evaluation=exported.features)
    with pytest.raises(ValueError, match="another front end or level"):
        to_micro(exported.model, tmp_path / "model.mcu.tflite", shifted)
    assert not list(tmp_path.iterdir())


def test_presets_that_differ_in_scale_are_told_apart_and_quiet_speech_is_accepted(tmp_path):
    rng = np.random.default_rng(0)
    syllables = np.abs(np.sin(2 * np.pi * 3 * np.arange(16000) / 16000))
    wave = (0.1 * syllables * rng.normal(size=16000)).astype(np.float32)
    features = {
        preset: LogMel(n_mels=16, preset=preset)(wave) for preset in ("kaldi", "kaldi-hamming", "psf", "librosa")
    }
    import torch

    model = speechlike.untrained()
    model.encoder.normalization.fit([torch.from_numpy(features["kaldi"])])
    for accepted in (features["kaldi-hamming"], LogMel(n_mels=16)(wave * np.float32(0.2))):
        to_onnx(model, tmp_path / "model.onnx", int8=True, calibration=[accepted])
    for preset in ("psf", "librosa"):
        with pytest.raises(ValueError, match="another front end"):
            to_onnx(model, tmp_path / "model.onnx", int8=True, calibration=[features[preset]])
