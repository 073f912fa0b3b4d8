"""Finds the places where a graph can be cut, the tensors that cross a cut, and the cuts that balance the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from converters.errors import NotCuttable
from converters.tflite.values import ABSENT, EDGE_TPU_OPERATOR, ModelInfo, OperatorInfo, TensorInfo

# Handles into one interpreter, and strings, cannot be passed to another.
_STAY = frozenset({"resource", "variant", "string"})
# Without it, a few bytes in the largest part would decide all the other cuts.
_SLACK = 1.02
_RANDOM = frozenset({"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"})
_SHARED_MEMORY = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE", "CALL_ONCE"})


@dataclass(frozen=True)
class Cuts:
    """Cuts before these places of the sequence, with the largest share of parameters and the bytes that cross."""

    places: tuple[int, ...]
    largest_bytes: int
    crossing_bytes: int


class OperatorSequence:
    """The operators of a graph in execution order, without those that compute from constants alone.

    Such operators (unpacking fp16 or sparse weights) are repeated in each piece that reads what they write. Random
    ones, and custom ones, whose behaviour is unknown, belong to the sequence: one piece runs them and passes on what
    they write.
    """

    def __init__(self, model: ModelInfo) -> None:
        """Prepare the main graph.

        Raises:
            NotCuttable: The model has been compiled, calls other graphs, or keeps memory in resources.
        """
        _check(model)
        self.model, self.graph = model, model.main
        self.fixed = self._find_fixed()
        self.operators = tuple(each for each in self.graph.operators if each.index not in self.fixed)
        self._makers = {tensor: each for each in self.fixed.values() for tensor in each.outputs}
        self._place = {tensor: place for place, each in enumerate(self.operators) for tensor in each.outputs}

    def _find_fixed(self) -> dict[int, OperatorInfo]:
        known = {tensor.index for tensor in self.graph.tensors if tensor.is_constant}
        found: dict[int, OperatorInfo] = {}
        for operator in self.graph.operators:
            reads = [each for each in operator.inputs if each != ABSENT]
            repeatable = operator.name not in _RANDOM and not operator.is_custom
            if repeatable and reads and all(each in known for each in reads):
                found[operator.index] = operator
                known.update(operator.outputs)
        if set(self.graph.outputs) & {tensor for each in found.values() for tensor in each.outputs}:
            return {}  # no operator reads an output: it needs a place of its own
        return found

    @cached_property
    def last_reads(self) -> dict[int, int]:
        """The place of the last reader of each computed or given tensor; the end for outputs of the model."""
        last: dict[int, int] = {}
        for place, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                if tensor != ABSENT and self.crosses(tensor):
                    last[tensor] = place
        for tensor in self.graph.outputs:
            if self.crosses(tensor):
                last[tensor] = max(last.get(tensor, 0), len(self.operators))
        return last

    def crosses(self, tensor: int) -> bool:
        """Return whether a tensor's value is an input or computed in the sequence, so that it must be passed on."""
        info = self.graph.tensors[tensor]
        return tensor in self._place or not (info.is_constant or info.is_variable or self.maker(tensor) is not None)

    def computes(self, tensor: int) -> bool:
        """Return whether an operator of the sequence writes a tensor."""
        return tensor in self._place

    def maker(self, tensor: int) -> OperatorInfo | None:
        """Return the operator that computes a tensor from constants alone; None where there is none."""
        return self._makers.get(tensor)

    def crossing(self, cut: int) -> tuple[TensorInfo, ...]:
        """Return the tensors that are computed before a cut and read after it."""
        found = [tensor for tensor, place in self._place.items() if place < cut <= self.last_reads.get(tensor, -1)]
        return tuple(self.graph.tensors[tensor] for tensor in found if not self._only_an_output(tensor, cut))

    def _only_an_output(self, tensor: int, cut: int) -> bool:
        reads = [place for place, each in enumerate(self.operators) if tensor in each.inputs]
        return tensor in self.graph.outputs and all(place < cut for place in reads)

    def obstacle(self, cut: int) -> str | None:
        """Return why the graph cannot be cut before a place; None where it can."""
        for tensor in self.crossing(cut):
            if tensor.dtype in _STAY:
                return f"{tensor.dtype} values ({tensor.name!r}) cannot be passed from one file to another"
            if not tensor.has_rank:
                return f"the shape of {tensor.name!r} is known only when the model runs"
        for tensor in self.graph.tensors:
            if tensor.is_variable:
                users = [p for p, each in enumerate(self.operators) if tensor.index in (*each.inputs, *each.outputs)]
                if users and min(users) < cut <= max(users):
                    return f"the state {tensor.name!r} is used on both sides"
        return None

    @cached_property
    def places(self) -> tuple[int, ...]:
        """All places the graph can be cut before."""
        return tuple(cut for cut in range(1, len(self.operators)) if self.obstacle(cut) is None)

    @cached_property
    def parameter_bytes(self) -> tuple[int, ...]:
        """Bytes of constants by operator; shared constants count at the first reader."""
        seen: set[int] = set()
        sizes = []
        for operator in self.operators:
            new = {each for each in self._constants(operator) if each not in seen}
            seen |= new
            sizes.append(sum(self._count_stored_bytes(each) for each in new))
        return tuple(sizes)

    def bytes_of(self, begin: int, end: int) -> int:
        """Return the bytes of all constants of a stretch of operators, each counted once."""
        return sum(
            map(self._count_stored_bytes, {each for o in self.operators[begin:end] for each in self._constants(o)})
        )

    def _constants(self, operator: OperatorInfo) -> set[int]:
        """Return the buffers an operator reads, also through operators that compute from constants alone."""
        found: set[int] = set()
        for tensor in operator.inputs:
            if tensor != ABSENT and self.graph.tensors[tensor].is_constant:
                found.add(self.graph.tensors[tensor].buffer)
            elif tensor != ABSENT and (maker := self.maker(tensor)) is not None:
                found |= self._constants(maker)
        return found

    def _count_stored_bytes(self, buffer: int) -> int:
        return len(self.model.buffers[buffer])


