"""Running on chosen processors only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edge.agent.request import field
from edge.runtime.errors import RuntimeFault


@contextmanager
def pinned(request: dict[str, Any]) -> Iterator[None]:
    """Run only on the request's `cpus`, if it names any; threads that start meanwhile inherit it.

    Raises:
        RuntimeFault: This process may not use one of them.
    """
    cpus = field(request, "cpus", list, None)
    if cpus is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    if not cpus or not allowed.issuperset(cpus):
        raise RuntimeFault(
            f"asked for processors {cpus}, this process may use {sorted(allowed)}", hint="name processors it may use"
        )
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
