"""Runs exported files and checkpoints through one small interface.

An `.onnx` or `.tflite` file needs numpy and its runtime only, and is not predicted with torch in the process.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.stream_state import StateTensor, stream_state, update_frames

Array = NDArray[np.float32]
State = dict[str, NDArray[Any]]

# Attention of c frames at once builds c * (W-1+c) scores; longer chunks are cut, so that cost and memory stay linear.
LONGEST_STEP = 256


class Prediction(NamedTuple):
    """The decision for one utterance."""

    label: str
    scores: dict[str, float]
    """Probability of every label, in the order of the logits."""


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """(n_labels,) logits to probabilities."""
    scores = np.asarray(logits, dtype=np.float64)
    weights = np.exp(scores - scores.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


class ExportedModel(ABC):
    """A trained model, ready to predict one utterance at a time. An object is used by one thread at a time.

    Attributes:
        name: The file or folder it came from.
        kind: `"torch"`, `"onnx"` or `"tflite"`.
        config: Labels, front-end settings and hyper-parameters.
        quantization: `"float32"` or `"int8"`.
        takes_audio: Whether the front end is inside, and audio goes in where features go into other models.
        takes_batches: Whether it is an `ExportedBatch`.
    """

    kind: str

    def __init__(self, name: str, metadata: Metadata) -> None:
        self.name = name
        self.config: SATNConfig = metadata.config
        self.quantization = metadata.quantization
        self.takes_audio = metadata.least_samples is not None
        self.takes_batches = metadata.batched
        self._least_samples = metadata.least_samples or 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.config.labels

    @property
    def front_end(self) -> dict[str, Any]:
        """Keyword arguments of `satn_fast.LogMel` that give the features this model expects."""
        return dict(self.config.front_end)

    def __call__(self, heard: ArrayLike) -> Array:
        """Scores every label.

        Args:
            heard: (T, F) features from the front end of `front_end`, T >= 1, finite; for a model that takes audio,
                (n_samples,) floating-point samples in [-1, 1] at that front end's rate.

        Returns:
            (n_labels,) float32 logits.

        Raises:
            ExportError: Wrong shape, no frame, audio too short for one, NaN or infinity, or a damaged file.
        """
        if self.takes_audio:
            return self._finite(self._logits(self._checked_audio(heard)))
        checked = self.checked(heard)
        if not len(checked):
            raise ExportError(f"{self.name}: features holds no frame; give audio longer than one analysis window")
        return self._finite(self._logits(checked))

    def probabilities(self, heard: ArrayLike) -> Array:
        """Gives the softmax of the logits, (n_labels,) float32; arguments and errors are those of a call."""
        probabilities: Array = softmax(self(heard)).astype(np.float32)
        return probabilities

    def predict(self, heard: ArrayLike) -> Prediction:
        """Decides for the most probable label; arguments and errors are those of a call."""
        probabilities = self.probabilities(heard)
        return Prediction(
            label=self.labels[int(probabilities.argmax())],
            scores={label: float(p) for label, p in zip(self.labels, probabilities, strict=True)},
        )

    @abstractmethod
    def _logits(self, heard: Array) -> Array:
        """Runs checked (T, F) features, or (n_samples,) audio; the result has `n_labels` elements."""

    def checked(self, features: ArrayLike) -> Array:
        """Features as (T, F) float32, T >= 0.

        Raises:
            ExportError: Wrong shape, NaN or infinity.
        """
        array = np.ascontiguousarray(features, dtype=np.float32)
        n_features = self.config.n_features
        if array.ndim != 2 or array.shape[1] != n_features:
            raise ExportError(
                f"{self.name}: features has shape {array.shape}, (frames, {n_features}) is expected; "
                f"compute them with satn_fast.LogMel(**model.front_end)"
            )
        if not np.isfinite(array).all():
            raise ExportError(f"{self.name}: features holds NaN or infinity; check the audio")
        return array

    def _checked_audio(self, audio: ArrayLike) -> Array:
        """Audio as (n_samples,) float32, long enough for a frame."""
        array, rate = np.asarray(audio), self.front_end.get("sample_rate", 16000)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
            raise ExportError(
                f"{self.name}: takes audio, (samples,) floating-point numbers in [-1, 1] at {rate} Hz; it was given "
                f"{array.dtype} of shape {array.shape}"
            )
        if len(array) < self._least_samples:
            raise ExportError(
                f"{self.name}: audio has {len(array)} samples, too short for one frame; give at least "
                f"{self._least_samples} samples at {rate} Hz"
            )
        if not np.isfinite(array).all():
            raise ExportError(f"{self.name}: audio holds NaN or infinity; repair or drop the damaged part")
        return np.ascontiguousarray(array, dtype=np.float32)

    @property
    def input_name(self) -> str:
        """Name of the graph's first input."""
        return "audio" if self.takes_audio else "features"

    def _finite(self, logits: Array) -> Array:
        """The runtime's logits as (n_labels,), refused where one is not finite."""
        row: Array = np.asarray(logits, dtype=np.float32).reshape(-1)
        if not np.isfinite(row).all():
            raise ExportError(f"{self.name}: gives logits that are not finite; export the model again")
        return row


