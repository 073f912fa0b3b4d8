"""Where errors of the instruments become errors of the meters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from devices.meters.errors import MeterAnswerError, MeterError, MeterGoneError, MeterSettingError, MeterSilentError
from firmware_tools import errors

T = TypeVar("T")
# The first class that fits decides.
_OURS: tuple[tuple[type[errors.InstrumentError], type[MeterError]], ...] = (
    (errors.NoAnswerError, MeterSilentError),
    (errors.LineError, MeterGoneError),
    (errors.SettingError, MeterSettingError),
    (errors.InstrumentError, MeterAnswerError),
)


def translated(action: Callable[[], T]) -> T:
    """Run it; an error of the instruments becomes one of the meters, its text and hint kept."""
    try:
        return action()
    except errors.InstrumentError as error:
        kind = next(ours for theirs, ours in _OURS if isinstance(error, theirs))
        raise kind(str(error), hint=error.hint) from error