def balance_cuts(chain: OperatorSequence, count: int) -> Cuts:
    """Return the cuts into `count` parts whose largest part has the fewest parameter bytes, or 2 % more.

    Among such cuts, the most even ones (least sum of squares); among those, the fewest bytes crossing.

    Raises:
        NotCuttable: The graph has not enough places to be cut at.
    """
    if count < 2:
        raise NotCuttable(f"cannot cut into {count} parts", hint="two is the least")
    places = (0, *chain.places, len(chain.operators))
    if len(places) - 1 < count:
        raise NotCuttable(
            f"cannot cut into {count} parts: there are {len(places) - 2} places to cut at "
            f"({len(chain.operators)} operators)",
            hint=_first_obstacle(chain),
        )
    sums = [sum(chain.parameter_bytes[:place]) for place in places]
    crossing = [sum(each.dense_bytes or 0 for each in chain.crossing(place)) for place in places]
    chosen = _most_even(sums, crossing, count, int(_least_largest(sums, count) * _SLACK))
    largest = max(sums[b] - sums[a] for a, b in pairwise((0, *chosen, len(sums) - 1)))
    return Cuts(tuple(places[each] for each in chosen), largest, sum(crossing[each] for each in chosen))


def _first_obstacle(chain: OperatorSequence) -> str | None:
    reasons = (chain.obstacle(cut) for cut in range(1, len(chain.operators)))
    return next((reason for reason in reasons if reason is not None), None)


def _least_largest(sums: Sequence[int], count: int) -> int:
    """Return the smallest possible largest part, by bisection over the limit of a part."""
    low, high = max((b - a for a, b in pairwise(sums)), default=0), sums[-1]
    while low < high:
        middle = (low + high) // 2
        if _fewest_parts(sums, middle) <= count:
            high = middle
        else:
            low = middle + 1
    return low


def _fewest_parts(sums: Sequence[int], limit: int) -> int:
    """Return the number of parts needed where none exceeds `limit`; splitting a part further is always allowed.

    The number of steps between places bounds it from above, and there are at least `count` of them.
    """
    parts, begin = 1, 0
    for index in range(1, len(sums)):
        if sums[index] - sums[begin] > limit:
            parts, begin = parts + 1, index - 1
    return parts


def _most_even(sums: Sequence[int], crossing: Sequence[int], count: int, limit: int) -> list[int]:
    """Choose the most even of all cuts whose parts hold at most `limit`: part by part, the best way to each place."""
    last = len(sums) - 1
    best: list[dict[int, tuple[int, int, int]]] = [{0: (0, 0, -1)}]
    for part in range(1, count + 1):
        ends = range(part, last + 1) if part < count else (last,)
        ways = {end: _ways(sums, best[-1], end, limit) for end in ends}
        best.append({
            end: (squares, cost + (crossing[end] if end != last else 0), begin)
            for end, found in ways.items()
            for squares, cost, begin in ([min(found)] if found else [])
        })  # fmt: skip
    chosen, place = [], last
    for part in range(count, 1, -1):
        place = best[part][place][2]
        chosen.append(place)
    return chosen[::-1]


def _ways(
    sums: Sequence[int], before: Mapping[int, tuple[int, int, int]], end: int, limit: int
) -> list[tuple[int, int, int]]:
    return [
        (squares + (sums[end] - sums[begin]) ** 2, cost, begin)
        for begin, (squares, cost, _) in before.items()
        if begin < end and sums[end] - sums[begin] <= limit
    ]


def _check(model: ModelInfo) -> None:
    operators = model.main.operators
    if model.is_edgetpu_compiled:
        raise NotCuttable(
            f"the model has been compiled for the Edge TPU: {EDGE_TPU_OPERATOR} holds the operators to be cut",
            hint="cut the model first, then compile each part",
        )
    calling = [each for each in operators if each.options.subgraphs]
    if calling:
        raise NotCuttable(f"operator {calling[0].index} ({calling[0].name}) runs other graphs of the file")
    shared = [each for each in operators if each.name in _SHARED_MEMORY]
    if shared:
        raise NotCuttable(f"operator {shared[0].index} ({shared[0].name}) keeps memory that other operators share")
    drawing = [each for each in operators if each.name in _RANDOM and not _is_seeded(each)]
    if drawing:
        raise NotCuttable(
            f"operator {drawing[0].index} ({drawing[0].name}) draws different numbers in each run, so that a chain "
            "cannot be compared with the model",
            hint="give it a seed",
        )
    if len(operators) < 2:
        raise NotCuttable(f"there is nothing to cut: the model has {len(operators)} operators")


def _is_seeded(operator: OperatorInfo) -> bool:
    return bool(operator.options.fields.get("seed") or operator.options.fields.get("seed2"))