class ExportedStream(ExportedModel):
    """A trained model that listens: the interface of `satn_fast.Stream` for an exported file, one utterance at a time.

    After every push there are the logits of all that was heard; they equal those of the whole utterance, however it was
    cut, and memory stays the same however long it is. A call that raises leaves the stream as it was.

    Calling the object, `probabilities` and `predict` score one whole utterance, chunk by chunk, and leave what is being
    listened to alone.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export import to_onnx
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> stream = load(to_onnx(model, Path(tempfile.mkdtemp()) / "model.stream.onnx", streaming=True))
        >>> features = np.random.default_rng(0).normal(size=(50, 120))
        >>> for start in range(0, 50, 10):
        ...     logits = stream.push(features[start : start + 10])
        >>> logits.shape, stream.frames, bool(np.allclose(logits, stream(features), atol=1e-5))
        ((2,), 50, True)
    """

    def __init__(self, name: str, metadata: Metadata) -> None:
        super().__init__(name, metadata)
        # How a whole utterance is cut.
        self.chunk_frames = update_frames(self.config)
        self._tensors = stream_state(self.config)
        self.reset()

    def push(self, heard: ArrayLike) -> Array | None:
        """Hears what comes next, and scores every label on all of it so far.

        Args:
            heard: (c, F) features, or (n,) audio samples in [-1, 1] at the front end's rate; c or n of any size, none
                included. Features of audio come four frames late, since deltas look ahead; `finish` brings the rest.

        Returns:
            (n_labels,) float32 logits, or `None` before the first frame.

        Raises:
            ExportError: Wrong shape, NaN or infinity, features after audio or audio after features, or a damaged file.
        """
        array = np.asarray(heard)
        if array.ndim == 1:
            return self._push_features(self._features_of(array))
        if self._audio is not None:
            raise ExportError(f"{self.name}: features come after audio; call reset() before the next utterance")
        return self._push_features(array)

    def finish(self) -> Array | None:
        """Ends the utterance: hears the frames of audio that waited for their deltas. Gives the final logits.

        Raises:
            ExportError: Audio was finished before.
        """
        if self._audio is not None:
            try:
                rest = self._audio.finish()
            except RuntimeError as error:
                raise ExportError(f"{self.name}: {error}") from error
            self._push_features(rest)
        return self._last

    @property
    def logits(self) -> Array | None:
        """(n_labels,) logits of all frames so far, or `None` before the first frame."""
        return self._last

    @property
    def frames(self) -> int:
        """Frames heard."""
        return self._frames

    def reset(self) -> None:
        """Begins a new utterance."""
        self._state: State = self._silence()
        self._last: Array | None = None
        self._frames = 0
        self._audio: Any = None

    def _silence(self) -> State:
        return {tensor.name: tensor.zeros() for tensor in self._tensors}

    def _features_of(self, samples: NDArray[Any]) -> Array:
        if self._audio is None:
            if self._frames:
                raise ExportError(f"{self.name}: audio comes after features; call reset() before the next utterance")
            from satn_fast.frontend import LogMel

            self._audio = LogMel(**self.front_end).stream()
        try:
            features: Array = self._audio.push(samples)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ExportError(f"{self.name}: {error}") from error
        return features

    def _push_features(self, features: ArrayLike) -> Array | None:
        checked = self.checked(features)
        logits, state = self._run(checked, self._state, LONGEST_STEP)
        if logits is not None:
            self._last = self._finite(logits)
        self._state, self._frames = state, self._frames + len(checked)
        return self._last

    def _logits(self, heard: Array) -> Array:
        logits, _ = self._run(heard, self._silence(), self.chunk_frames)
        assert logits is not None
        return logits

    def _run(self, features: Array, state: State, chunk_frames: int) -> tuple[Array | None, State]:
        logits = None
        for start in range(0, len(features), chunk_frames):
            logits, state = self._step(features[start : start + chunk_frames], state)
        return logits, state

    @abstractmethod
    def _step(self, features: Array, state: State) -> tuple[Array, State]:
        """Hears (c, F) checked features; gives `n_labels` logits and the next state."""


