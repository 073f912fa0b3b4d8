"""Reads untrusted flatbuffers: every offset is checked before it is followed.

The reader is generic: the schema says which slot holds what. It returns records whose fields lie inside the file and
inside their table, correctly aligned; what the values mean is checked elsewhere. Reading takes time linear in the
number of tables.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.errors import ModelFileError
from converters.tflite import schema
from converters.tflite.table_fields import SCALARS, Field, tables

MAX_DEPTH = 64
MAX_TABLES = 1_000_000

UNKNOWN = "unknown"  # the table name of a union's member that this schema does not have
_U16 = SCALARS["u16"][0]
_U32 = SCALARS["u32"][0]
_I32 = SCALARS["i32"][0]


class Damage(Exception):  # noqa: N818  (a finding; `parse_model` and `verify_model` make the users' error of it)
    """A place in the file that breaks the format's rules; as text, the place and what is wrong with it.

    Args:
        what: What was found and what was expected.
        path: Where in the model, such as subgraphs[0].operators[3].inputs[1]; "" for the file itself.
        at: Where in the file, in bytes from its start; None where no single place is at fault.
    """

    def __init__(self, what: str, *, path: str = "", at: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.at = at

    def __str__(self) -> str:
        place = self.path
        if self.at is not None:
            place = f"{place} (at byte {self.at})" if place else f"at byte {self.at}"
        return f"{place}: {self.what}" if place else self.what

    def to_error(self, name: str) -> ModelFileError:
        """Return the error that a user sees; `name` is the file's."""
        return ModelFileError(
            f"{name} is not a sound TFLite model: {self}",
            hint="the file is damaged, cut short or not a TFLite model: get it again, or convert the model again",
        )


@dataclass(frozen=True)
class Record:
    """One table that has been checked.

    Attributes:
        table: Its name in the schema.
        path: Where in the model it was found first.
        at: Its first byte in the file.
        values: Field values by name: numbers, str, arrays that view the file, records, tuples of records; None where
            an offset field is absent.
        tables: How many tables it holds, itself included, each counted as often as it is reached.
        complete: False where the table has fields that are newer than this schema; they are not in `values`.
    """

    table: str
    path: str
    at: int
    values: Mapping[str, Any]
    tables: int = 1
    complete: bool = True

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (its type depends on the field)
        return self.values[name]

    def ints(self, name: str) -> tuple[int, ...]:
        """Return a vector of integers, () where it is absent."""
        value = self.values[name]
        return () if value is None else tuple(value.tolist())

    def records(self, name: str) -> tuple[Record, ...]:
        """Return a vector of tables, () where it is absent."""
        value: tuple[Record, ...] | None = self.values[name]
        return value or ()


def read_root(data: bytes, tolerated: list[Damage] | None = None) -> Record:
    """Check the whole flatbuffer and return its root table.

    Args:
        data: The file.
        tolerated: Collects what can be skipped: members of unions newer than this schema, and strings that are not
            UTF-8. Where it is None, these are refused like everything else.

    Raises:
        Damage: Something points outside, is cut short, misaligned, nested too deep or multiplied beyond reason.
    """
    if len(data) < 8:
        raise Damage(f"the file has {len(data)} bytes; the smallest TFLite model has more than 8")
    if data[4:8] != schema.IDENTIFIER:
        raise Damage(f"bytes 4 to 7 are {data[4:8]!r}; a TFLite model has {schema.IDENTIFIER!r} there", at=4)
    return _Reader(data, tolerated).table(_U32.unpack_from(data, 0)[0], schema.ROOT, "", 0)


