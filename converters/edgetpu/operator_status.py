"""What is said of one operator: the compiler's own status words, and ours with what to change."""

from __future__ import annotations

from dataclasses import dataclass

# Words of the compiler's log, as its users posted them.
MAPPED = "Mapped to Edge TPU"
SUBGRAPH = "More than one subgraph is not supported"
UNSUPPORTED = "Operation not supported"
TYPE = "Operation is working on an unsupported data type"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
CONSTANT = "Filter, bias, or other param is not constant at compile-time"
LIMIT = "Operation is otherwise supported, but not mapped due to some unspecified limitation"


@dataclass(frozen=True)
class Refusal:
    """Why an operator stays on the CPU.

    Attributes:
        status: the compiler's word for it.
        why: completes "the operator ...".
        change: what to do, "" where nothing helps.
        certain: False where the rule is drawn between few observations.
    """

    status: str
    why: str
    change: str = ""
    certain: bool = True

    def __str__(self) -> str:
        """Return the reason as text."""
        return self.why if self.certain else f"{self.why} (not certain: few observations)"


@dataclass(frozen=True)
class Doubt:
    """Why an operator that is taken to be mapped might not be."""

    why: str

    def __str__(self) -> str:
        """Return it as text."""
        return f"not certain: {self.why}"


Verdict = Refusal | Doubt | None
