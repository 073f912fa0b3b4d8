"""The section on inferences through delegates: the first one apart, and whose part of a later one is how long."""

from __future__ import annotations

from collections.abc import Sequence

from converters.printable import one_line
from edge.measure.accelerated import Accelerated
from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.vega import FAMILY_COLORS, swatch_of
from edge.report.document import Chart, Column, Key, Section, Table
from edge.report.entries import Entry
from edge.report.formatting import UNKNOWN, digits, percent, whole
from edge.report.terminal.delegate_lines import delegates_in_words

_DELEGATE, _CPU = "delegate", "CPU operators"
_COLORS = FAMILY_COLORS[:2]
_NOT_HARDWARE = (
    "The runtime does not say on which hardware a delegate works. What is attached is what the system states; where it "
    "states no Edge TPU, these are not figures of one."
)


def accelerator_section(entries: Sequence[Entry]) -> Section | None:
    """Return the section, None where nothing ran through a delegate."""
    found = [(entry, parts) for entry in entries if (parts := entry.measurement.accelerated) is not None]
    if not found:
        return None
    told = [(entry, parts) for entry, parts in found if parts.delegate_ms is not None]
    return Section(
        key="accelerator-section",
        title="Through delegates",
        paragraphs=(_NOT_HARDWARE, *_said(found)),
        charts=(_chart(told),) if told else (),
        tables=(_table(found),),
    )


def _said(found: Sequence[tuple[Entry, Accelerated]]) -> tuple[str, ...]:
    """Return what is attached and how the parts were told apart; what holds for several is said once."""
    told: dict[str, list[str]] = {}
    for entry, parts in found:
        attached = "; ".join(parts.attached) or "the system states no Edge TPU"
        used = one_line(delegates_in_words(parts))
        told.setdefault(f"{used}. Attached: {attached}. Parts: {parts.method}.", []).append(entry.label)
    return tuple(f"{', '.join(labels)}: {text}" for text, labels in told.items())


def _chart(found: Sequence[tuple[Entry, Accelerated]]) -> Chart:
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


def _bar(entry: Entry, parts: Accelerated) -> Bar:
    total, delegate_ms = parts.steady_ms or 1.0, parts.delegate_ms or 0.0
    split = [(_DELEGATE, delegate_ms), (_CPU, parts.steady_ms - delegate_ms)]
    segments = tuple(BarPart(part, ms, ms / total) for part, ms in split if ms > 0)
    return Bar(label=entry.label, figures=f"{digits(parts.steady_ms)} ms", parts=segments)


def _table(found: Sequence[tuple[Entry, Accelerated]]) -> Table:
    heads = ("First (ms)", "Only once (ms)", "Later (ms)", "Delegate (ms)", "Delegate's share", "CPU alone (ms)",
             "CPU operators")  # fmt: skip
    return Table(
        caption="Inferences through delegates",
        columns=(Column("Variant"), *(Column(head, number=True) for head in heads)),
        rows=tuple(_row(entry, parts) for entry, parts in found),
        cards="narrow",
    )


def _row(entry: Entry, parts: Accelerated) -> tuple[str, ...]:
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
