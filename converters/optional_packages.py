"""Imports optional packages on use; an error says how to install a missing one."""

from __future__ import annotations

import importlib
from types import ModuleType

from converters.errors import MissingPartError


def import_optional(module: str, package: str, purpose: str) -> ModuleType:
    """Import `module`, which the distribution `package` provides; `purpose` names its user in the error.

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
