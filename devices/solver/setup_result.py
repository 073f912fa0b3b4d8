"""What a set-up ends in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from devices.solver.solve import Solution


@dataclass(frozen=True)
class Ready:
    """A runtime that was installed and has passed its check: which, where, why, and what it took."""

    device: str
    solution: Solution
    environment: str
    python: str
    previous: str | None
    sent_bytes: int
    wheels_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)
