"""Writes .tflite files: a tree of tables that can be edited, packed by the schema into an aligned flatbuffer.

The packer works from the end of the file to its beginning, so that what a table refers to has been placed before it.
The same tree always gives the same bytes. A table or array that several places of the tree share is written once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from converters.errors import ModelFileError
from converters.tflite import schema
from converters.tflite.flatbuffer import Record
from converters.tflite.table_fields import SCALARS, Field, tables
from converters.tflite.values import ModelInfo

__all__ = ["SchemaTable", "pack_model", "unpack_model"]

_ALIGNMENT = 16  # the schema's force_align of Buffer.data; the whole file is a multiple of it
# Content that may follow the flatbuffer (files beyond 2 GB): the content, the place of its offset and of its size.
_OUTSIDE = {
    "Buffer": ("data", "offset", "size"),
    "Operator": ("custom_options", "large_custom_options_offset", "large_custom_options_size"),
}
_IS_OUTSIDE = 2  # offsets of 0 and 1 mean: inside


class SchemaTable:
    """One table of the schema with its fields by name: numbers, str, arrays, tables and lists of tables.

    A field that is not given has the schema's default, or None. Of a union only the member is set; its type follows.
    """

    def __init__(self, kind: str, **values: Any) -> None:  # noqa: ANN401  (its type depends on the field)
        self.kind = kind
        self._values = dict(values)
        for name in values:
            _field(kind, name)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self._values[name] if name in self._values else _default(_field(self.kind, name))

    def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401
        self._values[_field(self.kind, name).name] = value

    def copy(self) -> SchemaTable:
        """Return a table with the same values; what it refers to is shared."""
        return SchemaTable(self.kind, **self._values)


@cache
def _fields(kind: str) -> Mapping[str, Field]:
    return MappingProxyType({field.name: field for field in tables().get(kind, ()) if field is not None})


def _field(kind: str, name: str) -> Field:
    try:
        return _fields(kind)[name]
    except KeyError:
        raise KeyError(f"{kind} has no field {name}; it has {', '.join(_fields(kind)) or 'none'}") from None


def _default(field: Field) -> Any:  # noqa: ANN401
    return field.default if field.kind == "scalar" else None


def unpack_model(model: ModelInfo) -> SchemaTable:
    """Return a file as a tree that can be edited; tables that the file shares become separate ones.

    Raises:
        ModelFileError: the file has fields that are newer than the schema known here: writing would lose them.
    """
    root = _unpack(model.record, model.name)
    for buffer, content in zip(root["buffers"] or (), model.buffers, strict=True):
        if buffer["offset"] > 1:
            buffer["data"], buffer["offset"] = np.frombuffer(content, np.uint8), _IS_OUTSIDE
    for graph, info in zip(root["subgraphs"], model.subgraphs, strict=True):
        for operator, own in zip(graph["operators"] or (), info.operators, strict=True):
            if operator["large_custom_options_offset"] > 1:
                operator["custom_options"] = np.frombuffer(own.custom_options, np.uint8)
                operator["large_custom_options_offset"] = _IS_OUTSIDE
    return root


def _unpack(record: Record, name: str) -> SchemaTable:
    if not record.complete:
        raise ModelFileError(
            f"{name} was written with a newer schema than this version knows: {record.path or record.table} "
            "has further fields, which would be lost in a changed copy",
            hint="use a newer edge-convert, or convert with an older TensorFlow",
        )
    values: dict[str, Any] = {}
    for field, value in record.values.items():
        if isinstance(value, Record):
            values[field] = _unpack(value, name)
        elif isinstance(value, tuple):
            values[field] = [_unpack(item, name) for item in value]
        else:
            values[field] = value
    return SchemaTable(record.table, **values)


def pack_model(root: SchemaTable) -> bytes:
    """Return the .tflite file of a tree.

    Buffers are aligned to 16 bytes; those whose `offset` is above 1 follow the flatbuffer.
    """
    return _Packer().pack(root)


class _Packer:
    """One file in the making; places are counted from its end, which is aligned to everything."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []  # the last one stands first in the file
        self._size = 0
        self._shared: dict[tuple[int, int], int] = {}  # by identity and alignment
        self._vtables: dict[bytes, int] = {}
        self._outside: list[tuple[int, bytes]] = []

    def pack(self, root: SchemaTable) -> bytes:
        place = self._table(root)
        self._pad(-(self._size + 8) % _ALIGNMENT)
        self._push(struct.pack("<I4s", self._size + 8 - place, schema.IDENTIFIER))
        data = bytearray(b"".join(reversed(self._chunks)))
        total = len(data)
        for field_place, content in self._outside:
            data += bytes(-len(data) % _ALIGNMENT)
            struct.pack_into("<Q", data, total - field_place, len(data))
            data += content
        return bytes(data)

    def _push(self, data: bytes) -> int:
        self._chunks.append(data)
        self._size += len(data)
        return self._size

    def _pad(self, count: int) -> None:
        if count:
            self._push(bytes(count))

    def _make_room(self, size: int, align: int) -> int:
        """Pad so that `size` bytes after a head of 4 bytes are aligned; return the place of the head."""
        self._pad(-(self._size + size) % align)
        return self._size + size + 4

    def _bytes(self, content: bytes, count: int, align: int) -> int:
        self._make_room(len(content), align)
        self._push(content)
        return self._push(struct.pack("<I", count))

    def _string(self, text: str) -> int:
        content = text.encode()
        return self._bytes(content + b"\0", len(content), 4)

    def _vector(self, values: Any, kind: str, align: int) -> int:  # noqa: ANN401  (an array or a sequence)
        array = np.ascontiguousarray(values, SCALARS[kind][1])
        return self._bytes(array.tobytes(), array.size, max(align, array.itemsize))

    def _table_vector(self, items: list[SchemaTable]) -> int:
        places = [self._table(item) for item in reversed(items)][::-1]
        place = self._make_room(4 * len(items), 4)
        offsets = (place - 4 - 4 * index - target for index, target in enumerate(places))
        return self._bytes(struct.pack(f"<{len(places)}I", *offsets), len(places), 4)

    def _table(self, table: SchemaTable) -> int:
        key = id(table), 0
        if key not in self._shared:
            self._shared[key] = self._new_table(table)
        return self._shared[key]

    def _new_table(self, table: SchemaTable) -> int:
        scalars, targets, content = self._place_fields(table)
        body, offsets = _lay_out(scalars, targets)
        align = max([4, *(SCALARS[field.of][0].size for field in scalars)])
        place = self._make_room(len(body), align)
        for field, target in targets.items():
            at = offsets[field.name]
            struct.pack_into("<I", body, at - 4, place - at - target)
        if content is not None:
            self._outside.append((place - offsets[_OUTSIDE[table.kind][1]], content))
        slots = [0 if field is None else offsets.get(field.name, 0) for field in tables().get(table.kind, ())]
        while slots and not slots[-1]:
            slots.pop()
        vtable = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), 4 + len(body), *slots)
        vtable_place = self._vtables.setdefault(vtable, place + len(vtable))
        self._push(bytes(body))
        self._push(struct.pack("<i", vtable_place - place))
        if vtable_place == place + len(vtable):
            self._push(vtable)
        return place

    def _place_fields(self, table: SchemaTable) -> tuple[dict[Field, Any], dict[Field, int], bytes | None]:
        """Place what a table refers to; return its numbers, the places, and what follows the flatbuffer."""
        values = {name: table[name] for name in _fields(table.kind)}
        content = _take_outside(table.kind, values)
        for name, field in _fields(table.kind).items():
            if field.kind == "union":
                member = values[name]
                values[f"{name}_type"] = 0 if member is None else schema.UNIONS[field.of].index(member.kind)
        scalars: dict[Field, Any] = {}
        targets: dict[Field, int] = {}
        for name, field in _fields(table.kind).items():
            value = values[name]
            if field.kind == "scalar":
                if value != field.default:
                    scalars[field] = value
            elif value is not None:
                targets[field] = self._target(field, value, table.kind)
        return scalars, targets, content

    def _target(self, field: Field, value: Any, owner: str) -> int:  # noqa: ANN401
        if field.kind == "str":
            return self._string(value)
        if field.kind == "tables":
            return self._table_vector(value)
        if field.kind == "vector":
            align = _ALIGNMENT if (owner, field.name) == ("Buffer", "data") else 4
            key = id(value), align
            if key not in self._shared:
                self._shared[key] = self._vector(value, field.of, align)
            return self._shared[key]
        return self._table(value)


def _take_outside(kind: str, values: dict[str, Any]) -> bytes | None:
    """Remove the content that is to follow the flatbuffer, leave its size, and return it."""
    if kind not in _OUTSIDE:
        return None
    data, offset, size = _OUTSIDE[kind]
    if values[offset] <= 1:
        return None
    content = b"" if values[data] is None else np.ascontiguousarray(values[data], np.uint8).tobytes()
    values[data], values[offset], values[size] = None, _IS_OUTSIDE, len(content)
    return content


def _lay_out(scalars: Mapping[Field, Any], targets: Mapping[Field, int]) -> tuple[bytearray, dict[str, int]]:
    """Return a table's bytes after its first four, the widest fields first, and the offset of each field."""
    widths = {field: SCALARS[field.of][0].size for field in scalars} | dict.fromkeys(targets, 4)
    offsets: dict[str, int] = {}
    body = bytearray()
    for field in sorted(widths, key=lambda field: -widths[field]):
        offsets[field.name] = 4 + len(body)
        body += SCALARS[field.of][0].pack(scalars[field]) if field in scalars else bytes(4)
    body += bytes(-len(body) % 4)
    return body, offsets
