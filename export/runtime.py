"""Runs exported files and checkpoints through one small interface.

An `.onnx` or `.tflite` file needs numpy and its runtime only, and is not predicted with torch in the process.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError
from satn_fast.export.flatbuffer import FlatbufferError, metadata_entry
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.quiet import quiet

Array = NDArray[np.float32]


class Prediction(NamedTuple):
    """The decision for one utterance."""

    label: str
    scores: dict[str, float]
    """Probability of every label, in the order of the logits."""


class ExportedModel(ABC):
    """A trained model, ready to predict one utterance at a time. An object is used by one thread at a time.

    Attributes:
        name: The file or folder it came from.
        kind: `"torch"`, `"onnx"` or `"tflite"`.
        config: Labels, front-end settings and hyper-parameters.
        quantization: `"float32"` or `"int8"`.
    """

    kind: str

    def __init__(self, name: str, metadata: Metadata) -> None:
        self.name = name
        self.config: SATNConfig = metadata.config
        self.quantization = metadata.quantization

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.config.labels

    @property
    def front_end(self) -> dict[str, Any]:
        """Keyword arguments of `satn_fast.LogMel` that give the features this model expects."""
        return dict(self.config.front_end)

    def __call__(self, features: ArrayLike) -> Array:
        """Scores every label.

        Args:
            features: (T, F) from the front end of `front_end`, T >= 1, finite.

        Returns:
            (n_labels,) float32 logits.

        Raises:
            ExportError: Wrong shape, no frame, NaN or infinity among the features, or a damaged file.
        """
        logits: Array = np.asarray(self._logits(self._checked(features)), dtype=np.float32).reshape(-1)
        if not np.isfinite(logits).all():
            raise ExportError(f"{self.name}: gives logits that are not finite; export the model again")
        return logits

    def probabilities(self, features: ArrayLike) -> Array:
        """Gives the softmax of the logits, (n_labels,) float32; arguments and errors are those of a call."""
        logits = self(features).astype(np.float64)
        weights = np.exp(logits - logits.max())
        probabilities: Array = (weights / weights.sum()).astype(np.float32)
        return probabilities

    def predict(self, features: ArrayLike) -> Prediction:
        """Decides for the most probable label; arguments and errors are those of a call."""
        probabilities = self.probabilities(features)
        return Prediction(
            label=self.labels[int(probabilities.argmax())],
            scores={label: float(p) for label, p in zip(self.labels, probabilities, strict=True)},
        )

    @abstractmethod
    def _logits(self, features: Array) -> Array:
        """Runs checked (T, F) features; the result has `n_labels` elements."""

    def _checked(self, features: ArrayLike) -> Array:
        array = np.ascontiguousarray(features, dtype=np.float32)
        n_features = self.config.n_features
        if array.ndim != 2 or array.shape[1] != n_features:
            raise ExportError(
                f"{self.name}: features has shape {array.shape}, (frames, {n_features}) is expected; "
                f"compute them with satn_fast.LogMel(**model.front_end)"
            )
        if not len(array):
            raise ExportError(f"{self.name}: features holds no frame; give audio longer than one analysis window")
        if not np.isfinite(array).all():
            raise ExportError(f"{self.name}: features holds NaN or infinity; check the audio")
        return array


def load(path: str | os.PathLike[str], *, n_threads: int = 1) -> ExportedModel:
    """Loads a checkpoint folder (torch), an `.onnx` file (ONNX Runtime) or a `.tflite` file (LiteRT).

    Args:
        path: What `save_pretrained`, `to_onnx`, `to_tflite` or `export` wrote.
        n_threads: Threads that one prediction may use; a checkpoint uses as many as torch is set to.

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
        from satn_fast.export.micro_runtime import MicroModel

        return MicroModel(path)
    kinds: dict[str, Callable[[Path, int], ExportedModel]] = {".onnx": _OnnxModel, ".tflite": _LiteRTModel}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ExportError(f"{path}: unknown kind of model; give a checkpoint folder, an .onnx or a .tflite file")
    return kind(path, n_threads)


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
        super().__init__(str(path), Metadata(self._model.config, "float32"))

    def _logits(self, features: Array) -> Array:
        import torch

        with torch.inference_mode():
            logits: Array = self._model(torch.from_numpy(features)[None]).logits.numpy()
        return logits


class _OnnxModel(ExportedModel):
    """An `.onnx` file, run by ONNX Runtime on the CPU."""

    kind = "onnx"

    def __init__(self, path: Path, n_threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f'{path}: needs ONNX Runtime: pip install "satn-fast[onnx]"') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.log_severity_level = 4
        try:
            # From bytes: a file cannot make the runtime read others beside it.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
            properties = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # the runtime's errors share no base class
            raise _damaged(path, error) from error
        super().__init__(str(path), _own_metadata(path, properties.get(ENTRY)))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _check_interface(self, {i.name: i.shape for i in inputs}, {o.name: o.shape for o in outputs})

    def _logits(self, features: Array) -> Array:
        try:
            logits: Array = self._session.run(["logits"], {"features": features[None]})[0]
        except Exception as error:
            raise _damaged(Path(self.name), error) from error
        return logits


class _LiteRTModel(ExportedModel):
    """A `.tflite` file, run by LiteRT or by the older tflite-runtime on the CPU."""

    kind = "tflite"

    def __init__(self, path: Path, n_threads: int) -> None:
        interpreter_class, content = _interpreter_class(path), path.read_bytes()
        try:
            entry = metadata_entry(content, ENTRY)
        except FlatbufferError as error:
            raise _damaged(path, error) from error
        super().__init__(str(path), _own_metadata(path, entry))
        try:
            with quiet():
                self._interpreter = interpreter_class(model_content=content, num_threads=n_threads)
                inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
                self._run = self._interpreter.get_signature_runner()
                runs = {name: list(detail["shape_signature"]) for name, detail in self._run.get_input_details().items()}
                gives = {name: list(detail["shape"]) for name, detail in self._run.get_output_details().items()}
                assert len(inputs) == len(outputs) == 1
                self._run(features=np.zeros((1, 1, self.config.n_features), np.float32))
        except Exception as error:  # ValueError and RuntimeError, KeyError from a foreign signature
            raise _damaged(path, error) from error
        _check_interface(self, runs, gives)

    def _logits(self, features: Array) -> Array:
        try:
            logits: Array = self._run(features=features[None])["logits"]
        except (RuntimeError, ValueError) as error:
            raise _damaged(Path(self.name), error) from error
        return logits


def _interpreter_class(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as error:
            raise ImportError(f'{path}: needs LiteRT: pip install "satn-fast[tflite]"') from error
    return Interpreter


def _own_metadata(path: Path, text: str | bytes | None) -> Metadata:
    if text is None:
        raise ExportError(f"{path}: holds no {ENTRY} metadata; give a file that satn-fast export wrote")
    return Metadata.from_json(text, str(path))


def _check_interface(model: ExportedModel, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> None:
    """Refuses a file whose graph does not fit its metadata."""
    width, n_labels = inputs.get("features", [None])[-1], outputs.get("logits", [None])[-1]
    if len(inputs) != 1 or len(outputs) != 1 or width != model.config.n_features or n_labels != len(model.labels):
        raise ExportError(
            f"{model.name}: its graph ({inputs} to {outputs}) does not fit its metadata; export the model again"
        )


def _damaged(path: Path, error: Exception) -> ExportError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return ExportError(f"{path}: is damaged or no model ({reason}); export the model again")
