"""Decodes lines of text from any sketch: `volts,amps`, ended by CR, LF or both.

A header may name the columns in another order, in other units, or with a time: one of time_s, time_ms, time_us
(millis() and micros(), whose wraps are removed), volts or millivolts, amps or milliamps. The setting `columns` does the
same for sketches without a header. Without a time column, the time is that of arrival at the host.

Text before the first end of a line is discarded unless it is a header: its beginning may be missing, and "15.1,0.2"
without its first digit is a valid sample too. After that, lines count as damaged if they are not numbers, have too few,
too many or impossible ones, or if their time does not increase. There is no check sum: a wrong or missing digit is not
detected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from firmware_tools.codecs.framing import arrival_times
from firmware_tools.errors import SettingError
from firmware_tools.trace import Trace

LONGEST_LINE = 256
# The quantity and unit of each column, by its name.
COLUMNS = {
    "time_s": ("time", 1.0),
    "time_ms": ("time", 1e-3),
    "time_us": ("time", 1e-6),
    "volts": ("volts", 1.0),
    "millivolts": ("volts", 1e-3),
    "amps": ("amps", 1.0),
    "milliamps": ("amps", 1e-3),
}
_NUMBER = re.compile(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_END = re.compile(rb"[\r\n]+")
# No such meter can have more at its inputs.
_MOST = 1000.0
_WRAP = 1 << 32


@dataclass(frozen=True)
class CsvState:
    """State of the stream.

    Attributes:
        columns: Their names, in order.
        pending: The line whose end has not arrived.
        overlong: That line is too long; the rest of it is skipped.
        begun: An end of a line has been seen.
        timed: The samples so far had times of their own; None before the first.
        before_s: Time of the last sample.
        clock: The last number in the time column, without wraps.
    """

    columns: tuple[str, ...]
    pending: bytes = b""
    overlong: bool = False
    begun: bool = False
    timed: bool | None = None
    before_s: float | None = None
    clock: float | None = None


@dataclass(frozen=True)
class _Row:
    volts: float
    amps: float
    time_s: float | None


def initial(*, columns: str = "volts,amps") -> CsvState:
    """Return the state before the first byte.

    Raises:
        SettingError: A column is unknown, or volts or amps are missing.
    """
    names = _header(columns.encode())
    if names is None:
        raise SettingError(
            f"columns '{columns}' cannot be read", hint=f"volts and amps are needed; names: {', '.join(COLUMNS)}"
        )
    return CsvState(names)


def decode(state: CsvState, data: bytes, host_s: float) -> tuple[Trace, CsvState]:
    """Decode the complete lines, which arrived at `host_s`."""
    *lines, rest = _END.split(state.pending + data)
    rows, damaged = [], 0
    for line in lines:
        row, bad, state = _line(state, line)
        damaged += bad
        if row:
            rows.append(row)
    overlong = state.overlong or len(rest) > LONGEST_LINE
    state = replace(state, pending=b"" if overlong else rest, overlong=overlong)
    return _trace(state, rows, host_s, damaged)


def _line(state: CsvState, line: bytes) -> tuple[_Row | None, int, CsvState]:
    """Return a line's sample, or the number of damaged lines, or neither."""
    begun, overlong = state.begun, state.overlong or len(line) > LONGEST_LINE
    state = replace(state, begun=True, overlong=False)
    names = None if overlong else _header(line)
    if names and state.timed in (None, _has_time(names)):
        return None, 0, replace(state, columns=names)
    if not begun or not (overlong or line.strip()):
        return None, 0, state
    values = None if overlong else _numbers(line, state.columns)
    if values is None:
        return None, 1, state
    return _sample(state, values)


def _sample(state: CsvState, values: dict[str, float]) -> tuple[_Row | None, int, CsvState]:
    """Return the line's numbers as a sample, if they can be one."""
    if max(abs(values["volts"]), abs(values["amps"])) > _MOST:
        return None, 1, state
    if "time" not in values:
        return _Row(values["volts"], values["amps"], None), 0, replace(state, timed=False)
    unit = next(COLUMNS[name][1] for name in state.columns if COLUMNS[name][0] == "time")
    clock = values["time"] / unit
    if state.clock is not None and unit < 1:
        # The clock of a sketch has 32 bits; a step back by less than half of its range is not a wrap.
        clock += _WRAP * round((state.clock - clock) / _WRAP)
    time_s = clock * unit
    if not math.isfinite(time_s) or (state.before_s is not None and time_s <= state.before_s):
        return None, 1, state
    row = _Row(values["volts"], values["amps"], time_s)
    return row, 0, replace(state, timed=True, clock=clock, before_s=time_s)


def _trace(state: CsvState, rows: Sequence[_Row], host_s: float, damaged: int) -> tuple[Trace, CsvState]:
    if not rows:
        return Trace.empty(damaged=damaged), state
    volts, amps = (np.array(column) for column in zip(*((row.volts, row.amps) for row in rows), strict=True))
    if state.timed:
        times = np.array([row.time_s for row in rows], np.float64)
    else:
        times = arrival_times(state.before_s, host_s, len(rows), None)
        state = replace(state, before_s=float(times[-1]))
    return Trace(times, volts * amps, volts, amps, np.zeros(len(rows), np.uint8), 0, damaged), state


def _has_time(names: Sequence[str]) -> bool:
    return any(COLUMNS[name][0] == "time" for name in names)


def _header(line: bytes) -> tuple[str, ...] | None:
    """Return the names of the columns if the line is a header."""
    names = tuple(name.strip().lower() for name in line.decode("ascii", "replace").split(","))
    meanings = [COLUMNS[name][0] for name in names if name in COLUMNS]
    known = len(meanings) == len(names) == len(set(meanings))
    return names if known and {"volts", "amps"} <= set(meanings) else None


def _numbers(line: bytes, columns: Sequence[str]) -> dict[str, float] | None:
    """Return the line's numbers in their base units, or None if it is not made of as many numbers as columns."""
    fields = line.split(b",")
    if len(fields) != len(columns) or not all(_NUMBER.fullmatch(field) for field in fields):
        return None
    return {COLUMNS[name][0]: float(field) * COLUMNS[name][1] for name, field in zip(columns, fields, strict=True)}
