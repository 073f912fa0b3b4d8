"""The job `hello`: who answers, and what it could run."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from edge.agent.protocol import PROTOCOL
from edge.runtime.interpreters import installed


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with the protocol's version and the versions of what is installed."""
    return {
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "runtimes": installed_runtimes(),
    }


def installed_runtimes() -> list[dict[str, str | None]]:
    """Return name and version of each TFLite runtime, in order of preference, without importing any."""
    return [{"name": each.name, "version": each.version} for each in installed()]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
