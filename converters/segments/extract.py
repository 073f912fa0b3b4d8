"""Some operators of a .tflite file as a file of their own: with their tensors, constants and operator codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.segments.errors import NotCuttable
from converters.tflite.generated_schema import generated
from converters.tflite.values import ABSENT

Table = Any  # an object of the schema's unpacked classes
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # the schema's force_align of Buffer.data
# Describes the inputs and outputs of the whole model: it would be wrong of a part.
_OF_THE_WHOLE = b"TFLITE_METADATA"


@dataclass(frozen=True)
class Part:
    """Which operators, in the order of execution, and which tensors go in and out; by their indices in the file.

    `names` gives tensors that need another name (boundaries are told apart by name) the one they get.
    """

    operators: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: Mapping[int, str]


class Extractor:
    """Takes parts out of the main graph of one file; unpacks it once."""

    def __init__(self, data: bytes) -> None:
        """Unpack.

        Raises:
            NotCuttable: The file keeps constants outside its tables.
        """
        self._file = generated().ModelT.InitFromPackedBuf(data, 0)
        self._graph = self._file.subgraphs[0]
        if any(buffer.offset > 1 for buffer in self._file.buffers):
            raise NotCuttable("its constants lie behind the flatbuffer (a file of 2 GB or more)")
        if any(getattr(tensor, "externalBuffer", 0) for tensor in self._graph.tensors):
            raise NotCuttable("its constants lie in another file")

    def part(self, part: Part) -> bytes:
        """Return the part as a file: quantization and sparsity kept, only what it uses, nothing twice."""
        import flatbuffers

        schema = generated()
        model = schema.ModelT()
        model.version, model.description = self._file.version, self._file.description
        codes, tensors, buffers = _Numbers(), _Numbers(), _Numbers()
        buffers.of(0)  # by convention the first buffer is empty
        for index in part.inputs:
            tensors.of(index)
        graph = schema.SubGraphT()
        graph.name = self._graph.name
        graph.operators = [self._operator(index, codes, tensors) for index in part.operators]
        graph.inputs = np.array([tensors.of(index) for index in part.inputs], np.int32)
        graph.outputs = np.array([tensors.of(index) for index in part.outputs], np.int32)
        graph.tensors = [self._tensor(index, buffers, part.names) for index in tensors.order]
        model.subgraphs = [graph]
        model.operatorCodes = [self._file.operatorCodes[index] for index in codes.order]
        model.metadata = [self._metadata(item, buffers) for item in self._kept_metadata()]
        model.buffers = [_Aligned(self._file.buffers[index].data if index else None) for index in buffers.order]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _operator(self, index: int, codes: _Numbers, tensors: _Numbers) -> Table:
        old = self._graph.operators[index]
        new = _copied(old)
        new.opcodeIndex = codes.of(old.opcodeIndex)
        for side in ("inputs", "outputs", "intermediates"):
            indices = getattr(old, side)
            if indices is not None:
                renumbered = [tensors.of(int(each)) if each != ABSENT else ABSENT for each in indices]
                setattr(new, side, np.array(renumbered, np.int32))
        return new

    def _tensor(self, index: int, buffers: _Numbers, names: Mapping[int, str]) -> Table:
        old = self._graph.tensors[index]
        new = _copied(old)
        content = self._file.buffers[old.buffer].data
        new.buffer = buffers.of(old.buffer) if old.buffer and content is not None and len(content) else 0
        if index in names:
            new.name = names[index].encode()
        return new

    def _kept_metadata(self) -> Iterable[Table]:
        return (item for item in self._file.metadata or () if item.name != _OF_THE_WHOLE)

    @staticmethod
    def _metadata(item: Table, buffers: _Numbers) -> Table:
        new = _copied(item)
        new.buffer = buffers.of(item.buffer)
        return new


class _Numbers:
    """New numbers for old ones, given in the order of first use."""

    def __init__(self) -> None:
        self._new: dict[int, int] = {}

    @property
    def order(self) -> Sequence[int]:
        return list(self._new)

    def of(self, old: int) -> int:
        return self._new.setdefault(old, len(self._new))


class _Aligned:
    """A buffer whose bytes begin on 16 bytes, as the schema demands; the schema's own BufferT aligns to 1."""

    def __init__(self, data: Any) -> None:  # noqa: ANN401
        self._data = b"" if data is None else np.asarray(data, np.uint8).tobytes()

    def Pack(self, builder: Any) -> int:  # noqa: N802, ANN401  (called by the schema's ModelT)
        schema = generated()
        vector = None
        if self._data:
            builder.StartVector(1, len(self._data), _ALIGNMENT)
            builder.head -= len(self._data)
            builder.Bytes[builder.head : builder.head + len(self._data)] = self._data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def _copied(table: Table) -> Table:
    new = type(table)()
    vars(new).update(vars(table))
    return new
