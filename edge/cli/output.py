"""What the commands share in talking: JSON or tables on stdout, progress and notes on stderr."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

COLUMNS = 80
F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def print_json(value: object) -> None:
    """Print one JSON document on stdout; what its encoding cannot say, as a file's name in bytes, is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    click.echo(text)


def say(text: str) -> None:
    """Print one line of talk on stderr."""
    click.echo(text, err=True)


def wrapped(text: str, indent: str = "    ") -> str:
    """Return prose in lines of at most 80 columns, all but the first indented; paths and names stay whole."""
    return textwrap.fill(text, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a plain table on stdout; `right` names the columns, by index, that are aligned right.

    Lines are never cut or coloured: the output is as good in a pipe as on a terminal.
    """
    widths = [max(len(str(cell)) for cell in column) for column in zip(columns, *rows, strict=True)]
    for row in [columns, *rows]:
        cells = [
            str(cell).rjust(width) if index in right else str(cell).ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


@contextlib.contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar on stderr, only on a terminal, and where rich is installed: a board has it not.

    Yields:
        A function `advance(steps, note)`; `note` replaces the text behind the bar, "" leaves it.
    """
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda steps, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int, note: str) -> None:
            bar.advance(task, steps)
            if note:
                bar.update(task, note=note)

        yield advance
