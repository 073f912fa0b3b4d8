"""Builds the section on inferences through delegates: the first one, and the parts of later ones."""

from __future__ import annotations

from collections.abc import Sequence

from converters.printable import one_line
from edge.measure.findings import Accelerated
from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.vega import FAMILY_COLORS, swatch_of
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, digits, percent, whole
from edge.report.material import ReportEntry
from edge.report.terminal.delegate_lines import describe_delegates

_DELEGATE, _CPU = "delegate", "CPU operators"
_COLORS = FAMILY_COLORS[:2]
_NOT_HARDWARE = (
    "The runtime does not report the hardware that a delegate uses. The attached hardware is what the system reports; "
    "if that is no Edge TPU, these are not figures of one."
)


def accelerator_section(entries: Sequence[ReportEntry]) -> Section | None:
    """Return the section, None where nothing ran through a delegate."""
    found = [(entry, parts) for entry in entries if (parts := entry.measurement.accelerated) is not None]
    if not found:
        return None
    told = [(entry, parts) for entry, parts in found if parts.delegate_ms is not None]
    return Section(
        key="accelerator-section",
        title="Through delegates",
        paragraphs=(_NOT_HARDWARE, *_describe_parts(found)),
        charts=(_chart(told),) if told else (),
        tables=(_table(found),),
    )


def _describe_parts(found: Sequence[tuple[ReportEntry, Accelerated]]) -> tuple[str, ...]:
    """Return the attached hardware and how the parts were separated; entries with equal ones share a sentence."""
    told: dict[str, list[str]] = {}
    for entry, parts in found:
        attached = "; ".join(parts.attached) or "the system reports no Edge TPU"
        used = one_line(describe_delegates(parts))
        told.setdefault(f"{used}. Attached: {attached}. Parts: {parts.method}.", []).append(entry.label)
    return tuple(f"{', '.join(labels)}: {text}" for text, labels in told.items())


def _chart(found: Sequence[tuple[ReportEntry, Accelerated]]) -> Chart:
    rows = [_bar(entry, parts) for entry, parts in found]
    used = [part for part in (_DELEGATE, _CPU) if any(s.part == part for row in rows for s in row.parts)]
    colors = [_COLORS[(_DELEGATE, _CPU).index(part)] for part in used]
    said = "; ".join(
        f"{row.label}, {row.figures}: " + ", ".join(f"{s.part} {percent(s.share)}" for s in row.parts) for row in rows
    )
    return Chart(
        key="accelerator",
        title="A later inference: the delegate's part and the CPU's",
        description=f"Stacked bars of time per inference by who computes. {said}.",
        spec=bars(rows, parts=used, colors=colors, unit="time per inference (ms)"),
        height_px=bars_height(len(rows)),
        table=_table(found),
        legend=tuple(Key(swatch_of(color), part) for part, color in zip(used, colors, strict=True)),
    )


def _bar(entry: ReportEntry, parts: Accelerated) -> Bar:
    total, delegate_ms = parts.steady_ms or 1.0, parts.delegate_ms or 0.0
    split = [(_DELEGATE, delegate_ms), (_CPU, parts.steady_ms - delegate_ms)]
    segments = tuple(BarPart(part, ms, ms / total) for part, ms in split if ms > 0)
    return Bar(label=entry.label, figures=f"{digits(parts.steady_ms)} ms", parts=segments)


def _table(found: Sequence[tuple[ReportEntry, Accelerated]]) -> DataTable:
    heads = ("First (ms)", "Only once (ms)", "Later (ms)", "Delegate (ms)", "Delegate's share", "CPU alone (ms)",
             "CPU operators")  # fmt: skip
    return DataTable(
        caption="Inferences through delegates",
        columns=(Column("Variant"), *(Column(head, number=True) for head in heads)),
        rows=tuple(_row(entry, parts) for entry, parts in found),
        cards="narrow",
    )


def _row(entry: ReportEntry, parts: Accelerated) -> tuple[str, ...]:
    cpu = parts.cpu
    return (
        entry.label,
        UNKNOWN if parts.first_ms is None else digits(parts.first_ms),
        UNKNOWN if parts.once_ms is None else digits(parts.once_ms),
        digits(parts.steady_ms),
        UNKNOWN if parts.delegate_ms is None else digits(parts.delegate_ms),
        UNKNOWN if parts.delegate_share is None else percent(parts.delegate_share),
        UNKNOWN if cpu is None and parts.delegate_ms is None else digits(cpu.median_ms) if cpu else "none",
        UNKNOWN if cpu is None and parts.delegate_ms is None else whole(len(cpu.operators)) if cpu else "0",
    )
