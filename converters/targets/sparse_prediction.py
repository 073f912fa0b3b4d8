"""The prediction of a file's sparse kernels, and the reasons for it, as values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

# Reasons are listed in this order: the ones to act on first.
KINDS = (
    "refused", "results", "runtime", "unmeasured", "precision", "pruning", "encoding", "shapes", "start", "operator",
    "reader", "end", "sparsity",
)  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """One rule that is not met: what breaks it and what to change.

    `operators` and `tensor` are the place, by index and name; both may be empty where the reason is not in the file.
    """

    kind: str
    text: str
    change: str
    operators: tuple[int, ...] = ()
    tensor: str | None = None

    def __str__(self) -> str:
        where = f" [tensor {self.tensor.partition(';')[0]}]" if self.tensor else ""
        return f"{self.text}{where}" + (f": {self.change}" if self.change else "")


@dataclass(frozen=True)
class ClusterRole:
    """Where an operator may stand in a cluster: at its start, inside, at its end, or nowhere.

    Attributes:
        problem: why it may stand nowhere, or, if it `leaks`, breaks a cluster that it stands in.
        wrong_inside: why results are wrong where it does stand inside a cluster; `wrong_end` where it ends one.
    """

    start: bool = False
    inside: bool = False
    end: bool = False
    problem: Reason | None = None
    leaks: bool = False
    wrong_inside: Reason | None = None
    wrong_end: Reason | None = None


@dataclass(frozen=True)
class Cluster:
    """Operators that could run sparse together, between a first convolution and a mean over height and width.

    Attributes:
        operators: indices of its operators.
        pointwise: how many of them are 1x1 convolutions.
        parameters: elements of the 1x1 weights; `zeros` of them are zero.
        encoded: 1x1 weights that are stored sparse.
        sparse_kernels: 1x1 convolutions that a sparse kernel will run; None where it is not known.
    """

    operators: tuple[int, ...]
    pointwise: int
    parameters: int
    zeros: int
    encoded: int
    engages: bool | None
    sparse_kernels: int | None
    reasons: tuple[Reason, ...]

    @property
    def share(self) -> float | None:
        """Zeros among the 1x1 weights, 0 to 1; None where there are none."""
        return self.zeros / self.parameters if self.parameters else None


@dataclass(frozen=True)
class SparsePrediction:
    """Whether sparse kernels will run: True, False, or None where it was not measured for what the file has.

    Attributes:
        runtime: the runtime it is predicted for, "name==version".
        ran: 1x1 convolutions that a sparse kernel will run, of `of` in the file; None where it is not known.
        corrupts: whether the runtime will compute wrong results, or refuse the file: XNNPACK moves an operator's input
            to the sparse layout, but not its output. Possible even where no sparse kernel runs.
        reasons: the rules that are not met, the ones to act on first.
    """

    target: str
    runtime: str
    engages: bool | None
    ran: int | None
    of: int
    corrupts: bool
    reasons: tuple[Reason, ...]
    clusters: tuple[Cluster, ...]

    @property
    def refused(self) -> bool:
        """Whether the runtime will not load the file at all."""
        return any(reason.kind == "refused" for reason in self.reasons)

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values; reasons as sentences, and as their parts."""
        return {
            "runtime": self.runtime,
            "engages": self.engages,
            "ran": self.ran,
            "of": self.of,
            "corrupts": self.corrupts,
            "refused": self.refused,
            "reasons": [str(reason) for reason in self.reasons],
            "findings": [_reason(reason) for reason in self.reasons],
            "clusters": [_cluster(cluster) for cluster in self.clusters],
        }


def sort_reasons(reasons: list[Reason]) -> tuple[Reason, ...]:
    """Return each reason once, the ones to act on first."""
    return tuple(sorted(dict.fromkeys(reasons), key=lambda each: KINDS.index(each.kind)))


def _cluster(cluster: Cluster) -> dict[str, object]:
    return {
        "parameters": cluster.parameters,
        "zeros": cluster.zeros,
        "share": cluster.share,
        "engages": cluster.engages,
        "operators": list(cluster.operators),
        "pointwise": cluster.pointwise,
        "encoded": cluster.encoded,
        "sparse_kernels": cluster.sparse_kernels,
        "reasons": [str(reason) for reason in cluster.reasons],
    }


def _reason(reason: Reason) -> dict[str, object]:
    return {**dataclasses.asdict(reason), "operators": list(reason.operators)}
