"""What every layer of a `.tflite` file computes."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from satn_fast.config import SATNConfig
from satn_fast.export.errors import ExportError

Array = NDArray[np.float32]


class TfliteLayers:
    """The layers of a file that takes features, as LiteRT's own kernels compute them.

    What a delegate (XNNPACK, which prediction uses) computes in one go cannot be looked at. Its int8 results differ by
    rounding.

    Attributes:
        tensors: The file's tensor of each layer: what int8 made of it, where it is in int8.

    Args:
        path: The file.
        config: Of the checkpoint.

    Raises:
        ExportError: The file lacks a layer.
    """

    def __init__(self, path: Path, config: SATNConfig) -> None:
        content = path.read_bytes()
        graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
        self._indices = _tensors(_operators(graph), config, path) | {"classifier": int(graph.Outputs(0))}
        names = {layer: _name(graph, index) for layer, index in self._indices.items()}
        self.tensors = {layer: name.removesuffix("_quantized") for layer, name in names.items()} | {
            "classifier": "logits"  # the name that the signature gives it
        }
        with warnings.catch_warnings():
            # LiteRT warns of the memory that keeping all tensors takes.
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
            self._interpreter = Interpreter(
                model_content=content,
                num_threads=1,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self._run = self._interpreter.get_signature_runner()
        details = {detail["index"]: detail["quantization"] for detail in self._interpreter.get_tensor_details()}
        self._quantizations = {layer: details[index] for layer, index in self._indices.items()}

    def __call__(self, features: Array) -> dict[str, Array]:
        """(T, F) features to (T, C) of each layer, (1, C) where there is no time."""
        self._run(features=features[None])
        return {layer: self._values(layer) for layer in self._indices}

    def _values(self, layer: str) -> Array:
        values = self._interpreter.get_tensor(self._indices[layer])
        if values.dtype == np.int8:
            scale, zero_point = self._quantizations[layer]
            values = (values.astype(np.float32) - zero_point) * np.float32(scale)
        # (1, T, C), and (1, T, 1, C) of the TCN.
        return np.asarray(values.reshape(-1, values.shape[-1]), np.float32)


class _Operator(NamedTuple):
    """Indices of its tensors."""

    inputs: list[int]
    output: int


def _name(graph: schema.SubGraph, tensor: int) -> str:
    """The first of the names that operators which were merged into one have left."""
    name: str = graph.Tensors(tensor).Name().decode()
    return name.partition(";")[0]


def _operators(graph: schema.SubGraph) -> dict[str, _Operator]:
    """Operators by the name that their output has from `graph`; of one in int8 and in float, that in int8."""
    operators: dict[str, _Operator] = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        output = int(operator.Outputs(0))
        operators.setdefault(_name(graph, output), _Operator(operator.InputsAsNumpy().tolist(), output))
    return operators


def _tensors(operators: Mapping[str, _Operator], config: SATNConfig, path: Path) -> dict[str, int]:
    """The index of each layer's tensor, but for the classifier's.

    A layer that the converter may merge into others, or leave out, is looked up as what the next one reads.
    """

    def made_by(name: str) -> _Operator:
        if name not in operators:
            raise ExportError(f"{path}: has no {name}; give the file of this checkpoint, or export again")
        return operators[name]

    def rectified(number: int) -> _Operator:
        """A block has three rectifiers: after either convolution, and after the sum."""
        return made_by(f"tcn/Relu_{number}" if number else "tcn/Relu")

    (first, *_), attention = rectified(0).inputs, "encoder.attention"
    if config.spectral_channels:
        normalised, patterns = made_by("spectral/concat").inputs
        found = {"encoder.normalization": normalised, "encoder.spectral": patterns}
    else:
        padded = operators.get("tcn/Pad")
        found = {"encoder.normalization": padded.inputs[0] if padded is not None and padded.output == first else first}
    for i in range(config.n_blocks):
        found[f"encoder.tcn.blocks.{i}.conv1"] = rectified(3 * i).output
        found[f"encoder.tcn.blocks.{i}"] = rectified(3 * i + 2).output
    projection, mean = made_by("attention/MatMul_3"), made_by("pooling/MatMul_1")
    found |= {f"{attention}.attend": projection.inputs[0], f"{attention}.output": projection.output}
    # Pooling looks at attention alone or beside the blocks, and gives the mean alone or beside the deviation.
    found[attention] = made_by("layers/Reshape").inputs[0] if "layers/concat" in operators else mean.inputs[1]
    return found | {"pooling": operators.get("pooling/concat", mean).output}
