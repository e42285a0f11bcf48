"""Runs a `.mcu.tflite` file with TFLite Micro's own interpreter, as a microcontroller would."""

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast.export.errors import ExportError
from satn_fast.export.flatbuffer import FlatbufferError, metadata_entry
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.micro.host import ENTRY as TABLES_ENTRY
from satn_fast.export.micro.host import Host, HostTables
from satn_fast.export.quiet import quiet
from satn_fast.export.runtime import ExportedModel

Array = NDArray[np.float32]
Int8 = NDArray[np.int8]

# Far more than a step takes, and little for a computer.
_LARGEST_ARENA = 1 << 24

# TFLite Micro hands out its arena in pieces of that many bytes.
_ARENA_STEP = 16

_ABSENT = -128
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class MicroModel(ExportedModel):
    """A `.mcu.tflite` file. Predicts whole utterances, or listens to a stream.

    Attributes:
        chunk_frames: Frames in a step.
        pooling_frames: Frames that the logits are of.
        tables: What the host normalises with.
        feature_zero_point: Zero point of the input.

    Args:
        path: What `to_micro` wrote.
        arena_bytes: Size of the arena; `None` takes more than enough.
        keep_tensors: Let `tensor` look at everything that a step computes, in a larger arena.

    Raises:
        ExportError: Missing, damaged, not written by `to_micro`, or the arena is too small.
        ImportError: tflite-micro is not installed; the message says how to.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export.micro.exporter import to_micro
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> features = np.random.default_rng(0).normal(size=(55, model.config.n_features))
        >>> micro = MicroModel(to_micro(model, Path(tempfile.mkdtemp()) / "model.mcu.tflite", [features]))
        >>> for chunk in np.array_split(features, 4):
        ...     logits = micro.push(chunk)
        >>> bool((micro.finish() == micro(features)).all())
        True
    """

    kind = "tflite-micro"

    def __init__(
        self, path: str | os.PathLike[str], *, arena_bytes: int | None = None, keep_tensors: bool = False
    ) -> None:
        path = Path(path)
        content, metadata, self.tables = content_of(path)
        super().__init__(str(path), metadata)
        self._interpreter = _interpreter(path, content, arena_bytes or _LARGEST_ARENA, keep_tensors=keep_tensors)
        self._check_interface()
        details = [self._interpreter.get_input_details(index) for index in range(2 + self._n_states)]
        self.chunk_frames = int(details[0]["shape"][1])
        self.pooling_frames = int(details[-1]["shape"][-1])
        zero_points = [int(detail["quantization_parameters"]["zero_points"][0]) for detail in details]
        self._initial = [np.full(d["shape"], zero, np.int8) for d, zero in zip(details, zero_points, strict=True)][2:]
        self.feature_zero_point = zero_points[0]
        logits = self._interpreter.get_output_details(0)["quantization_parameters"]
        self._logit_quantization = np.float32(logits["scales"][0]), np.float32(logits["zero_points"][0])
        self._host = Host(self.config, self.tables, self.feature_zero_point)
        self.reset()

    def reset(self) -> None:
        """Begins a new utterance."""
        self._host.reset()
        self._state = self._initial
        self._rows = np.empty((0, self.config.n_features), np.int8)
        self._latest: Array | None = None
        self._finished = False

    def push(self, features: ArrayLike) -> Array | None:
        """Hears the next frames.

        Args:
            features: (T, F) from the front end, any number of frames.

        Returns:
            (n_labels,) float32 logits after the last whole chunk, or `None` before the first.

        Raises:
            ExportError: Wrong shape, NaN or infinity among the features, or the stream was finished.
        """
        if self._finished:
            raise ExportError(f"{self.name}: the utterance was finished; call reset() before the next one")
        self._rows = np.concatenate([self._rows, self._host.quantized(self.checked(features))])
        while len(self._rows) >= self.chunk_frames:
            self._step(self._rows[: self.chunk_frames], self.chunk_frames)
            self._rows = self._rows[self.chunk_frames :]
        return self._latest

    def finish(self) -> Array | None:
        """Ends the utterance: logits of all its frames, those of an unfilled chunk included; `None` if it has none."""
        if len(self._rows):
            missing = np.zeros((self.chunk_frames - len(self._rows), self.config.n_features), np.int8)
            self._step(np.concatenate([self._rows, missing]), len(self._rows))
            self._rows = self._rows[:0]
        self._finished = True
        return self._latest

    @property
    def logits(self) -> Array | None:
        """(n_labels,) float32 logits after the last step, or `None` before the first."""
        return self._latest

    def tensor(self, index: int) -> NDArray[Any]:
        """A tensor of the last step, by its number in the file; of a model that was opened with `keep_tensors`."""
        integers: NDArray[Any] = self._interpreter.GetTensor(index, 0)["tensor_data"]
        return integers

    def _logits(self, features: Array) -> Array:
        self.reset()
        self.push(features)
        logits = self.finish()
        assert logits is not None  # a call has at least one frame
        return logits

    def _step(self, rows: Int8, n_real: int) -> None:
        padding = np.where(np.arange(self.chunk_frames) < n_real, 0, _ABSENT).astype(np.int8)
        for index, value in enumerate([rows[None], padding[None], *self._state]):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        self._state = [self._interpreter.get_output(1 + index) for index in range(self._n_states)]
        scale, zero_point = self._logit_quantization
        self._latest = (self._interpreter.get_output(0)[0].astype(np.float32) - zero_point) * scale

    def _check_interface(self) -> None:
        """Refuses a file whose graph does not fit its metadata, or whose states cannot be copied as they are."""
        config = self.config
        # The history of every convolution but one of a single tap, keys, which of them there are and values; scores of
        # frames, and their logits or means and deviations of chunks.
        n_histories = 2 * config.n_blocks * (config.kernel_size > 1) + (config.spectral_channels > 0)
        self._n_states = n_histories + 4 + (2 if config.pooling == "statistics" else 1)
        try:
            inputs = [self._interpreter.get_input_details(index) for index in range(2 + self._n_states)]
            outputs = [self._interpreter.get_output_details(index) for index in range(1 + self._n_states)]
        except IndexError as error:
            raise _foreign(Path(self.name), "its graph has other states than its metadata") from error
        fits = inputs[0]["shape"][-1] == config.n_features and outputs[0]["shape"][-1] == len(config.labels)
        if not fits or not all(map(_same, inputs[2:], outputs[1:])):
            raise _foreign(Path(self.name), "its graph does not fit its metadata")


