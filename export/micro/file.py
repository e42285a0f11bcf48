"""Writes a graph of integer operators as a TFLite file, with every buffer inside the flatbuffer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from satn_fast.export.micro.graph import Graph, Operator, Tensor
from satn_fast.export.micro.operators import KINDS
from satn_fast.export.micro.quantization import Quantization

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_SIGNATURE = "serving_default"

# Options that are not zero, the schema's default, whatever the graph says.
_VALID = {"padding": schema.Padding.VALID}
_DEFAULTS = {"Softmax": {"beta": 1.0}, "Conv2D": _VALID, "Pool2D": _VALID}

# Kernels may read weights in vectors of 16 bytes.
_ALIGNMENT = 16


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that starts at a multiple of 16, as the schema wants it and its generated Python code does not do it."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self._data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        if self._data:
            builder.StartVector(1, len(self._data), _ALIGNMENT)
            builder.head -= len(self._data)
            builder.Bytes[builder.head : builder.head + len(self._data)] = self._data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if self._data:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def serialized(graph: Graph, quantizations: Mapping[str, Quantization], metadata: Mapping[str, bytes]) -> bytes:
    """Gives the file.

    Args:
        graph: The step.
        quantizations: Of every tensor that is quantized.
        metadata: Entries of the file's metadata.
    """
    index = {name: number for number, name in enumerate(graph.tensors)}
    kinds = sorted({operator.kind for operator in graph.operators})
    model, subgraph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = _SCHEMA_VERSION, "SATN, one streaming step"
    model.operatorCodes = [_operator_code(kind) for kind in kinds]
    model.buffers = [_Buffer()]
    subgraph.tensors = [
        _tensor(tensor, quantizations.get(tensor.name), model.buffers) for tensor in graph.tensors.values()
    ]
    subgraph.operators = [_operator(operator, kinds.index(operator.kind), index) for operator in graph.operators]
    subgraph.inputs, subgraph.outputs = ([index[name] for name in names] for names in (graph.inputs, graph.outputs))
    model.subgraphs, model.signatureDefs = [subgraph], [_signature(graph, index)]
    model.metadata = [_metadata(name, content, model.buffers) for name, content in metadata.items()]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class Port(NamedTuple):
    """An input or output of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


def interface(content: bytes) -> tuple[list[Port], list[Port]]:
    """Gives the inputs and the outputs of a file that `serialized` wrote."""
    subgraph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def port(index: int) -> Port:
        tensor = subgraph.Tensors(index)
        quantization = tensor.Quantization()
        shape = tuple(tensor.ShapeAsNumpy().tolist())
        scale, zero_point = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
        return Port(tensor.Name().decode(), shape, types[tensor.Type()], scale, zero_point)

    return [port(i) for i in subgraph.InputsAsNumpy()], [port(i) for i in subgraph.OutputsAsNumpy()]


def _operator_code(kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = KINDS[kind].version
    return code


def _tensor(tensor: Tensor, quantization: Quantization | None, buffers: list[Any]) -> Any:
    result = schema.TensorT()
    result.name, result.shape = tensor.name, list(tensor.shape)
    result.type = getattr(schema.TensorType, tensor.dtype.upper())
    if quantization is not None:
        result.quantization = schema.QuantizationParametersT()
        result.quantization.scale = quantization.scale
        result.quantization.zeroPoint = np.full(len(quantization.scale), quantization.zero_point, np.int64)
    if tensor.constant is not None:
        integers = tensor.constant if quantization is None else quantization.integers(tensor.constant, tensor.dtype)
        result.buffer = len(buffers)
        buffers.append(_Buffer(np.ascontiguousarray(integers).tobytes()))
    return result


def _operator(operator: Operator, code: int, index: Mapping[str, int]) -> Any:
    result = schema.OperatorT()
    result.opcodeIndex = code
    result.inputs, result.outputs = [index[name] for name in operator.inputs], [index[operator.output]]
    name = KINDS[operator.kind].options
    if name is not None:
        result.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
        result.builtinOptions = _options(name, operator.options)
    return result


def _options(name: str, options: Mapping[str, Any]) -> Any:
    """The options as an object of the schema, whose fields are in camel case."""
    result = getattr(schema, f"{name}OptionsT")()
    for option, value in (_DEFAULTS.get(name, {}) | dict(options)).items():
        if option == "relu":
            result.fusedActivationFunction = int(value) * schema.ActivationFunctionType.RELU
        else:
            first, *others = option.split("_")
            setattr(result, first + "".join(word.title() for word in others), value)
    return result


def _metadata(name: str, content: bytes, buffers: list[Any]) -> Any:
    result = schema.MetadataT()
    result.name, result.buffer = name, len(buffers)
    buffers.append(_Buffer(content))
    return result


def _signature(graph: Graph, index: Mapping[str, int]) -> Any:
    result = schema.SignatureDefT()
    result.signatureKey, result.subgraphIndex = _SIGNATURE, 0
    result.inputs, result.outputs = (
        [_signature_entry(name, index[name]) for name in names] for names in (graph.inputs, graph.outputs)
    )
    return result


def _signature_entry(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry
