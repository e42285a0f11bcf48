"""`satn-fast predict --stream`: PCM on standard input, a line per update."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soxr
import torch

from satn_fast import SATN, LogMel, SATNConfig
from satn_fast.audio import write_wav
from satn_fast.export.names import MICRO, MODEL_FILES, STREAM, is_int8

from .conftest import waveform

N_SAMPLES = 24_321


class Pipe(io.RawIOBase):
    """Standard input that gives its bytes in pieces of its own."""

    def __init__(self, content, pieces):
        self.content, self.position, self.pieces = content, 0, iter(pieces)

    @property
    def buffer(self):
        return self

    def read1(self, size):
        piece = next(self.pieces, size)
        if isinstance(piece, BaseException):
            raise piece
        taken = self.content[self.position : self.position + min(piece, size)]
        self.position += len(taken)
        return taken


@pytest.fixture
def pcm():
    rng = np.random.default_rng(3)
    samples = np.concatenate([waveform(rng) for _ in range(3)])[:N_SAMPLES]
    return (samples * 32767).astype("<i2")


@pytest.fixture
def listen(satn_fast, monkeypatch, checkpoint):
    """Runs `predict --stream` on these bytes; `pieces` are the sizes of what single reads give."""

    def run(content, *options, model=checkpoint, pieces=()):
        monkeypatch.setattr("sys.stdin", Pipe(bytes(content), pieces))
        return satn_fast("predict", model, "--stream", *options)

    return run


def updates(result):
    assert result.code == 0, result.errors
    return [json.loads(line) for line in result.output.splitlines()]


def expected_scores(checkpoint, samples):
    model = SATN.from_pretrained(checkpoint)
    with torch.no_grad():
        logits = model(torch.from_numpy(LogMel()(samples.astype(np.float32) / 32768))[None]).logits[0]
    return logits.double().softmax(0).numpy()


def test_the_final_line_equals_the_whole_file(listen, satn_fast, checkpoint, pcm, tmp_path):
    lines = updates(listen(pcm.tobytes(), "--json"))
    assert [line["time"] for line in lines] == [0.5, 1.0, 1.5, round(N_SAMPLES / 16000, 6)]
    assert [line["final"] for line in lines] == [False, False, False, True]
    write_wav(tmp_path / "whole.wav", pcm.astype(np.int16), 16000)
    whole = json.loads(satn_fast("predict", checkpoint, tmp_path / "whole.wav", "--json").output)[0]
    assert lines[-1]["label"] == whole["label"]
    assert lines[-1]["scores"] == pytest.approx(whole["scores"], abs=1e-5)


def test_updates_are_those_of_what_was_heard_but_for_the_last_four_frames(listen, checkpoint, pcm):
    lines = updates(listen(pcm.tobytes(), "--json", "--update-seconds", 0.3))
    assert len(lines) == 6
    for line in lines[:-1]:
        heard = pcm[: round(line["time"] * 16000)]
        # Deltas look four frames ahead: features of the whole, but as many rows as were complete.
        features = LogMel()(pcm.astype(np.float32) / 32768)[: LogMel().frame_count(len(heard)) - 4]
        with torch.no_grad():
            logits = SATN.from_pretrained(checkpoint)(torch.from_numpy(features)[None]).logits[0]
        np.testing.assert_allclose(list(line["scores"].values()), logits.softmax(0), atol=1e-5)
        assert line["probability"] == max(line["scores"].values()) == line["scores"][line["label"]]
        assert 0 <= line["latency_ms"] < 10_000


@pytest.mark.parametrize("pieces", [[1] * 5000, [3, 1, 7777, 2, 16001] * 9])
def test_bytes_come_in_any_pieces(listen, pcm, pieces):
    expected, lines = (updates(listen(pcm.tobytes(), "--json", pieces=sizes)) for sizes in ((), pieces))
    for line in (*expected, *lines):
        del line["latency_ms"]
    assert lines == expected


def test_float_samples_and_a_cut_one_at_the_end(listen, checkpoint, pcm):
    content = (pcm / np.float32(32768)).astype("<f4").tobytes()
    result = listen(content + b"abc", "--json", "--format", "f32le")
    np.testing.assert_allclose(
        list(updates(result)[-1]["scores"].values()), expected_scores(checkpoint, pcm), atol=1e-5
    )
    assert result.errors.count("\n") == 1
    assert "last 3 bytes are left out" in result.errors


def test_another_rate_is_resampled_and_said(listen, checkpoint, pcm):
    result = listen(pcm.tobytes(), "--json", "--rate", 8000)
    lines = updates(result)
    assert "resampling from 8000 Hz to 16000 Hz" in result.errors
    assert lines[-1]["time"] == round(N_SAMPLES / 8000, 6)
    samples = 32768 * soxr.resample(pcm.astype(np.float32) / 32768, 8000, 16000, quality="HQ").clip(-1, 1)
    np.testing.assert_allclose(list(lines[-1]["scores"].values()), expected_scores(checkpoint, samples), atol=1e-3)


def test_the_models_own_rate_is_not_resampled(listen, pcm):
    assert listen(pcm.tobytes(), "--rate", 16000).errors == ""


def test_lines_for_people_say_time_label_probability_and_latency(listen, pcm):
    lines = listen(pcm.tobytes()).output.splitlines()
    expected = updates(listen(pcm.tobytes(), "--json"))
    for line, update in zip(lines, expected, strict=True):
        words = line.split()
        assert words[:4] == [f"{update['time']:.2f}", "s", update["label"], f"{update['probability']:.2f}"]
        assert words[5] == "ms"
        assert ("final" in words) == update["final"]


def test_no_line_before_the_first_frame(listen, pcm):
    lines = updates(listen(pcm[:1600].tobytes(), "--json", "--update-seconds", 0.01))
    assert [line["time"] for line in lines] == [0.07, 0.08, 0.09, 0.1, 0.1]


def test_interrupted_waiting_ends_with_what_was_heard(listen, checkpoint, pcm):
    lines = updates(listen(pcm.tobytes(), "--json", pieces=[16000, 9001, KeyboardInterrupt()]))
    assert [line["final"] for line in lines] == [False, True]
    assert lines[-1]["time"] == 12500 / 16000
    np.testing.assert_allclose(list(lines[-1]["scores"].values()), expected_scores(checkpoint, pcm[:12500]), atol=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="signals to a process are those of POSIX")
def test_ctrl_c_ends_cleanly(checkpoint, pcm):
    command = [sys.executable, "-c", "from satn_fast.cli import main; main()", "predict", str(checkpoint), "--stream"]
    with subprocess.Popen([*command, "--json"], stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdin.write(pcm[:8000].tobytes())
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, errors = process.stdout.read(), process.stderr.read()
        assert process.wait(20) == 0
    assert errors == b""
    assert (first["time"], first["final"]) == (0.5, False)
    assert json.loads(output)["final"]


def whole_utterance_model(folder):
    SATN(SATNConfig(front_end=LogMel().describe())).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ([], b"", "too short for one frame"),
        ([], b"\0" * 700, "lasts 22 ms, too short for one frame; give at least 25 ms"),
        ([], b"RIFF\0\0\0\0WAVE" + b"\0" * 40_000, "WAV file"),
        (["--format", "f32le"], np.full(16000, np.nan, "<f4").tobytes(), "not finite"),
        (["--format", "f32le"], np.full(16000, 20_000, "<f4").tobytes(), "scale of integers"),
    ],
)
def test_input_that_cannot_be_used_is_one_line(listen, options, content, message):
    result = listen(content, *options)
    assert (result.code, result.output) == (1, "")
    assert result.errors.count("\n") == 1
    assert result.errors.startswith("satn-fast: standard input")
    assert message in result.errors


@pytest.mark.parametrize("name", [*STREAM, MICRO])
def test_exported_stream_listens_like_its_checkpoint(listen, checkpoint, exported_files, pcm, name):
    models = (exported_files / name, checkpoint)
    from_file, from_checkpoint = (updates(listen(pcm.tobytes(), "--json", model=model)) for model in models)
    for line, expected in zip(from_file, from_checkpoint, strict=True):
        assert (line["time"], line["final"]) == (expected["time"], expected["final"])
        assert line["scores"] == pytest.approx(expected["scores"], abs=0.1 if is_int8(name) else 1e-5)


def test_step_that_is_not_full_counts_at_the_end(listen, satn_fast, exported_files, pcm, tmp_path):
    pcm = pcm[:-800]  # 145 frames; a step takes 10
    lines = updates(listen(pcm.tobytes(), "--json", model=exported_files / MICRO))
    write_wav(tmp_path / "whole.wav", pcm.astype(np.int16), 16000)
    whole = json.loads(satn_fast("predict", exported_files / MICRO, tmp_path / "whole.wav", "--json").output)[0]
    assert lines[-1]["scores"] == pytest.approx(whole["scores"])


@pytest.mark.parametrize("name", [name for name in MODEL_FILES if name not in (*STREAM, MICRO)])
def test_file_for_whole_utterances_says_what_streaming_needs(listen, exported_files, name):
    result = listen(b"\0" * 32000, model=exported_files / name)
    assert (result.code, result.output, result.errors.count("\n")) == (1, "", 1)
    assert "hears whole utterances only; streaming needs a checkpoint folder, a model.stream.onnx or" in result.errors


def test_a_model_without_a_window_is_one_line_with_the_remedy(listen, tmp_path):
    result = listen(b"\0" * 32000, model=whole_utterance_model(tmp_path / "base"))
    assert (result.code, result.output, result.errors.count("\n")) == (1, "", 1)
    assert "attention_window=100" in result.errors


@pytest.mark.parametrize(
    "options",
    [
        ["clip.wav"],
        ["--csv"],
        ["--mix"],
        ["--rate", "0"],
        ["--format", "mp3"],
        ["--update-seconds", "0"],
        ["--update-seconds", "nan"],
    ],
)
def test_wrong_usage_has_its_own_exit_code(listen, options):
    assert listen(b"", *options).code == 2


def test_neither_files_nor_stream_is_wrong_usage(satn_fast, checkpoint):
    result = satn_fast("predict", checkpoint)
    assert result.code == 2
    assert "--stream" in result.errors
