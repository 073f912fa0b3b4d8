"""Formats numbers for readers: significant digits, units, counts, and the word for what is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeGuard

UNKNOWN = "unknown"
NOT_APPLICABLE = "—"
_DIGITS, _PLACES = 3, 9
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


def digits(value: float | None) -> str:
    """Return a number with three significant digits, whole digits kept, exponent form below 0.0001 only."""
    if not readable(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-")
    places = max(0, _DIGITS - 1 - _exponent(size, _DIGITS))
    return f"{value:,.{places}f}"


def readable(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that can be one of a measurement: finite, and not beyond all measure."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _exponent(size: float, kept: int) -> int:
    return int(f"{size:.{kept - 1}e}".split("e")[1])


def percent(share: float | None) -> str:
    """Return a share of 1 as "1.2 %"; tiny shares as "< 0.1 %"."""
    if share is None:
        return UNKNOWN
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share * 100:.1f} %"


def whole(value: float | None) -> str:
    """Return a count with thousands separated, "3,504,872"."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value.is_integer() else digits(value)


def count_of(number: float, noun: str) -> str:
    """Return "1 thread", "2 threads"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def megabytes(value: float | None) -> str:
    """Return bytes as millions of bytes without the unit, "3.94"."""
    return digits(value / 1e6) if readable(value) else UNKNOWN


def file_size(value_bytes: int | None) -> str:
    """Return a size in MB (10^6 bytes), small ones in kB: "53.9 MB"."""
    if value_bytes is None:
        return UNKNOWN
    return f"{value_bytes / 1e6:.1f} MB" if value_bytes >= 1e5 else f"{value_bytes / 1e3:.1f} kB"


def memory_size(value_bytes: int | None) -> str:
    """Return a size in the largest binary unit that fits: "3.7 GiB", "16 KiB"."""
    if value_bytes is None:
        return UNKNOWN
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value_bytes >= factor:
            return f"{value_bytes / factor:.1f} {unit}".replace(".0 ", " ")
    return f"{value_bytes} bytes"


def mebibytes(value_bytes: int) -> str:
    """Return a size as Google's Edge TPU compiler writes it: "6.91 MiB", "12.50 KiB"."""
    small = 0 < value_bytes < 1 << 17
    return f"{value_bytes / (1 << 10):.2f} KiB" if small else f"{value_bytes / (1 << 20):.2f} MiB"


def watts(value: float | None) -> str:
    """Return power with four digits, in W, mW or uW."""
    if value is None:
        return "-"
    for unit, scale in (("W", 1.0), ("mW", 1e3)):
        if abs(value) * scale >= 1:
            return f"{value * scale:.4g} {unit}"
    return f"{value * 1e6:.4g} uW" if value else "0 W"


def hertz(value: float | None) -> str:
    """Return a rate with four digits, in Hz or kHz."""
    if value is None:
        return "-"
    return f"{value / 1000:.4g} kHz" if value >= 999.5 else f"{value:.4g} Hz"


def joule_unit(values_j: Iterable[float], *, micro: str = "µ") -> tuple[float, str]:
    """Return what to divide joules by, and the unit's name, so that the largest has digits before its point."""
    largest = max(map(abs, values_j), default=0.0)
    return (1.0, "J") if largest >= 1 else (1e-3, "mJ") if largest >= 1e-3 else (1e-6, f"{micro}J")


def uncertainty_places(uncertainty: float) -> int:
    """Return how many decimal places give an uncertainty two digits; its value is written to the same place."""
    return min(_PLACES, max(0, 1 - int(f"{uncertainty:e}".split("e")[1]))) if uncertainty > 0 else 3


def field_title(key: str) -> str:
    """Return a field's name as words with its unit: "temperature_c" is "temperature (°C)"."""
    for suffix, _, unit in _UNITS:
        if key.endswith(suffix):
            return f"{key.removesuffix(suffix).replace('_', ' ')} ({unit})"
    return key.replace("_", " ")


def field_text(key: str, value: object) -> str:
    """Return a field's value for a column headed by `field_title(key)`."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _quantity(key, value) if readable(value) else UNKNOWN
    if isinstance(value, Mapping):
        return ", ".join(f"{field_title(str(k))} {field_text(str(k), v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(field_text(key, item) for item in value) or "none"
    return str(value)


def _quantity(key: str, value: float) -> str:
    for suffix, divisor, _ in _UNITS:
        if key.endswith(suffix):
            return digits(value / divisor)
    return whole(value)
