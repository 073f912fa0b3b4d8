"""Reads the content of an edgetpu-custom-op: a FlexBuffer map that holds a "DWN1" FlatBuffer package with its programs.

Source: google-coral/libedgetpu's executable/executable.fbs and tflite/custom_op_data.cc. Only the fields below are
read; every offset is checked against the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from converters.errors import ModelFileError

_PACKAGE_KEY = "4"
_IDENTIFIER = b"DWN1"
_KINDS = {0: "stand-alone", 1: "parameter-caching", 2: "execution-only"}
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Layer:
    """An input or output of a program: the data transferred over the bus for each inference."""

    name: str
    bytes: int
    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class EdgeTpuProgram:
    """One executable of a package.

    Attributes:
        kind: stand-alone, parameter-caching (runs once, loads parameters) or execution-only.
        instructions_bytes: of its instruction streams.
        parameters_bytes: of its parameters: cached once, or sent for each inference.
        scratch_bytes: memory of the host that it uses for activations.
        tile_bytes: the most it uses of one tile's narrow memory, where activations lie.
    """

    kind: str
    chip: str
    instructions_bytes: int
    parameters_bytes: int
    scratch_bytes: int
    tile_bytes: int
    inputs: tuple[Layer, ...]
    outputs: tuple[Layer, ...]


@dataclass(frozen=True)
class EdgeTpuPackage:
    """The content of one custom operator. `compiler` is the compiler's change number, None where it is not stored."""

    min_runtime_version: int
    compiler: str | None
    programs: tuple[EdgeTpuProgram, ...]

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the Edge TPU."""
        return sum(each.parameters_bytes for each in self.programs if each.kind == "parameter-caching")

    @property
    def streamed_bytes(self) -> int:
        """Parameters that are sent for each inference."""
        return sum(each.parameters_bytes for each in self.programs if each.kind != "parameter-caching")


def read_package(options: bytes) -> EdgeTpuPackage:
    """Read the custom options of one edgetpu-custom-op.

    Raises:
        ModelFileError: they are not a package, or a damaged one.
    """
    from flatbuffers import flexbuffers

    try:
        content = bytes(flexbuffers.GetRoot(bytearray(options)).AsMap[_PACKAGE_KEY].AsStringBytes)
        return _package(_Table.root(content))
    except _DAMAGE as error:
        raise ModelFileError(
            f"the edgetpu-custom-op holds no package that can be read: {type(error).__name__} ({error})",
            hint="compile or download the file again",
        ) from error


def _package(table: _Table) -> EdgeTpuPackage:
    if table.content[4:8] != _IDENTIFIER:
        raise ValueError(f"no {_IDENTIFIER.decode()} at byte 4")
    executables = _Table.root(table.bytes(1))
    compiler = table.text(4).removeprefix("cl/")
    return EdgeTpuPackage(
        min_runtime_version=table.int32(0),
        compiler=compiler or None,
        programs=tuple(_program(_Table.root(content)) for content in executables.strings(0)),
    )


def _program(table: _Table) -> EdgeTpuProgram:
    return EdgeTpuProgram(
        kind=_KINDS[table.int16(13)],
        chip=table.text(10),
        instructions_bytes=sum(len(stream.bytes(0)) for stream in table.tables(5)),
        parameters_bytes=len(table.bytes(6)),
        scratch_bytes=table.int32(4),
        tile_bytes=table.int32(12),
        inputs=tuple(map(_layer, table.tables(8))),
        outputs=tuple(map(_layer, table.tables(9))),
    )


def _layer(table: _Table) -> Layer:
    return Layer(table.text(0), table.int32(1), table.int32(2), table.int32(3), table.int32(4))


class _Table:
    """A FlatBuffer table; fields are named by their place in the schema, absent ones are 0 or empty."""

    def __init__(self, content: memoryview, position: int) -> None:
        self.content = content
        self._position = position
        self._vtable = position - self._read("<i", position)

    @classmethod
    def root(cls, content: bytes | memoryview) -> _Table:
        """Return the root table of a buffer."""
        view = memoryview(content)
        return cls(view, struct.unpack_from("<I", view, 0)[0])

    def int32(self, field: int) -> int:
        """Return an int."""
        at = self._at(field)
        return self._read("<i", at) if at else 0

    def int16(self, field: int) -> int:
        """Return a short."""
        at = self._at(field)
        return self._read("<h", at) if at else 0

    def bytes(self, field: int) -> memoryview:
        """Return a vector of bytes, or a string's."""
        at = self._at(field)
        return self._vector(at + self._read("<I", at)) if at else memoryview(b"")

    def text(self, field: int) -> str:
        """Return a string."""
        return bytes(self.bytes(field)).decode("utf-8", errors="replace")

    def strings(self, field: int) -> Iterator[memoryview]:
        """Yield a vector's strings."""
        return (self._vector(at) for at in self._targets(field))

    def tables(self, field: int) -> Iterator[_Table]:
        """Yield a vector's tables."""
        return (_Table(self.content, at) for at in self._targets(field))

    def _targets(self, field: int) -> Iterator[int]:
        at = self._at(field)
        if not at:
            return
        start = at + self._read("<I", at)
        for place in range(self._read("<I", start)):
            entry = start + 4 + 4 * place
            yield entry + self._read("<I", entry)

    def _vector(self, start: int) -> memoryview:
        size = self._read("<I", start)
        if start + 4 + size > len(self.content):
            raise ValueError(f"{size} bytes at {start} end after the package's {len(self.content)}")
        return self.content[start + 4 : start + 4 + size]

    def _at(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry >= self._read("<H", self._vtable):
            return 0
        offset = self._read("<H", self._vtable + entry)
        return self._position + offset if offset else 0

    def _read(self, kind: str, at: int) -> int:
        if at < 0:
            raise ValueError(f"an offset leads to {at}")
        return int(struct.unpack_from(kind, self.content, at)[0])
