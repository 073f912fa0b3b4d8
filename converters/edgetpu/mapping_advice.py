"""What to change so that more of a model is mapped: each obstacle once, the one that keeps the most behind it first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from converters.edgetpu.operator_status import Refusal, Verdict
from converters.edgetpu.whole_file_limits import Failure
from converters.tflite.values import SubgraphInfo


@dataclass(frozen=True)
class Advice:
    """One obstacle: the operators that share it, what is in the way, what to change.

    `strands` counts operators that could be mapped but for being behind these; None where the whole file is refused.
    """

    operators: tuple[int, ...]
    text: str
    change: str
    strands: int | None


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
        if isinstance(verdict, Refusal) and verdict.change:
            grouped.setdefault((operator.name, verdict.change), []).append(operator.index)
    found = []
    for (name, change), indices in grouped.items():
        verdict = verdicts[indices[0]]
        which = f"operator {indices[0]} ({name})" + (f" and {len(indices) - 1} more" if len(indices) > 1 else "")
        strands = len({each for index in indices for each in _behind(graph, index)} - set(mapped) - _refused(verdicts))
        found.append(Advice(tuple(indices), f"{which} {verdict}", change, strands))
    return (*whole, *sorted(found, key=lambda each: (-(each.strands or 0), each.operators)))


def _refused(verdicts: Mapping[int, Verdict]) -> set[int]:
    return {index for index, verdict in verdicts.items() if isinstance(verdict, Refusal)}


def _behind(graph: SubgraphInfo, index: int) -> set[int]:
    """Return the operators that depend on one."""
    reached, found = set(graph.operators[index].outputs), set()
    for operator in graph.operators[index + 1 :]:
        if reached & set(operator.inputs):
            found.add(operator.index)
            reached |= set(operator.outputs)
    return found
