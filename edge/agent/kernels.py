"""The job `kernels`: which kernels ran, and for how long."""

from __future__ import annotations

from typing import Any

from edge.agent.model import model_path
from edge.agent.processors import pinned
from edge.agent.request import count


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with the kernel profile, or with why there is none."""
    from edge.runtime.kernels import profile_kernels

    path = model_path(request)
    with pinned(request):
        return profile_kernels(path, threads=count(request, "threads", 1), runs=count(request, "runs", 10)).to_json()
