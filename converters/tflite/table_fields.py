"""Parses the schema's tables: the fields of each by slot, and how scalars are packed."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.tflite import schema

SCALARS: dict[str, tuple[struct.Struct, Any]] = {
    "bool": (struct.Struct("<?"), np.bool_),
    "i8": (struct.Struct("<b"), np.int8),
    "u8": (struct.Struct("<B"), np.uint8),
    "i32": (struct.Struct("<i"), np.dtype("<i4")),
    "u16": (struct.Struct("<H"), np.dtype("<u2")),
    "u32": (struct.Struct("<I"), np.dtype("<u4")),
    "i64": (struct.Struct("<q"), np.dtype("<i8")),
    "u64": (struct.Struct("<Q"), np.dtype("<u8")),
    "f32": (struct.Struct("<f"), np.dtype("<f4")),
}


@dataclass(frozen=True)
class Field:
    """One slot of a table: `kind` is scalar, str, table, union, vector or tables."""

    name: str
    kind: str
    of: str
    default: int | float


@functools.lru_cache(maxsize=1)
def tables() -> Mapping[str, tuple[Field | None, ...]]:
    """Return the fields of every table by slot; None is a slot no longer used."""
    parsed: dict[str, tuple[Field | None, ...]] = {}
    name, fields = "", [""]
    for line in schema.TABLES.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            name, fields = words[0], []
            words = words[1:]
        fields.extend(words)
        parsed[name] = tuple(_field(word) for word in fields)
    return parsed


def _field(word: str) -> Field | None:
    if word == "-":
        return None
    name, _, rest = word.partition(":")
    kind, _, default = rest.partition("=")
    inner = kind.strip("[]<>")
    if kind.startswith("<"):
        return Field(name, "union", inner, 0)
    if kind.startswith("["):
        return Field(name, "vector" if inner in SCALARS else "tables", inner, 0)
    if kind == "str":
        return Field(name, "str", "", 0)
    kind_of_number = {"bool": bool, "f32": float}.get(kind, int)
    return Field(name, "scalar" if kind in SCALARS else "table", kind, kind_of_number(int(default or 0)))
