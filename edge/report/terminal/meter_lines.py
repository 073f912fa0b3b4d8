"""Renders meters: their kinds, what they are, their power over time, and the results of reading them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from converters.printable import one_line
from devices.meters.kinds import MeterKind, settings_of
from edge.report.formatting import hertz, watts
from edge.report.terminal.text_layout import WIDTH, paragraph
from firmware_tools.trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

    from devices.meters.meter_contract import MeterInfo
    from devices.meters.meter_settings import Setting
    from devices.meters.rates import Powers, Rates
    from devices.meters.record_file import RecordingSummary
    from firmware_tools.power_meter.meter_client import MeterReport

_BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN = " .:-=+*%#"
_LABEL = 10


def counts(rates: Rates) -> str:
    """Return samples and losses in one line."""
    damaged = f", {rates.damaged} damaged" if rates.damaged else ""
    return f"{rates.samples} samples, {rates.lost} lost ({rates.lost_share:.2%}){damaged}"


def info_lines(info: MeterInfo) -> list[str]:
    """Return lines with the identity of a meter and its uncertainty."""
    label = "ESTIMATE, not a measurement at the supply; " if info.is_estimate else ""
    nominal = f", {hertz(info.nominal_rate_hz)} nominal" if info.nominal_rate_hz else ""
    return [
        paragraph(f"{one_line(info.name)}: {one_line(info.identity)}{nominal}"),
        paragraph(
            f"{label}standard uncertainty {info.gain_uncertainty:.2%} and {watts(info.offset_uncertainty_w)} "
            f"({one_line(info.accuracy_source)})"
        ),
    ]


def result_lines(powers: Powers, rates: Rates, incomplete: str | None = None) -> list[str]:
    """Return lines with the result of reading; `incomplete`: why the samples end too early."""
    ends = [paragraph(f"INCOMPLETE: {one_line(incomplete)}")] if incomplete else []
    speeds = f"{hertz(rates.delivered_hz)} delivered, {hertz(rates.effective_hz)} effective"
    came = f"{counts(rates)}; {speeds}"
    return [
        f"mean {watts(powers.mean_w)}, peak {watts(powers.peak_w)}, least {watts(powers.least_w)} "
        f"over {rates.duration_s:.4g} s",
        came if len(came) <= WIDTH else f"{counts(rates)}\n    {speeds}",
        *ends,
    ]


def kind_lines(kinds: Iterable[MeterKind]) -> Iterator[str]:
    """Yield the kinds of meters with their settings."""
    for kind in kinds:
        yield f"{kind.example:<24} {kind.about}"
        for each in settings_of(kind.name):
            yield paragraph(f"    --set {each.name}=...  {each.about}{_default(each)}", " " * 8)


def summary_lines(summary: RecordingSummary, *exports: Path | None) -> Iterator[str]:
    """Yield what a recording holds, and the files it was exported to."""
    yield from info_lines(summary.info)
    yield from result_lines(summary.powers, summary.rates, summary.incomplete)
    yield f"recorded in {summary.path}"
    yield from (f"written to {each}" for each in exports if each is not None)


def second_line(powers: Powers, rates: Rates) -> str:
    """Return the result of one second."""
    mean, peak = watts(powers.mean_w), watts(powers.peak_w)
    return f"{mean}, peak {peak}, {hertz(rates.effective_hz)} effective, {rates.lost} lost"


def live_lines(powers: Powers, rates: Rates, *, is_estimate: bool) -> list[str]:
    """Return the two lines under the plot of a meter that is being read."""
    label = " (estimate)" if is_estimate else ""
    return [
        f"mean {watts(powers.mean_w)}, peak {watts(powers.peak_w)}{label}, {hertz(rates.effective_hz)} effective",
        f"{counts(rates)}; Ctrl-C ends",
    ]


def _default(setting: Setting) -> str:
    low, high = (_plain(each) for each in (setting.low, setting.high))
    bounds = f" ({low} to {high})" if low and high else ""
    chosen = f" ({' or '.join(setting.choices)})" if setting.choices else ""
    value = setting.default if setting.type is not bool else "yes" if setting.default else "no"
    return f"{bounds}{chosen}" + (f"  [default: {value}]" if value is not None else "")


def _plain(bound: float | None) -> str:
    if bound is None:
        return ""
    return f"{bound:,.0f}" if bound >= 1 else f"{bound:.5f}".rstrip("0").rstrip(".")


class PowerBuckets:
    """Mean power in stretches of equal length; only the newest `count` are kept."""

    def __init__(self, width_s: float, count: int) -> None:
        self._width_s, self._count = width_s, count
        self._sums: dict[int, tuple[float, int]] = {}

    def add(self, trace: Trace) -> None:
        """Add samples."""
        if not len(trace):
            return
        numbers = np.floor(trace.time_s / self._width_s).astype(np.int64)
        for number in np.unique(numbers).tolist():
            values = trace.power_w[numbers == number]
            total, samples = self._sums.get(number, (0.0, 0))
            self._sums[number] = (total + float(values.sum()), samples + len(values))
        newest = max(self._sums)
        self._sums = {number: each for number, each in self._sums.items() if number > newest - self._count}

    def means(self) -> list[float]:
        """Return the mean of each stretch, NaN where no samples came; oldest first."""
        if not self._sums:
            return []
        first, last = min(self._sums), max(self._sums)
        pieces = [self._sums.get(number, (math.nan, 1)) for number in range(first, last + 1)]
        return [total / samples for total, samples in pieces]


def draw_power(means: Sequence[float], *, columns: int, rows: int, is_plain: bool = False) -> list[str]:
    """Return lines of at most so many columns: a scale from 0 to the largest mean, and a column for each value."""
    known = [each for each in means if math.isfinite(each)]
    top = max(known, default=0.0)
    shown = list(means)[-(columns - _LABEL - 1) :]
    blocks = _PLAIN if is_plain else _BLOCKS
    lines = []
    for row in range(rows, 0, -1):
        label = watts(top) if row == rows else watts(top / 2) if 2 * row == rows else "0 W" if row == 1 else ""
        lines.append(f"{label:>{_LABEL}} " + "".join(_cell(each, top, row, rows, blocks) for each in shown))
    return lines


def _cell(value: float, top: float, row: int, rows: int, blocks: str) -> str:
    if not math.isfinite(value) or top <= 0:
        return " "
    filled = max(0.0, value) / top * rows - (row - 1)
    return blocks[min(len(blocks) - 1, max(0, round(filled * (len(blocks) - 1))))]


def report_lines(report: MeterReport) -> Iterator[str]:
    """Yield the lines of `edge firmware info`: identity, self-test and problems of our own meter."""
    identity, test = report.identity, report.self_test
    shunt = f"shunt {identity.shunt_uohm / 1000:g} mOhm, {'calibrated' if identity.calibrated else 'not calibrated'}"
    measured = f"measured {1e6 / test.period_us if test.period_us else 0:,.0f}"
    if not report.is_tested_as_set:
        measured += " at the settings after a reset"
    rate_hz = 1e6 / identity.configuration.period_us
    version = ".".join(map(str, identity.firmware))
    yield f"{report.port}: power meter with an {identity.chip.name}, firmware {version}"
    yield f"  {rate_hz:,.{0 if rate_hz >= 10 else 2}f} samples a second, {measured}; {shunt}"
    yield f"  last reset: {report.reset_cause}"
    yield from (f"  problem: {problem}" for problem in report.problems)
    if not report.problems:
        yield "  self-test passed"
