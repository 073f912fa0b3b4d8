"""Optional packages, imported on use; a missing one becomes a message that says how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

from converters.errors import MissingPartError


def require_package(module: str, package: str, purpose: str) -> ModuleType:
    """Import `module`, or say which package is missing and what it is for.

    Raises:
        MissingPartError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingPartError(
            f"{purpose} needs {package}, which is not installed",
            hint=f"pip install {package}, or everything for the host with pip install 'edge-convert[host]'",
        ) from error
