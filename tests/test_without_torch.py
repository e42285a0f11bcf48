"""Exported files run where PyTorch is not installed: front end, models, command line, and the example."""

import json
import subprocess

import numpy as np
import pytest

from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.audio import write_wav

from .conftest import REPOSITORY
from .test_import import closure, environment_of, run

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("tensorflow")

EXAMPLE = REPOSITORY / "examples" / "edge" / "raspberry_pi.py"
NEEDED = ["numpy", "onnxruntime", "ai-edge-litert", "soundfile", "soxr", "typer", "rich"]


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """The Python of an environment with the runtimes, without torch."""
    python = environment_of(tmp_path_factory.mktemp("device") / "env", [*closure(list(NEEDED)), "satn-fast"])
    assert "No module named 'torch'" in run(python, "import torch", python.parent).stderr
    return python


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a small model in every format, and a clip of 1.2 s."""
    from satn_fast.export import to_onnx, to_tflite

    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    wave = (0.1 * rng.normal(size=19200)).astype(np.float32)
    write_wav(folder / "clip.wav", wave, 16000)
    (folder / "clip.pcm").write_bytes((folder / "clip.wav").read_bytes()[44:])
    model = SATN(SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
    calibration = [LogMel(**model.config.front_end)(wave)]
    for suffix, write in ((".onnx", to_onnx), (".tflite", to_tflite)):
        write(model, folder / f"model{suffix}")
        write(model, folder / f"model.int8{suffix}", int8=True, calibration=calibration)
    to_onnx(model, folder / "model.stream.onnx", streaming=True)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite"])
def test_predict_gives_what_it_gives_with_torch(device, files, name):
    from satn_fast.export import load

    command = f"from satn_fast.cli import main\nmain(['predict', {name!r}, 'clip.wav', '--json'])"
    result = run(device, command, files)
    assert result.stderr == ""
    model = load(files / name)
    from satn_fast.audio import read_audio

    expected = model.predict(LogMel(**model.front_end)(read_audio(files / "clip.wav").waveform))
    (prediction,) = json.loads(result.stdout)
    assert prediction["label"] == expected.label
    assert prediction["scores"] == pytest.approx(expected.scores, abs=1e-5)


def test_a_stream_listens(device, files):
    command = [device, "-I", "-c", "from satn_fast.cli import main; main()"]
    arguments = ["predict", files / "model.stream.onnx", "--stream", "--json"]
    result = subprocess.run(
        [*command, *arguments], input=(files / "clip.pcm").read_bytes(), capture_output=True, check=False
    )
    assert result.stderr == b""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["time"] for line in lines] == [0.5, 1.0, 1.2]
    assert lines[-1]["final"]


def test_a_checkpoint_says_what_it_needs(device, files):
    SATN(SATNConfig.preset("micro")).save_pretrained(files / "checkpoint")
    result = run(device, "from satn_fast.cli import main\nmain(['predict', 'checkpoint', 'clip.wav'])", files)
    assert result.returncode == 1
    assert result.stderr.strip().count("\n") == 0
    assert 'pip install "satn-fast[train]"' in result.stderr


def run_example(device, *arguments, **options):
    return subprocess.run([device, "-I", EXAMPLE, *arguments], capture_output=True, check=False, **options)


@pytest.mark.parametrize("name", ["model.int8.tflite", "model.int8.onnx"])
def test_the_example_names_the_label_of_a_file(device, files, name):
    from satn_fast.audio import read_audio
    from satn_fast.export import load

    result = run_example(device, files / name, files / "clip.wav")
    assert result.stderr == b""
    model = load(files / name)
    label, scores = model.predict(LogMel(**model.front_end)(read_audio(files / "clip.wav").waveform))
    assert result.stdout.decode() == f"{files / 'clip.wav'}: {label} ({scores[label]:.2f})\n"


@pytest.mark.parametrize("name", ["model.int8.tflite", "model.stream.onnx"])
def test_the_example_listens(device, files, name):
    result = run_example(device, files / name, "-", "--window", "0.6", input=(files / "clip.pcm").read_bytes())
    assert result.stderr == b""
    lines = result.stdout.decode().splitlines()
    assert [line.split(" s  ")[0].strip() for line in lines] == ["0.5", "1.0", "1.2"]
    assert all(line.split()[2] in ("calm", "angry") for line in lines)


def test_the_example_takes_the_microphone_where_nothing_else_is_named(device, files, tmp_path):
    recorder = tmp_path / "arecord"
    recorder.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexec cat {files}/clip.pcm\n')
    recorder.chmod(0o755)
    result = run_example(device, files / "model.int8.tflite", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert result.stderr == b""
    assert len(result.stdout.splitlines()) == 3
    assert "--rate 16000" in (tmp_path / "asked").read_text()
