"""Errors of the devices.

DeviceError               exit 10  base
├── UnknownDeviceError    exit 3   no device of that name
├── InventoryError        exit 3   a name, address or devices.toml that cannot be used
├── UnreachableError      exit 10  the device did not answer, or the connection broke
│   ├── HostKeyError      exit 10  the machine that answered is not the one that was pinned
│   └── LoginError        exit 10  it answered, and accepted no key
├── DeadlineError         exit 10  it did not answer in time (also a TimeoutError)
├── TransferError         exit 10  a file could not be copied to or from the device
├── CommandFailedError    exit 10  a command on the device ended with a status other than 0
├── PreparationError      exit 10  an emulated board's root file system, wheel or plugin could not be made
└── CountError            exit 10  the instructions of a run could not be counted

A runtime that cannot work is refused by the solver's own error, NoRuntimeFits (exit 8).
"""

from __future__ import annotations

from converters.errors import EdgeError


class DeviceError(EdgeError):
    """Base of the tree."""

    exit_code = 10


class UnknownDeviceError(DeviceError):
    """No device of that name."""

    exit_code = 3


class InventoryError(DeviceError):
    """A name, an address or the file devices.toml cannot be used as it is."""

    exit_code = 3


class UnreachableError(DeviceError):
    """The device did not answer, or the connection broke."""


class HostKeyError(UnreachableError):
    """The machine that answered showed a host key that is not the pinned one, or none is pinned yet."""


class LoginError(UnreachableError):
    """The machine answered, and accepted no key of this user."""


class DeadlineError(DeviceError, TimeoutError):
    """The device did not answer in time."""


class TransferError(DeviceError):
    """A file could not be copied to or from the device; what was at its destination is untouched."""


class CommandFailedError(DeviceError):
    """A command on the device ended with a status other than 0."""


class PreparationError(DeviceError):
    """An emulated board's root file system, wheel or plugin could not be made; nothing half-made is left."""


class CountError(DeviceError):
    """The instructions of a run could not be counted."""
