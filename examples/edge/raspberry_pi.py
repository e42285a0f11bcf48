"""What a voice expresses, on a Raspberry Pi or any small computer, without PyTorch.

    python raspberry_pi.py model.int8.tflite clip.wav      # one line per file
    python raspberry_pi.py model.int8.tflite               # the microphone, through ALSA's arecord
    python raspberry_pi.py model.int8.tflite - < speech.pcm

The model says which features it wants and what its labels are. A `.tflite` file scores the last seconds again and
again; a `model.stream.onnx` hears every frame once, and what it says is about all that was heard.
"""

import argparse
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from satn_fast import LogMel
from satn_fast.audio import read_audio
from satn_fast.export import ExportedModel, ExportedStream, load


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="What a voice expresses: of files, or while it is heard.")
    parser.add_argument("model", type=Path, help=".tflite or .onnx, written by `satn-fast export`")
    parser.add_argument("sources", nargs="*", help="audio files, or - for raw 16-bit samples; none: the microphone")
    parser.add_argument("--every", type=float, default=0.5, help="seconds from one line to the next")
    parser.add_argument("--window", type=float, default=3.0, help="seconds that a .tflite file looks back on")
    arguments = parser.parse_args()

    model = load(arguments.model)
    front_end = LogMel(**model.front_end)
    if arguments.sources and arguments.sources != ["-"]:
        for file in arguments.sources:
            label, scores = model.predict(front_end(read_audio(file, front_end.sample_rate).waveform))
            print(f"{file}: {label} ({scores[label]:.2f})")
        return
    with microphone(front_end.sample_rate) if not arguments.sources else standard_input() as samples:
        try:
            listen(model, front_end, samples, arguments.every, arguments.window)
        except KeyboardInterrupt:
            return


def listen(model: ExportedModel, front_end: LogMel, source: BinaryIO, every: float, window: float) -> None:
    """Prints what the model makes of the last seconds, or a stream of everything, until the samples end."""
    update = heard_so_far(model) if isinstance(model, ExportedStream) else last_seconds(model, front_end, window)
    next(update)
    seconds = 0.0
    for samples in pieces(source, round(every * front_end.sample_rate)):
        seconds += len(samples) / front_end.sample_rate
        logits = update.send(samples)
        if logits is not None:
            weights = np.exp(logits - logits.max())
            best = int(weights.argmax())
            print(f"{seconds:7.1f} s  {model.labels[best]} ({weights[best] / weights.sum():.2f})", flush=True)


def last_seconds(model: ExportedModel, front_end: LogMel, window: float) -> Iterator[np.ndarray | None]:
    """Is sent samples, gives logits of the last `window` seconds; features are computed once."""
    stream, logits = front_end.stream(), None
    frames: deque[np.ndarray] = deque(maxlen=max(1, round(window / front_end.describe()["hop_seconds"])))
    while True:
        frames.extend(stream.push((yield logits)))
        logits = model(np.stack(frames)) if frames else None


def heard_so_far(model: ExportedStream) -> Iterator[np.ndarray | None]:
    """Is sent samples, gives logits of everything so far."""
    logits = None
    while True:
        logits = model.push((yield logits))


def pieces(source: BinaryIO, count: int) -> Iterator[np.ndarray]:
    """16-bit samples as float32 in [-1, 1], `count` at a time."""
    while data := source.read(2 * count):
        whole = len(data) // 2 * 2  # what ends within a sample loses that sample
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768


@contextmanager
def microphone(rate: int) -> Iterator[BinaryIO]:
    """The default microphone."""
    command = ["arecord", "--quiet", "--file-type", "raw", "--format", "S16_LE", "--channels", "1", "--rate", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        try:
            yield recorder.stdout
        finally:
            recorder.terminate()


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """What is piped in."""
    yield sys.stdin.buffer


if __name__ == "__main__":
    main()
