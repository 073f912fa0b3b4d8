"""Errors of building and flashing the power meter; talking to it raises those of firmware_tools.errors.

InstrumentError          exit 10
├── BuildError           exit 1   the compiler refused the firmware's sources
├── PlaceError           exit 13  a built file could not be written
├── PortMissingError     exit 3   there is no such port
├── WrongBoardError      exit 3   another processor answered than the one that the firmware is for
├── NotFlashedError      exit 13  what the processor holds now is not what was sent
└── BootloaderError      exit 10  the boot loader did not answer, or the line broke
"""

from __future__ import annotations

from firmware_tools.errors import InstrumentError


class BuildError(InstrumentError):
    """The compiler refused the firmware's sources."""

    exit_code = 1


class PlaceError(InstrumentError):
    """A built file could not be written."""

    exit_code = 13


class PortMissingError(InstrumentError):
    """There is no such port."""

    exit_code = 3


class WrongBoardError(InstrumentError):
    """Another processor answered than the one that the firmware is for; nothing was written to it."""

    exit_code = 3


class NotFlashedError(InstrumentError):
    """What the processor holds now is not what was sent."""

    exit_code = 13


class BootloaderError(InstrumentError):
    """The boot loader did not answer, or the line broke."""
