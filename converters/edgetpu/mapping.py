"""Predicts the result of compiler 16.0 from a .tflite file alone: operators, parameters, advice.

The compiler is a TensorFlow Lite delegate: operators are put into sets, each of one kind, a set taking every operator
of its kind whose inputs are there (TensorFlow's tensorflow/lite/graph_info.cc). Only the first set of supported
operators is mapped ("More than one subgraph is not supported"); unsupported ones before it do no harm. Seen:
- QUANTIZE of a float input stays on the CPU, all after it is mapped (f0cal/google-coral#20; google-coral/edgetpu#659);
- the first set is taken even where a later one is larger: 1 of 191 and 2 of 155 operators (google-coral/edgetpu#433,
  #342, #317);
- a branch that does not depend on what is refused stays mapped (deeplabv3_mnv2_dm05_pascal_quant: two outputs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.edgetpu.operator_view import LIMIT, MAPPED, SUBGRAPH, MappingRefusal, Verdict
from converters.edgetpu.parameters import ParameterPrediction, predict_parameters
from converters.edgetpu.rules import judge
from converters.edgetpu.versions import COMPILER
from converters.edgetpu.whole_file_limits import Failure, find_failures
from converters.targets import boards
from converters.tflite.operator_context import OperatorContext
from converters.tflite.values import ABSENT, EDGE_TPU_OPERATOR, ModelInfo, OperatorInfo, SubgraphInfo

EDGE_TPU, CPU = "edgetpu", "cpu"
TARGET = boards.EDGE_TPU


@dataclass(frozen=True)
class Placement:
    """One operator of the main graph: its processor, the reason, and the compiler's status word.

    `certain` is False where the rule rests on few observations.
    """

    index: int
    op: str
    runs_on: str
    reason: str | None
    status: str
    certain: bool = True


@dataclass(frozen=True)
class Advice:
    """One obstacle: the operators that share it, the reason, and what to change.

    `strands` counts operators that could be mapped but depend on these; None where the whole file is refused.
    """

    operators: tuple[int, ...]
    text: str
    change: str
    strands: int | None


@dataclass(frozen=True)
class MappingPrediction:
    """The compiler's expected result. `failures` are the reasons why it refuses the file: then nothing is mapped."""

    operators: tuple[Placement, ...]
    failures: tuple[Failure, ...]
    parameters: ParameterPrediction
    advice: tuple[Advice, ...]
    compiled: bool

    @property
    def mapped(self) -> int:
        """Operators that run on the Edge TPU."""
        return sum(each.runs_on == EDGE_TPU for each in self.operators)

    @property
    def on_cpu(self) -> tuple[Placement, ...]:
        """Operators that stay on the CPU."""
        return tuple(each for each in self.operators if each.runs_on == CPU)

    @property
    def fully_mapped(self) -> bool:
        """Whether every operator runs on the Edge TPU."""
        return bool(self.operators) and not self.on_cpu

    def summary(self) -> dict[str, Any]:
        """Return the value `edgetpu` of an artifact."""
        return {
            "compiler": COMPILER,
            "mapped": self.mapped,
            "of": len(self.operators),
            "on_cpu": [{"index": each.index, "op": each.op, "reason": each.reason} for each in self.on_cpu],
            "parameters": dataclasses.asdict(self.parameters),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the value `target` of an inspection."""
        return {
            "name": TARGET,
            "board": "Coral Edge TPU",
            "compiler": COMPILER,
            "operators": [dataclasses.asdict(each) for each in self.operators],
            "sparse": None,
            "mapped": self.mapped,
            "of": len(self.operators),
            "failures": [dataclasses.asdict(each) for each in self.failures],
            "parameters": dataclasses.asdict(self.parameters),
            "advice": [dataclasses.asdict(each) for each in self.advice],
        }


def predict_mapping(model: ModelInfo) -> MappingPrediction:
    """Predict which operators of a file's main graph the compiler maps to the Edge TPU.

    Args:
        model: the file, as `read_model` gives it, compiled or not.

    Raises:
        ModelFileError: a constant of the file is damaged.
    """
    verdicts = {operator.index: judge(OperatorContext.of_main(model, operator)) for operator in model.main.operators}
    stopped = () if model.is_edgetpu_compiled else find_failures(model)
    supported = {index for index, verdict in verdicts.items() if not isinstance(verdict, MappingRefusal)}
    if model.is_edgetpu_compiled:
        mapped = frozenset(op.index for op in model.main.operators if op.name == EDGE_TPU_OPERATOR)
    else:
        mapped = frozenset() if stopped else find_mapped(model.main, supported)
    placements = tuple(
        _place_compiled(op) if model.is_edgetpu_compiled else _place(op, verdicts, mapped, stopped)
        for op in model.main.operators
    )
    return MappingPrediction(
        operators=placements,
        failures=stopped,
        parameters=predict_parameters(model, mapped),
        advice=() if model.is_edgetpu_compiled else advise(model.main, verdicts, mapped, stopped),
        compiled=model.is_edgetpu_compiled,
    )


def _place(
    operator: OperatorInfo, verdicts: Mapping[int, Verdict], mapped: frozenset[int], stopped: tuple[Failure, ...]
) -> Placement:
    verdict = verdicts[operator.index]
    if stopped:
        own = verdict if isinstance(verdict, MappingRefusal) else None
        reason = f"the compiler refuses the whole file: {stopped[0].text}"
        return Placement(operator.index, operator.name, CPU, reason, own.status if own else LIMIT)
    if operator.index in mapped:
        doubt = None if verdict is None else str(verdict)
        return Placement(operator.index, operator.name, EDGE_TPU, doubt, MAPPED, certain=doubt is None)
    if isinstance(verdict, MappingRefusal):
        return Placement(operator.index, operator.name, CPU, str(verdict), verdict.status, certain=verdict.certain)
    behind = "depends on an operator that stays on the CPU; only one piece of the model can be mapped"
    return Placement(operator.index, operator.name, CPU, behind, SUBGRAPH)


def _place_compiled(operator: OperatorInfo) -> Placement:
    if operator.name == EDGE_TPU_OPERATOR:
        return Placement(operator.index, operator.name, EDGE_TPU, "compiled for the Edge TPU", MAPPED)
    return Placement(operator.index, operator.name, CPU, "left on the CPU by the compiler", SUBGRAPH)


def find_mapped(graph: SubgraphInfo, supported: Collection[int]) -> frozenset[int]:
    """Return the indices of the operators that are mapped.

    Args:
        graph: the main graph, in execution order.
        supported: indices of operators that the Edge TPU could run.
    """
    written = {tensor for operator in graph.operators for tensor in operator.outputs}
    there = {tensor for tensor in range(len(graph.tensors)) if tensor not in written} | {ABSENT}
    waiting = list(graph.operators)
    while waiting:
        ready = [operator for operator in waiting if set(operator.inputs) <= there]
        if not ready:
            return frozenset()
        kind = ready[0].index in supported
        taken = set()
        for operator in waiting:  # execution order: one pass takes chains too
            if (operator.index in supported) == kind and set(operator.inputs) <= there:
                taken.add(operator.index)
                there.update(operator.outputs)
        if kind:
            return frozenset(taken)
        waiting = [operator for operator in waiting if operator.index not in taken]
    return frozenset()


def advise(
    graph: SubgraphInfo, verdicts: Mapping[int, Verdict], mapped: Collection[int], stopped: Sequence[Failure]
) -> tuple[Advice, ...]:
    """Return the obstacles of a graph."""
    whole = [
        Advice(each.operators, f"the compiler refuses the file: {each.text}", each.change, None) for each in stopped
    ]
    grouped: dict[tuple[str, str], list[int]] = {}
    for operator in graph.operators:
        verdict = verdicts[operator.index]
        if isinstance(verdict, MappingRefusal) and verdict.change:
            grouped.setdefault((operator.name, verdict.change), []).append(operator.index)
    found = []
    for (name, change), indices in grouped.items():
        verdict = verdicts[indices[0]]
        which = f"operator {indices[0]} ({name})" + (f" and {len(indices) - 1} more" if len(indices) > 1 else "")
        strands = len(
            {each for index in indices for each in _find_dependents(graph, index)}
            - set(mapped)
            - _collect_refused(verdicts)
        )
        found.append(Advice(tuple(indices), f"{which} {verdict}", change, strands))
    return (*whole, *sorted(found, key=lambda each: (-(each.strands or 0), each.operators)))


def _collect_refused(verdicts: Mapping[int, Verdict]) -> set[int]:
    return {index for index, verdict in verdicts.items() if isinstance(verdict, MappingRefusal)}


def _find_dependents(graph: SubgraphInfo, index: int) -> set[int]:
    """Return the operators that depend on one."""
    reached, found = set(graph.operators[index].outputs), set()
    for operator in graph.operators[index + 1 :]:
        if reached & set(operator.inputs):
            found.add(operator.index)
            reached |= set(operator.outputs)
    return found
