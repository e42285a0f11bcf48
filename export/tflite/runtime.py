"""Runs `.tflite` files with LiteRT; reached through `satn_fast.export.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from satn_fast.export.flatbuffer import FlatbufferError, metadata_entry
from satn_fast.export.metadata import ENTRY
from satn_fast.export.quiet import quiet
from satn_fast.export.runtime import Array, ExportedModel, check_interface, damaged, own_metadata


class LiteRTModel(ExportedModel):
    """A `.tflite` file, run by LiteRT or by the older tflite-runtime on the CPU."""

    kind = "tflite"

    def __init__(self, path: Path, n_threads: int) -> None:
        interpreter_class, content = _interpreter_class(path), path.read_bytes()
        try:
            entry = metadata_entry(content, ENTRY)
        except FlatbufferError as error:
            raise damaged(path, error) from error
        super().__init__(str(path), own_metadata(path, entry))
        try:
            with quiet():
                self._interpreter = interpreter_class(model_content=content, num_threads=n_threads)
                inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
                self._run = self._interpreter.get_signature_runner()
                runs = {name: list(detail["shape_signature"]) for name, detail in self._run.get_input_details().items()}
                gives = {name: list(detail["shape"]) for name, detail in self._run.get_output_details().items()}
                assert len(inputs) == len(outputs) == 1
                shortest = (1, self._least_samples) if self.takes_audio else (1, 1, self.config.n_features)
                self._run(**{self.input_name: np.zeros(shortest, np.float32)})
        except Exception as error:  # ValueError and RuntimeError, KeyError from a foreign signature
            raise damaged(path, error) from error
        check_interface(self, runs, gives)

    def _logits(self, heard: Array) -> Array:
        try:
            logits: Array = self._run(**{self.input_name: heard[None]})["logits"]
        except (RuntimeError, ValueError) as error:
            raise damaged(Path(self.name), error) from error
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