class _Reader:
    """One pass over one file; what is reached twice is checked once."""

    def __init__(self, data: bytes, tolerated: list[Damage] | None) -> None:
        self.data = data
        self.tolerated = tolerated
        self.size = len(data)
        self.done: dict[tuple[int, str], Record] = {}
        self.vectors: dict[tuple[int, str], tuple[Record, ...]] = {}
        self.open: set[tuple[int, str]] = set()
        self.reached = 0

    def table(self, at: int, name: str, path: str, depth: int) -> Record:
        key = (at, name)
        if key in self.done:
            return self.done[key]
        if key in self.open:
            raise Damage(f"the {name} contains itself", path=path, at=at)
        if depth > MAX_DEPTH:
            raise Damage(f"nested more than {MAX_DEPTH} deep", path=path, at=at)
        self.open.add(key)
        record = self._table(at, name, path, depth)
        self.open.discard(key)
        if record.tables > MAX_TABLES:
            raise Damage(f"holds more than {MAX_TABLES} tables", path=path, at=at)
        self.done[key] = record
        return record

    def _table(self, at: int, name: str, path: str, depth: int) -> Record:
        offsets, size = self._vtable(at, name, path)
        values: dict[str, Any] = {}
        fields = tables().get(name, ())
        for slot, field in enumerate(fields):
            if field is None:
                continue
            offset = offsets[slot] if slot < len(offsets) else 0
            here = f"{path}.{field.name}" if path else field.name
            values[field.name] = self._value(field, (at, offset, size), here, depth, values)
        return Record(name, path, at, values, 1 + _count(values), not any(offsets[len(fields) :]))

    def _tolerate(self, damage: Damage) -> None:
        if self.tolerated is None:
            raise damage
        self.tolerated.append(damage)

    def _vtable(self, at: int, name: str, path: str) -> tuple[tuple[int, ...], int]:
        self._within(at, 4, 4, f"the {name}", path)
        vtable = at - _I32.unpack_from(self.data, at)[0]
        self._within(vtable, 4, 2, f"the vtable of the {name}", path)
        length, size = _U16.unpack_from(self.data, vtable)[0], _U16.unpack_from(self.data, vtable + 2)[0]
        if length < 4 or length % 2 or vtable + length > self.size:
            raise Damage(f"the vtable of the {name} claims {length} bytes", path=path, at=vtable)
        if size < 4 or at + size > self.size:
            raise Damage(f"the {name} claims {size} bytes; {self.size - at} are left in the file", path=path, at=at)
        count = (length - 4) // 2
        return struct.unpack_from(f"<{count}H", self.data, vtable + 4), size

    def _within(self, at: int, count: int, align: int, what: str, path: str) -> None:
        if at < 0 or at + count > self.size:
            raise Damage(f"{what} lies outside the file of {self.size} bytes", path=path, at=at)
        if at % align:
            raise Damage(f"{what} is not aligned to {align} bytes", path=path, at=at)

    def _value(
        self, field: Field, place: tuple[int, int, int], path: str, depth: int, before: Mapping[str, Any]
    ) -> Any:  # noqa: ANN401
        at, offset, size = place
        if offset == 0:
            return field.default if field.kind == "scalar" else None
        width = SCALARS[field.of][0].size if field.kind == "scalar" else 4
        if offset < 4 or offset + width > size:
            raise Damage(f"the field lies at {offset} in a table of {size} bytes", path=path, at=at)
        self._within(at + offset, width, width, "the field", path)
        if field.kind == "scalar":
            return SCALARS[field.of][0].unpack_from(self.data, at + offset)[0]
        return self._target(field, at + offset, path, depth, before)

    def _target(self, field: Field, at: int, path: str, depth: int, before: Mapping[str, Any]) -> Any:  # noqa: ANN401
        target = self._follow(at, path)
        if field.kind == "table":
            return self.table(target, field.of, path, depth + 1)
        if field.kind == "str":
            return self._string(target, path)
        if field.kind == "vector":
            return self._vector(target, field.of, path)
        if field.kind == "tables":
            return self._tables(target, field.of, path, depth)
        return self._union(field, target, path, depth, before)

    def _follow(self, at: int, path: str) -> int:
        target: int = at + _U32.unpack_from(self.data, at)[0]
        if target == at or target + 4 > self.size:
            raise Damage(f"points to byte {target} of a file of {self.size} bytes", path=path, at=at)
        return target

    def _union(self, field: Field, target: int, path: str, depth: int, before: Mapping[str, Any]) -> Record | None:
        names, chosen = schema.UNIONS[field.of], before[f"{field.name}_type"]
        if chosen == 0:
            return None
        if chosen >= len(names):
            what = f"holds a {field.of} of type {chosen}; the last known is {len(names) - 1}"
            self._tolerate(Damage(what, path=path, at=target))
            return Record(UNKNOWN, path, target, {}, complete=False)
        return self.table(target, names[chosen], path, depth + 1)

    def _length(self, at: int, width: int, path: str) -> int:
        self._within(at, 4, 4, "the length", path)
        count: int = _U32.unpack_from(self.data, at)[0]
        if at + 4 + count * width > self.size:
            left = self.size - at - 4
            raise Damage(
                f"claims {count} elements of {width} bytes; {left} bytes are left in the file", path=path, at=at
            )
        return count

    def _string(self, at: int, path: str) -> str:
        count = self._length(at, 1, path)
        end = at + 4 + count
        if end >= self.size or self.data[end]:
            raise Damage("the string is not terminated", path=path, at=at)
        try:
            return self.data[at + 4 : end].decode("utf-8")
        except UnicodeDecodeError:
            self._tolerate(Damage("the string is not UTF-8", path=path, at=at))
            return self.data[at + 4 : end].decode("utf-8", "replace")

    def _vector(self, at: int, kind: str, path: str) -> np.ndarray[Any, Any]:
        packer, dtype = SCALARS[kind]
        count = self._length(at, packer.size, path)
        if count:
            self._within(at + 4, packer.size, packer.size, "the vector", path)
        return np.frombuffer(self.data, dtype, count, at + 4) if count else np.zeros(0, dtype)

    def _tables(self, at: int, name: str, path: str, depth: int) -> tuple[Record, ...]:
        key, count = (at, name), self._length(at, 4, path)
        self.reached += count
        if self.reached > MAX_TABLES:
            raise Damage(f"leads to more than {MAX_TABLES} tables", path=path, at=at)
        if key not in self.vectors:
            places = range(at + 4, at + 4 + 4 * count, 4)
            self.vectors[key] = tuple(
                self.table(self._follow(place, f"{path}[{i}]"), name, f"{path}[{i}]", depth + 1)
                for i, place in enumerate(places)
            )
        return self.vectors[key]


def _count(values: Mapping[str, Any]) -> int:
    total = 0
    for value in values.values():
        if isinstance(value, Record):
            total += value.tables
        elif isinstance(value, tuple):
            total += sum(record.tables for record in value)
    return total
