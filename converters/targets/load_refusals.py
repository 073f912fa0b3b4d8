"""Files that a runtime will not even load: weights that XNNPACK's delegate takes, and then cannot compute with.

Weights of a few bits that are unpacked from sparse storage (DENSIFY) and multiplied with floats come of the converter's
Optimize.DEFAULT together with EXPERIMENTAL_SPARSITY and no calibration set. Seen with the stock wheels: "failed to
delegate CONV_2D node", and the interpreter has no tensors. Depthwise convolutions with such weights do load, because
the delegate leaves them to the interpreter's own kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

from converters.targets.delegate_view import GraphView, Node
from converters.targets.runtimes import SparseRuntime
from converters.targets.sparse_prediction import Reason

_TAKEN = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_WEIGHTS = 1


def refused_reasons(view: GraphView, runtime: SparseRuntime | None) -> Iterator[Reason]:
    """Tell why the runtime will refuse the file; nothing of a runtime that was not measured."""
    found = [node for node in view.nodes if _breaks_delegate(view, node)]
    if not found or runtime is None or not runtime.refuses_packed_integers:
        return
    first, others = found[0], found[1:]
    listed = ", ".join(str(node.index) for node in others[:6]) + (", ..." if len(others) > 6 else "")
    more = f" (and {len(others)} more: {listed})" if others else ""
    yield Reason(
        "refused",
        f"{runtime.versions} will NOT LOAD this file ('failed to delegate {first.name} node #{first.index}'): operator "
        f"{first.index} ({first.name}) multiplies floats with int8 weights that are stored sparse{more}",
        "convert with --to sparse-int8 or sparse; with other tools, take Optimize.DEFAULT or EXPERIMENTAL_SPARSITY, "
        "both only with a calibration set (representative_dataset)",
        tuple(node.index for node in found),
        view.tensor(first.writes[0]).name if first.writes else None,
    )


def _breaks_delegate(view: GraphView, node: Node) -> bool:
    if node.name not in _TAKEN or len(node.operator.inputs) <= _WEIGHTS:
        return False
    weights = node.operator.inputs[_WEIGHTS]
    if weights < 0 or not view.is_encoded(weights) or view.tensor(weights).dtype != "int8":
        return False
    return any(view.tensor(tensor).dtype == "float32" for tensor in node.reads)
