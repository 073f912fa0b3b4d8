"""Finds what keeps XNNPACK off a whole file: computed sizes, and weights for which the runtime refuses the file.

A size left open in the file alone is no computed size: the interpreter allocates it, usually as 1. What counts is a
shape that is computed, because operators are prepared before anything is computed. As seen in the instructions executed
on emulated boards: tflite-runtime 2.14.0 runs no kernel of XNNPACK then, LiteRT 1.4.0 to 2.1.6 leaves only the operator
that computes its size, and what follows it, to other kernels.

Weights of a few bits that are unpacked from sparse storage (DENSIFY) and multiplied with floats come of the converter's
Optimize.DEFAULT together with EXPERIMENTAL_SPARSITY and no calibration set. Seen with the stock wheels: "failed to
delegate CONV_2D node", and the interpreter has no tensors. Depthwise convolutions with such weights do load, because
the delegate leaves them to the interpreter's own kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.targets.delegate_view import GraphView, Node
from converters.targets.runtimes import SparseRules
from converters.targets.sparse_prediction import Reason

# Where an operator reads the shape, sizes or amounts that decide its output's size.
_SIZED_BY = {
    "RESHAPE": (1,), "FILL": (0,), "BROADCAST_TO": (1,), "TILE": (1,), "PAD": (1,), "PADV2": (1,), "MIRROR_PAD": (1,),
    "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,),
    "EXPAND_DIMS": (1,), "TRANSPOSE_CONV": (0,), "RANGE": (0, 1, 2), "SPLIT": (0,), "MEAN": (1,), "SUM": (1,),
}  # fmt: skip
_ALWAYS_DYNAMIC = frozenset({"WHERE", "UNIQUE"})
# Operators whose weights the delegate takes from sparse storage, and where those stand.
_MULTIPLYING = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_WEIGHTS = 1


def find_dynamic_sizes(view: GraphView, rules: SparseRules) -> Iterator[Reason]:
    """Yield a reason for each tensor of the main graph whose size is computed, where the runtime minds."""
    if rules.takes_dynamic:
        return
    for node in view.nodes:
        if node.name in _ALWAYS_DYNAMIC or any(tensor not in view.origins for tensor in _sizes(node)):
            yield _dynamic_size(view, node, rules)


def find_refusals(view: GraphView, rules: SparseRules | None) -> Iterator[Reason]:
    """Yield the reason why the runtime will refuse the file; none for a runtime that was not measured."""
    found = [node for node in view.nodes if _breaks_delegate(view, node)]
    if not found or rules is None or not rules.refuses_packed_integers:
        return
    first, others = found[0], found[1:]
    listed = ", ".join(str(node.index) for node in others[:6]) + (", ..." if len(others) > 6 else "")
    more = f" (and {len(others)} more: {listed})" if others else ""
    yield Reason(
        "refused",
        f"{rules.versions} will NOT LOAD this file ('failed to delegate {first.name} node #{first.index}'): operator "
        f"{first.index} ({first.name}) multiplies floats with int8 weights that are stored sparse{more}",
        "convert with --to sparse-int8 or sparse; with other tools, use Optimize.DEFAULT or EXPERIMENTAL_SPARSITY, "
        "both only with a calibration set (representative_dataset)",
        tuple(node.index for node in found),
        view.tensor(first.writes[0]).name if first.writes else None,
    )


def _sizes(node: Node) -> list[int]:
    inputs = node.operator.inputs
    return [inputs[place] for place in _SIZED_BY.get(node.name, ()) if place < len(inputs) and inputs[place] >= 0]


def _dynamic_size(view: GraphView, node: Node, rules: SparseRules) -> Reason:
    known = rules.takes_dynamic is not None
    effect = "one such tensor keeps XNNPACK off the whole graph"
    return Reason(
        "shapes" if known else "unmeasured",
        f"{node.label} computes its output's size only when it runs; "
        + (effect if known else f"{rules.versions} was not measured with such a tensor"),
        "export with a batch of 1 and fixed sizes",
        (node.index,),
        view.tensor(node.writes[0]).name if node.writes else None,
    )


def _breaks_delegate(view: GraphView, node: Node) -> bool:
    if node.name not in _MULTIPLYING or len(node.operator.inputs) <= _WEIGHTS:
        return False
    weights = node.operator.inputs[_WEIGHTS]
    if weights < 0 or not view.is_encoded(weights) or view.tensor(weights).dtype != "int8":
        return False
    return any(view.tensor(tensor).dtype == "float32" for tensor in node.reads)
