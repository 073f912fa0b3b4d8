"""Figures, tables and paragraphs for a terminal of 80 columns."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
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


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters: names come from files and may hold anything."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", text).strip() or "unnamed"


def numbered(labels: Sequence[str]) -> list[str]:
    """Return labels that are all different: equal ones get numbers."""
    total, seen, named = Counter(labels), Counter[str](), []
    for label in labels:
        seen[label] += 1
        named.append(f"{label} #{seen[label]}" if total[label] > 1 else label)
    return named
