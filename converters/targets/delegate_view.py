"""Views the main graph as XNNPACK's delegate does: constants unpacked, zero padding fused into convolutions.

Source: XNNPACK's subgraph.c and TFLite's xnnpack_delegate.cc, and what stock wheels were seen to do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from converters.inspection.weights import UNPACKING, Origin, origins
from converters.tflite.tensor_data import read_dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_FEATURE_MAP_RANK = 4
# What TFLite gives to XNNPACK (its delegate's README).
DELEGATED = frozenset({
    "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "CONCATENATION", "CONV_2D", "COS", "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "ELU", "EXP", "EXPAND_DIMS", "FLOOR", "FULLY_CONNECTED", "GELU",
    "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "NEG", "PAD",
    "PRELU", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "ROUND",
    "RSQRT", "SIN", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
})  # fmt: skip
# Rows and columns of a feature map, before and after.
Padding = tuple[tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, eq=False)
class Node:
    """One operator that computes: what it reads besides constants, and the PAD that is fused into it."""

    position: int
    operator: OperatorInfo
    reads: tuple[int, ...]
    pad: OperatorInfo | None = None
    padding: Padding = NO_PADDING

    @property
    def name(self) -> str:
        """Return what it computes, by the schema's name."""
        return self.operator.name

    @property
    def index(self) -> int:
        """Return its place in the file."""
        return self.operator.index

    @property
    def label(self) -> str:
        """Return it for messages."""
        return f"operator {self.index} ({self.name})"

    @property
    def writes(self) -> tuple[int, ...]:
        """Return the tensors it writes."""
        return self.operator.outputs


