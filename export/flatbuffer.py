"""Reads a metadata entry out of a TFLite file with nothing but the standard library.

The layout is FlatBuffers' (https://flatbuffers.dev/internals) with the fields of TFLite's schema.fbs. Every position is
checked against the file, so a damaged file gives `FlatbufferError` and nothing else.
"""

import struct

# Positions of fields in schema.fbs.
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0

IDENTIFIER = b"TFL3"


class FlatbufferError(ValueError):
    """The bytes are not a TFLite flatbuffer."""


def metadata_entry(model: bytes, name: str) -> bytes | None:
    """Gives the content of an entry of `Model.metadata`, or `None` where the model has none of that name.

    Args:
        model: The whole file.
        name: The entry's name.

    Raises:
        FlatbufferError: The file is no TFLite flatbuffer, or damaged.
    """
    if model[4:8] != IDENTIFIER:
        raise FlatbufferError("it does not start like a TFLite file")
    root = _unsigned(model, 0)
    buffers = _tables(model, _field(model, root, _MODEL_BUFFERS))
    for entry in _tables(model, _field(model, root, _MODEL_METADATA)):
        if _bytes(model, _field(model, entry, _METADATA_NAME)) != name.encode():
            continue
        position = _field(model, entry, _METADATA_BUFFER)
        index = _unsigned(model, position) if position else 0
        if index >= len(buffers):
            raise FlatbufferError("a metadata entry points outside of the file")
        return _bytes(model, _field(model, buffers[index], _BUFFER_DATA))
    return None


def _field(model: bytes, table: int, index: int) -> int:
    """Position of a table's field; 0 where it is absent."""
    vtable = table - _number(model, table, "<i")
    if 4 + 2 * index >= _number(model, vtable, "<H"):
        return 0
    offset = _number(model, vtable + 4 + 2 * index, "<H")
    return table + offset if offset else 0


def _tables(model: bytes, field: int) -> list[int]:
    """Positions of the tables of a vector."""
    if not field:
        return []
    vector = field + _unsigned(model, field)
    count = _unsigned(model, vector)
    if count > len(model) // 4:
        raise FlatbufferError("a vector is longer than the file")
    places = range(vector + 4, vector + 4 + 4 * count, 4)
    return [place + _unsigned(model, place) for place in places]


def _bytes(model: bytes, field: int) -> bytes:
    """Content of a vector of bytes or of a string."""
    if not field:
        return b""
    vector = field + _unsigned(model, field)
    start, size = vector + 4, _unsigned(model, vector)
    if start + size > len(model):
        raise FlatbufferError("a vector reaches beyond the end of the file")
    return model[start : start + size]


def _unsigned(model: bytes, position: int) -> int:
    return _number(model, position, "<I")


def _number(model: bytes, position: int, layout: str) -> int:
    if position < 0 or position + struct.calcsize(layout) > len(model):
        raise FlatbufferError("a position lies outside of the file")
    number: int = struct.unpack_from(layout, model, position)[0]
    return number
