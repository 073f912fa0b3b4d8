"""Builds the section on energy: joules per inference with uncertainty, power over time, and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.printable import one_line
from edge.measure.energy.value import Component, Energy, EnergyWindow, Quantity
from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.line_chart import HEIGHT_PX, power_chart
from edge.report.charts.vega import AXIS_PX, FAMILY_COLORS, OUTSIDE_COLOR, swatch_of
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, count_of, digits, joule_unit, percent, readable, uncertainty_places
from edge.report.material import ReportEntry
from edge.report.terminal.energy_lines import describe_alignment, describe_meter

_NET, _IDLE, _WHOLE = "inference", "idle board", "inference and idle board"
_COLORS = {_NET: FAMILY_COLORS[0], _IDLE: OUTSIDE_COLOR, _WHOLE: FAMILY_COLORS[0]}
_OPEN_TABLES = 2


@dataclass(frozen=True)
class _Found:
    entry: ReportEntry
    energy: Energy

    @property
    def label(self) -> str:
        return f"{self.entry.label} (estimate)" if self.energy.is_estimate else self.entry.label


def energy_section(entries: Sequence[ReportEntry]) -> Section | None:
    """Return the section, None where no energy was measured."""
    found = [_Found(entry, energy) for entry in entries if (energy := entry.measurement.energy) is not None]
    if not found:
        return None
    folded = len(found) > _OPEN_TABLES
    return Section(
        key="energy-section",
        title="Energy",
        paragraphs=tuple(text for each in found for text in _texts(each)),
        charts=(_bars(found), *(_trace(each, number) for number, each in enumerate(found))),
        tables=(_figures(found), *(_budget(each, folded=folded) for each in found)),
    )


def _texts(found: _Found) -> list[str]:
    energy = found.energy
    texts = [f"{found.label}: {one_line(describe_meter(energy))}; {describe_alignment(energy)} "
             f"({one_line(energy.alignment.detail)}); accuracy: {one_line(energy.meter.accuracy_source)}."]  # fmt: skip
    if energy.is_estimate:
        texts.append(f"{found.entry.label}: this meter computes power from a part of the board. An estimate.")
    if energy.reasons:
        texts.append(f"INVALID, {found.entry.label}: {'; '.join(energy.reasons)}.")
    return texts


def _bars(found: Sequence[_Found]) -> Chart:
    scale, unit = joule_unit([each.energy.gross_j.value for each in found])
    rows = [_bar(each, scale, unit) for each in found]
    parts = [part for part in _COLORS if any(s.part == part for row in rows for s in row.parts)]
    said = "; ".join(f"{row.label}: {row.figures}" for row in rows)
    return Chart(
        key="energy",
        title="Energy per inference",
        description=f"Bars with the interval of the expanded uncertainty. {said}.",
        spec=bars(rows, parts=parts, colors=[_COLORS[part] for part in parts], unit=f"energy per inference ({unit})"),
        height_px=bars_height(len(rows)),
        table=_figures(found),
        legend=(
            *(Key(swatch_of(_COLORS[part]), part) for part in parts),
            Key("whisker", "expanded uncertainty (95 %)"),
        ),
    )


def _bar(found: _Found, scale: float, unit: str) -> Bar:
    gross, net = found.energy.gross_j, found.energy.net_j
    whole = gross.value / scale
    if net is None or not 0 <= net.value <= gross.value:
        segments: tuple[BarPart, ...] = (BarPart(_WHOLE, whole, 1.0),)
    else:
        share = net.value / gross.value
        segments = (BarPart(_NET, net.value / scale, share), BarPart(_IDLE, whole - net.value / scale, 1 - share))
    spread = gross.expanded_uncertainty
    interval = None if spread is None else (max(0.0, whole - spread / scale), whole + spread / scale)
    return Bar(found.label, f"{_with_spread(gross, scale)} {unit}", segments, interval, found.energy.valid)


def _trace(found: _Found, number: int) -> Chart:
    energy = found.energy
    spans = "; ".join(f"{each.begin_s:.1f} to {each.end_s:.1f} s: {digits(each.mean_w)} W" for each in energy.windows)
    return Chart(
        key=f"power-{number}",
        title=f"Power over time, {found.label}",
        description=f"Line of power over seconds, the windows shaded. Mean power in the windows: {spans}.",
        spec=power_chart(energy),
        height_px=HEIGHT_PX + AXIS_PX,
        table=_windows(found),
        legend=(
            Key("c1", "mean of a stretch"),
            Key("c-other", "lowest to highest"),
            Key("c-outside", "window"),
        ),
    )


def _figures(found: Sequence[_Found]) -> DataTable:
    scale, unit = joule_unit([each.energy.gross_j.value for each in found])
    heads = (f"Energy per inference ({unit})", "k", f"Net of idle ({unit})", "k, net", "Mean (W)", "Peak (W)",
             "Idle (W)", "Windows", "Inferences")  # fmt: skip
    return DataTable(
        caption="Energy per inference, with its expanded uncertainty (95 %)",
        columns=(Column("Variant"), *(Column(head, number=True) for head in heads), Column("Verdict")),
        rows=tuple(_row(each, scale) for each in found),
        cards="narrow",
    )


def _row(found: _Found, scale: float) -> tuple[str, ...]:
    energy = found.energy
    idle = energy.idle
    return (
        found.label,
        _with_spread(energy.gross_j, scale),
        _factor(energy.gross_j),
        UNKNOWN if energy.net_j is None else _with_spread(energy.net_j, scale),
        UNKNOWN if energy.net_j is None else _factor(energy.net_j),
        digits(energy.mean_w),
        digits(energy.peak_w),
        UNKNOWN if idle is None else f"{digits(idle.before_w)} → {digits(idle.after_w)}",
        str(len(energy.windows)),
        f"{energy.inferences:,}",
        "valid" if energy.valid else "INVALID",
    )


def _factor(quantity: Quantity) -> str:
    return UNKNOWN if quantity.coverage_factor is None else f"{quantity.coverage_factor:.2f}"


def _windows(found: _Found) -> DataTable:
    heads = ("Window", "Begin (s)", "Seconds", "Inferences", "Mean (W)", "Peak (W)", "Energy per inference (J)")
    return DataTable(
        caption=f"Windows of {found.label}",
        columns=tuple(Column(head, number=True) for head in heads),
        rows=tuple(_window(number, each) for number, each in enumerate(found.energy.windows, 1)),
    )


def _window(number: int, window: EnergyWindow) -> tuple[str, ...]:
    return (
        str(number),
        f"{window.begin_s:.2f}",
        f"{window.end_s - window.begin_s:.2f}",
        f"{window.runs:,}",
        digits(window.mean_w),
        digits(window.peak_w),
        f"{window.gross_j / max(1, window.runs):.4g}",
    )


def _budget(found: _Found, *, folded: bool) -> DataTable:
    scale, unit = joule_unit([each.gross_j for each in found.energy.components])
    total = sum(each.gross_j * each.gross_j for each in found.energy.components) or 1.0
    heads = (f"Gross ({unit})", f"Net ({unit})", "Share of gross variance")
    return DataTable(
        caption=f"Uncertainty budget of {found.label}: standard uncertainties of the energy per inference, over "
        f"{count_of(len(found.energy.windows), 'window')}",
        columns=(Column("Component"), Column("Type"), *(Column(h, number=True) for h in heads), Column("What it is")),
        rows=tuple(_line(each, scale, total) for each in found.energy.components),
        cards="narrow",
        folded=folded,
    )


def _line(line: Component, scale: float, total: float) -> tuple[str, ...]:
    return (
        line.name,
        line.evaluation,
        digits(line.gross_j / scale),
        UNKNOWN if line.net_j is None else digits(line.net_j / scale),
        percent(line.gross_j * line.gross_j / total) if readable(total) else UNKNOWN,
        one_line(line.explanation),
    )


def _with_spread(quantity: Quantity, scale: float) -> str:
    spread = None if quantity.expanded_uncertainty is None else quantity.expanded_uncertainty / scale
    if not readable(spread) or not readable(quantity.value / scale):
        return f"{digits(quantity.value / scale)} ± {UNKNOWN}"
    places = uncertainty_places(spread)
    return f"{quantity.value / scale:,.{places}f} ± {spread:,.{places}f}"
