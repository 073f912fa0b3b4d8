"""Prints results as JSON or tables on stdout, and messages, errors and progress on stderr."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click

from converters.errors import EdgeError
from converters.printable import printable
from edge.report.terminal.text_layout import table

_FAULT = "this is a bug in edge; EDGE_DEBUG=1 shows the traceback"
_LAYOUT = "\n\t"
F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def print_json(value: object) -> None:
    """Print one JSON document on stdout; characters that its encoding lacks are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    click.echo(text)


def say(text: str) -> None:
    """Print one message on stderr."""
    click.echo(text, err=True)


def show_error(error: Exception, *, of: str = "") -> int:
    """Print an error and its hint on stderr, and return its exit code; anything but an EdgeError is a bug in edge.

    Args:
        error: What was raised. The text may quote files, boards and names.
        of: The part that failed, if the message does not show it.
    """
    text = printable(str(error), keep=_LAYOUT)
    if isinstance(error, EdgeError):
        kind, hint, code = "error", error.hint, error.exit_code
    else:
        kind, hint, code = "internal error", _FAULT, 1
        text = f"{type(error).__name__}: {text}"
    say(f"{kind}: {of}{': ' if of else ''}{text}")
    if hint:
        say(f"hint: {printable(hint, keep=_LAYOUT)}")
    return code


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        click.echo(line)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> None:
    """Print a plain table on stdout; `right` names the columns, by index, that are aligned right.

    Lines are never cut or coloured: the output is as good in a pipe as on a terminal.
    """
    click.echo("\n".join(table([columns, *rows], right=right)))


@contextlib.contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar on stderr, if that is a terminal and rich is installed (on a board it is not).

    Yields:
        A function `advance(steps, note)`; `note` replaces the text after the bar, "" leaves it.
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
