"""Extracts operators of a .tflite file into a file of their own, with their tensors, constants and operator codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.errors import NotCuttable
from converters.tflite.values import ABSENT, ModelInfo
from converters.tflite.writer import SchemaTable, pack_model, unpack_model

# Describes the inputs and outputs of the whole model: it would be wrong of a part.
_OF_THE_WHOLE = "TFLITE_METADATA"


@dataclass(frozen=True)
class Part:
    """The operators in the order of execution, and the tensors that go in and out, by their indices in the file.

    `names` has the new names of tensors that need one: boundaries are identified by name.
    """

    operators: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: Mapping[int, str]


class Extractor:
    """Extracts parts of the main graph of one file, which is unpacked once."""

    def __init__(self, model: ModelInfo) -> None:
        """Unpack.

        Raises:
            NotCuttable: The file keeps constants outside its tables.
        """
        self._file = unpack_model(model)
        self._graph = self._file["subgraphs"][0]
        self._constants = {tensor.index for tensor in model.main.tensors if tensor.is_constant}
        if any(buffer["offset"] > 1 for buffer in self._file["buffers"]):
            raise NotCuttable("its constants lie after the flatbuffer (a file of 2 GB or more)")
        if any(tensor["external_buffer"] for tensor in self._graph["tensors"]):
            raise NotCuttable("its constants lie in another file")

    def extract(self, part: Part) -> bytes:
        """Return the part as a file, with its quantization and sparsity, and only the constants that it uses."""
        codes, tensors, buffers = _Numbers(), _Numbers(), _Numbers()
        buffers.of(0)  # by convention the first buffer is empty
        for index in part.inputs:
            tensors.of(index)
        graph = SchemaTable("SubGraph", name=self._graph["name"])
        graph["operators"] = [self._operator(index, codes, tensors) for index in part.operators]
        graph["inputs"] = np.array([tensors.of(index) for index in part.inputs], np.int32)
        graph["outputs"] = np.array([tensors.of(index) for index in part.outputs], np.int32)
        graph["tensors"] = [self._tensor(index, buffers, part.names) for index in tensors.order]
        model = SchemaTable(
            "Model", version=self._file["version"], description=self._file["description"], subgraphs=[graph]
        )
        model["operator_codes"] = [self._file["operator_codes"][index] for index in codes.order]
        model["metadata"] = [self._metadata(item, buffers) for item in self._select_metadata()]
        model["buffers"] = [self._file["buffers"][index] if index else SchemaTable("Buffer") for index in buffers.order]
        return pack_model(model)

    def _operator(self, index: int, codes: _Numbers, tensors: _Numbers) -> SchemaTable:
        old: SchemaTable = self._graph["operators"][index]
        new = old.copy()
        new["opcode_index"] = codes.of(old["opcode_index"])
        for side in ("inputs", "outputs", "intermediates"):
            if old[side] is not None:
                renumbered = [tensors.of(number) if number != ABSENT else ABSENT for number in old[side].tolist()]
                new[side] = np.array(renumbered, np.int32)
        return new

    def _tensor(self, index: int, buffers: _Numbers, names: Mapping[int, str]) -> SchemaTable:
        new: SchemaTable = self._graph["tensors"][index].copy()
        new["buffer"] = buffers.of(new["buffer"]) if index in self._constants else 0
        if index in names:
            new["name"] = names[index]
        return new

    def _select_metadata(self) -> Iterable[SchemaTable]:
        return (item for item in self._file["metadata"] or () if item["name"] != _OF_THE_WHOLE)

    @staticmethod
    def _metadata(item: SchemaTable, buffers: _Numbers) -> SchemaTable:
        new = item.copy()
        new["buffer"] = buffers.of(item["buffer"])
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
