"""The section on kernels: which ran, how often and how long."""

from __future__ import annotations

from collections.abc import Sequence

from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.vega import FAMILY_COLORS, OTHER_COLOR, OUTSIDE_COLOR, swatch_of
from edge.report.document import Chart, Column, Key, Section, Table
from edge.report.entries import Entry
from edge.report.formatting import count_of, digits, percent, whole
from edge.report.sections.kernel_families import OTHER, OUTSIDE, Share, families, outside_us, shares, timed
from edge.report.sections.summary_section import sparse_text

_SLOWEST = 15
_NOT_TIME = "Under emulation the times tell which kernels ran, not how long they take on the board."


def breakdown_section(entries: Sequence[Entry], *, emulated: bool) -> Section | None:
    """Return the kernels of the measured or of the emulated entries, None where there are no such entries."""
    own = [entry for entry in entries if entry.emulated == emulated]
    if not own:
        return None
    seen = [entry for entry in own if entry.measurement.kernels]
    prefix = "emulated-" if emulated else ""
    title = "Kernels under emulation" if emulated else "Kernels"
    with_times = [entry for entry in seen if timed(entry.measurement)]
    operators = tuple(_operators(entry) for entry in with_times if entry.measurement.operators)
    named = tuple(_named(entry) for entry in seen if entry not in with_times)
    return Section(
        key=f"{prefix}kernels-section",
        title=title,
        paragraphs=(*((_NOT_TIME,) if emulated and with_times else ()), *_unseen(own), *_sparse(own)),
        charts=(_chart(f"{prefix}kernels", with_times),) if with_times else (),
        tables=(*named, *operators),
    )


def _chart(key: str, entries: Sequence[Entry]) -> Chart:
    names = families(entries)
    found = shares(entries, names)
    parts = [name for name in (*names, OUTSIDE) if any(share.family == name for share in found)]
    rows = [_bar(entry, [share for share in found if share.label == entry.label]) for entry in entries]
    colors = [_color(name, names) for name in parts]
    return Chart(
        key=key,
        title="Time by kernel family",
        description=f"Stacked bars of time per inference by kernel family. {'; '.join(_said(row) for row in rows)}.",
        spec=bars(rows, parts=parts, colors=colors, unit="time per inference (ms)"),
        height_px=bars_height(len(rows)),
        table=_table(entries),
        legend=tuple(Key(swatch_of(color), part) for part, color in zip(parts, colors, strict=True)),
        note=_profiled(entries),
    )


def _color(part: str, names: Sequence[str]) -> str:
    fixed = {OTHER: OTHER_COLOR, OUTSIDE: OUTSIDE_COLOR}
    return fixed.get(part) or FAMILY_COLORS[names.index(part)]


def _bar(entry: Entry, own: Sequence[Share]) -> Bar:
    total = sum(share.time_us for share in own) or 1.0
    segments = tuple(BarPart(s.family, s.time_us / 1000, s.time_us / total) for s in own)
    return Bar(label=entry.label, figures=f"{digits(total / 1000)} ms", parts=segments)


def _said(row: Bar) -> str:
    return f"{row.label}, {row.figures}: " + ", ".join(f"{s.part} {percent(s.share)}" for s in row.parts)


def _profiled(entries: Sequence[Entry]) -> str | None:
    told = {
        f"runtime {p.version}, {count_of(p.threads, 'thread')}, mean of {count_of(p.runs, 'run')}"
        for entry in entries
        if (p := entry.measurement.kernel_profile)
    }
    if not told:
        return None
    return f"Seen by the runtime's own profiler ({'; '.join(sorted(told))}), which slows the inference a little."


def _table(entries: Sequence[Entry]) -> Table:
    heads = (("Calls", True), ("Time (µs)", True), ("Share", True))
    columns = (Column("Variant"), Column("Kernel"), *(Column(head, number=number) for head, number in heads))
    rows = [row for entry in entries for row in _rows(entry)]
    return Table(caption="Kernels: calls and time per inference", columns=columns, rows=tuple(rows))


def _rows(entry: Entry) -> list[tuple[str, ...]]:
    kernels = entry.measurement.kernels or ()
    outside = outside_us(entry.measurement)
    total = sum(kernel.time_us or 0.0 for kernel in kernels) + (outside or 0.0) or 1.0
    ordered = sorted(((kernel, kernel.time_us or 0.0) for kernel in kernels), key=lambda each: -each[1])
    rows: list[tuple[str, ...]] = [
        (entry.label, k.name, whole(k.calls), digits(time_us), percent(time_us / total)) for k, time_us in ordered
    ]
    if outside is not None:
        rows.append((entry.label, OUTSIDE, "", digits(outside), percent(outside / total)))
    return rows


def _operators(entry: Entry) -> Table:
    operators = sorted(entry.measurement.operators or (), key=lambda each: -(each.time_us or 0.0))
    return Table(
        caption=f"Slowest operators of {entry.label} ({min(_SLOWEST, len(operators))} of {len(operators)})",
        columns=(Column("Index", True), Column("Operator"), Column("Kernel"), Column("Time (µs)", True)),
        rows=tuple(
            (str(each.index), each.op, each.kernel, digits(each.time_us or 0.0)) for each in operators[:_SLOWEST]
        ),
        folded=True,
    )


def _named(entry: Entry) -> Table:
    """Return the kernels that ran without any times."""
    return Table(
        caption=f"Kernels that ran: {entry.label}",
        columns=(Column("Kernel"), Column("Calls", True)),
        rows=tuple((each.name, whole(each.calls)) for each in entry.measurement.kernels or ()),
    )


def _unseen(entries: Sequence[Entry]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if not entry.measurement.kernels:
            reasons.setdefault(entry.measurement.kernels_reason or "no reason was stated", []).append(entry.label)
    return tuple(f"No kernel profile of {', '.join(labels)}: {reason}." for reason, labels in reasons.items())


def _sparse(entries: Sequence[Entry]) -> tuple[str, ...]:
    told = [
        f"{entry.label} {sparse_text(entry)}"
        for entry in entries
        if (sparse := entry.measurement.sparse_kernels) and (sparse.ran or _meant_sparse(entry))
    ]
    return (f"1x1 convolutions that ran on sparse kernels: {'; '.join(told)}.",) if told else ()


def _meant_sparse(entry: Entry) -> bool:
    return (entry.measurement.artifact.recipe or "").startswith("sparse")
