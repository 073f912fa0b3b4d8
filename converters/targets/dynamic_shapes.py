"""Tensors whose size is known only when the model runs: in an older runtime one keeps XNNPACK off the whole graph.

A size left open in the file alone is no such tensor: the interpreter allocates it, usually as 1. What counts is a shape
that is computed, because operators are prepared before anything is computed. As seen in the instructions executed on
emulated boards: tflite-runtime 2.14.0 runs no kernel of XNNPACK then, LiteRT 1.4.0 to 2.1.6 leaves only the operator
that computes its size, and what is behind it, to other kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.targets.delegate_view import GraphView, Node
from converters.targets.runtimes import SparseRuntime
from converters.targets.sparse_prediction import Reason

# Where an operator reads the shape, sizes or amounts that decide its output's size.
_SIZED_BY = {
    "RESHAPE": (1,), "FILL": (0,), "BROADCAST_TO": (1,), "TILE": (1,), "PAD": (1,), "PADV2": (1,), "MIRROR_PAD": (1,),
    "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,),
    "EXPAND_DIMS": (1,), "TRANSPOSE_CONV": (0,), "RANGE": (0, 1, 2), "SPLIT": (0,), "MEAN": (1,), "SUM": (1,),
}  # fmt: skip
_ALWAYS = frozenset({"WHERE", "UNIQUE"})


def dynamic_reasons(view: GraphView, runtime: SparseRuntime) -> Iterator[Reason]:
    """Tell each tensor of the main graph whose size the runtime learns only while it runs, where that matters."""
    if runtime.takes_dynamic:
        return
    for node in view.nodes:
        if node.name in _ALWAYS or any(tensor not in view.origins for tensor in _sizes(node)):
            yield _reason(view, node, runtime)


def _sizes(node: Node) -> list[int]:
    inputs = node.operator.inputs
    return [inputs[place] for place in _SIZED_BY.get(node.name, ()) if place < len(inputs) and inputs[place] >= 0]


def _reason(view: GraphView, node: Node, runtime: SparseRuntime) -> Reason:
    known = runtime.takes_dynamic is not None
    return Reason(
        "shapes" if known else "unmeasured",
        f"operator {node.index} ({node.name}) computes its output's size only when it runs; "
        + ("one such tensor keeps XNNPACK off the whole graph" if known else f"{runtime.versions} was not measured so"),
        "export with a batch of 1 and fixed sizes",
        (node.index,),
        view.tensor(node.writes[0]).name if node.writes else None,
    )
