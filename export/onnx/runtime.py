"""Runs `.onnx` files with ONNX Runtime; reached through `satn_fast.export.load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satn_fast.export.errors import ExportError
from satn_fast.export.metadata import ENTRY, Metadata
from satn_fast.export.runtime import (
    Array,
    ExportedModel,
    ExportedStream,
    State,
    check_interface,
    damaged,
    own_metadata,
)
from satn_fast.export.stream_state import is_streamable


def open_onnx(path: Path, n_threads: int) -> ExportedModel:
    """Opens an `.onnx` file with ONNX Runtime on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f'{path}: needs ONNX Runtime: pip install "satn-fast[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.log_severity_level = 4
    try:
        # From bytes: a file cannot make the runtime read others beside it.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        properties = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the runtime's errors share no base class
        raise damaged(path, error) from error
    metadata = own_metadata(path, properties.get(ENTRY))
    kind = _OnnxStream if metadata.streaming else ExportedBatch if metadata.batched else _OnnxModel
    return kind(path, session, metadata)


class _OnnxModel(ExportedModel):
    """An `.onnx` file that computes whole utterances."""

    kind = "onnx"

    def __init__(self, path: Path, session: Any, metadata: Metadata) -> None:
        super().__init__(str(path), metadata)
        self._session = session
        check_interface(self, *_onnx_interface(session))

    def _logits(self, heard: Array) -> Array:
        logits: Array = _run_onnx(self._session, ["logits"], {self.input_name: heard[None]}, self.name)[0]
        return logits


class ExportedBatch(ExportedModel):
    """A trained model that takes several utterances at once: an `.onnx` file with `features` and `lengths`.

    Calling the object, `probabilities` and `predict` score one utterance.

    Example:
        >>> import tempfile, satn_fast
        >>> from satn_fast.export import load, to_onnx
        >>> model = satn_fast.SATN(satn_fast.SATNConfig.preset("micro", labels=("calm", "angry"))).eval()
        >>> exported = load(to_onnx(model, Path(tempfile.mkdtemp()) / "model.batch.onnx", batched=True))
        >>> short, long = np.ones((30, 192)), np.ones((50, 192))
        >>> logits = exported.batch([short, long])
        >>> logits.shape, bool(np.allclose(logits[0], exported(short), atol=1e-5))
        ((2, 2), True)
    """

    kind = "onnx"

    def __init__(self, path: Path, session: Any, metadata: Metadata) -> None:
        super().__init__(str(path), metadata)
        self._session = session
        check_interface(self, *_onnx_interface(session))

    def batch(self, features: Sequence[ArrayLike]) -> Array:
        """Scores every label for every utterance; each as if it were alone.

        Args:
            features: (T, F) of each utterance, from the front end of `front_end`, T >= 1, finite.

        Returns:
            (B, n_labels) float32 logits.

        Raises:
            ExportError: There are no utterances, or one cannot be used; the message counts from 0.
        """
        if not len(features):
            raise ExportError(f"{self.name}: there are no utterances; give at least one")
        rows = []
        for index, utterance in enumerate(features):
            rows.append(self.checked(utterance))
            if not len(rows[-1]):
                raise ExportError(f"{self.name}: utterance {index} holds no frame; leave it out")
        lengths = np.array([len(row) for row in rows], np.int64)
        padded = np.zeros((len(rows), lengths.max(), self.config.n_features), np.float32)
        for target, row in zip(padded, rows, strict=True):
            target[: len(row)] = row
        logits = _run_onnx(self._session, ["logits"], {"features": padded, "lengths": lengths}, self.name)[0]
        if not np.isfinite(logits).all():
            raise ExportError(f"{self.name}: gives logits that are not finite; export the model again")
        return np.asarray(logits, dtype=np.float32)

    def _logits(self, heard: Array) -> Array:
        return self.batch([heard])


class _OnnxStream(ExportedStream):
    """An `.onnx` file that computes a step of a stream."""

    kind = "onnx"

    def __init__(self, path: Path, session: Any, metadata: Metadata) -> None:
        if not is_streamable(metadata.config):
            raise ExportError(f"{path}: streams a model that cannot be streamed; export the model again")
        super().__init__(str(path), metadata)
        self._session = session
        self._outputs = ["logits", *(tensor.next_name for tensor in self._tensors)]
        check_interface(self, *_onnx_interface(session), self._tensors)

    def _step(self, features: Array, state: State) -> tuple[Array, State]:
        logits, *rest = _run_onnx(self._session, self._outputs, {"features": features[None], **state}, self.name)
        return logits, dict(zip(state, rest, strict=True))


def _onnx_interface(session: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Shapes of inputs and of outputs by their names."""
    return {i.name: i.shape for i in session.get_inputs()}, {o.name: o.shape for o in session.get_outputs()}


def _run_onnx(session: Any, outputs: list[str], feeds: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    try:
        results: list[NDArray[Any]] = session.run(outputs, feeds)
    except Exception as error:
        raise damaged(Path(name), error) from error
    return results
