"""Errors of the meters; they continue the tree of firmware_tools/errors.py.

InstrumentError              exit 10
├── UnknownMeterError        exit 3   unknown kind or name of a meter, or an address that cannot be one
├── RecordingError           exit 3   a file is not a recording, or cannot have been recorded
├── LineError                exit 10
│   └── MeterAccessError     exit 10  this user may not open the meter, or another program has it
└── EndOfReplayError         exit 10  a replayed recording has no more samples
"""

from __future__ import annotations

from firmware_tools.errors import InstrumentError, LineError


class UnknownMeterError(InstrumentError):
    """Unknown kind or name of a meter, or an address that cannot be one."""

    exit_code = 3


class RecordingError(InstrumentError):
    """A file is not a recording, or cannot have been recorded."""

    exit_code = 3


class MeterAccessError(LineError):
    """This user may not open the meter, or another program has it."""


class EndOfReplayError(InstrumentError):
    """A replayed recording has no more samples; `incomplete` is why it ended early, or None."""

    def __init__(self, message: str, *, incomplete: str | None = None) -> None:
        super().__init__(message)
        self.incomplete = incomplete
