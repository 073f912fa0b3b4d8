"""Watches a meter: plots its power on a terminal, prints a line per second elsewhere, and the result at the end."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import click

from converters.errors import EdgeError
from devices.meters.meter_contract import Meter, MeterInfo
from devices.meters.rates import RunningTotals
from devices.meters.recorder import gather
from edge.cli.output import print_json, say
from edge.report.terminal.meter_lines import (
    PowerBuckets,
    draw_power,
    info_lines,
    live_lines,
    result_lines,
    second_line,
)
from firmware_tools.trace import Trace

if TYPE_CHECKING:
    from rich.live import Live

_WINDOW_S = 60.0
_FRAME_S = 0.2
_ROWS = 10
_MARGIN = 12

Show = Callable[[Trace, float], None]


def watch(meter: Meter, *, seconds: float, as_json: bool) -> None:
    """Show an open meter's power until the time is over or Ctrl-C is pressed, then the result.

    Raises:
        InstrumentError: The meter failed; the result until then has been shown.
    """
    running, info = RunningTotals(), meter.info()
    if not as_json:
        say("\n".join(info_lines(info)))
    incomplete: str | None = None
    shown = _plot(running, info, seconds) if sys.stdout.isatty() and not as_json else _lines(running, info)
    try:
        with until_interrupted() as interrupted, shown as show:
            incomplete = gather(meter, show, seconds=seconds, stopped=interrupted)
    except EdgeError:
        say("reading ended early; the result until then:")
        raise
    finally:
        _show_result(running, meter.info(), incomplete, as_json=as_json)


@contextlib.contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Make the yielded function return True after the first Ctrl-C; the second one interrupts as usual."""
    event = threading.Event()
    usual = signal.getsignal(signal.SIGINT)

    def on_signal(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def _lines(running: RunningTotals, info: MeterInfo) -> Iterator[Show]:
    """Print one line per second on stderr."""
    shown_s = time.monotonic()
    second = RunningTotals()

    def show(trace: Trace, arrived_s: float) -> None:
        nonlocal shown_s, second
        running.add(trace)
        second.add(trace)
        if arrived_s - shown_s >= 1:
            say(second_line(second.powers(), second.rates(info)))
            shown_s, second = arrived_s, RunningTotals()

    yield show


@contextlib.contextmanager
def _plot(running: RunningTotals, info: MeterInfo, seconds: float) -> Iterator[Show]:
    """Plot the last minute, redrawn a few times per second."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    columns = max(20, console.width)
    window_s = min(_WINDOW_S, seconds) if math.isfinite(seconds) else _WINDOW_S
    pieces = columns - _MARGIN
    buckets = PowerBuckets(window_s / pieces, pieces)
    is_plain = "utf" not in (console.encoding or "").lower()
    drawn_s = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(trace: Trace, arrived_s: float) -> None:
            nonlocal drawn_s
            running.add(trace)
            buckets.add(trace)
            if arrived_s - drawn_s >= _FRAME_S:
                drawn_s = arrived_s
                _draw(
                    live, draw_power(buckets.means(), columns=columns - 1, rows=_ROWS, is_plain=is_plain), running, info
                )

        yield show


def _draw(live: Live, plot: list[str], running: RunningTotals, info: MeterInfo) -> None:
    from rich.text import Text

    lines = live_lines(running.powers(), running.rates(info), is_estimate=info.is_estimate)
    text = Text("\n".join([*plot, *lines]), no_wrap=True, overflow="crop")
    live.update(text, refresh=True)


def _show_result(running: RunningTotals, info: MeterInfo, incomplete: str | None, *, as_json: bool) -> None:
    powers, rates = running.powers(), running.rates(info)
    if as_json:
        print_json({"meter": info.to_json(), "power": powers.to_json(), "rates": rates.to_json(),
                    "incomplete": incomplete})  # fmt: skip
        return
    click.echo("\n".join(result_lines(powers, rates, incomplete)))
