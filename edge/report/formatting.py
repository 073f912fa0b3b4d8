"""Numbers as a reader wants them: sensible digits, units, and the word for what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

UNKNOWN = "unknown"
NOT_APPLICABLE = "—"
_DIGITS = 3
# JSON may hold 1e308; no quantity here is that large.
_LARGEST = 1e30
# Suffix of a field's name: divisor and unit a reader sees. Longest suffix first.
_UNITS: tuple[tuple[str, float, str], ...] = (
    ("_bytes", 1e6, "MB"),
    ("_khz", 1e3, "MHz"),
    ("_mhz", 1, "MHz"),
    ("_hz", 1e6, "MHz"),
    ("_ms", 1, "ms"),
    ("_us", 1, "µs"),
    ("_ns", 1e6, "ms"),
    ("_mj", 1, "mJ"),
    ("_uj", 1, "µJ"),
    ("_j", 1, "J"),
    ("_w", 1, "W"),
    ("_v", 1, "V"),
    ("_a", 1, "A"),
    ("_mc", 1e3, "°C"),
    ("_c", 1, "°C"),
    ("_s", 1, "s"),
)


def digits(value: float) -> str:
    """Return a number with three significant digits, whole digits kept, exponent form below 0.0001 only."""
    if not readable(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-")
    places = max(0, _DIGITS - 1 - _exponent(size))
    return f"{value:,.{places}f}"


def readable(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that can be one of a measurement: finite, and not beyond all measure."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _exponent(size: float) -> int:
    return int(f"{size:.{_DIGITS - 1}e}".split("e")[1])


def milliseconds(value: float | None) -> str:
    """Return "12.3" (the column says ms)."""
    return UNKNOWN if value is None else digits(value)


def megabytes(value: float | None) -> str:
    """Return bytes as millions of bytes, "3.94"."""
    return digits(value / 1e6) if readable(value) else UNKNOWN


def percent(share: float | None) -> str:
    """Return a share of 1 as "1.2 %"; tiny shares as "< 0.1 %"."""
    if share is None:
        return UNKNOWN
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share * 100:.1f} %"


def whole(value: float | None) -> str:
    """Return a count with thousands separated, "3,504,872"."""
    return (
        UNKNOWN
        if value is None
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:,.0f}"
        if value.is_integer()
        else digits(value)
    )


def named(key: str) -> str:
    """Return a field's name as words with its unit: "temperature_c" is "temperature (°C)"."""
    for suffix, _, unit in _UNITS:
        if key.endswith(suffix):
            return f"{key.removesuffix(suffix).replace('_', ' ')} ({unit})"
    return key.replace("_", " ")


def shown(key: str, value: object) -> str:
    """Return a field's value for a column headed by `named(key)`."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _measured(key, value) if readable(value) else UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{named(str(k))} {shown(str(k), v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(shown(key, item) for item in value) or "none"
    return str(value)


def _measured(key: str, value: float) -> str:
    for suffix, divisor, _ in _UNITS:
        if key.endswith(suffix):
            return digits(value / divisor)
    return whole(value)
