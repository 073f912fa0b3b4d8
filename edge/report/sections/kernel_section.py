"""Builds the section on kernels: their names, calls and times, by families that share a colour."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edge.measure.measurement import Measurement
from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.vega import FAMILY_COLORS, OTHER_COLOR, OUTSIDE_COLOR, swatch_of
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import count_of, digits, percent, whole
from edge.report.material import ReportEntry
from edge.report.sections.sparse_section import sparse_text

OTHER = "other kernels"
OUTSIDE = "outside kernels"
TOP = 6
_SLOWEST = 15
_NOT_TIME = "Under emulation the times show which kernels ran, not how long they take on the board."


def breakdown_section(entries: Sequence[ReportEntry], *, emulated: bool) -> Section | None:
    """Return the kernels of the measured or of the emulated entries, None where there are no such entries."""
    own = [entry for entry in entries if entry.emulated == emulated]
    if not own:
        return None
    seen = [entry for entry in own if entry.measurement.kernels]
    prefix = "emulated-" if emulated else ""
    title = "Kernels under emulation" if emulated else "Kernels"
    with_times = [entry for entry in seen if has_times(entry.measurement)]
    operators = tuple(_list_operators(entry) for entry in with_times if entry.measurement.operators)
    named = tuple(_list_names(entry) for entry in seen if entry not in with_times)
    return Section(
        key=f"{prefix}kernels-section",
        title=title,
        paragraphs=(*((_NOT_TIME,) if emulated and with_times else ()), *_missing_profiles(own), *_sparse(own)),
        charts=(_chart(f"{prefix}kernels", with_times),) if with_times else (),
        tables=(*named, *operators),
    )


def _chart(key: str, entries: Sequence[ReportEntry]) -> Chart:
    names = families(entries)
    found = family_times(entries, names)
    parts = [name for name in (*names, OUTSIDE) if any(time.family == name for time in found)]
    rows = [_bar(entry, [time for time in found if time.label == entry.label]) for entry in entries]
    colors = [_color(name, names) for name in parts]
    return Chart(
        key=key,
        title="Time by kernel family",
        description=f"Stacked bars of time per inference by kernel family. {'; '.join(map(_describe, rows))}.",
        spec=bars(rows, parts=parts, colors=colors, unit="time per inference (ms)"),
        height_px=bars_height(len(rows)),
        table=_table(entries),
        legend=tuple(Key(swatch_of(color), part) for part, color in zip(parts, colors, strict=True)),
        note=_profile_note(entries),
    )


def _color(part: str, names: Sequence[str]) -> str:
    fixed = {OTHER: OTHER_COLOR, OUTSIDE: OUTSIDE_COLOR}
    return fixed.get(part) or FAMILY_COLORS[names.index(part)]


def _bar(entry: ReportEntry, own: Sequence[FamilyTime]) -> Bar:
    total = sum(time.time_us for time in own) or 1.0
    segments = tuple(BarPart(s.family, s.time_us / 1000, s.time_us / total) for s in own)
    return Bar(label=entry.label, figures=f"{digits(total / 1000)} ms", parts=segments)


def _describe(row: Bar) -> str:
    return f"{row.label}, {row.figures}: " + ", ".join(f"{s.part} {percent(s.share)}" for s in row.parts)


def _profile_note(entries: Sequence[ReportEntry]) -> str | None:
    told = {
        f"runtime {p.version}, {count_of(p.threads, 'thread')}, mean of {count_of(p.runs, 'run')}"
        for entry in entries
        if (p := entry.measurement.kernel_profile)
    }
    if not told:
        return None
    return f"Seen by the runtime's own profiler ({'; '.join(sorted(told))}), which slows the inference a little."


def _table(entries: Sequence[ReportEntry]) -> DataTable:
    heads = (("Calls", True), ("Time (µs)", True), ("Share", True))
    columns = (Column("Variant"), Column("Kernel"), *(Column(head, number=number) for head, number in heads))
    rows = [row for entry in entries for row in _rows(entry)]
    return DataTable(caption="Kernels: calls and time per inference", columns=columns, rows=tuple(rows))


def _rows(entry: ReportEntry) -> list[tuple[str, ...]]:
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


def _list_operators(entry: ReportEntry) -> DataTable:
    operators = sorted(entry.measurement.operators or (), key=lambda each: -(each.time_us or 0.0))
    return DataTable(
        caption=f"Slowest operators of {entry.label} ({min(_SLOWEST, len(operators))} of {len(operators)})",
        columns=(Column("Index", True), Column("Operator"), Column("Kernel"), Column("Time (µs)", True)),
        rows=tuple(
            (str(each.index), each.op, each.kernel, digits(each.time_us or 0.0)) for each in operators[:_SLOWEST]
        ),
        folded=True,
    )


def _list_names(entry: ReportEntry) -> DataTable:
    """Return the kernels that ran without any times."""
    return DataTable(
        caption=f"Kernels that ran: {entry.label}",
        columns=(Column("Kernel"), Column("Calls", True)),
        rows=tuple((each.name, whole(each.calls)) for each in entry.measurement.kernels or ()),
    )


def _missing_profiles(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if not entry.measurement.kernels:
            reasons.setdefault(entry.measurement.kernels_reason or "no reason was stated", []).append(entry.label)
    return tuple(f"No kernel profile of {', '.join(labels)}: {reason}." for reason, labels in reasons.items())


def _sparse(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    told = [
        f"{entry.label} {sparse_text(entry)}"
        for entry in entries
        if (sparse := entry.measurement.sparse_kernels) and (sparse.ran or _meant_sparse(entry))
    ]
    return (f"1x1 convolutions that ran on sparse kernels: {'; '.join(told)}.",) if told else ()


def _meant_sparse(entry: ReportEntry) -> bool:
    return (entry.measurement.artifact.recipe or "").startswith("sparse")


@dataclass(frozen=True)
class FamilyTime:
    """Time of one family in one entry, per inference."""

    label: str
    family: str
    time_us: float


def family_of(kernel: str) -> str:
    """Return "Convolution IGEMM" for "Convolution (NHWC, QC8) IGEMM": the layout and number type are left out."""
    return " ".join(re.sub(r"\([^()]*\)", " ", kernel).split()) or kernel


def families(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    """Name the families with the largest share of time over all entries, largest first, then the rest as one.

    Shares count, not times: a slow variant does not crowd out the kernels of a fast one.
    """
    weight: defaultdict[str, float] = defaultdict(float)
    for entry in entries:
        own = _times(entry.measurement)
        total = sum(own.values()) or 1.0
        for family, time_us in own.items():
            weight[family] += time_us / total
    top = sorted(weight, key=lambda name: -weight[name])[:TOP]
    return (*top, OTHER) if len(weight) > TOP else tuple(top)


def family_times(entries: Sequence[ReportEntry], names: Sequence[str]) -> tuple[FamilyTime, ...]:
    """Return the time of each named family in each entry, and what of the inference lies outside all kernels."""
    found: list[FamilyTime] = []
    for entry in entries:
        times: defaultdict[str, float] = defaultdict(float)
        for family, time_us in _times(entry.measurement).items():
            times[family if family in names else OTHER] += time_us
        if (outside := outside_us(entry.measurement)) is not None:
            times[OUTSIDE] = outside
        ordered = [*names, OUTSIDE]
        found.extend(FamilyTime(entry.label, name, times[name]) for name in ordered if times[name] > 0)
    return tuple(found)


def outside_us(measurement: Measurement) -> float | None:
    """Return the time of an inference that no kernel accounts for; None where the whole is unknown."""
    profile = measurement.kernel_profile
    if profile is None or profile.invoke_us is None or measurement.kernels is None:
        return None
    return max(0.0, profile.invoke_us - sum(kernel.time_us or 0.0 for kernel in measurement.kernels))


def has_times(measurement: Measurement) -> bool:
    """Return whether the kernels have times: on an emulated board they are only named and counted."""
    return any(kernel.time_us is not None for kernel in measurement.kernels or ())


def _times(measurement: Measurement) -> dict[str, float]:
    times: dict[str, float] = {}
    for kernel in measurement.kernels or ():
        name = family_of(kernel.name)
        times[name] = times.get(name, 0.0) + (kernel.time_us or 0.0)
    return times
