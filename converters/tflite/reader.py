"""Reads .tflite files into values: the base of inspection, graph passes, target rules and verification.

Everything that a later step follows is checked here: the flatbuffer's offsets, and the numbers that refer to tensors,
buffers and operator codes. What can be inspected but must not be run (a newer operator, weights in another file)
goes into `ModelInfo.unsupported`. Buffers that stand after the flatbuffer (`offset` and `size`, used by files
beyond 2 GB) and in other files (`external_buffer`) are read like those inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

from converters.errors import SourceError
from converters.tflite import schema
from converters.tflite.flatbuffer import Damage, Record, read_root
from converters.tflite.operator_options import read_options
from converters.tflite.tensor_storage import read_quantization, read_shapes, read_sparsity
from converters.tflite.values import (
    CUSTOM,
    MetadataInfo,
    ModelInfo,
    OperatorInfo,
    SignatureInfo,
    SubgraphInfo,
    TensorInfo,
)

__all__ = ["parse_model", "read_model"]

_NEVER_STORED = ("DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
_EMPTY = memoryview(b"")
_Code = tuple[str, int, str | None]  # name, version, custom code


def read_model(path: Path) -> ModelInfo:
    """Read a .tflite file.

    Raises:
        SourceError: the file is missing or unreadable.
        ModelFileError: it is not a .tflite file, or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"cannot read {path}: {error.strerror or error}", hint="give the path of a .tflite file"
        ) from error
    return parse_model(content, name=str(path), folder=path.parent)


def parse_model(content: bytes, *, name: str = "the model", folder: Path | None = None) -> ModelInfo:
    """Read a .tflite file from its bytes.

    Args:
        content: the whole file.
        name: the file's name in messages.
        folder: where buffers kept in files of their own are looked for; None refuses them.

    Raises:
        ModelFileError: the bytes are not a .tflite file, or damaged; the message names the place in the model
            (subgraphs[0].operators[3].inputs[1]) and the byte in the file.
    """
    try:
        unsupported: list[Damage] = []
        root = read_root(content, unsupported)
        return _Reader(root, content, folder, unsupported).read(name)
    except Damage as damage:
        raise damage.to_error(name) from damage


