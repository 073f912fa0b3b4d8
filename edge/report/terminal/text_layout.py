"""Lays out paragraphs and tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence

WIDTH = 80


def wrap(text: str, lead: str = "", *, margin: str | None = None, keep_words: bool = False) -> list[str]:
    """Return a paragraph's lines.

    Args:
        text: The paragraph.
        lead: Begins the first line.
        margin: Begins the others. None: blanks as wide as `lead`, at least two.
        keep_words: Leave long words whole, such as paths and commands that a user copies.
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * max(2, len(lead)) if margin is None else margin,
        break_long_words=not keep_words,
        break_on_hyphens=not keep_words,
    )


def paragraph(text: str, margin: str = "    ") -> str:
    """Return prose as one text, all lines but the first indented; paths and names stay whole."""
    # An indentation at the begin belongs to the text.
    lead = text[: len(text) - len(text.lstrip())]
    return "\n".join(wrap(text.lstrip(), lead, margin=margin, keep_words=True))


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] | None = None) -> Iterator[str]:
    """Yield a table's lines; `right` are the columns, by index, aligned right. None: all but the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = range(1, len(widths)) if right is None else right
    for row in rows:
        cells = (
            cell.rjust(width) if index in aligned else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def shorten(name: str, width: int) -> str:
    """Return a name of at most `width` characters; what is cut out of its middle is marked."""
    if len(name) <= width:
        return name
    tail = (width - 3) // 2
    return f"{name[: width - 3 - tail]}...{name[len(name) - tail :]}"
