"""Predict whether XNNPACK's sparse kernels will run: from the file alone, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from converters.targets.boards import Target, target_named
from converters.targets.cluster_rules import Place, Rules
from converters.targets.delegate_view import GraphView, Node
from converters.targets.dynamic_shapes import dynamic_reasons
from converters.targets.load_refusals import refused_reasons
from converters.targets.runtimes import RECOMMENDED, RUNTIMES, SparseRuntime, runtime_named
from converters.targets.sparse_layout import Layout, Weights, layout_of
from converters.targets.sparse_prediction import Cluster, Reason, SparsePrediction, ordered
from converters.targets.sparse_regions import Region, regions
from converters.tflite.tensor_data import real_values
from converters.tflite.values import ModelInfo

# What decides alone, whatever the graph looks like.
_WHOLE = frozenset({"refused", "runtime", "shapes", "encoding"})
_BARELY_PRUNED = 0.1


def predict_sparse(model: ModelInfo, target: str | Target, runtime: str | None = None) -> SparsePrediction:
    """Predict which 1x1 convolutions of a file XNNPACK's sparse kernels will run, and say what keeps them from it.

    Args:
        model: the file, as `converters.tflite.reader.read_model` gives it.
        target: the board, by name or as a value.
        runtime: "name==version"; None is the one verified the most.

    Returns:
        The prediction; `engages` is None where the runtime, or something in the file with it, was not measured.

    Raises:
        SourceError: there is no target of that name.
        ModelFileError: weights of the file are damaged.
    """
    board = target_named(target) if isinstance(target, str) else target
    spec = runtime or RECOMMENDED
    return Doctor(model, board, spec).prediction()


@dataclass(frozen=True)
class Doctor:
    """One file on one board with one runtime: every rule, checked once."""

    model: ModelInfo
    target: Target
    runtime_spec: str

    @cached_property
    def view(self) -> GraphView:
        """The graph as the delegate sees it."""
        return GraphView(self.model)

    @cached_property
    def places(self) -> Mapping[int, Place]:
        """Where each node may stand in a cluster, by position."""
        rules = Rules(self.view, self._rules_of)
        return {node.position: rules.place(node) for node in self.view.nodes}

    @cached_property
    def layout(self) -> Layout:
        """What XNNPACK would move to its sparse layout, were there nothing against it outside the graph."""
        return layout_of(self.view, self.places, self._weights, self._rules_of.without_unary)

    @cached_property
    def pointwise(self) -> int:
        """1x1 convolutions of the main graph."""
        return sum(map(self.view.is_pointwise, self.view.nodes))

    def prediction(self) -> SparsePrediction:
        """Put the rules together."""
        refused = refused_reasons(self.view, self._known)
        whole = ordered(
            [*refused, *self._of_runtime(), *dynamic_reasons(self.view, self._rules_of), *self._of_encoding()]
        )
        clusters = tuple(self._cluster(region, whole) for region in regions(self.view, self.places))
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
            reasons=ordered(found),
            clusters=clusters,
        )

    @cached_property
    def _known(self) -> SparseRuntime | None:
        return runtime_named(self.runtime_spec)

    @property
    def _rules_of(self) -> SparseRuntime:
        """The runtime whose rules are checked: for one that was not measured, the one verified the most."""
        return self._known or runtime_named(RECOMMENDED) or RUNTIMES[0]

    @cached_property
    def _weights(self) -> dict[int, Weights]:
        return {
            node.position: self._count(node)
            for node in self.view.nodes
            if self.view.is_pointwise(node) or (node.name == "FULLY_CONNECTED" and self.places[node.position].inside)
        }

    def _count(self, node: Node) -> Weights:
        origin = self.view.weights(node)
        if origin is None:
            return Weights()
        values = real_values(self.model, origin.constant)
        return Weights(values.size, values.size - int(np.count_nonzero(values)))

    def _of_runtime(self) -> Iterator[Reason]:
        if not self.target.is_arm:
            yield Reason("runtime", RUNTIMES[0].why_never(self.target) or "", "measure on the board, or emulated")
        elif self._known is None:
            known = ", ".join(dict.fromkeys(each.versions for each in RUNTIMES))
            yield Reason("unmeasured", f"{self.runtime_spec} was not measured", f"measured are {known}")
        elif (why := self._known.why_never(self.target)) is not None:
            yield Reason("runtime", why, f"install {RECOMMENDED}")

    def _of_encoding(self) -> Iterator[Reason]:
        """Tell what a file without any sparse storage lacks: the storage, or the zeros."""
        if not self.pointwise:
            return
        inputs = (tensor for node in self.view.nodes for tensor in node.operator.inputs if tensor >= 0)
        if any(self.view.is_encoded(tensor) for tensor in inputs):
            return
        total = sum(self._weights.values(), Weights())
        yield self._unencoded(total)

    def _unencoded(self, total: Weights) -> Reason:
        said = f"{total.zeros:,} of {total.parameters:,} 1x1 weights ({_percent(total)}) are zero"
        if total.zeros < _BARELY_PRUNED * total.parameters:
            return Reason("encoding", f"the model is not pruned: {said}, none stored sparse",
                          "prune more than two thirds of them to zero, then convert with --to sparse")  # fmt: skip
        return Reason("encoding", f"the weights are stored dense (converted the ordinary way), although {said}",
                      "convert with --to sparse; zeros in dense storage are never noticed")  # fmt: skip

    def _cluster(self, region: Region, whole: tuple[Reason, ...]) -> Cluster:
        nodes = [self.view.nodes[position] for position in sorted(region.nodes)]
        pointwise = [node for node in nodes if self.view.is_pointwise(node)]
        total = sum((self._weights.get(node.position, Weights()) for node in nodes), Weights())
        never = any(reason.kind in _WHOLE for reason in whole)
        reasons = ordered([*(() if never else self._of_results(region)), *self._of_operators(nodes), *region.reasons,
                           *self._of_sparsity(total, pointwise)])  # fmt: skip
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
        """Tell what is wrong with operators; what many share, as one that names them all."""
        problems = [place.problem for node in nodes if (place := self.places[node.position]).problem is not None]
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
        wrong = [self.places[position] for position in sorted(self.layout.mixed & region.nodes)]
        told = [reason for place in wrong if (reason := place.wrong_end or place.wrong_inside) is not None]
        yield from told
        mixed = sorted(self.layout.mixed & region.nodes)
        if mixed and not told:
            node = self.view.nodes[mixed[0]]
            dense = node.name == "FULLY_CONNECTED"
            yield Reason(
                "results",
                f"the results would be WRONG, or the file refused: operator {node.index} ({node.name}) is cut off from "
                "the cluster's end, and XNNPACK moves its input to the sparse layout but not its output",
                "flatten what it reads: GlobalAveragePooling2D() without keepdims, then Dense"
                if dense
                else "repair what breaks the cluster, or convert without sparse storage",
                tuple(self.view.nodes[position].index for position in mixed),
                self.view.tensor(node.writes[0]).name,
            )


def _together(reasons: list[Reason]) -> Reason:
    """Make one reason of several that say the same of different operators."""
    first, others = reasons[0], reasons[1:]
    if not others:
        return first
    indices = tuple(index for reason in reasons for index in reason.operators)
    listed = ", ".join(map(str, indices[1:7])) + (", ..." if len(indices) > 7 else "")
    more = f" (and {len(others)} more: {listed})"
    return replace(first, text=first.text + more, operators=indices)


def _percent(weights: Weights) -> str:
    return f"{weights.zeros / weights.parameters:.1%}" if weights.parameters else "none"
