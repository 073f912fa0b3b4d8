"""Builds the section on sustained load: latency, temperature and clock over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.measure.findings import Sustained, SustainedPoint
from edge.report.charts.line_chart import HEIGHT_PX, TimeSeries, line_chart, line_colors
from edge.report.charts.vega import AXIS_PX, swatch_of
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, digits, percent
from edge.report.material import ReportEntry
from edge.report.terminal.measurement_lines import describe_sustained

Read = Callable[[SustainedPoint], float | None]


@dataclass(frozen=True)
class _Kind:
    key: str
    title: str
    unit: str
    read: Read


_KINDS = (
    _Kind("sustained-latency", "Latency under sustained load", "median time per inference (ms)", lambda p: p.median_ms),
    _Kind("sustained-temperature", "Temperature under sustained load", "°C", lambda p: p.temperature_c),
    _Kind("sustained-clock", "Clock under sustained load", "MHz", lambda p: p.clock_mhz),
)


def endurance_section(entries: Sequence[ReportEntry]) -> Section | None:
    """Return the section, None where no board was put under sustained load."""
    loaded = [(entry, found) for entry in entries if (found := entry.measurement.sustained) is not None]
    if not loaded:
        return None
    charts = [chart for kind in _KINDS if (chart := _chart(kind, loaded)) is not None]
    missing = [kind.title.split(" ")[0] for kind in _KINDS if not any(_line(e, s, kind.read).points for e, s in loaded)]
    texts = [f"{entry.label}: {describe_sustained(found)}." for entry, found in loaded]
    if missing:
        texts.append(f"{' and '.join(missing)}: the device does not report it.")
    return Section(
        key="sustained-section", title="Sustained load", paragraphs=tuple(texts), charts=tuple(charts),
        tables=(_table(loaded),),
    )  # fmt: skip


def _chart(kind: _Kind, loaded: Sequence[tuple[ReportEntry, Sustained]]) -> Chart | None:
    rows = [line for entry, found in loaded if (line := _line(entry, found, kind.read)).points]
    if not rows:
        return None
    said = "; ".join(f"{row.label}: from {digits(row.points[0][1])} to {digits(row.points[-1][1])}" for row in rows)
    return Chart(
        key=kind.key,
        title=kind.title,
        description=f"Lines over minutes, {kind.unit}. {said}.",
        spec=line_chart(rows, unit=kind.unit),
        height_px=HEIGHT_PX + AXIS_PX,
        table=_points(kind, rows),
        legend=tuple(Key(swatch_of(color), row.label) for color, row in zip(line_colors(len(rows)), rows, strict=True)),
    )


def _line(entry: ReportEntry, found: Sustained, read: Read) -> TimeSeries:
    points = ((point.time_s / 60, read(point)) for point in found.points)
    return TimeSeries(entry.label, tuple((minutes, value) for minutes, value in points if value is not None))


def _points(kind: _Kind, rows: Sequence[TimeSeries]) -> DataTable:
    columns = (Column("Variant"), Column("Minutes", number=True), Column(kind.unit, number=True))
    cells = tuple((row.label, f"{x:.2f}", digits(y)) for row in rows for x, y in row.points)
    return DataTable(caption=kind.title, columns=columns, rows=cells)


def _table(loaded: Sequence[tuple[ReportEntry, Sustained]]) -> DataTable:
    heads = ("Minutes", "First (ms)", "Last (ms)", "Change", "Hottest (°C)", "Slowest clock (MHz)")
    return DataTable(
        caption="Sustained load",
        columns=(Column("Variant"), *(Column(head, number=True) for head in heads), Column("Firmware reported")),
        rows=tuple(_row(entry, found) for entry, found in loaded),
        cards="narrow",
    )


def _row(entry: ReportEntry, found: Sustained) -> tuple[str, ...]:
    degrees = [point.temperature_c for point in found.points if point.temperature_c is not None]
    clocks = [point.clock_mhz for point in found.points if point.clock_mhz is not None]
    words = sorted({name for point in found.points for name in point.throttled or ()})
    stated = any(point.throttled is not None for point in found.points)
    return (
        entry.label,
        digits(found.duration_s / 60),
        digits(found.first_ms),
        digits(found.last_ms),
        percent(found.change),
        digits(max(degrees)) if degrees else UNKNOWN,
        digits(min(clocks)) if clocks else UNKNOWN,
        ", ".join(words) or ("nothing" if stated else UNKNOWN),
    )