def arena_bytes(path: str | os.PathLike[str]) -> int:
    """The smallest arena that TFLite Micro runs a file in, on this machine.

    Found by trying. Where pointers have 32 bits and kernels come from another library (CMSIS-NN) it differs: TFLite
    Micro's own structures take less, scratch buffers of the kernels may take more.

    Args:
        path: What `to_micro` wrote.

    Raises:
        ExportError: It does not run in any arena.
        ImportError: tflite-micro is not installed; the message says how to.
    """
    path = Path(path)
    content, _, _ = content_of(path)
    _interpreter(path, content, _LARGEST_ARENA)
    too_small, enough = 0, _LARGEST_ARENA // _ARENA_STEP
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        try:
            _interpreter(path, content, middle * _ARENA_STEP)
            enough = middle
        except ExportError:
            too_small = middle
    return enough * _ARENA_STEP


def content_of(path: Path) -> tuple[bytes, Metadata, HostTables]:
    """Reads a file that `to_micro` wrote, and what stands in it beside the model.

    TFLite Micro itself checks nothing, and would crash on a damaged file.

    Raises:
        ExportError: Missing, damaged, or not written by `to_micro`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); give a file that to_micro wrote") from error
    flatbuffer, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(flatbuffer).digest() != checksum:
        raise _foreign(path, "its checksum is wrong")
    try:
        entry, tables = (metadata_entry(flatbuffer, name) for name in (ENTRY, TABLES_ENTRY))
    except FlatbufferError as error:
        raise _foreign(path, str(error)) from error
    if entry is None or tables is None:
        raise _foreign(path, f"it holds no {ENTRY} metadata")
    metadata = Metadata.from_json(entry, str(path))
    return content, metadata, HostTables.from_bytes(tables, metadata.config.n_features, str(path))


def _interpreter(path: Path, content: bytes, size: int, *, keep_tensors: bool = False) -> Any:
    try:
        runtime = importlib.import_module("tflite_micro").runtime
    except ImportError as error:
        raise ImportError(f'{path}: needs tflite-micro ({error}): pip install "satn-fast[micro]"') from error
    kinds = runtime.InterpreterConfig
    kind = kinds.kPreserveAllTensors if keep_tensors else kinds.kAllocationRecording
    try:
        with quiet():
            return runtime.Interpreter.from_bytes(content, arena_size=size, intrepreter_config=kind)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"{path}: does not run in an arena of {size} bytes ({error}); give it more") from error


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two tensors have one shape, type and quantization."""
    scales = (detail["quantization_parameters"] for detail in (one, other))
    first, second = ((*s["scales"], *s["zero_points"]) for s in scales)
    return first == second and one["dtype"] == other["dtype"] == np.int8 and (one["shape"] == other["shape"]).all()


def _foreign(path: Path, reason: str) -> ExportError:
    return ExportError(f"{path}: is damaged or no file of to_micro ({reason}); export the model again")
