"""Figures, tables and paragraphs for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

COLUMNS = 80
_NAME, _FUNCTION = 44, 56


def wrapped(text: str, lead: str = "") -> list[str]:
    """Return a paragraph's lines; `lead` begins the first, blanks as wide (at least two) the others."""
    return textwrap.wrap(text, COLUMNS, initial_indent=lead, subsequent_indent=" " * max(2, len(lead)))


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return a table's lines: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells])


def figure(value: float | None) -> str:
    """Return a number with at least three significant digits; None is "unknown"."""
    if value is None:
        return "unknown"
    if value == 0 or value >= 100:
        return f"{value:.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}" if value >= 0.1 else f"{value:.3g}"


def megabytes(value_bytes: int | None) -> str:
    """Return a size in MB (10^6 bytes), small ones in kB."""
    if value_bytes is None:
        return "unknown"
    return f"{value_bytes / 1e6:.1f} MB" if value_bytes >= 1e5 else f"{value_bytes / 1e3:.1f} kB"


def threads(count: int) -> str:
    """Return "1 thread" or "4 threads"."""
    return "1 thread" if count == 1 else f"{count} threads"


def shortened(name: str) -> str:
    """Return a name that leaves room for three numbers beside it; what is cut out of its middle is marked."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}...{name[len(name) - _NAME // 2 + 3 :]}"


def function(name: str) -> str:
    """Return a function's name that leaves room for two numbers beside it; what is cut out of its middle is marked."""
    return name if len(name) <= _FUNCTION else f"{name[: _FUNCTION // 2]}...{name[len(name) - _FUNCTION // 2 + 3 :]}"
