"""The last touch on a TFLite file: large buffers inside, our metadata inside."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from satn_fast.export.metadata import ENTRY

_IDENTIFIER = b"TFL3"


def finished(model: bytes, metadata: str) -> bytes:
    """Gives the flatbuffer with every buffer inside it, and `metadata` as the entry `satn_fast`.

    The quantizer stores large buffers behind the flatbuffer, and TFLite Micro, which does not look there, silently
    returns garbage.
    """
    content = _unpacked(model)
    _add_metadata(content, metadata)
    return _packed(content)


def joined(first: bytes, second: bytes) -> bytes:
    """Gives one flatbuffer that computes `second` of what `first` gives; each has one input and one output.

    The operators, weights and quantization of both stay as they are, and so does the name of the output.
    """
    before, content = _unpacked(first), _unpacked(second)
    graph, added = content.subgraphs[0], before.subgraphs[0]
    n_tensors, n_buffers, n_codes = len(graph.tensors), len(content.buffers), len(content.operatorCodes)

    def renumbered(tensors: Any) -> Any:
        """Indices of the first model's tensors in the joint one; -1 is an input that is left out."""
        moved = {added.outputs[0]: graph.inputs[0], -1: -1}
        return [moved.get(int(index), int(index) + n_tensors) for index in tensors]

    for tensor in added.tensors:
        tensor.buffer += n_buffers
    for operator in added.operators:
        operator.opcodeIndex += n_codes
        operator.inputs, operator.outputs = renumbered(operator.inputs), renumbered(operator.outputs)
    signature = content.signatureDefs[0]
    signature.inputs = before.signatureDefs[0].inputs
    signature.inputs[0].tensorIndex += n_tensors
    graph.operators = [*added.operators, *graph.operators]
    graph.tensors += added.tensors
    graph.inputs = renumbered(added.inputs)
    content.buffers += before.buffers
    content.operatorCodes += before.operatorCodes
    return _packed(content)


def _unpacked(model: bytes) -> Any:
    """The flatbuffer's objects, with every buffer inside."""
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for buffer in content.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return content


def _packed(content: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(content.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _add_metadata(content: Any, text: str) -> None:
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    entry.name, entry.buffer = ENTRY, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]
