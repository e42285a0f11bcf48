"""Recognising emotion while listening: PCM on standard input, a line per update."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from satn_fast.audio import AudioError, check_samples
from satn_fast.cli.terminal import warn
from satn_fast.config import SATNConfig
from satn_fast.export import ExportedStream, MicroModel, load
from satn_fast.export.runtime import softmax
from satn_fast.frontend import LogMel

if TYPE_CHECKING:
    from satn_fast.streaming import Stream

Samples = NDArray[np.float32]

# How samples come, and what takes them to [-1, 1], as reading a file does.
_SAMPLE_TYPES: dict[str, tuple[np.dtype[Any], np.float32]] = {
    "s16le": (np.dtype("<i2"), np.float32(1 / 32768)),
    "f32le": (np.dtype("<f4"), np.float32(1)),
}

_INPUT = "standard input"


class Update(NamedTuple):
    """What the model thinks of all that was heard so far."""

    time: float
    """Seconds of audio heard."""
    label: str
    probability: float
    latency_ms: float
    """From the arrival of the update's last sample to its result."""
    final: bool
    scores: dict[str, float]
    """Probability of every label."""


class PcmReader:
    """Raw mono samples from a pipe, whose bytes may come in any pieces.

    Args:
        file: Where bytes are read.
        sample_format: `"s16le"` or `"f32le"`.
    """

    def __init__(self, file: BinaryIO, sample_format: str) -> None:
        self._file = file
        self._type, self._scale = _SAMPLE_TYPES[sample_format]
        self._bytes = bytearray()
        self._started = False

    def read(self, n_samples: int) -> Samples:
        """Waits for `n_samples` samples; fewer only at the end of the input.

        Raises:
            AudioError: The input is a WAV file, not raw samples.
        """
        wanted = n_samples * self._type.itemsize
        while len(self._bytes) < wanted and (piece := _read_some(self._file, wanted - len(self._bytes))):
            self._bytes += piece
            self._refuse_wav()
        return self.rest()

    def rest(self) -> Samples:
        """Gives the whole samples that came and were not yet given, for when waiting was interrupted."""
        size = len(self._bytes) // self._type.itemsize * self._type.itemsize
        taken, self._bytes = bytes(self._bytes[:size]), self._bytes[size:]
        self._started = self._started or size > 0
        return np.frombuffer(taken, self._type).astype(np.float32) * self._scale

    @property
    def left_over(self) -> int:
        """Bytes of a sample that has not come whole."""
        return len(self._bytes)

    def _refuse_wav(self) -> None:
        if not self._started and self._bytes[:4] == b"RIFF":
            raise AudioError(
                f"{_INPUT}: is a WAV file, raw samples are expected; convert it first, for one with: "
                "sox clip.wav -t raw -r 16000 -c 1 -e signed -b 16 -"
            )


def _read_some(file: BinaryIO, n_bytes: int) -> bytes:
    """What has come, up to `n_bytes`; waits where nothing has."""
    read = getattr(file, "read1", file.read)
    piece: bytes = read(n_bytes)
    return piece


class Listener:
    """From samples to updates: resampling where needed, front end, model.

    Args:
        model: Checkpoint folder of a model that can be streamed, an exported stream, or a `.mcu.tflite` file.
        rate: Rate of the samples in Hz; `None` takes the model's own.
    """

    def __init__(self, model: Path, rate: int | None) -> None:
        self._stream, config = _opened(model)
        self._labels = config.labels
        self._front_end = LogMel(**config.front_end)
        self._features = self._front_end.stream()
        self.rate = rate or self._front_end.sample_rate
        self._resampler = None if self.rate == self._front_end.sample_rate else self._make_resampler()
        self._heard = 0

    def hear(self, samples: Samples, *, last: bool = False) -> None:
        """Takes the next samples; with `last`, the utterance ends with them.

        Raises:
            AudioError: Samples are not finite, or far outside [-1, 1].
        """
        if len(samples):
            check_samples(samples, f"{_INPUT}, from {self.seconds:.2f} s")
        self._heard += len(samples)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        rows = self._features.push(np.clip(samples, -1.0, 1.0))
        self._stream.push(np.asarray(rows, dtype=np.float32))
        if last:
            self._stream.push(np.asarray(self._features.finish(), dtype=np.float32))
            if isinstance(self._stream, MicroModel):
                self._stream.finish()  # frames that do not fill a step

    @property
    def seconds(self) -> float:
        """Length of what was heard."""
        return self._heard / self.rate

    def update(self, arrived: float, *, final: bool = False) -> Update | None:
        """Gives the result so far, or `None` before the first frame.

        Args:
            arrived: When the last sample came, on `time.perf_counter`.
            final: Whether nothing more comes.
        """
        if self._stream.logits is None:
            return None
        # A stream of a checkpoint gives one row, an exported one gives the row itself.
        probabilities = softmax(np.ravel(self._stream.logits))
        scores = dict(zip(self._labels, probabilities.tolist(), strict=True))
        label = max(scores, key=scores.__getitem__)
        latency = 1000 * (time.perf_counter() - arrived)
        return Update(round(self.seconds, 6), label, scores[label], round(latency, 3), final, scores)

    def refuse_too_short(self) -> AudioError:
        """Says that there was not one frame."""
        least = 1000 * self._front_end.frame_length / self._front_end.sample_rate
        return AudioError(
            f"{_INPUT}: lasts {self.seconds * 1000:.0f} ms, too short for one frame; give at least {least:.0f} ms"
        )

    def _make_resampler(self) -> Any:
        try:
            import soxr
        except ImportError as error:
            raise ImportError('resampling needs soxr: pip install "satn-fast[train]"') from error
        warn(f"{_INPUT}: resampling from {self.rate} Hz to {self._front_end.sample_rate} Hz")
        return soxr.ResampleStream(self.rate, self._front_end.sample_rate, 1, dtype="float32", quality="HQ")


def _opened(model: Path) -> "tuple[Stream | ExportedStream | MicroModel, SATNConfig]":
    """The stream of a checkpoint folder or of an exported file, which needs no torch, and its configuration."""
    if model.is_dir() or model.suffix.lower() not in (".onnx", ".tflite"):
        import torch

        from satn_fast.models import SATN
        from satn_fast.streaming import Stream

        # Half a second is so little work that threads wait for each other: on two busy cores 25 ms, with one thread
        # 1 ms.
        torch.set_num_threads(1)
        checkpoint = SATN.from_pretrained(model)
        return Stream(checkpoint), checkpoint.config
    exported = load(model)
    if not isinstance(exported, ExportedStream | MicroModel):
        raise ValueError(
            f"{model}: hears whole utterances only; streaming needs a checkpoint folder, a model.stream.onnx or a "
            "model.mcu.tflite"
        )
    return exported, exported.config


def listen(
    model: Path, *, rate: int | None, sample_format: str, update_seconds: float, as_json: bool, file: BinaryIO
) -> None:
    """Prints a line per update, and a final one when the input ends or Ctrl-C is pressed.

    Args:
        model: Checkpoint folder of a model that can be streamed, an exported stream, or a `.mcu.tflite` file.
        rate: Rate of the input in Hz; `None` takes the model's own.
        sample_format: `"s16le"` or `"f32le"`.
        update_seconds: Seconds of audio from one update to the next.
        as_json: Print JSON lines.
        file: The input.

    Raises:
        ValueError: The model cannot be streamed, or the input cannot be used or is too short for one frame.
    """
    listener = Listener(model, rate)
    reader = PcmReader(file, sample_format)
    n_samples = max(1, round(update_seconds * listener.rate))
    try:
        while len(samples := reader.read(n_samples)) == n_samples:
            arrived = time.perf_counter()
            listener.hear(samples)
            _print(listener.update(arrived), as_json=as_json)
    except KeyboardInterrupt:
        samples = reader.rest()
    arrived = time.perf_counter()
    if reader.left_over:
        warn(f"{_INPUT}: ends within a sample; its last {reader.left_over} bytes are left out")
    listener.hear(samples, last=True)
    final = listener.update(arrived, final=True)
    if final is None:
        raise listener.refuse_too_short()
    _print(final, as_json=as_json)


def _print(update: Update | None, *, as_json: bool) -> None:
    if update is None:
        return
    if as_json:
        line = json.dumps(update._asdict())
    else:
        width = max(map(len, update.scores))
        line = f"{update.time:8.2f} s  {update.label:<{width}}  {update.probability:.2f}  {update.latency_ms:6.1f} ms"
        line += "  final" if update.final else ""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
