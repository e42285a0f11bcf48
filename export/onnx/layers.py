"""What every layer of an `.onnx` file computes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError
from satn_fast.export.runtime import ExportedModel, ExportedStream
from satn_fast.export.stream_state import stream_state

Array = NDArray[np.float32]

_QUANTIZED = "_DequantizeLinear_Output"


class OnnxLayers:
    """The layers of a file that takes features. A step of a stream hears an utterance as one chunk.

    Attributes:
        tensors: The file's tensor of each layer: what int8 made of it, where it is in int8.

    Args:
        path: The file.
        exported: The same, loaded.
        config: Of the checkpoint.

    Raises:
        ExportError: The file lacks a layer.
    """

    def __init__(self, path: Path, exported: ExportedModel, config: SATNConfig) -> None:
        model = onnx.load_model_from_string(path.read_bytes())
        computed = {name for node in model.graph.node for name in node.output}
        given = {output.name for output in model.graph.output}
        names = {
            layer: f"{name}{_QUANTIZED}" if f"{name}{_QUANTIZED}" in computed else name
            for layer, name in _names(config).items()
        }
        missing = sorted(set(names.values()) - computed)
        if missing:
            raise ExportError(f"{path}: has no {', '.join(missing)}; give the file of this checkpoint, or export again")
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values() if name not in given)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self._names, self._state = names, _zero_state(exported)
        self.tensors = {layer: name.removesuffix(_QUANTIZED) for layer, name in names.items()}

    def __call__(self, features: Array) -> dict[str, Array]:
        """(T, F) features to (T, C) of each layer, (1, C) where there is no time."""
        results = self._session.run([*self._names.values()], {"features": features[None], **self._state})
        # The TCN's are (1, C, T).
        found = (result[0].T if result.ndim == 3 else result for result in results)
        return dict(zip(self._names, found, strict=True))


def _names(config: SATNConfig) -> dict[str, str]:
    """Modules of the checkpoint and the graph's names of what they give."""
    names = {"encoder.normalization": "normalised_by_feature"}
    if config.spectral_channels:
        names["encoder.spectral"] = "patterns"
    for i in range(config.n_blocks):
        names[f"encoder.tcn.blocks.{i}.conv1"] = f"block{i}_relu1"
        names[f"encoder.tcn.blocks.{i}"] = f"block{i}_output"
    attention = "encoder.attention"
    names |= {f"{attention}.attend": "attended", f"{attention}.output": "attention_output", attention: "hidden"}
    return names | {"pooling": "pooled", "classifier": "logits"}


def _zero_state(exported: ExportedModel) -> dict[str, NDArray[Any]]:
    if not isinstance(exported, ExportedStream):
        return {}
    return {tensor.name: tensor.zeros() for tensor in stream_state(exported.config)}
