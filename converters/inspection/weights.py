"""Finds the constants that are parameters, the operators they belong to, and their storage.

A parameter is an element of a constant that an operator reads as weights or bias: convolutions, matrix products,
recurrent cells, PRELU slopes, embedding tables, and constants of more than one element that ADD, SUB, MUL and DIV
read (unfolded batch normalisation). Shapes, axes, paddings and scalars do not count. A constant that reaches its
operator through DENSIFY, DEQUANTIZE or a change of shape alone belongs to the operator that computes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.errors import ModelFileError
from converters.tflite.tensor_data import count_zeros
from converters.tflite.values import FLOATS, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

UNPACKING = frozenset({"DENSIFY", "DEQUANTIZE"})
_PASSING = UNPACKING | {"RESHAPE", "TRANSPOSE", "CAST"}
COUNTED = (
    "elements of the distinct constants that operators read as weights or bias (also through DENSIFY and DEQUANTIZE); "
    "a constant shared by several operators counts once; shapes, axes, paddings and scalars do not count"
)


@dataclass(frozen=True)
class Roles:
    """Positions among an operator's inputs."""

    weights: tuple[int, ...]
    bias: tuple[int, ...] = ()


_LSTM = Roles(weights=(*range(1, 9), 16), bias=(*range(9, 16), 17, *range(20, 24)))
RECURRENT = {
    "LSTM": _LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": Roles(
        weights=(*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)),
        bias=(*range(9, 16), 17, *range(26, 33), 34),
    ),
    "RNN": Roles(weights=(1, 2), bias=(3,)),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Roles(weights=(1, 2), bias=(3,)),
    "BIDIRECTIONAL_SEQUENCE_RNN": Roles(weights=(1, 2, 5, 6, 10, 11), bias=(3, 7)),
    "SVDF": Roles(weights=(1, 2), bias=(3,)),
}
ELEMENTWISE = frozenset({"ADD", "SUB", "MUL", "DIV"})
ROLES: dict[str, Roles] = {
    "CONV_2D": Roles((1,), (2,)),
    "DEPTHWISE_CONV_2D": Roles((1,), (2,)),
    "CONV_3D": Roles((1,), (2,)),
    "TRANSPOSE_CONV": Roles((1,), (3,)),
    "CONV_3D_TRANSPOSE": Roles((1,), (3,)),
    "FULLY_CONNECTED": Roles((1,), (2,)),
    "BATCH_MATMUL": Roles((0, 1)),
    "PRELU": Roles((1,)),
    "EMBEDDING_LOOKUP": Roles((1,)),
    "GATHER": Roles((0,)),
    **dict.fromkeys(ELEMENTWISE, Roles((0, 1))),
    **RECURRENT,
}


@dataclass(frozen=True)
class WeightInfo:
    """One constant that an operator reads as weights or bias."""

    role: str
    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    read_as: str
    unpacked_by: tuple[str, ...]
    parameters: int
    zeros: int | None
    stored_bytes: int
    index_bytes: int
    unpacked_bytes: int
    sparse_encoded: bool
    block_shape: tuple[int, ...]
    per_channel: bool | None
    stored_in: str

    @property
    def sparsity(self) -> float | None:
        """Share of zeros, 0 to 1."""
        return None if self.zeros is None or self.parameters == 0 else self.zeros / self.parameters


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of a tensor's content: the stored constant, and the operators on the way."""

    constant: TensorInfo
    through: tuple[OperatorInfo, ...]


def origins(graph: SubgraphInfo) -> dict[int, Origin]:
    """Return the origin of every tensor that is constant, or derived from one by unpacking or a change of shape."""
    found = {tensor.index: Origin(tensor, ()) for tensor in graph.tensors if tensor.is_constant}
    for operator in graph.operators:
        source = operator.input(0)
        if operator.name in _PASSING and source in found and len(operator.outputs) == 1:
            before = found[source]
            found[operator.outputs[0]] = Origin(before.constant, (*before.through, operator))
    return found


