"""Errors of emulated boards.

DeviceError (devices.errors)  exit 10
├── PartMissingError          exit 8   a program that the emulation needs is not installed, or is of the wrong kind
├── PreparationError          exit 10  the root file system, a wheel or the plugin could not be made
└── CountError                exit 10  the instructions of a run could not be counted

A runtime that cannot work is refused by the solver's own error, NoRuntimeFits (exit 8).
"""

from __future__ import annotations

from devices.errors import DeviceError


class PartMissingError(DeviceError):
    """A program that the emulation needs is not installed, or is of the wrong kind; the hint names its package."""

    exit_code = 8


class PreparationError(DeviceError):
    """The root file system, a wheel or the plugin could not be made; nothing half-made is left."""


class CountError(DeviceError):
    """The instructions of a run could not be counted."""
