"""What every layer of a `.mcu.tflite` file computes."""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from satn_fast import reference
from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError
from satn_fast.export.micro.runtime import MicroModel
from satn_fast.export.weights import folded

Array = NDArray[np.float32]


class MicroLayers:
    """The layers of a streaming step in int8, over the steps of an utterance.

    There is no `pooling`: a step pools the logits of frames, or means and deviations in scales of its own. And logits
    are of the last `pooling_frames` frames only.

    Attributes:
        tensors: The file's tensor of each layer.

    Args:
        path: The file.
        model: The checkpoint; the file has scale and offset of its LayerNorm in the layers behind it.

    Raises:
        ExportError: The file lacks a layer, or has another width.
    """

    def __init__(self, path: Path, model: reference.SATN) -> None:
        self._micro = MicroModel(path, keep_tensors=True)
        if self._micro.config.channels != model.config.channels:
            raise ExportError(
                f"{path}: has {self._micro.config.channels} channels, the checkpoint {model.config.channels}; "
                "give the file of this checkpoint"
            )
        self._norm = folded(model).attention
        self.tensors = _names(model.config)
        graph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
        indices = {graph.Tensors(index).Name().decode(): index for index in range(graph.TensorsLength())}
        missing = sorted(set(self.tensors.values()) - set(indices))
        if missing:
            raise ExportError(f"{path}: has no {', '.join(missing)}; give the file of this checkpoint, or export again")
        self._indices = {layer: indices[name] for layer, name in self.tensors.items()}
        quantizations = {layer: graph.Tensors(index).Quantization() for layer, index in self._indices.items()}
        self._quantizations = {
            layer: (np.float32(found.Scale(0)), np.float32(found.ZeroPoint(0)))
            for layer, found in quantizations.items()
        }

    def __call__(self, features: Array) -> dict[str, Array]:
        """(T, F) features to (T, C) of each layer, (1, C) where there is no time."""
        micro, steps = self._micro, []
        micro.reset()
        for start in range(0, len(features), micro.chunk_frames):
            rows = features[start : start + micro.chunk_frames]
            micro.push(rows)
            if len(rows) < micro.chunk_frames:
                micro.finish()
            steps.append({layer: self._values(layer)[: len(rows)] for layer in self.tensors})
        found = {layer: np.concatenate([step[layer] for step in steps]) for layer in self.tensors}
        found["classifier"] = steps[-1]["classifier"]
        return found

    def _values(self, layer: str) -> Array:
        """(n, C) of the last step."""
        integers, (scale, zero_point) = self._micro.tensor(self._indices[layer]), self._quantizations[layer]
        values: Array = (integers.reshape(-1, integers.shape[-1]).astype(np.float32) - zero_point) * scale
        if layer == "encoder.attention":
            channels = np.float32(values.shape[-1])
            values = values * np.sqrt(channels) * self._norm.norm_scale + self._norm.norm_offset
        return values


def _names(config: SATNConfig) -> dict[str, str]:
    """Modules of the checkpoint and the graph's names of what they give."""
    names = {"encoder.normalization": "features"}
    if config.spectral_channels:
        names["encoder.spectral"] = "patterns"
    for i in range(config.n_blocks):
        names[f"encoder.tcn.blocks.{i}.conv1"] = f"block{i}_conv1"
        names[f"encoder.tcn.blocks.{i}"] = f"block{i}"
    attention = "encoder.attention"
    names |= {f"{attention}.attend": "attended", f"{attention}.output": "attention_output", attention: "direction"}
    return names | {"classifier": "logits"}
