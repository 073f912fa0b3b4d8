"""Read a .tflite file into values: the base of inspection, graph passes and target rules.

The flatbuffer is decoded through the schema's lazy accessors: structure becomes values, the content of buffers stays in
the file's bytes. Buffers that stand behind the flatbuffer (`offset` and `size`, used by files beyond 2 GB) and in files
beside it (`external_buffer`) are read the same way as those inside.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from converters.errors import ModelFileError, SourceError
from converters.tflite.generated_schema import generated, name_in, options_class
from converters.tflite.values import (
    NO_OPTIONS,
    MetadataInfo,
    ModelInfo,
    OperatorInfo,
    OptionsInfo,
    QuantizationInfo,
    SignatureInfo,
    SparseDimension,
    SparsityInfo,
    SubgraphInfo,
    TensorInfo,
)

__all__ = ["parse_model", "read_model"]

T = TypeVar("T")
_IDENTIFIER = b"TFL3"
_CUSTOM = "CUSTOM"
# What the accessors raise on offsets that lead nowhere, sizes that do not fit and vectors where none should be.
_DAMAGE = (
    struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError,
    RecursionError,
)  # fmt: skip
_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "in_data_type": "TensorType",
    "out_data_type": "TensorType",
    "quantized_bias_type": "TensorType",
    "output_type": "TensorType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "mode": "MirrorPadMode",
}


def read_model(path: Path) -> ModelInfo:
    """Read a .tflite file.

    Raises:
        SourceError: the file is missing or unreadable.
        ModelFileError: it is no .tflite file, or a damaged one.
        MissingPartError: the schema's classes are not installed.
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
        name: what messages call it.
        folder: where buffers kept in files of their own are looked for; None refuses them.

    Raises:
        ModelFileError: the bytes are no .tflite file, or a damaged one.
    """
    if content[4:8] != _IDENTIFIER:
        raise ModelFileError(
            f"{name} is no TFLite model: it has no {_IDENTIFIER.decode()} at byte 4 ({len(content)} bytes)",
            hint="convert the model first: edge convert SOURCE --to fp32",
        )
    schema = generated()
    try:
        return _Reader(schema.Model.GetRootAs(content, 0), content, folder).model()
    except _DAMAGE as error:
        raise ModelFileError(
            f"{name} is damaged: {type(error).__name__} while reading its structure ({error})",
            hint="convert or download the file again",
        ) from error


class _Reader:
    """Walks one flatbuffer once; every method turns one schema table into one value."""

    def __init__(self, root: Any, content: bytes, folder: Path | None) -> None:  # noqa: ANN401
        self._root = root
        self._content = memoryview(content)
        self._folder = folder
        self._extents: tuple[tuple[int, int], ...] = ()
        self._outside: dict[int, memoryview] = {}

    def model(self) -> ModelInfo:
        root = self._root
        self._extents = tuple(map(self._extent, self._each(root, "Buffers")))
        self._outside = self._read_outside()
        codes = [_operator_code(code) for code in self._each(root, "OperatorCodes")]
        graphs = tuple(self._subgraph(index, graph, codes) for index, graph in enumerate(self._each(root, "Subgraphs")))
        if not graphs:
            raise ValueError("it holds no graph")
        return ModelInfo(
            description=_text(root.Description()),
            schema_version=root.Version(),
            subgraphs=graphs,
            signatures=tuple(self._signature(item, graphs) for item in self._each(root, "SignatureDefs")),
            metadata=tuple(self._metadata(item) for item in self._each(root, "Metadata")),
            content=self._content,
            extents=self._extents,
            outside=MappingProxyType(self._outside),
        )

    def _each(self, table: Any, name: str) -> Iterator[Any]:  # noqa: ANN401
        count = getattr(table, f"{name}Length")()
        self._check_count(count, name)
        return map(getattr(table, name), range(count))

    def _check_count(self, count: int, name: str) -> None:
        if count * 4 > len(self._content):
            raise ValueError(f"{count} {name} cannot fit into {len(self._content)} bytes")

    def _extent(self, buffer: Any) -> tuple[int, int]:  # noqa: ANN401
        # 0 and 1 in `offset` both mean: the bytes are inside the flatbuffer.
        if buffer.Offset() > 1:
            return self._bounded(buffer.Offset(), buffer.Size())
        size = buffer.DataLength()
        if size == 0:
            return 0, 0
        field = buffer._tab.Offset(4)
        return self._bounded(buffer._tab.Vector(field), size)

    def _bounded(self, start: int, size: int) -> tuple[int, int]:
        if start + size > len(self._content):
            raise ValueError(f"a buffer of {size} bytes at {start} ends behind the file's {len(self._content)} bytes")
        return start, size

    def _read_outside(self) -> dict[int, memoryview]:
        root = self._root
        if not hasattr(root, "ExternalBuffersLength") or root.ExternalBuffersIsNone():
            return {}
        groups = [_text(group.Name()) for group in self._each(root, "ExternalBufferGroups")]
        files: dict[str, memoryview] = {}
        found = {}
        for item in self._each(root, "ExternalBuffers"):
            name = groups[item.Group()]
            content = files.setdefault(name, self._beside(name)) if name not in files else files[name]
            if item.Offset() + item.Length() > len(content):
                raise ValueError(f"a buffer ends behind the {len(content)} bytes of {name!r}")
            found[item.Id()] = content[item.Offset() : item.Offset() + item.Length()]
        return found

    def _beside(self, name: str) -> memoryview:
        if self._folder is None or name != Path(name).name or name in {"", ".", ".."}:
            raise ValueError(f"it keeps weights in {name!r}, which is no plain file name beside it")
        try:
            return memoryview((self._folder / name).read_bytes())
        except OSError as error:
            raise ValueError(f"it keeps weights in {name!r} beside it: {error.strerror}") from error

    def _subgraph(self, index: int, graph: Any, codes: list[_Code]) -> SubgraphInfo:  # noqa: ANN401
        # Older converters never set has_rank: there, a tensor without a shape is a scalar.
        ranks_told = any(item.HasRank() for item in self._each(graph, "Tensors"))
        tensors = tuple(
            self._tensor(number, item, ranks_told) for number, item in enumerate(self._each(graph, "Tensors"))
        )
        operators = tuple(
            self._operator(number, item, codes) for number, item in enumerate(self._each(graph, "Operators"))
        )
        value = SubgraphInfo(
            index=index,
            name=_text(graph.Name()),
            tensors=tensors,
            operators=operators,
            inputs=_integers(graph, "Inputs"),
            outputs=_integers(graph, "Outputs"),
        )
        _check_references(value)
        return value

    def _tensor(self, index: int, tensor: Any, ranks_told: bool) -> TensorInfo:  # noqa: ANN401
        outside = getattr(tensor, "ExternalBuffer", int)() or None
        stored = len(self._outside[outside]) if outside is not None else self._extents[tensor.Buffer()][1]
        sparsity = tensor.Sparsity()
        shape, signature = _shapes(_integers(tensor, "Shape"), _integers(tensor, "ShapeSignature"))
        return TensorInfo(
            index=index,
            name=_text(tensor.Name()),
            dtype=name_in("TensorType", tensor.Type()).lower(),
            shape=shape,
            shape_signature=signature,
            has_rank=bool(tensor.HasRank() or shape or stored or not ranks_told),
            buffer=tensor.Buffer(),
            stored_bytes=stored,
            is_variable=bool(tensor.IsVariable()),
            quantization=_quantization(tensor.Quantization()),
            sparsity=None if sparsity is None else self._sparsity(sparsity),
            external_buffer=outside,
        )

    def _sparsity(self, sparsity: Any) -> SparsityInfo:  # noqa: ANN401
        return SparsityInfo(
            traversal_order=_integers(sparsity, "TraversalOrder"),
            block_map=_integers(sparsity, "BlockMap"),
            dimensions=tuple(_sparse_dimension(item) for item in self._each(sparsity, "DimMetadata")),
        )

    def _operator(self, index: int, operator: Any, codes: list[_Code]) -> OperatorInfo:  # noqa: ANN401
        name, version, custom_code = codes[operator.OpcodeIndex()]
        return OperatorInfo(
            index=index,
            name=name,
            version=version,
            custom_code=custom_code,
            inputs=_integers(operator, "Inputs"),
            outputs=_integers(operator, "Outputs"),
            intermediates=_integers(operator, "Intermediates"),
            options=_options(operator),
            custom_options=self._custom_options(operator),
        )

    def _custom_options(self, operator: Any) -> memoryview:  # noqa: ANN401
        start, size = operator.LargeCustomOptionsOffset(), operator.LargeCustomOptionsSize()
        if start <= 1:
            size = operator.CustomOptionsLength()
            start = operator._tab.Vector(operator._tab.Offset(14)) if size else 0
        start, size = self._bounded(start, size)
        return self._content[start : start + size]

    def _signature(self, item: Any, graphs: tuple[SubgraphInfo, ...]) -> SignatureInfo:  # noqa: ANN401
        graph = graphs[item.SubgraphIndex()]
        named = [
            {_text(pair.Name()): graph.tensors[pair.TensorIndex()].index for pair in self._each(item, side)}
            for side in ("Inputs", "Outputs")
        ]
        return SignatureInfo(_text(item.SignatureKey()), graph.index, *map(MappingProxyType, named))

    def _metadata(self, item: Any) -> MetadataInfo:  # noqa: ANN401
        return MetadataInfo(_text(item.Name()), item.Buffer(), self._extents[item.Buffer()][1])


_Code = tuple[str, int, str | None]


def _operator_code(code: Any) -> _Code:  # noqa: ANN401
    # Codes up to 126 stand in the older one-byte field, in some files only there.
    name = name_in("BuiltinOperator", max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    if name != _CUSTOM:
        return name, code.Version(), None
    custom = _text(code.CustomCode())
    return custom or _CUSTOM, code.Version(), custom


def _check_references(graph: SubgraphInfo) -> None:
    count = len(graph.tensors)
    for operator in graph.operators:
        if any(not -1 <= tensor < count for tensor in operator.inputs + operator.intermediates):
            raise ValueError(f"operator {operator.index} ({operator.name}) reads a tensor that is not there")
        if any(not 0 <= tensor < count for tensor in operator.outputs):
            raise ValueError(f"operator {operator.index} ({operator.name}) writes a tensor that is not there")
    if any(not 0 <= tensor < count for tensor in graph.inputs + graph.outputs):
        raise ValueError("an input or output of the graph is a tensor that is not there")


def _quantization(value: Any) -> QuantizationInfo | None:  # noqa: ANN401
    if value is None:
        return None
    scales, zeros = _floats(value, "Scale"), _integers(value, "ZeroPoint")
    details = name_in("QuantizationDetails", value.DetailsType())
    if not scales and details == "NONE":
        return None
    return QuantizationInfo(
        scales=scales,
        zero_points=zeros or (0,) * len(scales),
        axis=value.QuantizedDimension(),
        details=None if details == "NONE" else details,
    )


def _sparse_dimension(item: Any) -> SparseDimension:  # noqa: ANN401
    if name_in("DimensionType", item.Format()) == "DENSE":
        return SparseDimension(compressed=False, dense_size=item.DenseSize())
    segments, segment_bytes = _index_vector(item.ArraySegmentsType(), item.ArraySegments())
    indices, index_bytes = _index_vector(item.ArrayIndicesType(), item.ArrayIndices())
    return SparseDimension(
        compressed=True,
        dense_size=item.DenseSize(),
        segments=segments,
        indices=indices,
        index_bytes=segment_bytes + index_bytes,
    )


def _index_vector(kind: int, table: Any) -> tuple[NDArray[np.int64], int]:  # noqa: ANN401
    vector = getattr(generated(), name_in("SparseIndexVector", kind))()
    vector.Init(table.Bytes, table.Pos)
    stored = vector.ValuesAsNumpy() if vector.ValuesLength() else np.zeros(0, np.int32)
    return stored.astype(np.int64), stored.nbytes


def _options(operator: Any) -> OptionsInfo:  # noqa: ANN401
    for union in ("BuiltinOptions", "BuiltinOptions2"):
        found = options_class(union, getattr(operator, f"{union}Type")())
        table = getattr(operator, union)()
        if found is not None and table is not None:
            kind, unpacked = found
            fields = vars(unpacked.InitFromBuf(table.Bytes, table.Pos))
            return OptionsInfo(kind, MappingProxyType(dict(_option_fields(fields))))
    return NO_OPTIONS


def _option_fields(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for camel, value in fields.items():
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", camel).lower()
        if name in _ENUMS and isinstance(value, int):
            yield name, name_in(_ENUMS[name], value)
        elif isinstance(value, (bool, int, float)):
            yield name, value
        elif isinstance(value, bytes):
            yield name, _text(value)
        elif isinstance(value, (list, np.ndarray)):
            yield name, tuple(np.asarray(value).tolist())


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="replace")


def _integers(table: Any, name: str) -> tuple[int, ...]:  # noqa: ANN401
    return _vector(table, name, int)


def _floats(table: Any, name: str) -> tuple[float, ...]:  # noqa: ANN401
    return _vector(table, name, float)


def _vector(table: Any, name: str, kind: Callable[[Any], T]) -> tuple[T, ...]:  # noqa: ANN401
    if getattr(table, f"{name}Length")() == 0:
        return ()
    return tuple(map(kind, getattr(table, f"{name}AsNumpy")().tolist()))


def _shapes(shape: tuple[int, ...], signature: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    if any(size < -1 for size in shape + signature):
        raise ValueError(f"a tensor has the shape {list(shape)} and the signature {list(signature)}")
    if len(signature) != len(shape):
        signature = shape
    signature = tuple(-1 if -1 in pair else pair[1] for pair in zip(shape, signature, strict=True))
    closed = tuple(max(size, 0) if size != -1 else 1 for size in shape)
    return closed, signature if signature != closed else None
