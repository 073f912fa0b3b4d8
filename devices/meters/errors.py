"""Errors of the meters.

DeviceError                     exit 10
└── MeterError                  exit 10  base
    ├── UnknownMeterError       exit 3   no meter of that kind or name, or the address cannot be one
    ├── MeterSettingError       exit 3   a setting the meter has not, or one out of its range; nothing was sent
    ├── RecordingError          exit 3   a file is no recording, or one that nobody could have recorded
    ├── MeterAccessError        exit 10  this user may not open the meter, or another program has it
    ├── MeterSilentError        exit 10  the meter did not answer in time (also a TimeoutError)
    ├── MeterGoneError          exit 10  the meter was unplugged, or the connection broke
    ├── MeterAnswerError        exit 10  the meter answered what it cannot mean, or refused
    ├── EndOfReplayError        exit 10  a replayed recording has no more samples
    └── RecordingWriteError     exit 13  a recording or an export could not be written (disk full, no permission)
"""

from __future__ import annotations

from devices.errors import DeviceError


class MeterError(DeviceError):
    """Base of the tree; `hint` says what to do next."""


class UnknownMeterError(MeterError):
    """No meter of that kind or name."""

    exit_code = 3


class MeterSettingError(MeterError):
    """A setting that the meter has not, or a value out of its range; nothing was sent."""

    exit_code = 3


class RecordingError(MeterError):
    """A file is no recording, or cannot have been recorded."""

    exit_code = 3


class MeterAccessError(MeterError):
    """This user may not open the meter, or another program has it."""


class MeterSilentError(MeterError, TimeoutError):
    """The meter did not answer in time."""


class MeterGoneError(MeterError):
    """The meter was unplugged, or the connection to it broke."""


class MeterAnswerError(MeterError):
    """The meter answered what it cannot mean, or refused."""


class EndOfReplayError(MeterError):
    """A replayed recording has no more samples; `incomplete` is why it ended before it should, or None."""

    def __init__(self, message: str, *, incomplete: str | None = None) -> None:
        super().__init__(message)
        self.incomplete = incomplete


class RecordingWriteError(MeterError):
    """A recording or an export could not be written."""

    exit_code = 13
