"""The C++ program in examples/edge/recognize, built, and run on exported files: it decides as Python does."""

import re
import subprocess
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import soundfile

from satn_fast import LogMel
from satn_fast.export import load, to_onnx
from tests.export import speechlike
from tests.frontend.building import ROOT, build_and_install, call, cmake_build, need
from tests.frontend.signals import voice_like

EXAMPLE = ROOT / "examples" / "edge" / "recognize"
ONNXRUNTIME = ROOT / "build" / "onnxruntime"
MODELS = ("model.onnx", "model.int8.onnx", "model.stream.onnx", "model.stream.int8.onnx")

# 7 s are more frames than a stream hears in one step.
LENGTHS = (16000, 23456, 112000)


@pytest.fixture(scope="module")
def recognize(tmp_path_factory):
    need("cmake", "to build the C++ example")
    if not (ONNXRUNTIME / "include" / "onnxruntime_cxx_api.h").exists():
        pytest.skip(f"no {ONNXRUNTIME}: run make build/onnxruntime")
    compiler = need("g++", "to build the C++ example")
    probe = subprocess.run(
        [compiler, "-fsyntax-only", "-x", "c++", "-"], input=b"#include <nlohmann/json.hpp>", capture_output=True
    )
    if probe.returncode != 0:
        pytest.skip("no nlohmann/json.hpp: install it (apt-get install nlohmann-json3-dev) to build the C++ example")
    folder = tmp_path_factory.mktemp("recognize")
    prefix = build_and_install(folder)
    cmake_build(EXAMPLE, folder / "example", f"CMAKE_PREFIX_PATH={prefix}", f"ONNXRUNTIME_DIR={ONNXRUNTIME}",
                "CMAKE_COMPILE_WARNING_AS_ERROR=ON")  # fmt: skip
    return folder / "example" / "recognize"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files and their samples."""
    folder, result = tmp_path_factory.mktemp("clips"), {}
    for length in LENGTHS:
        samples = voice_like(length)
        soundfile.write(folder / f"{length}.wav", samples, 16000, subtype="PCM_16")
        result[folder / f"{length}.wav"] = samples
    return result


def run(program, *arguments, audio=b""):
    done = subprocess.run([program, *arguments], input=audio, capture_output=True, timeout=60)
    return SimpleNamespace(code=done.returncode, out=done.stdout.decode(), error=done.stderr.decode())


def predictions(printed):
    """Lines of `name: label (label 0.1, ...)` to (name, label, scores)."""
    result = []
    for line in printed.splitlines():
        name, label, scores = re.fullmatch(r"(.+): (\S+) \((.+)\)", line).groups()
        result.append((name, label, {s.split()[0]: float(s.split()[1]) for s in scores.split(", ")}))
    return result


def assert_same(prediction, expected):
    _, label, scores = prediction
    assert label == expected.label
    assert list(scores) == list(expected.scores)
    # Two versions of ONNX Runtime.
    np.testing.assert_allclose(list(scores.values()), list(expected.scores.values()), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_files_are_judged_as_in_python(recognize, exported, clips, name):
    done = run(recognize, exported.folder / name, *clips)
    assert (done.code, done.error) == (0, "")
    model = load(exported.folder / name)
    front_end = LogMel(**model.front_end)
    printed = predictions(done.out)
    assert [file for file, _, _ in printed] == [str(file) for file in clips]
    for prediction, samples in zip(printed, clips.values(), strict=True):
        assert_same(prediction, model.predict(front_end(samples)))


def test_clips_are_judged_differently(recognize, exported, clips):
    """So that the test above could fail."""
    scores = [scores for _, _, scores in predictions(run(recognize, exported.folder / MODELS[0], *clips).out)]
    assert max(abs(scores[0][label] - scores[2][label]) for label in speechlike.LABELS) > 0.01


def test_raw_samples_are_judged_like_a_file(recognize, exported, clips):
    file, samples = next(iter(clips.items()))
    done = run(recognize, exported.folder / "model.int8.onnx", file, "-", audio=samples.tobytes())
    (_, *from_file), (name, *from_input) = predictions(done.out)
    assert (name, from_input) == ("standard input", from_file)


def test_stream_speaks_every_half_second_and_ends_like_the_whole(recognize, exported, clips):
    samples = clips[list(clips)[1]]  # 1.466 s
    model = load(exported.folder / "model.stream.int8.onnx")
    done = run(recognize, exported.folder / "model.stream.int8.onnx", "-", audio=samples.tobytes())
    assert (done.code, done.error) == (0, "")
    printed = predictions(done.out)
    assert [name for name, _, _ in printed] == ["0.5 s", "1.0 s", "end"]
    assert_same(printed[-1], model.predict(LogMel(**model.front_end)(samples)))
    model.push(samples[:8000])
    weights = np.exp(model.logits - model.logits.max())
    np.testing.assert_allclose(list(printed[0][2].values()), weights / weights.sum(), atol=1e-4)


def test_other_chunks_are_passed_over_and_formats_may_be_extensible(recognize, exported, clips, tmp_path):
    file, samples = next(iter(clips.items()))
    content, extensible = file.read_bytes(), tmp_path / "extensible.wav"
    with_notes = tmp_path / "notes.wav"
    with_notes.write_bytes(content[:12] + b"note\x03\0\0\0abc\0" + content[12:])  # padded to an even size
    soundfile.write(extensible, samples, 16000, subtype="PCM_16", format="WAVEX")
    done = run(recognize, exported.folder / "model.onnx", file, with_notes, extensible)
    assert len({(label, *scores.items()) for _, label, scores in predictions(done.out)}) == 1
    assert len(done.out.splitlines()) == 3


def write(folder, samples, rate=16000, subtype="PCM_16", cut=0):
    file = folder / "clip.wav"
    soundfile.write(file, samples, rate, subtype=subtype)
    file.write_bytes(file.read_bytes()[: file.stat().st_size - cut])
    return file


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"samples": np.zeros((8000, 2))}, "has 2 channels; mix them down to one"),
        ({"rate": 8000}, "has a sample rate of 8000 Hz, but the model hears 16000 Hz; resample it"),
        ({"subtype": "PCM_24"}, r"is not 16-bit PCM \(format 1, 24 bits\); convert it"),
        ({"subtype": "FLOAT"}, r"is not 16-bit PCM \(format 3, 32 bits\); convert it"),
        ({"cut": 100}, "ends before its audio does; it is truncated"),
        ({"samples": np.zeros(200)}, "is too short for one frame; give at least 400 samples"),
        ({"samples": np.zeros(0), "cut": 20}, "holds no audio behind its format; it is damaged"),
        ({"samples": np.zeros(0), "cut": 40}, "is no RIFF WAV; convert it"),
    ],
)
def test_unusable_audio_is_named_in_one_line(recognize, exported, tmp_path, how, message):
    file = write(tmp_path, **({"samples": np.zeros(8000)} | how))
    done = run(recognize, exported.folder / "model.onnx", file)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(f"recognize: {re.escape(str(file))}: {message}\n", done.error), done.error


@pytest.mark.parametrize("name", ["none.wav", "."])
def test_unreadable_audio_is_named(recognize, exported, tmp_path, name):
    done = run(recognize, exported.folder / "model.onnx", tmp_path / name)
    assert done.code == 1
    assert re.fullmatch(f"recognize: {re.escape(str(tmp_path / name))}: cannot be read .*\n", done.error), done.error


def foreign(folder, exported):
    model = onnx.load(exported.folder / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "foreign.onnx")
    return folder / "foreign.onnx"


def damaged(folder, exported):
    model = onnx.load(exported.folder / "model.onnx")
    model.metadata_props[0].value = "{"
    onnx.save(model, folder / "damaged.onnx")
    return folder / "damaged.onnx"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder, exported: folder / "none.onnx", r"cannot be read \(No such file or directory\); give a file"),
        (lambda folder, exported: exported.folder / "model.int8.tflite", "is no ONNX model .*; give model.onnx or"),
        (foreign, "holds no satn_fast metadata; give a file that satn-fast export wrote"),
        (damaged, "has damaged satn_fast metadata .*; export the model again"),
        (lambda folder, exported: to_onnx(exported.model, folder / "batch.onnx", batched=True),
         "takes lengths, which no step of a stream does; give a model of one utterance"),
        (lambda folder, exported: to_onnx(exported.model, folder / "audio.onnx", audio_input=True),
         "does not take features; give a model of one utterance, or of a stream, without audio input"),
    ],
)  # fmt: skip
def test_unusable_model_is_named_in_one_line(recognize, exported, clips, tmp_path, make, message):
    model = make(tmp_path, exported)
    done = run(recognize, model, next(iter(clips)))
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(f"recognize: {re.escape(str(model))}: {message}.*\n", done.error), done.error


def test_no_sound_at_all_is_refused(recognize, exported):
    for name in ("model.onnx", "model.stream.onnx"):
        done = run(recognize, exported.folder / name, "-")
        assert (done.code, done.out) == (1, "")
        assert done.error == "recognize: standard input: is too short for one frame; give at least 400 samples\n"


def test_usage(recognize):
    assert (run(recognize).code, run(recognize, "model.onnx").code) == (2, 2)
    help_text = call(recognize, "--help")
    assert help_text.strip() in (ROOT / "examples" / "edge" / "README.md").read_text()
