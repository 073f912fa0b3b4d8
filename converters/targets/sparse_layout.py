"""Finds the operators that XNNPACK would move to its sparse layout: its own algorithm, on the file's graph.

The passes and their order are those of `xnn_subgraph_rewrite_for_nchw` (XNNPACK, subgraph.c): mark operators, join
those that feed each other, refuse clusters with a reader or a source outside, count zeros, move the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from converters.targets.delegate_view import GraphView, Node
from converters.targets.sparse_prediction import ClusterRole


@dataclass(frozen=True)
class Weights:
    """The elements of 1x1 weights and the zeros among them."""

    parameters: int = 0
    zeros: int = 0

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.parameters + other.parameters, self.zeros + other.zeros)

    @property
    def enough(self) -> bool:
        """Whether more than two thirds are zero; exactly two thirds are not enough."""
        return self.zeros * 3 > self.parameters * 2


@dataclass(frozen=True)
class Layout:
    """What XNNPACK would do, by position of the node.

    Attributes:
        sparse: 1x1 convolutions that a sparse kernel runs.
        mixed: operators that read the sparse layout and write the other one, or confuse its axes: the runtime computes
            wrong values there, or refuses the file.
        thin: nodes of unbroken clusters that have too few zeros.
    """

    sparse: frozenset[int] = frozenset()
    mixed: frozenset[int] = frozenset()
    thin: frozenset[int] = frozenset()

    def __add__(self, other: Layout) -> Layout:
        return Layout(self.sparse | other.sparse, self.mixed | other.mixed, self.thin | other.thin)


@dataclass
class _State:
    """The state of one node while the passes run."""

    start: bool
    inside: bool
    end: bool
    leader: int
    broken: bool = False

    @property
    def reads_sparse(self) -> bool:
        return self.inside or self.end


def find_layout(view: GraphView, roles: Mapping[int, ClusterRole], weights: Mapping[int, Weights],
              without: frozenset[str]) -> Layout:  # fmt: skip
    """Return what XNNPACK would move, in all the parts of the graph it gets.

    Args:
        view: the graph.
        roles: where each node may stand in a cluster, by position.
        weights: each 1x1 convolution's, by position.
        without: operators that the runtime's XNNPACK does not run.
    """
    found = Layout()
    for part in view.partitions(without):
        nodes = tuple(view.nodes[position] for position in sorted(part))
        inputs = (tensor for node in nodes for tensor in node.operator.inputs if tensor >= 0)
        # Any weights unpacked from sparse storage, of whatever operator, switch the search on.
        if any(map(view.is_encoded, inputs)):
            found += LayoutPass(view, nodes, roles, weights).run()
    return found


@dataclass
class LayoutPass:
    """One run of the algorithm over the nodes of one part."""

    view: GraphView
    nodes: tuple[Node, ...]
    roles: Mapping[int, ClusterRole]
    weights: Mapping[int, Weights]
    _states: dict[int, _State] = field(default_factory=dict)

    def run(self) -> Layout:
        """Return what is moved to the sparse layout."""
        for node in self.nodes:
            role = self.roles[node.position]
            self._states[node.position] = _State(role.start, role.inside, role.end, node.position)
        if not self._join(ends_only=True):
            return Layout()
        while self._join(ends_only=False):
            pass
        self._lead_broken()
        self._break_leaky()
        return self._layout()

    def _join(self, *, ends_only: bool) -> bool:
        changed = False
        for node in self.nodes:
            state = self._states[node.position]
            if state.end if ends_only else state.reads_sparse and not state.broken:
                changed |= any([self._join_source(state, tensor) for tensor in dict.fromkeys(node.reads)])
        return changed

    def _join_source(self, state: _State, tensor: int) -> bool:
        producer = None if self._leaves(tensor) else self.view.producers.get(tensor)
        source = None if producer is None else self._states.get(producer.position)
        if source is None or source.broken or not (source.start or source.inside):
            state.broken = True
            return False
        source.end = False
        if source.leader == state.leader:
            return False
        source.leader = state.leader = max(source.leader, state.leader)
        return True

    def _lead_broken(self) -> None:
        for state in self._states.values():
            self._states[state.leader].broken |= state.broken

    def _break_leaky(self) -> None:
        """Refuse clusters with a value that something outside reads too."""
        counted = list(self._taking())
        inside: dict[int, int] = {}
        for node, _ in counted:
            for tensor in dict.fromkeys(node.reads):
                inside[tensor] = inside.get(tensor, 0) + 1
        for node, state in counted:
            leaks = self.roles[node.position].leaks
            if leaks or any(inside[tensor] != self._uses(tensor) for tensor in node.reads):
                self._states[state.leader].broken = True

    def _uses(self, tensor: int) -> int:
        return len(self.view.readers.get(tensor, ())) + (tensor in self.view.graph.outputs)

    def _leaves(self, tensor: int) -> bool:
        """Whether a tensor is read outside this part: by the user, or by an operator that is in no or another part."""
        readers = self.view.readers.get(tensor, ())
        return tensor in self.view.graph.outputs or any(reader.position not in self._states for reader in readers)

    def _taking(self) -> Iterator[tuple[Node, _State]]:
        for node in self.nodes:
            state = self._states[node.position]
            if state.reads_sparse and not self._states[state.leader].broken:
                yield node, state

    def _layout(self) -> Layout:
        totals: dict[int, Weights] = {}
        for position in self._states.keys() & self.weights.keys():
            weights = self.weights[position]
            leader = self._states[position].leader
            totals[leader] = totals.get(leader, Weights()) + weights
        unbroken = list(self._taking())
        moved = [(node, state) for node, state in unbroken if totals.get(state.leader, Weights()).enough]
        values = {tensor for node, _ in moved for tensor in node.reads}
        return Layout(
            sparse=frozenset(
                node.position for node in self.nodes if node.position in self.weights and values & {*node.writes}
            ),
            mixed=frozenset(node.position for node, state in moved if self._is_mixed(node, state, values)),
            thin=frozenset(node.position for node, _ in unbroken) - {node.position for node, _ in moved},
        )

    def _is_mixed(self, node: Node, state: _State, values: set[int]) -> bool:
        role = self.roles[node.position]
        if state.end:
            return role.wrong_end is not None
        return role.wrong_inside is not None or not values & {*node.writes}
