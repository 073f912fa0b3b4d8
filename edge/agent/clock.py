"""The job `clock`: this machine's monotonic clock, for a host that brackets the answer by its own."""

from __future__ import annotations

import time
from typing import Any


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with the time now, in seconds."""
    return {"monotonic_s": time.monotonic()}
