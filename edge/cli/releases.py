"""Runs the work of `edge deploy` and `edge rollback` on several devices at once, and shows the results."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import click

from converters.errors import EdgeError
from devices.contract import Device
from devices.releases.board import OnStep
from devices.releases.package import ROOT
from devices.releases.parallel import BoardOutcome, check, on_each
from devices.releases.release_status import Released
from edge.cli.options import F
from edge.cli.output import print_json, print_lines, say, show_error
from edge.report.terminal.release_lines import deployment_lines, deployment_notes

T = TypeVar("T", bound="JsonResult")

root_option: Callable[[F], F] = click.option(
    "--release-root", "root", metavar="DIR", help=f"Folder of the releases on the device.  [default: ~/{ROOT}]"
)


class JsonResult(Protocol):
    """A result that can be printed as JSON."""

    def to_json(self) -> Mapping[str, object]: ...


def on_devices(
    names: Sequence[str], work: Callable[[Device, OnStep], T], show: Callable[[T], None], *, as_json: bool
) -> None:
    """Do the work on all devices and groups named at once, show the results, and raise for the first failure."""
    from devices.inventory import members
    from devices.registry import find_device

    devices = {name: find_device(name) for name in members(names)}
    several = len(devices) > 1

    def done(outcome: BoardOutcome[T]) -> None:
        if several and outcome.error is not None:
            show_error(outcome.error, of=outcome.device)

    with _bars() as bar:
        outcomes = on_each(tuple(devices), lambda name: work(devices[name], bar(name)), on_done=done)
    _print(outcomes, show, as_json=as_json, as_list=several)
    check(outcomes)


def show_released(released: Released) -> None:
    """Print which release is current now, how it was checked, and what is left to do."""
    print_lines(deployment_lines(released))
    for note in deployment_notes(released):
        say(note)


def _print(outcomes: Sequence[BoardOutcome[T]], show: Callable[[T], None], *, as_json: bool, as_list: bool) -> None:
    if not as_json:
        for each in outcomes:
            if each.value is not None:
                show(each.value)
        return
    if as_list:
        print_json([_json(each) for each in outcomes])
    elif outcomes and outcomes[0].value is not None:
        print_json(outcomes[0].value.to_json())


def _json(outcome: BoardOutcome[T]) -> Mapping[str, object]:
    if outcome.value is not None:
        return outcome.value.to_json()
    hint = outcome.error.hint if isinstance(outcome.error, EdgeError) else None
    return {"device": outcome.device, "error": str(outcome.error), "hint": hint, "exit_code": outcome.exit_code}


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str], OnStep]]:
    """Show a progress bar for each device, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda name: lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    lock = threading.Lock()
    with Progress(console=Console(stderr=True), transient=True) as bars:

        def bar(name: str) -> OnStep:
            task = bars.add_task(name, total=None)

            def step(what: str, done: int, of: int) -> None:
                with lock:
                    bars.update(task, description=f"{name}: {what}", completed=done, total=of)

            return step

        yield bar
