"""Tensors whose size is known only when the model runs: one of them keeps XNNPACK off the whole graph.

A size left open in the file alone is no such tensor: the interpreter allocates it, usually as 1. What counts is a shape
that is computed, because operators are prepared before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.targets.prediction import Reason
from converters.targets.runtimes import SparseRuntime
from converters.targets.view import GraphView, Node

# Where an operator reads the shape, sizes or amounts that decide its output's size.
_SIZED_BY = {
    "RESHAPE": (1,), "FILL": (0,), "BROADCAST_TO": (1,), "TILE": (1,), "PAD": (1,), "PADV2": (1,), "MIRROR_PAD": (1,),
    "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,),
    "EXPAND_DIMS": (1,), "TRANSPOSE_CONV": (0,), "RANGE": (0, 1, 2), "SPLIT": (0,), "MEAN": (1,), "SUM": (1,),
}  # fmt: skip
_ALWAYS = frozenset({"WHERE", "UNIQUE"})
_FOLDABLE = frozenset({"SHAPE", "STRIDED_SLICE", "PACK"})


def dynamic_reasons(view: GraphView, runtime: SparseRuntime) -> Iterator[Reason]:
    """Tell each tensor of the main graph whose size the runtime learns only while it runs."""
    folded = _folded(view)
    for node in view.nodes:
        computed = [tensor for tensor in _sizes(node) if tensor not in view.origins]
        if node.name in _ALWAYS or any(tensor not in folded for tensor in computed):
            yield _reason(view, node, "shapes", "computes its output's size only when it runs")
        elif computed and runtime.folds_shapes is None:
            said = f"gets its shape from the input's shape; {runtime.versions} was not measured with that"
            yield _reason(view, node, "unmeasured", said)
        elif computed and not runtime.folds_shapes:
            yield _reason(view, node, "shapes", "gets its shape from the input's shape, because the batch is left open")


def _sizes(node: Node) -> list[int]:
    inputs = node.operator.inputs
    return [inputs[place] for place in _SIZED_BY.get(node.name, ()) if place < len(inputs) and inputs[place] >= 0]


def _folded(view: GraphView) -> set[int]:
    """Return tensors that newer runtimes compute when they prepare: slices and packs of an input's shape."""
    folded: set[int] = set()
    for node in view.nodes:
        known = node.name == "SHAPE" or all(tensor in folded for tensor in node.reads)
        if node.name in _FOLDABLE and known:
            folded.update(node.writes)
    return folded


def _reason(view: GraphView, node: Node, kind: str, why: str) -> Reason:
    tensor = view.tensor(node.writes[0]).name if node.writes else None
    return Reason(
        kind,
        f"operator {node.index} ({node.name}) {why}"
        + ("; one such tensor keeps XNNPACK off the whole graph" if kind == "shapes" else ""),
        "export with a batch of 1 and fixed sizes",
        (node.index,),
        tensor,
    )
