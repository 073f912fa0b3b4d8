"""The section on sustained load: latency, temperature and clock over time, one line per variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.measure.endurance import Sustained, SustainedPoint, sustained_in_words
from edge.report.charts.vega import FAMILY_COLORS, OTHER_COLOR, Spec, axis, frame, ratio_axis, tip
from edge.report.document import Chart, Column, Key, Section, Table
from edge.report.entries import Entry
from edge.report.formatting import UNKNOWN, digits, percent

_HEIGHT_PX = 240
Read = Callable[[SustainedPoint], float | None]


@dataclass(frozen=True)
class Line:
    """One line of a chart over time: (minutes, value) in time order."""

    label: str
    points: tuple[tuple[float, float], ...]


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


def endurance_section(entries: Sequence[Entry]) -> Section | None:
    """Return the section, None where no board was put under sustained load."""
    loaded = [(entry, found) for entry in entries if (found := entry.measurement.sustained) is not None]
    if not loaded:
        return None
    charts = [chart for kind in _KINDS if (chart := _chart(kind, loaded)) is not None]
    missing = [kind.title.split(" ")[0] for kind in _KINDS if not any(_line(e, s, kind.read).points for e, s in loaded)]
    texts = [f"{entry.label}: {sustained_in_words(found)}." for entry, found in loaded]
    if missing:
        texts.append(f"{' and '.join(missing)}: the device does not state it.")
    return Section(
        key="sustained-section", title="Sustained load", paragraphs=tuple(texts), charts=tuple(charts),
        tables=(_table(loaded),),
    )  # fmt: skip


def lines(rows: Sequence[Line], *, unit: str) -> Spec:
    """Draw one line per row over minutes; the y axis begins at 0 where the values differ by half or more."""
    values = [{"label": row.label, "min": x, "value": y} for row in rows for x, y in row.points]
    ys = [y for row in rows for _, y in row.points]
    low, high, longest = min(ys), max(ys), max(x for row in rows for x, _ in row.points)
    margin = max((high - low) * 0.08, abs(high) * 0.01, 1e-6)
    domain = [0.0 if low * 1.5 <= high and low >= 0 else low - margin, high + margin]
    names = [row.label for row in rows]
    y = {
        "field": "value", "type": "quantitative", "axis": axis(unit),
        "scale": {"domain": domain, "nice": False, "zero": False},
    }  # fmt: skip
    encoding = {
        "x": ratio_axis("min", "time under load (minutes)", (0.0, longest)),
        "y": y,
        "color": {
            "field": "label",
            "type": "nominal",
            "legend": None,
            "scale": {"domain": names, "range": colors(len(names))},
        },
        "tooltip": [tip("label", "variant"), tip("min", "minutes", ".3~g"), tip("value", unit, ".4~g")],
    }  # fmt: skip
    layers = [
        {"mark": {"type": "line", "strokeWidth": 2, "aria": False}, "encoding": encoding},
        {"mark": {"type": "point", "size": 60, "opacity": 0, "aria": False}, "encoding": encoding},
    ]
    return {**frame(), "height": _HEIGHT_PX, "data": {"values": values}, "layer": layers}


def colors(count: int) -> list[str]:
    """Return one colour per line; those beyond the palette share the one for others."""
    return [FAMILY_COLORS[index] if index < len(FAMILY_COLORS) else OTHER_COLOR for index in range(count)]


def _chart(kind: _Kind, loaded: Sequence[tuple[Entry, Sustained]]) -> Chart | None:
    rows = [line for entry, found in loaded if (line := _line(entry, found, kind.read)).points]
    if not rows:
        return None
    said = "; ".join(f"{row.label}: from {digits(row.points[0][1])} to {digits(row.points[-1][1])}" for row in rows)
    return Chart(
        key=kind.key,
        title=kind.title,
        description=f"Lines over minutes, {kind.unit}. {said}.",
        spec=lines(rows, unit=kind.unit),
        height_px=_HEIGHT_PX + 46,
        table=_points(kind, rows),
        legend=tuple(
            Key(color.removeprefix("var(--").removesuffix(")"), row.label)
            for color, row in zip(colors(len(rows)), rows, strict=True)
        ),
    )


def _line(entry: Entry, found: Sustained, read: Read) -> Line:
    points = ((point.time_s / 60, read(point)) for point in found.points)
    return Line(entry.label, tuple((minutes, value) for minutes, value in points if value is not None))


def _points(kind: _Kind, rows: Sequence[Line]) -> Table:
    columns = (Column("Variant"), Column("Minutes", number=True), Column(kind.unit, number=True))
    cells = tuple((row.label, f"{x:.2f}", digits(y)) for row in rows for x, y in row.points)
    return Table(caption=kind.title, columns=columns, rows=cells)


def _table(loaded: Sequence[tuple[Entry, Sustained]]) -> Table:
    heads = ("Minutes", "First (ms)", "Last (ms)", "Change", "Hottest (°C)", "Slowest clock (MHz)")
    return Table(
        caption="Sustained load",
        columns=(Column("Variant"), *(Column(head, number=True) for head in heads), Column("Firmware reported")),
        rows=tuple(_row(entry, found) for entry, found in loaded),
        cards="narrow",
    )


def _row(entry: Entry, found: Sustained) -> tuple[str, ...]:
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
