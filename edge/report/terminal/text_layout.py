"""Lays out paragraphs and tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence

from converters.printable import printable

WIDTH = 80
_FACT = 17


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


def wrap_fact(name: str, text: str) -> list[str]:
    """Return the lines of one fact: its name at the left, its text wrapped to the right of it."""
    margin = " " * _FACT
    return wrap(printable(text), f"  {name}".ljust(_FACT), margin=margin)


def wrap_item(number: int, text: str, *details: str, change: str | None = None) -> list[str]:
    """Return the lines of one item of a numbered list: its text, its details, and after an arrow what to change."""
    head = f"  {number}. "
    margin = " " * len(head)
    lines = wrap(printable(text), head)
    for detail in details:
        lines += wrap(printable(detail), margin, margin=margin)
    return lines + (wrap(printable(change), f"{margin}-> ") if change else [])


def fit_column(rows: Sequence[list[str]], flexible: int) -> None:
    """Cut the cells of one column so that the table's lines fit; at least 12 characters of each stay."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = WIDTH - sum(widths) + widths[flexible] - 2 * (len(widths) - 1)
    for row in rows:
        row[flexible] = cut(row[flexible], max(room, 12))


def cut(text: str, width: int) -> str:
    """Return printable text of at most `width` characters; what is cut off its end is marked."""
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"
