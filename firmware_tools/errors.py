"""Errors of the instruments.

InstrumentError           exit 10  base: an instrument did not answer, or refused
├── UnknownCodecError     exit 3   no codec of that name
├── SettingError          exit 3   a setting that the codec does not have, or a value it cannot use
├── TraceError            exit 11  samples that cannot be one trace: unequal lengths, time that does not increase
├── MetadataError         exit 11  what an instrument said of itself is incomplete or impossible
├── ReplyError            exit 10  an instrument answered with an error, or with something else than was asked
└── LineError             exit 10  a serial line cannot be opened, or broke
    ├── NoAnswerError     exit 10  nothing answered on it in time
    └── LoginRefusedError exit 10  a console did not let the user in
"""

from __future__ import annotations

from converters.errors import EdgeError


class InstrumentError(EdgeError):
    """Base of the tree."""

    exit_code = 10


class UnknownCodecError(InstrumentError):
    """No codec of that name."""

    exit_code = 3


class SettingError(InstrumentError):
    """A setting that the codec does not have, or a value it cannot use."""

    exit_code = 3


class TraceError(InstrumentError):
    """Samples that cannot be one trace."""

    exit_code = 11


class MetadataError(InstrumentError):
    """What an instrument said of itself is incomplete or impossible."""

    exit_code = 11


class ReplyError(InstrumentError):
    """An instrument answered with an error, or with something else than was asked."""


class LineError(InstrumentError):
    """A serial line cannot be opened, or broke."""


class NoAnswerError(LineError):
    """Nothing answered on a serial line in time, or not what was expected."""


class LoginRefusedError(LineError):
    """A console did not let the user in, or not as root."""
