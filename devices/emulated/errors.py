"""Errors of emulated boards.

DeviceError (devices.errors)  exit 10
├── PreparationError          exit 10  the root file system, a wheel or the plugin could not be made
└── CountError                exit 10  the instructions of a run could not be counted

A runtime that cannot work is refused by the solver's own error, NoRuntimeFits (exit 8).
"""

from __future__ import annotations

from devices.errors import DeviceError


class PreparationError(DeviceError):
    """The root file system, a wheel or the plugin could not be made; nothing incomplete is left."""


class CountError(DeviceError):
    """The instructions of a run could not be counted."""
