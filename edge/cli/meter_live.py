"""Watching a meter: drawn on a terminal, a line per second elsewhere, one result at the end."""

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
from devices.meters.rates import Running
from devices.meters.recorder import gather
from edge.cli.output import print_json, say
from edge.report.formatting import hertz, watts
from edge.report.terminal.meter_tables import about, counts, result_lines
from edge.report.terminal.power_plot import Buckets, draw
from firmware_tools.trace import Trace

if TYPE_CHECKING:
    from rich.live import Live

_WINDOW_S = 60.0
_FRAME_S = 0.2
_ROWS = 10
_MARGIN = 12

Show = Callable[[Trace, float], None]


def watch(meter: Meter, *, seconds: float, as_json: bool) -> None:
    """Show an open meter's power until the time is over or Ctrl-C, then the result.

    Raises:
        InstrumentError: The meter failed; the result until then has been shown.
    """
    running, info = Running(), meter.info()
    if not as_json:
        say("\n".join(about(info)))
    incomplete: str | None = None
    shown = _drawn(running, info, seconds) if sys.stdout.isatty() and not as_json else _lines(running, info)
    try:
        with until_interrupted() as interrupted, shown as show:
            incomplete = gather(meter, show, seconds=seconds, stopped=interrupted)
    except EdgeError:
        say("reading ended early; until then:")
        raise
    finally:
        _show_result(running, meter.info(), incomplete, as_json=as_json)


@contextlib.contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into an answer of the yielded function; the second interrupts as usual."""
    event = threading.Event()
    usual = signal.getsignal(signal.SIGINT)

    def heard(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, heard)
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def _lines(running: Running, info: MeterInfo) -> Iterator[Show]:
    """One line of talk per second."""
    told_s = time.monotonic()
    second = Running()

    def show(trace: Trace, arrived_s: float) -> None:
        nonlocal told_s, second
        running.add(trace)
        second.add(trace)
        if arrived_s - told_s >= 1:
            powers, rates = second.powers(), second.rates(info)
            say(f"{watts(powers.mean_w)}, peak {watts(powers.peak_w)}, {hertz(rates.effective_hz)} effective, "
                f"{rates.lost} lost")  # fmt: skip
            told_s, second = arrived_s, Running()

    yield show


@contextlib.contextmanager
def _drawn(running: Running, info: MeterInfo, seconds: float) -> Iterator[Show]:
    """A picture of the last minute, drawn again a few times in a second."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    columns = max(20, console.width)
    window_s = min(_WINDOW_S, seconds) if math.isfinite(seconds) else _WINDOW_S
    pieces = columns - _MARGIN
    buckets = Buckets(window_s / pieces, pieces)
    is_plain = "utf" not in (console.encoding or "").lower()
    drawn_s = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(trace: Trace, arrived_s: float) -> None:
            nonlocal drawn_s
            running.add(trace)
            buckets.add(trace)
            if arrived_s - drawn_s >= _FRAME_S:
                drawn_s = arrived_s
                _draw(live, draw(buckets.means(), columns=columns - 1, rows=_ROWS, is_plain=is_plain), running, info)

        yield show


def _draw(live: Live, picture: list[str], running: Running, info: MeterInfo) -> None:
    from rich.text import Text

    powers, rates = running.powers(), running.rates(info)
    label = " (estimate)" if info.is_estimate else ""
    words = [
        f"mean {watts(powers.mean_w)}, peak {watts(powers.peak_w)}{label}, {hertz(rates.effective_hz)} effective",
        f"{counts(rates)}; Ctrl-C ends",
    ]
    text = Text("\n".join([*picture, *words]), no_wrap=True, overflow="crop")
    live.update(text, refresh=True)


def _show_result(running: Running, info: MeterInfo, incomplete: str | None, *, as_json: bool) -> None:
    powers, rates = running.powers(), running.rates(info)
    if as_json:
        print_json({"meter": info.to_json(), "power": powers.to_json(), "rates": rates.to_json(),
                    "incomplete": incomplete})  # fmt: skip
        return
    click.echo("\n".join(result_lines(powers, rates, incomplete)))
