"""Where each operator of a file runs on a target, and with what kernel."""

from __future__ import annotations

from dataclasses import dataclass

from converters.inspection.weights import UNPACKING
from converters.targets.boards import Target
from converters.targets.sparse_analysis import Doctor
from converters.targets.sparse_prediction import SparsePrediction
from converters.tflite.values import ModelInfo, OperatorInfo

CPU = "cpu"


@dataclass(frozen=True)
class OperatorPlacement:
    """One operator of the main graph: `runs_on` names the processor, `reason` says how or why; None where plain."""

    index: int
    op: str
    runs_on: str
    reason: str | None


def place_operators(model: ModelInfo, target: Target, prediction: SparsePrediction) -> tuple[OperatorPlacement, ...]:
    """Return where each operator of the main graph runs, in the order of the file."""
    doctor = Doctor(model, target, prediction.runtime)
    view, layout = doctor.view, doctor.layout
    nodes = {node.index: node for node in view.nodes}
    clustered = {index for cluster in prediction.clusters for index in cluster.operators}
    sparse = {view.nodes[position].index for position in layout.sparse} if prediction.ran else set()

    def reason(operator: OperatorInfo) -> str | None:
        if operator.index in view.fused:
            return f"fused into operator {view.fused[operator.index].index}"
        node = nodes.get(operator.index)
        if node is None:
            return "unpacked once, when the model is loaded" if operator.name in UNPACKING else "computed when loaded"
        if operator.index in sparse:
            return "sparse kernel"
        problem = doctor.places[node.position].problem
        if view.is_pointwise(node) and problem is None:
            return "dense kernel" if prediction.ran is not None and not prediction.refused else None
        return None if problem is None or operator.index not in clustered else str(problem)

    return tuple(OperatorPlacement(op.index, op.name, CPU, reason(op)) for op in model.main.operators)
