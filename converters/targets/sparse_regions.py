"""Finds what could be a sparse cluster: everything between a first convolution and the means that end it, good or bad.

XNNPACK finds clusters only where they work. To report what breaks one, the operators that would belong together are
found first, then those among them that may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from converters.targets.delegate_view import GraphView, Node
from converters.targets.sparse_prediction import ClusterRole, Reason


@dataclass(frozen=True)
class Region:
    """Positions of nodes that would be one cluster, and what is wrong with it apart from its operators."""

    nodes: frozenset[int]
    reasons: tuple[Reason, ...]


def find_regions(view: GraphView, roles: Mapping[int, ClusterRole]) -> tuple[Region, ...]:
    """Return the regions with 1x1 convolutions, in the order of the file."""
    ends = [node for node in view.nodes if _is_end(view, node)]
    merged: list[set[int]] = []
    for end in ends:
        own = _above(view, roles, end)
        for other in [group for group in merged if group & own]:
            merged.remove(other)
            own |= other
        merged.append(own)
    for group in merged:
        group |= _dense_after(view, roles, group)
    covered = set().union(*merged)
    rest = {node.position for node in view.nodes if view.is_pointwise(node)} - covered
    found = [Region(frozenset(group), tuple(_around(view, roles, group))) for group in merged]
    if rest:
        found.append(Region(frozenset(rest), (_no_end(view, rest),)))
    return tuple(region for region in found if any(view.is_pointwise(view.nodes[n]) for n in region.nodes))


def _is_end(view: GraphView, node: Node) -> bool:
    return node.name in {"MEAN", "SUM", "DEPTH_TO_SPACE"} and bool(node.reads) and view.is_feature_map(node.reads[0])


def _above(view: GraphView, roles: Mapping[int, ClusterRole], end: Node) -> set[int]:
    """Return the positions of all that an end is computed from, up to the first convolutions."""
    found: set[int] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node.position in found:
            continue
        found.add(node.position)
        if not roles[node.position].start and not view.is_first(node):
            waiting += [view.producers[tensor] for tensor in node.reads if tensor in view.producers]
    return found


def _dense_after(view: GraphView, roles: Mapping[int, ClusterRole], group: set[int]) -> set[int]:
    """Return fully connected layers on a feature map that a group computes: they belong to it, and undo its end."""
    found: set[int] = set()
    for node in view.nodes:
        if node.name == "FULLY_CONNECTED" and roles[node.position].inside:
            sources = [view.producers[tensor].position for tensor in node.reads if tensor in view.producers]
            found |= {node.position} if (group | found) & {*sources} else set()
    return found


def _around(view: GraphView, roles: Mapping[int, ClusterRole], group: set[int]) -> Iterator[Reason]:
    """Yield what is wrong at a region's edges: no first convolution, readers outside."""
    for position in sorted(group):
        node = view.nodes[position]
        yield from _source(view, roles, node)
        yield from _after_end(view, roles, node)
        if _is_end(view, node) and not _feeds(view, node, group):
            continue
        for tensor in node.writes:
            yield from _outside(view, node, tensor, group)


def _source(view: GraphView, roles: Mapping[int, ClusterRole], node: Node) -> Iterator[Reason]:
    if roles[node.position].start or view.is_first(node) or all(t in view.producers for t in node.reads):
        return
    yield Reason(
        "start",
        f"{node.label} reads the model's input directly",
        "begin with a 3x3 convolution, stride 2, 3 input channels, padding 1 on each side",
        (node.index,),
        view.tensor(node.writes[0]).name,
    )


def _after_end(view: GraphView, roles: Mapping[int, ClusterRole], node: Node) -> Iterator[Reason]:
    """Yield a reason for an operator after one that can only end a cluster."""
    for producer in (view.producers[tensor] for tensor in node.reads if tensor in view.producers):
        role = roles[producer.position]
        if role.end and not role.inside and roles[node.position].problem is None:
            yield Reason(
                "end",
                f"{node.label} comes after {producer.label}, where a cluster ends",
                "leave it out, or resize by RESIZE_BILINEAR",
                (node.index,),
                view.tensor(node.writes[0]).name,
            )


def _feeds(view: GraphView, node: Node, group: set[int]) -> bool:
    return any(reader.position in group for tensor in node.writes for reader in view.readers.get(tensor, ()))


def _outside(view: GraphView, node: Node, tensor: int, group: set[int]) -> Iterator[Reason]:
    readers = [reader for reader in view.readers.get(tensor, ()) if reader.position not in group]
    name = view.tensor(tensor).name
    for reader in readers:
        yield Reason(
            "reader",
            f"{reader.label} reads operator {node.index}'s output from outside the cluster",
            "let only operators of the cluster read it, or read it after the mean",
            (reader.index, node.index),
            name,
        )
    if tensor in view.graph.outputs:
        yield Reason(
            "reader",
            f"{node.label}'s output is also an output of the model",
            "take it out of the model's outputs",
            (node.index,),
            name,
        )


def _no_end(view: GraphView, rest: set[int]) -> Reason:
    last = view.nodes[max(rest)]
    if _is_after_end(view, last):
        return Reason(
            "end",
            f"{last.label} is a 1x1 convolution after the mean",
            "use a fully connected layer (Dense) there",
            (last.index,),
            view.tensor(last.writes[0]).name,
        )
    return Reason(
        "end",
        f"no mean over height and width (nor DEPTH_TO_SPACE) follows {last.label}",
        "end with GlobalAveragePooling2D",
        (last.index,),
        view.tensor(last.writes[0]).name,
    )


def _is_after_end(view: GraphView, node: Node) -> bool:
    waiting, seen = list(node.reads), set[int]()
    while waiting:
        producer = view.producers.get(waiting.pop())
        if producer is None or producer.position in seen:
            continue
        if _is_end(view, producer):
            return True
        seen.add(producer.position)
        waiting += producer.reads
    return False
