"""Errors of the instruments: meters and their recordings, serial lines, consoles, and the power meter's firmware.

InstrumentError               exit 10  base: an instrument did not answer, or refused
├── SettingError              exit 3   an unknown setting, or a value outside its range; nothing was sent
├── TraceError                exit 11  samples that cannot form one trace: unequal lengths, time that does not increase
├── ReplyError                exit 10  the instrument replied with an error, or with something unexpected
│   └── MetadataError         exit 10  the instrument's own description is incomplete or impossible
├── LineError                 exit 10  a serial line or port cannot be opened, or the connection broke
│   ├── NoAnswerError         exit 10  no answer in time
│   ├── LoginRefusedError     exit 10  a console refused the login
│   └── MeterAccessError      exit 10  this user may not open the meter, or another program has it
├── of the meters
│   ├── UnknownMeterError     exit 3   unknown kind or name of a meter, or an address that cannot be one
│   ├── RecordingError        exit 3   a file is not a recording, or cannot have been recorded
│   └── EndOfReplayError      exit 10  a replayed recording has no more samples
└── of the firmware
    ├── BuildError            exit 1   the compiler rejected the firmware's sources
    ├── PortMissingError      exit 3   the port does not exist
    ├── WrongBoardError       exit 3   the processor is not the one the firmware is for
    ├── NotFlashedError       exit 13  the flash does not hold what was sent
    └── BootloaderError       exit 10  the boot loader did not answer, or the connection broke
"""

from __future__ import annotations

from converters.errors import EdgeError


class InstrumentError(EdgeError):
    """Base of the tree."""

    exit_code = 10


class SettingError(InstrumentError):
    """An unknown setting, or a value outside its range; nothing was sent."""

    exit_code = 3


class TraceError(InstrumentError):
    """Samples that cannot form one trace."""

    exit_code = 11


class ReplyError(InstrumentError):
    """The instrument replied with an error, or with something unexpected."""


class MetadataError(ReplyError):
    """The instrument's own description is incomplete or impossible."""


class LineError(InstrumentError):
    """A serial line or port cannot be opened, or the connection broke."""


class NoAnswerError(LineError):
    """No answer in time, or not the expected one."""


class LoginRefusedError(LineError):
    """A console refused the login, or root rights."""


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


class BuildError(InstrumentError):
    """The compiler rejected the firmware's sources."""

    exit_code = 1


class PortMissingError(InstrumentError):
    """The port does not exist."""

    exit_code = 3


class WrongBoardError(InstrumentError):
    """The processor is not the one the firmware is for; nothing was written to it."""

    exit_code = 3


class NotFlashedError(InstrumentError):
    """The flash does not hold what was sent."""

    exit_code = 13


class BootloaderError(InstrumentError):
    """The boot loader did not answer, or the connection broke."""
