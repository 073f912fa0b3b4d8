"""The job `hello`: who answers, and what it could run."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from edge.agent.protocol import PROTOCOL

# What is imported and the distribution it comes from, in order of preference.
RUNTIMES = ("ai-edge-litert", "tflite-runtime", "tensorflow")


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with the protocol's version and the versions of what is installed."""
    return {
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "runtimes": installed_runtimes(),
    }


def installed_runtimes() -> list[dict[str, str]]:
    """Return name and version of each TFLite runtime, without importing any."""
    found = [{"name": name, "version": _version(name)} for name in RUNTIMES]
    return [{"name": str(each["name"]), "version": each["version"]} for each in found if each["version"] is not None]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
