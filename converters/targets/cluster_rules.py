"""Decides where each operator may stand in a sparse cluster, or why it may not.

Source: `xnn_check_nchw_compatibility` in XNNPACK's subgraph.c, checked against stock wheels; the differences to what
its comments say (a constant may only be the first operand) are as the wheels behave.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from converters.targets.delegate_view import GraphView, Node, Padding
from converters.targets.runtimes import UNARY, SparseRules
from converters.targets.sparse_prediction import ClusterRole, Reason

_FLOAT = "float32"
_STEM_CHANNELS = 3
_DEPTHWISE_PADDING = {3: 1, 5: 2}
_NO_XNNPACK_ACTIVATION = frozenset({"TANH", "SIGN_BIT"})
_NEWER_UNARY = frozenset({"EXP", "GELU", "LOG", "RELU_0_TO_1", "RSQRT", "SQRT", "TANH", "SIN", "COS", "SIGN"})
_FEATURE_AXES = (1, 2)
_BEGIN = "begin with a 3x3 convolution, stride 2, 3 input channels, padding 1 on each side"
_INSIDE = ClusterRole(inside=True)


class ClusterRules:
    """Assigns the operators of one graph their roles, for one runtime."""

    def __init__(self, view: GraphView, known: SparseRules) -> None:
        """Keep the graph and what is known of the runtime."""
        self._view = view
        self._known = known

    def assign_role(self, node: Node) -> ClusterRole:
        """Return where the operator may stand in a cluster."""
        precision = self._precision(node)
        if precision is not None:
            return ClusterRole(problem=precision)
        if node.operator.options.activation in _NO_XNNPACK_ACTIVATION:
            return self._no(
                node, f"has the activation {node.operator.options.activation} built in", "use ReLU or ReLU6"
            )
        return self._judge(node.name)(node)

    def _judge(self, name: str) -> Callable[[Node], ClusterRole]:
        judges: dict[str, Callable[[Node], ClusterRole]] = {
            "CONV_2D": self._convolution, "DEPTHWISE_CONV_2D": self._depthwise, "ADD": self._binary,
            "MUL": self._binary, "RESIZE_BILINEAR": self._resize, "MEAN": self._reduce, "SUM": self._reduce,
            "PAD": self._pad, "FULLY_CONNECTED": self._dense, "MINIMUM": self._clamp, "MAXIMUM": self._clamp,
            "DEPTH_TO_SPACE": lambda node: ClusterRole(end=True),
        }  # fmt: skip
        return judges.get(name, self._unary)

    def _precision(self, node: Node) -> Reason | None:
        operands = [tensor for tensor in (*node.operator.inputs[:2], *node.writes) if tensor >= 0]
        floating = node.name in {"MEAN", "SUM", "PAD", "RESIZE_BILINEAR"}
        checked = [node.operator.inputs[0], *node.writes] if floating and node.operator.inputs else operands
        for index in checked:
            tensor = self._view.tensor(index)
            if tensor.dtype == _FLOAT:
                continue
            weights = index in self._view.origins
            what = f"{tensor.dtype} {'weights' if weights else 'activations'}"
            return Reason(
                "precision",
                f"{node.label} computes with {what}, and XNNPACK's sparse kernels are floating point",
                "convert with --to sparse-int8: int8 in the file, float when it runs",
                (node.index,),
                tensor.name,
            )
        return None

    def _convolution(self, node: Node) -> ClusterRole:
        kernel, options = self._view.kernel(node), node.operator.options
        if self._view.weights(node) is None:
            return self._no_weights(node)
        channels, per_group = self._view.tensor(node.reads[0]).shape[-1], self._weight_shape(node)[-1]
        if channels != per_group:
            return self._no(node, f"has {channels // max(per_group, 1)} groups", "use a convolution without groups")
        if options.dilations not in {None, (1, 1)}:
            return self._no(node, f"is dilated by {_by(options.dilations)}", "use no dilation")
        if kernel == (1, 1):
            return self._pointwise(node)
        if kernel == (3, 3) and options.strides == (2, 2) and channels == _STEM_CHANNELS:
            return self._stem(node)
        why = f"is a {_by(kernel)} convolution with stride {_by(options.strides)} and {channels} input channels"
        if self._view.is_first(node):
            return self._no(node, f"is the first convolution, and {why}", _BEGIN, kind="start")
        return self._no(node, why, "use depthwise and 1x1 convolutions there")

    def _pointwise(self, node: Node) -> ClusterRole:
        if node.operator.options.strides != (1, 1):
            return self._no(node, f"is a 1x1 convolution with stride {_by(node.operator.options.strides)}",
                            "move the stride to a depthwise convolution")  # fmt: skip
        if any(map(any, node.padding)):
            return self._no(node, "is a 1x1 convolution with padding", "remove the padding before it")
        return _INSIDE

    def _stem(self, node: Node) -> ClusterRole:
        if node.operator.options.padding == "VALID" and node.padding == ((1, 1), (1, 1)):
            return ClusterRole(start=True)
        return self._no(
            node, f"is the first convolution, and {self._describe_padding(node)}", _symmetric(1, "Conv2D"), kind="start"
        )

    def _depthwise(self, node: Node) -> ClusterRole:
        options, kernel, strides = node.operator.options, self._view.kernel(node), node.operator.options.strides
        if self._view.weights(node) is None:
            return self._no_weights(node)
        if options.dilations not in {None, (1, 1)}:
            return self._no(node, f"is dilated by {_by(options.dilations)}", "use no dilation")
        if self._weight_shape(node)[-1] != self._view.tensor(node.reads[0]).shape[-1]:
            return self._no(node, "makes several channels of each", "use a depth multiplier of 1")
        if kernel not in {(3, 3), (5, 5)}:
            return self._no(node, f"has a {_by(kernel)} kernel", "use 3x3 or 5x5")
        if strides not in {(1, 1), (2, 2)}:
            return self._no(node, f"has stride {_by(strides)}", "use stride 1 or 2")
        wanted = _DEPTHWISE_PADDING[kernel[0]]
        if options.padding == "SAME" and strides == (1, 1):
            return _INSIDE
        if options.padding == "VALID" and node.padding == ((wanted, wanted), (wanted, wanted)):
            return _INSIDE
        return self._no(node, self._describe_padding(node), _symmetric(wanted, "DepthwiseConv2D"))

    def _describe_padding(self, node: Node) -> str:
        """Describe the padding of a convolution by its sides."""
        strides = node.operator.options.strides
        if node.operator.options.padding == "SAME":
            rows, columns = self._view.same_padding(node)
            text = f"pads {_sides((rows, columns))} (SAME at stride {_by(strides)})"
            return text if (rows, columns) != ((1, 1), (1, 1)) else f"{text}, which is not explicit to XNNPACK"
        return f"pads {_sides(node.padding)}" + ("" if node.pad is not None else " (VALID)")

    def _binary(self, node: Node) -> ClusterRole:
        first, second = node.operator.inputs[:2]
        if not (self._view.is_feature_map(first) and self._view.is_feature_map(second)):
            return self._no(node, "has an operand without four dimensions", "fold the constant into a convolution")
        if second in self._view.origins:
            return self._no(node, f"has a constant as its second operand ({self._view.tensor(second).name})",
                            "fold it into a convolution")  # fmt: skip
        sizes = self._view.tensor(first).shape
        if first in self._view.origins and sum(size != 1 for size in sizes) > 1:
            return self._no(node, f"has a constant of shape {_by(sizes)}", "use a scalar or one value for each channel")
        return self._twice(node) if len(set(node.reads)) < len(node.reads) else _INSIDE

    def _twice(self, node: Node) -> ClusterRole:
        if self._known.takes_twice is None:
            return self._not_measured(node, "reads one value twice, which", "scale the value")
        if node.name in self._known.takes_twice:
            return _INSIDE
        found = self._no(node, "reads one value twice, and XNNPACK miscounts its readers", "scale the value")
        return ClusterRole(inside=True, leaks=True, problem=found.problem)

    def _clamp(self, node: Node) -> ClusterRole:
        first, second = node.operator.inputs[:2]
        if not (second in self._view.origins and prod(self._view.tensor(second).shape) == 1 and self._on_map(first)):
            return self._unary(node)
        if self._known.takes_clamps is None:
            return self._not_measured(node, "bounds values by a number, which", "use ReLU6")
        return _INSIDE if self._known.takes_clamps else self._unary(node)

    def _dense(self, node: Node) -> ClusterRole:
        maps = self._on_map(node.operator.inputs[0]) and self._on_map(node.writes[0])
        if not maps or self._known.takes_dense_maps is False:
            return self._unary(node)
        if self._known.takes_dense_maps is None:
            return self._not_measured(
                node, "is a fully connected layer on a feature map, which", "use a 1x1 convolution"
            )
        if self._view.weights(node) is None:
            return self._no_weights(node)
        return _INSIDE

    def _on_map(self, tensor: int) -> bool:
        return tensor not in self._view.origins and self._view.is_feature_map(tensor)

    def _resize(self, node: Node) -> ClusterRole:
        sizes = self._view.tensor(node.reads[0]).shape[1:3]
        return _INSIDE if min(sizes, default=0) > 1 else self._no(node, f"resizes {_by(sizes)}", "resize more than 1x1")

    def _reduce(self, node: Node) -> ClusterRole:
        axes = self._view.constant(node.operator.input(1))
        rank = len(self._view.tensor(node.reads[0]).shape)
        found = () if axes is None else tuple(sorted(int(axis) % max(rank, 1) for axis in axes.ravel()))
        what = f"takes the {node.name.lower()} over the axes {found}"
        if node.name == "MEAN" and found == _FEATURE_AXES and self._view.is_feature_map(node.reads[0]):
            return ClusterRole(inside=True, end=True)
        if self._known.reduces_any_axes is False or not self._on_map(node.reads[0]):
            return self._no(node, what, "take the mean over height and width (1, 2)")
        if self._known.reduces_any_axes is None:
            return self._not_measured(node, f"{what}, which", "take the mean over height and width (1, 2)")
        wrong = Reason("results", f"the results would be WRONG, or the file refused: {node.label} {what}, and "
                       "XNNPACK moves its input to the sparse layout", "take the mean over height and width (1, 2)",
                       (node.index,), self._view.tensor(node.writes[0]).name)  # fmt: skip
        ordered = found == _FEATURE_AXES or (0 not in found and 3 in found)
        return ClusterRole(inside=True, end=True, wrong_inside=wrong, wrong_end=None if ordered else wrong)

    def _pad(self, node: Node) -> ClusterRole:
        readers = self._view.readers.get(node.writes[0], ())
        if len(readers) > 1:
            indices = ", ".join(str(reader.index) for reader in readers)
            return self._no(node, f"is read by several operators ({indices}), so it is fused into none",
                            "give each convolution a padding of its own")  # fmt: skip
        return self._no(
            node, "pads a tensor that no convolution reads", "put it before a convolution with padding VALID"
        )

    def _unary(self, node: Node) -> ClusterRole:
        single = len(node.reads) == 1 and bool(node.writes) and self._view.is_feature_map(node.reads[0])
        if single and node.name in UNARY | self._known.more_unary:
            return _INSIDE
        if single and node.name in _NEWER_UNARY - self._known.without_unary - self._known.outside_unary:
            return self._not_measured(node, "", "use ReLU6 or HARD_SWISH")
        return self._no(node, "may not stand in a cluster",
                        "use 1x1 and depthwise convolutions, ADD, MUL, RESIZE_BILINEAR and activations")  # fmt: skip

    def _not_measured(self, node: Node, why: str, change: str) -> ClusterRole:
        what = f"{node.label} {why}".strip()
        return ClusterRole(problem=Reason(
            "unmeasured", f"{what} was not measured inside a cluster with {self._known.versions}", change,
            (node.index,)))  # fmt: skip

    def _no_weights(self, node: Node) -> ClusterRole:
        return self._no(node, "has weights that are computed, not stored", "store them in the file")

    def _weight_shape(self, node: Node) -> tuple[int, ...]:
        return self._view.tensor(node.operator.inputs[1]).shape

    def _no(self, node: Node, why: str, change: str, *, kind: str = "operator") -> ClusterRole:
        name = self._view.tensor(node.writes[0]).name if node.writes else None
        return ClusterRole(problem=Reason(kind, f"{node.label} {why}", change, (node.index,), name))


def _by(sizes: tuple[int, ...] | None) -> str:
    return "x".join(map(str, sizes or ()))


def _sides(padding: Padding) -> str:
    rows, columns = padding
    if rows == columns:
        return f"({rows[0]},{rows[1]})"
    return f"({rows[0]},{rows[1]}) in height and ({columns[0]},{columns[1]}) in width"


def _symmetric(amount: int, layer: str) -> str:
    return f'pad {amount} on each side: use ZeroPadding2D({amount}) and {layer}(padding="valid")'