class WeightReader:
    """Describes the weights of operators; the zeros of a constant that several share are counted once."""

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        self._zeros: dict[tuple[int, int], int | None] = {}

    def of(self, graph: SubgraphInfo, operator: OperatorInfo, found: dict[int, Origin]) -> tuple[WeightInfo, ...]:
        """Return the weights and biases that an operator reads, in the order of its inputs."""
        return tuple(
            self._describe(graph, role, tensor, found[tensor.index])
            for role, tensor in _operands(graph, operator)
            if tensor.index in found and _is_parameter(operator, tensor, found[tensor.index])
        )

    def _describe(self, graph: SubgraphInfo, role: str, read: TensorInfo, origin: Origin) -> WeightInfo:
        constant = origin.constant
        sparsity = constant.sparsity
        return WeightInfo(
            role=role,
            tensor=constant.index,
            name=constant.name,
            shape=constant.shape,
            dtype=constant.dtype,
            read_as=read.dtype,
            unpacked_by=tuple(operator.name for operator in origin.through),
            parameters=constant.elements,
            zeros=self._count_zeros(graph, constant),
            stored_bytes=constant.stored_bytes,
            index_bytes=0 if sparsity is None else sparsity.index_bytes,
            unpacked_bytes=read.dense_bytes or 0,
            sparse_encoded=sparsity is not None,
            block_shape=() if sparsity is None else sparsity.block_shape,
            per_channel=_per_channel(constant),
            stored_in=_content_key(graph, constant),
        )

    def _count_zeros(self, graph: SubgraphInfo, constant: TensorInfo) -> int | None:
        key = (graph.index, constant.index)
        if key not in self._zeros:
            try:
                self._zeros[key] = count_zeros(self._model, constant)
            except ModelFileError:
                self._zeros[key] = None
        return self._zeros[key]


def _operands(graph: SubgraphInfo, operator: OperatorInfo) -> Iterator[tuple[str, TensorInfo]]:
    roles = roles_of(operator)
    for position, index in enumerate(operator.inputs):
        role = "weights" if position in roles.weights else "bias" if position in roles.bias else None
        if role is not None and index >= 0:
            yield role, graph.tensors[index]


def roles_of(operator: OperatorInfo) -> Roles:
    """Return the positions of an operator's weights and bias; empty for operators without."""
    if operator.name == "LSTM" and len(operator.inputs) == _BASIC_LSTM_INPUTS:
        return _BASIC_LSTM
    return ROLES.get(operator.name, Roles(()))


# LSTM's "basic" kernel: input, previous activation, one matrix, one bias, previous state.
_BASIC_LSTM_INPUTS = 5
_BASIC_LSTM = Roles((2,), (3,))


def _is_parameter(operator: OperatorInfo, read: TensorInfo, origin: Origin) -> bool:
    constant = origin.constant
    numeric = read.dtype in FLOATS or constant.quantization is not None or operator.name in _ALWAYS
    return numeric and not (operator.name in ELEMENTWISE and constant.elements <= 1)


# Operators whose operands are parameters whatever their type says: quantized biases may come without a scale.
_ALWAYS = frozenset(ROLES) - ELEMENTWISE - {"GATHER", "EMBEDDING_LOOKUP"}


def _per_channel(constant: TensorInfo) -> bool | None:
    """Whether there is a scale for each channel; None where unquantized, or where one channel makes both the same."""
    quantization = constant.quantization
    if quantization is None or not quantization.scales:
        return None
    single = constant.shape[quantization.axis : quantization.axis + 1] == (1,)
    return None if single else quantization.per_channel


def _content_key(graph: SubgraphInfo, constant: TensorInfo) -> str:
    if constant.external_buffer is not None:
        return f"external {constant.external_buffer}"
    return f"buffer {constant.buffer}"
