"""Holds the result and the progress of a set-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from devices.solver.solve import Solution

OnStep = Callable[[str, int, int], None]  # what is being done, bytes or steps done, and in all


def ignore_step(step: str, done: int, of: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class SetupResult:
    """A runtime that was installed and has passed its check.

    Attributes:
        solution: the runtime, and why this one.
        environment: the environment's name.
        python: the Python that runs it, on the board.
        previous: the runtime that was in use before, "name==version".
        sent_bytes: wheels that were sent, of `wheels_bytes` in all.
    """

    device: str
    solution: Solution
    environment: str
    python: str
    previous: str | None
    sent_bytes: int
    wheels_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)