def load(path: str | os.PathLike[str], *, n_threads: int = 1) -> ExportedModel:
    """Loads a checkpoint folder (torch), an `.onnx` file (ONNX Runtime) or a `.tflite` file (LiteRT).

    Args:
        path: What `save_pretrained`, `to_onnx`, `to_tflite` or `export` wrote.
        n_threads: Threads that one prediction may use; a checkpoint uses as many as torch is set to.

    Returns:
        The model; an `ExportedStream` where the file computes a step of a stream.

    Raises:
        ExportError: Missing, damaged, or not exported by satn_fast; the message names the file and the remedy.
        ImportError: The runtime is not installed; the message says how to.

    Example:
        >>> import tempfile, torch, satn_fast
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> folder = tempfile.mkdtemp()
        >>> _ = model.save_pretrained(folder)
        >>> exported = load(folder)
        >>> exported.labels, exported(np.zeros((30, 120))).shape
        (('calm', 'angry'), (2,))
    """
    path = Path(path)
    if n_threads < 1:
        raise ExportError(f"n_threads is {n_threads}; choose a whole number from 1")
    if path.is_dir():
        return _TorchModel(path)
    if not path.is_file():
        raise ExportError(f"{path}: no such file; give a checkpoint folder, an .onnx or a .tflite file")
    if path.name.lower().endswith(".mcu.tflite"):
        from satn_fast.export.micro.runtime import MicroModel

        return MicroModel(path)
    if path.suffix.lower() == ".onnx":
        from satn_fast.export.onnx.runtime import open_onnx

        return open_onnx(path, n_threads)
    if path.suffix.lower() == ".tflite":
        from satn_fast.export.tflite.runtime import LiteRTModel

        return LiteRTModel(path, n_threads)
    raise ExportError(f"{path}: unknown kind of model; give a checkpoint folder, an .onnx or a .tflite file")


class _TorchModel(ExportedModel):
    """A checkpoint, run by PyTorch on the CPU."""

    kind = "torch"

    def __init__(self, path: Path) -> None:
        try:
            from satn_fast.hub import CheckpointError
            from satn_fast.models import SATN
        except ImportError as error:
            raise ImportError(f'{path}: a checkpoint needs PyTorch: pip install "satn-fast[train]"') from error
        try:
            self._model = SATN.from_pretrained(path).eval()
        except CheckpointError as error:
            raise ExportError(str(error)) from error
        if self._model.config.normalization == "speaker":
            raise ExportError(
                f"{path}: expects features that are normalised per speaker, which takes more than one recording; "
                "`satn-fast evaluate` does that for a whole manifest"
            )
        super().__init__(str(path), Metadata(self._model.config, "float32"))

    def _logits(self, heard: Array) -> Array:
        import torch

        with torch.inference_mode():
            logits: Array = self._model(torch.from_numpy(heard)[None]).logits.numpy()
        return logits


def own_metadata(path: Path, text: str | bytes | None) -> Metadata:
    """What a file says of itself; refuses one that says nothing."""
    if text is None:
        raise ExportError(f"{path}: holds no {ENTRY} metadata; give a file that satn-fast export wrote")
    return Metadata.from_json(text, str(path))


def check_interface(
    model: ExportedModel,
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    states: tuple[StateTensor, ...] = (),
) -> None:
    """Refuses a file whose graph does not fit its metadata."""
    heard, n_labels = inputs.get(model.input_name, []), outputs.get("logits", [None])[-1]
    takes_it = len(heard) == 2 if model.takes_audio else heard[-1:] == [model.config.n_features]
    before = {state.name: list(state.shape) for state in states}
    if model.takes_batches and len(inputs.get("lengths", [])) == 1:
        before = {"lengths": inputs["lengths"]}
    after = {state.next_name: list(state.shape) for state in states}
    fits = (
        takes_it
        and n_labels == len(model.labels)
        and {name: shape for name, shape in inputs.items() if name != model.input_name} == before
        and {name: shape for name, shape in outputs.items() if name != "logits"} == after
    )
    if not fits:
        raise ExportError(
            f"{model.name}: its graph ({inputs} to {outputs}) does not fit its metadata; export the model again"
        )


def damaged(path: Path, error: Exception) -> ExportError:
    """What to raise where a runtime's own error says that a file cannot be used."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return ExportError(f"{path}: is damaged or no model ({reason}); export the model again")
