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
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for buffer in content.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    _add_metadata(content, metadata)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _add_metadata(content: Any, text: str) -> None:
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    entry.name, entry.buffer = ENTRY, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]
