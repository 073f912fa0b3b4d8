"""Predicts which sparse kernels of XNNPACK will run, and why the others will not: from the file alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from converters.inspection.weights import UNPACKING
from converters.targets.boards import Target
from converters.targets.cluster_rules import ClusterRules
from converters.targets.delegate_view import GraphView, Node
from converters.targets.graph_rules import find_dynamic_sizes, find_refusals
from converters.targets.runtimes import RECOMMENDED, SPARSE_RULES, SparseRules, find_sparse_rules
from converters.targets.sparse_layout import Layout, Weights, find_layout
from converters.targets.sparse_prediction import Cluster, ClusterRole, Reason, SparsePrediction, sort_reasons
from converters.targets.sparse_regions import Region, find_regions
from converters.tflite.tensor_data import read_real_values
from converters.tflite.values import ModelInfo, OperatorInfo

# What decides alone, whatever the graph looks like.
_WHOLE = frozenset({"refused", "runtime", "shapes", "encoding"})
_BARELY_PRUNED = 0.1


@dataclass(frozen=True)
class OperatorPlacement:
    """One operator of the main graph.

    Attributes:
        runs_on: the processor.
        reason: how it runs there, or why; None where there is nothing to add.
    """

    index: int
    op: str
    runs_on: str
    reason: str | None


@dataclass(frozen=True)
class SparseAnalyser:
    """Checks every rule once, for one file on one board with one runtime."""

    model: ModelInfo
    target: Target
    runtime_spec: str

    @cached_property
    def view(self) -> GraphView:
        """The graph as the delegate sees it."""
        return GraphView(self.model)

    @cached_property
    def roles(self) -> Mapping[int, ClusterRole]:
        """Where each node may stand in a cluster, by position."""
        rules = ClusterRules(self.view, self._rules)
        return {node.position: rules.assign_role(node) for node in self.view.nodes}

    @cached_property
    def layout(self) -> Layout:
        """What XNNPACK would move to its sparse layout, were there nothing against it outside the graph."""
        return find_layout(self.view, self.roles, self._weights, self._rules.without_unary)

    @cached_property
    def pointwise(self) -> int:
        """1x1 convolutions of the main graph."""
        return sum(map(self.view.is_pointwise, self.view.nodes))

    @cached_property
    def operators(self) -> tuple[OperatorPlacement, ...]:
        """Where each operator of the main graph runs, in the order of the file."""
        return tuple(OperatorPlacement(op.index, op.name, "cpu", self._how(op)) for op in self.model.main.operators)

    @cached_property
    def prediction(self) -> SparsePrediction:
        """Which sparse kernels will run."""
        refused = find_refusals(self.view, self._known)
        whole = sort_reasons(
            [*refused, *self._of_runtime(), *find_dynamic_sizes(self.view, self._rules), *self._of_encoding()]
        )
        clusters = tuple(self._cluster(region, whole) for region in find_regions(self.view, self.roles))
        found = [*whole, *(reason for cluster in clusters for reason in cluster.reasons)]
        if not self.pointwise:
            found.append(Reason("pruning", "the model has no 1x1 convolutions, all that sparse kernels run", ""))
        never = any(reason.kind in _WHOLE for reason in whole) or not self.pointwise
        unknown = not never and any(cluster.engages is None for cluster in clusters)
        ran = 0 if never else None if unknown else len(self.layout.sparse)
        return SparsePrediction(
            target=self.target.name,
            runtime=self.runtime_spec,
            engages=None if ran is None else ran > 0,
            ran=ran,
            of=self.pointwise + sum(not self.view.is_pointwise(self.view.nodes[each]) for each in self.layout.sparse),
            corrupts=bool(self.layout.mixed) and not never,
            reasons=sort_reasons(found),
            clusters=clusters,
        )

    @cached_property
    def _nodes(self) -> Mapping[int, Node]:
        return {node.index: node for node in self.view.nodes}

    @cached_property
    def _clustered(self) -> frozenset[int]:
        return frozenset(index for cluster in self.prediction.clusters for index in cluster.operators)

    def _how(self, operator: OperatorInfo) -> str | None:
        if operator.index in self.view.fused:
            return f"fused into operator {self.view.fused[operator.index].index}"
        node = self._nodes.get(operator.index)
        if node is None:
            return "unpacked once, when the model is loaded" if operator.name in UNPACKING else "computed when loaded"
        if self.prediction.ran and node.position in self.layout.sparse:
            return "sparse kernel"
        problem = self.roles[node.position].problem
        if problem is None and self.view.is_pointwise(node):
            return "dense kernel" if self.prediction.ran is not None and not self.prediction.refused else None
        return None if problem is None or operator.index not in self._clustered else str(problem)

    @cached_property
    def _known(self) -> SparseRules | None:
        return find_sparse_rules(self.runtime_spec)

    @property
    def _rules(self) -> SparseRules:
        """The runtime whose rules are checked: for one that was not measured, the one verified the most."""
        return self._known or find_sparse_rules(RECOMMENDED) or SPARSE_RULES[0]

    @cached_property
    def _weights(self) -> dict[int, Weights]:
        return {
            node.position: self._count(node)
            for node in self.view.nodes
            if self.view.is_pointwise(node) or (node.name == "FULLY_CONNECTED" and self.roles[node.position].inside)
        }

    def _count(self, node: Node) -> Weights:
        origin = self.view.weights(node)
        if origin is None:
            return Weights()
        values = read_real_values(self.model, origin.constant)
        return Weights(values.size, values.size - int(np.count_nonzero(values)))

    def _of_runtime(self) -> Iterator[Reason]:
        if not self.target.is_arm:
            yield Reason("runtime", SPARSE_RULES[0].why_never(self.target) or "", "measure on the board, or emulated")
        elif self._known is None:
            known = ", ".join(dict.fromkeys(each.versions for each in SPARSE_RULES))
            yield Reason("unmeasured", f"{self.runtime_spec} was not measured", f"measured are {known}")
        elif (why := self._known.why_never(self.target)) is not None:
            yield Reason("runtime", why, f"install {RECOMMENDED}")

    def _of_encoding(self) -> Iterator[Reason]:
        """Yield what a file without any sparse storage lacks: the storage, or the zeros."""
        if not self.pointwise:
            return
        inputs = (tensor for node in self.view.nodes for tensor in node.operator.inputs if tensor >= 0)
        if any(self.view.is_encoded(tensor) for tensor in inputs):
            return
        total = sum(self._weights.values(), Weights())
        yield self._encoding_reason(total)

    def _encoding_reason(self, total: Weights) -> Reason:
        zeros = f"{total.zeros:,} of {total.parameters:,} 1x1 weights ({_percent(total)}) are zero"
        if total.zeros < _BARELY_PRUNED * total.parameters:
            return Reason("encoding", f"the model is not pruned: {zeros}, none stored sparse",
                          "prune more than two thirds of them to zero, then convert with --to sparse")  # fmt: skip
        return Reason("encoding", f"the weights are stored dense (converted the ordinary way), although {zeros}",
                      "convert with --to sparse; zeros in dense storage are never noticed")  # fmt: skip

    def _cluster(self, region: Region, whole: tuple[Reason, ...]) -> Cluster:
        nodes = [self.view.nodes[position] for position in sorted(region.nodes)]
        pointwise = [node for node in nodes if self.view.is_pointwise(node)]
        total = sum((self._weights.get(node.position, Weights()) for node in nodes), Weights())
        never = any(reason.kind in _WHOLE for reason in whole)
        wrong = () if never else tuple(self._of_results(region))
        reasons = sort_reasons(
            [*wrong, *self._of_operators(nodes), *region.reasons, *self._of_sparsity(total, pointwise)]
        )
        ran: int | None = len(self.layout.sparse & region.nodes)
        if never:
            ran = 0
        elif any(reason.kind == "unmeasured" for reason in (*whole, *reasons)):
            ran = None
        return Cluster(
            operators=tuple(node.index for node in nodes),
            pointwise=len(pointwise),
            parameters=total.parameters,
            zeros=total.zeros,
            encoded=sum(self.view.is_encoded(node.operator.inputs[1]) for node in pointwise),
            engages=None if ran is None else ran > 0,
            sparse_kernels=ran,
            reasons=reasons,
        )

    def _of_operators(self, nodes: list[Node]) -> Iterator[Reason]:
        """Yield what is wrong with operators; a problem that several share is one reason that names them all."""
        problems = [role.problem for node in nodes if (role := self.roles[node.position]).problem is not None]
        grouped: dict[tuple[str, str], list[Reason]] = {}
        for problem in problems:
            if problem is not None:
                key = "" if problem.kind == "precision" else problem.text.partition(") ")[2]
                grouped.setdefault((problem.kind, key), []).append(problem)
        yield from map(_together, grouped.values())

    def _of_sparsity(self, total: Weights, pointwise: list[Node]) -> Iterator[Reason]:
        if total.parameters and not total.enough:
            yield Reason(
                "sparsity",
                f"{total.zeros:,} of the cluster's {total.parameters:,} 1x1 weights ({_percent(total)}) are zero, and "
                "more than two thirds must be",
                f"prune {total.parameters * 2 // 3 + 1 - total.zeros:,} more",
                tuple(node.index for node in pointwise),
            )

    def _of_results(self, region: Region) -> Iterator[Reason]:
        mixed = sorted(self.layout.mixed & region.nodes)
        roles = [self.roles[position] for position in mixed]
        known = [reason for role in roles if (reason := role.wrong_end or role.wrong_inside) is not None]
        yield from known
        if mixed and not known:
            node = self.view.nodes[mixed[0]]
            yield Reason(
                "results",
                f"the results would be WRONG, or the file refused: {node.label} is cut off from "
                "the cluster's end, and XNNPACK moves its input to the sparse layout but not its output",
                "flatten what it reads: GlobalAveragePooling2D() without keepdims, then Dense"
                if node.name == "FULLY_CONNECTED"
                else "repair what breaks the cluster, or convert without sparse storage",
                tuple(self.view.nodes[position].index for position in mixed),
                self.view.tensor(node.writes[0]).name,
            )


def _together(reasons: list[Reason]) -> Reason:
    """Merge reasons that differ only in their operators into one."""
    first, others = reasons[0], reasons[1:]
    if not others:
        return first
    indices = tuple(index for reason in reasons for index in reason.operators)
    listed = ", ".join(map(str, indices[1:7])) + (", ..." if len(indices) > 7 else "")
    more = f" (and {len(others)} more: {listed})"
    return replace(first, text=first.text + more, operators=indices)


def _percent(weights: Weights) -> str:
    return f"{weights.zeros / weights.parameters:.1%}" if weights.parameters else "none"
