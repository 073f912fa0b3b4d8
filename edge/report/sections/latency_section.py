"""Builds the section on latency: every run as a dot, for the chosen threads and for all cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.measure.measurement import Latency, Window
from edge.report.charts.strip_chart import Strip, strips, strips_height
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, count_of, digits, percent, whole
from edge.report.material import ReportEntry

_DOTS = 300
# From zero where variants differ, so that lengths compare; closer where they are alike, so that shapes show.
_FROM_ZERO_RATIO = 1.5
_LEGEND = (
    Key("dot", "one inference, time running down"),
    Key("diamond", "median of a window"),
    Key("tick", "median"),
    Key("tick-dashed", "p90"),
    Key("tick-dotted", "p99"),
)


@dataclass(frozen=True)
class _Run:
    entry: ReportEntry
    latency: Latency
    windows: tuple[Window, ...]


def latency_section(entries: Sequence[ReportEntry], *, emulated: bool) -> Section | None:
    """Return the section for the measured or for the emulated entries, None where there is nothing to show."""
    own = [entry for entry in entries if entry.emulated == emulated]
    chosen = [_Run(e, e.measurement.latency_ms, e.measurement.windows) for e in own if e.measurement.latency_ms]
    every = [_Run(e, e.measurement.latency_all_cores_ms, ()) for e in own if e.measurement.latency_all_cores_ms]
    prefix = "emulated-" if emulated else ""
    groups = (("latency", _threads(chosen), chosen), ("all-cores", "All cores", every))
    charts = [_chart(f"{prefix}{key}", title, runs) for key, title, runs in groups if runs]
    if not charts:
        return None
    title = "Time under emulation (not the board's)" if emulated else "Latency"
    return Section(key=f"{prefix}latency-section", title=title, paragraphs=_missing(own), charts=tuple(charts))


def thin_out(values: Sequence[float], limit: int = _DOTS) -> tuple[tuple[float, float], ...]:
    """Return at most `limit` of the values, evenly spaced, each with when it was: 0 at the begin, 1 at the end."""
    count = min(limit, len(values))
    picked = [index * len(values) // count for index in range(count)]
    return tuple((values[index], (index + 0.5) / len(values)) for index in picked)


def domain_of(latencies: Sequence[Latency]) -> tuple[float, float]:
    """Return the time axis in ms: to a little beyond the slowest p99, whatever a single run took."""
    low, high = min(latency.min for latency in latencies), max(latency.p99 for latency in latencies)
    margin = max(high * 0.06, 1e-6)
    return (0.0 if high >= low * _FROM_ZERO_RATIO else max(0.0, low - margin)), high + margin


def _chart(key: str, title: str, runs: Sequence[_Run]) -> Chart:
    domain = domain_of([run.latency for run in runs])
    rows = [_strip(run) for run in runs]
    beyond = sum(value > domain[1] for run in runs for value in run.latency.values)
    return Chart(
        key=key,
        title=title,
        description=f"Dots of single inferences per variant. {'; '.join(_describe(run) for run in runs)}.",
        spec=strips(rows, domain_ms=domain),
        height_px=strips_height(len(rows)),
        table=_table(title, runs),
        legend=_LEGEND if any(row.windows for row in rows) else tuple(k for k in _LEGEND if k.swatch != "diamond"),
        note=_beyond(beyond, runs) if beyond else None,
    )


def _strip(run: _Run) -> Strip:
    latency = run.latency
    return Strip(
        label=run.entry.label,
        figures=f"{digits(latency.median)} ms · p99 {digits(latency.p99)}",
        dots=thin_out(latency.values),
        windows=_place_windows(run.windows),
        median_ms=latency.median,
        p90_ms=latency.p90,
        p99_ms=latency.p99,
        valid=run.entry.valid,
    )


def _place_windows(windows: Sequence[Window]) -> tuple[tuple[float, float], ...]:
    total, before, placed = sum(window.runs for window in windows), 0, []
    for window in windows:
        placed.append((window.median_ms, (before + window.runs / 2) / total if total else 0.5))
        before += window.runs
    return tuple(placed)


def _threads(runs: Sequence[_Run]) -> str:
    counts = sorted({run.latency.threads for run in runs})
    return " and ".join(count_of(count, "thread") for count in counts)


def _describe(run: _Run) -> str:
    latency = run.latency
    return (
        f"{run.entry.label}: median {digits(latency.median)} ms, p90 {digits(latency.p90)}, p99 {digits(latency.p99)}"
    )


def _beyond(count: int, runs: Sequence[_Run]) -> str:
    longest = max(max(run.latency.values, default=0.0) for run in runs)
    recorded = sum(len(run.latency.values) for run in runs)
    return f"{count:,} of {recorded:,} recorded runs lie beyond the axis, the longest at {digits(longest)} ms."


def _missing(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    without = [entry.label for entry in entries if entry.measurement.latency_ms is None]
    return (f"No latency was measured for {', '.join(without)}.",) if without else ()


def _table(title: str, runs: Sequence[_Run]) -> DataTable:
    figures = ("Median", "Interval of the median", "p90", "p99", "Mean", "Fastest", "Window medians")
    heads = (*(f"{figure} (ms)" for figure in figures), "Runs", "Spread")
    columns = (Column("Variant"), *(Column(head, number=True) for head in heads))
    return DataTable(caption=title, columns=columns, rows=tuple(_row(run) for run in runs))


def _row(run: _Run) -> tuple[str, ...]:
    latency, span = run.latency, run.latency.interval
    return (
        run.entry.label,
        digits(latency.median),
        f"{digits(span.low)} to {digits(span.high)} ({percent(span.confidence)})" if span else UNKNOWN,
        digits(latency.p90),
        digits(latency.p99),
        digits(latency.mean),
        digits(latency.min),
        ", ".join(digits(window.median_ms) for window in run.windows) or UNKNOWN,
        whole(latency.samples),
        percent(latency.spread),
    )