class _Reader:
    """Turns the checked records of one file into values."""

    def __init__(self, root: Record, content: bytes, folder: Path | None, unsupported: list[Damage]) -> None:
        self._root = root
        self._content = content
        self._folder = folder
        self._unsupported = unsupported
        self._buffers: tuple[memoryview, ...] = ()
        self._outside: dict[int, memoryview] = {}
        self._codes: tuple[_Code, ...] = ()

    def read(self, name: str) -> ModelInfo:
        root = self._root
        if root["version"] != schema.VERSION:
            self._tolerate(
                f"the schema's version is {root['version']}; only {schema.VERSION} is known", root, "version"
            )
        self._buffers = tuple(map(self._buffer, root.records("buffers")))
        self._outside = self._read_outside()
        self._codes = tuple(map(self._code, root.records("operator_codes")))
        graphs = tuple(self._subgraph(index, graph) for index, graph in enumerate(root.records("subgraphs")))
        if not graphs:
            raise Damage("the model has no subgraph", path="subgraphs", at=root.at)
        return ModelInfo(
            name=name,
            description=root["description"] or "",
            schema_version=root["version"],
            subgraphs=graphs,
            signatures=tuple(self._signature(item, graphs) for item in root.records("signature_defs")),
            metadata=tuple(map(self._metadata, root.records("metadata"))),
            content=self._content,
            buffers=self._buffers,
            outside=MappingProxyType(self._outside),
            record=root,
            unsupported=tuple(self._unsupported),
        )

    def _tolerate(self, what: str, record: Record, part: str = "") -> None:
        path = f"{record.path}.{part}" if record.path and part else record.path or part
        self._unsupported.append(Damage(what, path=path, at=record.at))

    def _buffer(self, record: Record) -> memoryview:
        offset, size = record["offset"], record["size"]
        if offset > 1:  # 0 and 1 both mean: the bytes are inside the flatbuffer
            return self._cut_out(offset, size, record)
        return _EMPTY if record["data"] is None else memoryview(record["data"])

    def _cut_out(self, start: int, size: int, record: Record) -> memoryview:
        if start + size > len(self._content):
            what = f"claims {size} bytes at {start}; the file has {len(self._content)} bytes"
            raise Damage(what, path=record.path, at=record.at)
        return memoryview(self._content)[start : start + size]

    def _read_outside(self) -> dict[int, memoryview]:
        groups = [group["name"] or "" for group in self._root.records("external_buffer_groups")]
        files: dict[str, memoryview] = {}
        outside = {}
        for item in self._root.records("external_buffers"):
            if item["group"] >= len(groups):
                raise Damage(f"names group {item['group']}; there are {len(groups)}", path=item.path, at=item.at)
            name, end = groups[item["group"]], item["offset"] + item["length"]
            if name not in files:
                files[name] = self._read_sibling(name, item)
            if end > len(files[name]):
                what = f"its values end at byte {end} of another file, {name!r}, which has {len(files[name])}"
                raise Damage(what, path=item.path, at=item.at)
            outside[item["id"]] = files[name][item["offset"] : end]
        return outside

    def _read_sibling(self, name: str, item: Record) -> memoryview:
        what = f"its values lie in another file, {name!r}"
        if self._folder is None or name != Path(name).name or name in {"", ".", ".."}:
            raise Damage(f"{what}, which is not a plain file name in the model's folder", path=item.path, at=item.at)
        try:
            return memoryview((self._folder / name).read_bytes())
        except OSError as error:
            raise Damage(f"{what}, which cannot be read: {error.strerror}", path=item.path, at=item.at) from error

    def _code(self, record: Record) -> _Code:
        # Codes up to 126 stand in the older one-byte field, in some files only there.
        code = max(record["deprecated_builtin_code"], record["builtin_code"])
        name, version, custom = schema.name_in(schema.OPERATORS, code, "BuiltinOperator"), record["version"], None
        if code not in range(len(schema.OPERATORS)):
            self._tolerate(f"the operator code is {code}; the last known is {len(schema.OPERATORS) - 1}", record)
        elif name in _NEVER_STORED or version < 1:
            self._tolerate(f"{name} version {version} is not an operator that a file may hold", record)
        if name == CUSTOM:
            custom = record["custom_code"] or ""
            if not custom:
                self._tolerate("a custom operator without a name", record)
        return custom or name, version, custom

    def _subgraph(self, index: int, record: Record) -> SubgraphInfo:
        tensors = record.records("tensors")
        # Older converters never set has_rank: there, a tensor without a shape is a scalar.
        sets_rank = any(item["has_rank"] for item in tensors)
        count = len(tensors)
        for part in ("inputs", "outputs"):
            _check_tensors(record, part, count, lowest=0)
        return SubgraphInfo(
            index=index,
            name=record["name"] or "",
            tensors=tuple(
                self._tensor(place, _set_path(item, record, "tensors", place), sets_rank)
                for place, item in enumerate(tensors)
            ),
            operators=tuple(
                self._operator(place, _set_path(item, record, "operators", place), count)
                for place, item in enumerate(record.records("operators"))
            ),
            inputs=record.ints("inputs"),
            outputs=record.ints("outputs"),
            record=record,
        )

    def _tensor(self, index: int, record: Record, sets_rank: bool) -> TensorInfo:
        if record["type"] not in range(len(schema.TENSOR_TYPES)):
            self._tolerate(f"the type is {record['type']}; the last known is {len(schema.TENSOR_TYPES) - 1}", record)
        content = self._find_content(record)
        shape, signature = read_shapes(record)
        return TensorInfo(
            index=index,
            name=record["name"] or "",
            dtype=schema.name_in(schema.TENSOR_TYPES, record["type"], "TensorType").lower(),
            shape=shape,
            shape_signature=signature,
            has_rank=bool(record["has_rank"] or shape or content or not sets_rank),
            buffer=record["buffer"],
            stored_bytes=len(content),
            is_variable=record["is_variable"],
            quantization=read_quantization(record["quantization"]),
            sparsity=read_sparsity(record["sparsity"]),
            external_buffer=record["external_buffer"] or None,
            record=record,
        )

    def _find_content(self, record: Record) -> memoryview:
        """Return the constant bytes of a tensor, after checks of what it refers to; buffer 0 stands for none."""
        outside, index = record["external_buffer"], record["buffer"]
        if outside:
            self._tolerate("its values lie in another file, which is not supported", record)
            if outside not in self._outside:
                raise Damage(
                    f"its values lie in another file: external buffer {outside}, which the model does not describe",
                    path=record.path, at=record.at,
                )  # fmt: skip
            return self._outside[outside]
        if index >= max(len(self._buffers), 1):
            what = f"refers to buffer {index}; there are {len(self._buffers)}"
            raise Damage(what, path=f"{record.path}.buffer", at=record.at)
        return self._buffers[index] if index else _EMPTY

    def _operator(self, index: int, record: Record, tensors: int) -> OperatorInfo:
        if record["opcode_index"] >= len(self._codes):
            what = f"refers to operator code {record['opcode_index']}; there are {len(self._codes)}"
            raise Damage(what, path=f"{record.path}.opcode_index", at=record.at)
        for part, lowest in (("inputs", -1), ("outputs", 0), ("intermediates", -1)):
            _check_tensors(record, part, tensors, lowest=lowest)
        if record["builtin_options"] is not None and record["builtin_options2"] is not None:
            self._tolerate("has options of two kinds", record)
        name, version, custom_code = self._codes[record["opcode_index"]]
        return OperatorInfo(
            index=index,
            name=name,
            version=version,
            custom_code=custom_code,
            inputs=record.ints("inputs"),
            outputs=record.ints("outputs"),
            intermediates=record.ints("intermediates"),
            options=read_options(record["builtin_options"] or record["builtin_options2"]),
            custom_options=self._custom_options(record),
            record=record,
        )

    def _custom_options(self, record: Record) -> memoryview:
        start, size = record["large_custom_options_offset"], record["large_custom_options_size"]
        if start or size:
            self._tolerate("has custom options outside the model's tables, which is not supported", record)
        if start > 1:
            return self._cut_out(start, size, record)
        return _EMPTY if record["custom_options"] is None else memoryview(record["custom_options"])

    def _signature(self, record: Record, graphs: Sequence[SubgraphInfo]) -> SignatureInfo:
        index = record["subgraph_index"]
        if index >= len(graphs):
            raise Damage(f"names subgraph {index}", path=f"{record.path}.subgraph_index", at=record.at)
        sides = [
            MappingProxyType(dict(self._signature_entries(record, side, len(graphs[index].tensors))))
            for side in ("inputs", "outputs")
        ]
        return SignatureInfo(record["signature_key"] or "", index, *sides)

    def _signature_entries(self, record: Record, side: str, tensors: int) -> Iterator[tuple[str, int]]:
        for entry in record.records(side):
            what = f"names tensor {entry['tensor_index']}; the subgraph has {tensors}"
            if entry["tensor_index"] >= tensors:
                raise Damage(what, path=entry.path, at=entry.at)
            if entry["name"] is None:
                self._tolerate(f"{what}, without a name", entry)
            yield entry["name"] or "", entry["tensor_index"]

    def _metadata(self, record: Record) -> MetadataInfo:
        index = record["buffer"]
        if index >= len(self._buffers):
            what = f"refers to buffer {index}; there are {len(self._buffers)}"
            raise Damage(what, path=f"{record.path}.buffer", at=record.at)
        if record["name"] is None:
            self._tolerate("has no name", record)
        return MetadataInfo(record["name"] or "", index, len(self._buffers[index]))


def _set_path(record: Record, parent: Record, part: str, place: int) -> Record:
    """Return the record with its own path: of a table that is referred to twice, reading keeps only the first."""
    path = f"{parent.path}.{part}[{place}]"
    return record if record.path == path else dataclasses.replace(record, path=path)


def _check_tensors(record: Record, part: str, count: int, *, lowest: int) -> None:
    """Refuse numbers of tensors that the subgraph does not have."""
    for place, index in enumerate(record.ints(part)):
        if not lowest <= index < count:
            what = f"names tensor {index}; the subgraph has {count}"
            raise Damage(what, path=f"{record.path}.{part}[{place}]", at=record.at)
