"""`edge devices setup`: installs a TFLite runtime on a board without internet access."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from edge.cli.output import json_option, print_json, print_lines
from edge.report.terminal.device_lines import solution_lines
from edge.report.terminal.text_layout import paragraph

if TYPE_CHECKING:
    from devices.solver.solve import Solution


@click.command("setup")
@click.argument("name")
@click.option("--runtime", "want", metavar="NAME==VERSION",
              help="Such as ai-edge-litert==2.1.6, tflite-runtime==2.14.0, or newest.  "
              "[default: the best verified version that fits]")  # fmt: skip
@click.option("--deadline", "deadline_s", type=click.FloatRange(min=1), default=900.0, show_default=True, metavar="S",
              help="Time limit in seconds.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show what would be installed, and why.")
@json_option
def command(name: str, want: str | None, deadline_s: float, dry_run: bool, as_json: bool) -> None:
    """Install a TFLite runtime on the device NAME.

    The device needs no internet access: the wheels are downloaded on this machine. On the board they go into a private
    environment (~/.local/share/edge-convert/venv); its system packages are not changed. The environment is used only
    after two small models have run in it with correct outputs; otherwise the board stays as it was.
    """
    from devices.registry import find_device
    from devices.solver.setup import plan, setup

    device = find_device(name)
    if dry_run:
        _show(name, plan(device, want, deadline_s=deadline_s), as_json=as_json)
        return
    with _stages() as on_step:
        ready = setup(device, want, deadline_s=deadline_s, on_step=on_step)
    if as_json:
        print_json(ready.to_json())
        return
    _show(name, ready.solution, as_json=False)
    click.echo(f"ready: {ready.python}")
    if ready.wheels_bytes:
        rest = ", the rest was already there" if ready.sent_bytes < ready.wheels_bytes else ""
        click.echo(f"sent: {ready.sent_bytes / 1e6:.1f} of {ready.wheels_bytes / 1e6:.1f} MB{rest}")
    if ready.previous:
        back = f"edge devices setup {name} --runtime {ready.previous}"
        click.echo(paragraph(f"kept: {ready.previous}; `{back}` restores it"))


def _show(name: str, solution: Solution, *, as_json: bool) -> None:
    if as_json:
        print_json(solution.to_json())
    else:
        print_lines(solution_lines(name, solution))


@contextlib.contextmanager
def _stages() -> Iterator[Callable[[str, int, int], None]]:
    """Show one stage after the other with its own bar, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda stage, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda stage, done, of: bar.update(task, description=stage, completed=done, total=of)