class GraphView:
    """The operators of a file's main graph that compute, in order, and how they are connected."""

    def __init__(self, model: ModelInfo) -> None:
        """Read the graph's structure; weights are read where they are asked for."""
        self.model = model
        self.graph: SubgraphInfo = model.main
        self.origins: dict[int, Origin] = origins(self.graph)
        self.fused: dict[int, Node] = {}
        self.nodes: tuple[Node, ...] = self._nodes()

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The node that writes each tensor."""
        return {tensor: node for node in self.nodes for tensor in node.writes}

    @cached_property
    def readers(self) -> dict[int, tuple[Node, ...]]:
        """The nodes that read each tensor, each once."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.reads):
                found.setdefault(tensor, []).append(node)
        return {tensor: tuple(nodes) for tensor, nodes in found.items()}

    def tensor(self, index: int) -> TensorInfo:
        """Return a tensor of the main graph."""
        return self.graph.tensors[index]

    def partitions(self, without: frozenset[str]) -> tuple[frozenset[int], ...]:
        """Return the positions of the nodes that XNNPACK gets together; operators it does not run come between.

        Args:
            without: operators that the runtime's XNNPACK does not run, though others do.
        """
        epochs: dict[int, int] = {}
        for node in self.nodes:
            sources = [self.producers[tensor] for tensor in node.reads if tensor in self.producers]
            steps = (epochs[each.position] + (_runs(each, without) != _runs(node, without)) for each in sources)
            epochs[node.position] = max(steps, default=0)
        own = [(epochs[node.position], node.position) for node in self.nodes if _runs(node, without)]
        return tuple(
            frozenset(position for epoch, position in own if epoch == wanted)
            for wanted in sorted({epoch for epoch, _ in own})
        )

    def is_feature_map(self, index: int) -> bool:
        """Whether a tensor has four dimensions: batch, height, width, channels."""
        return len(self.tensor(index).shape) == _FEATURE_MAP_RANK

    def weights(self, node: Node) -> Origin | None:
        """Return where a convolution's weights come from; None where they are computed."""
        index = node.operator.input(1)
        origin = None if index is None else self.origins.get(index)
        unpacked = origin is not None and all(operator.name in UNPACKING for operator in origin.through)
        return origin if unpacked else None

    def kernel(self, node: Node) -> tuple[int, ...]:
        """Return height and width of a convolution's kernel; empty where it has none."""
        index = node.operator.input(1)
        return () if index is None else self.tensor(index).shape[1:3]

    def same_padding(self, node: Node) -> Padding:
        """Return the rows and columns that padding SAME adds to a convolution's input."""
        rows, columns = (self._same_padding(node, axis) for axis in (0, 1))
        return rows, columns

    def is_pointwise(self, node: Node) -> bool:
        """Whether it is a convolution with a 1x1 kernel: what sparse kernels can run."""
        return node.name == "CONV_2D" and self.kernel(node) == (1, 1)

    def is_first(self, node: Node) -> bool:
        """Whether it is a convolution larger than 1x1 with none before it: where a cluster would begin."""
        if node.name != "CONV_2D" or self.is_pointwise(node):
            return False
        seen: set[int] = set()
        waiting = list(node.reads)
        while waiting:
            producer = self.producers.get(waiting.pop())
            if producer is None or producer.position in seen:
                continue
            if producer.name in CONVOLUTIONS:
                return False
            seen.add(producer.position)
            waiting += producer.reads
        return True

    def is_encoded(self, tensor: int) -> bool:
        """Whether a tensor is unpacked from sparse storage, the mark XNNPACK looks for."""
        origin = self.origins.get(tensor)
        if origin is None or origin.constant.sparsity is None:
            return False
        return any(operator.name == "DENSIFY" for operator in origin.through)

    def constant(self, index: int | None) -> np.ndarray | None:
        """Return the content of a constant tensor; None where it is none."""
        if index is None or not self.tensor(index).is_constant:
            return None
        return read_dense_values(self.model, self.tensor(index))

    def _same_padding(self, node: Node, axis: int) -> tuple[int, int]:
        size = self.tensor(node.reads[0]).shape[1 + axis]
        stride = (node.operator.options.strides or (1, 1))[axis]
        total = max((-(-size // stride) - 1) * stride + self.kernel(node)[axis] - size, 0)
        return total // 2, total - total // 2

    def _nodes(self) -> tuple[Node, ...]:
        computing = [op for op in self.graph.operators if not all(tensor in self.origins for tensor in op.outputs)]
        uses = Counter(tensor for op in computing for tensor in set(op.inputs))
        uses.update(self.graph.outputs)
        writers = {tensor: op for op in computing for tensor in op.outputs}
        pads = {op.index: pad for op in computing if (pad := self._fusible(op, writers, uses)) is not None}
        gone = {pad.index for pad, _ in pads.values()}
        kept = [op for op in computing if op.index not in gone]
        nodes = tuple(self._node(position, op, pads.get(op.index)) for position, op in enumerate(kept))
        self.fused = {node.pad.index: node for node in nodes if node.pad is not None}
        return nodes

    def _node(self, position: int, operator: OperatorInfo, fused: tuple[OperatorInfo, Padding] | None) -> Node:
        reads = [tensor for tensor in operator.inputs if tensor != ABSENT and tensor not in self.origins]
        if fused is None:
            return Node(position, operator, tuple(reads))
        pad, padding = fused
        reads[reads.index(pad.outputs[0])] = pad.inputs[0]
        return Node(position, operator, tuple(reads), pad, padding)

    def _fusible(
        self, operator: OperatorInfo, writers: dict[int, OperatorInfo], uses: Counter[int]
    ) -> tuple[OperatorInfo, Padding] | None:
        """Return the PAD before a convolution that becomes the convolution's own padding."""
        if operator.name not in CONVOLUTIONS or operator.options.padding != "VALID":
            return None
        pad = writers.get(operator.inputs[0])
        if pad is None or pad.name != "PAD" or uses[pad.outputs[0]] != 1:
            return None
        amounts = self.constant(pad.input(1))
        if amounts is None or amounts.shape != (_FEATURE_MAP_RANK, 2) or amounts[0].any() or amounts[3].any():
            return None
        rows, columns = ((int(before), int(after)) for before, after in amounts[1:3])
        return pad, (rows, columns)


def _runs(node: Node, without: frozenset[str]) -> bool:
    return node.name in DELEGATED - without
