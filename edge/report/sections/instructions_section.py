"""Builds the section on counted instructions: per inference, and by kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.measure.kernel_names import OTHER, XNNPACK_REST
from edge.measure.measurement import Instructions
from edge.report.charts.bar_chart import Bar, BarPart, bars, bars_height
from edge.report.charts.vega import FAMILY_COLORS, OTHER_COLOR, OUTSIDE_COLOR, swatch_of
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, digits, percent, whole
from edge.report.material import ReportEntry
from edge.report.sections.kernel_section import families, family_times, has_times

_UNIT = "instructions per inference (million)"
_WHOLE = "all functions"
_OPEN_TABLES = 2
_NOT_TIME = (
    "Counted instructions are exact, but they are not time: the emulator models no caches, no memory bandwidth and no "
    "issue width. Only the board shows how long an inference takes."
)


@dataclass(frozen=True)
class _Count:
    entry: ReportEntry
    found: Instructions


def instructions_section(entries: Sequence[ReportEntry]) -> Section | None:
    """Return the instructions counted by emulators, in all and by kernel, None where none were."""
    counts = [_Count(entry, found) for entry in entries if (found := entry.measurement.instructions)]
    if not counts:
        return None
    detailed = [count for count in counts if count.found.kernels]
    return Section(
        key="instructions-section",
        title="Instructions (emulated)",
        paragraphs=(_NOT_TIME,),
        charts=(_chart(counts, _colors(counts, entries)),),
        tables=(_totals(counts), *(_kernels(each, folded=len(detailed) > _OPEN_TABLES) for each in detailed)),
    )


def _chart(counts: Sequence[_Count], colors: Mapping[str, str]) -> Chart:
    rows = [_bar(count, colors) for count in counts]
    present = {part.part for row in rows for part in row.parts}
    parts = [part for part in colors if part in present]
    said = "; ".join(f"{r.label}, {r.figures}: " + ", ".join(f"{s.part} {percent(s.share)}" for s in r.parts)
                     for r in rows)  # fmt: skip
    return Chart(
        key="instructions",
        title="Instructions per inference by kernel family",
        description=f"Stacked bars of instructions per inference by kernel family. {said}.",
        spec=bars(rows, parts=parts, colors=[colors[part] for part in parts], unit=_UNIT),
        height_px=bars_height(len(rows)),
        table=_by_family(rows),
        legend=tuple(Key(swatch_of(colors[part]), part) for part in parts),
    )


def _bar(count: _Count, colors: Mapping[str, str]) -> Bar:
    sums: defaultdict[str, float] = defaultdict(float)
    for family, per_inference in _families(count.found).items():
        sums[family if family in colors else OTHER] += per_inference
    total = sum(sums.values()) or 1.0
    segments = tuple(BarPart(part, sums[part] / 1e6, sums[part] / total) for part in colors if sums[part] > 0)
    return Bar(count.entry.label, f"{digits(count.found.per_inference / 1e6)} million", segments)


def _families(found: Instructions) -> dict[str, float]:
    sums: dict[str, float] = {}
    for kernel in found.kernels or ():
        sums[kernel.family] = sums.get(kernel.family, 0.0) + kernel.per_inference
    return sums or {_WHOLE: found.per_inference}


def _colors(counts: Sequence[_Count], entries: Sequence[ReportEntry]) -> dict[str, str]:
    """Name the families to draw, largest first, with their colours.

    A family of the same name in the chart of kernel times lends its colour; the others take what is free, colours
    unused in that chart first. Families without a colour are drawn with the other functions.
    """
    weight: defaultdict[str, float] = defaultdict(float)
    for count in counts:
        for family, per_inference in _families(count.found).items():
            weight[family] += per_inference / (count.found.per_inference or 1.0)
    fixed = {XNNPACK_REST: OUTSIDE_COLOR, _WHOLE: OTHER_COLOR, OTHER: OTHER_COLOR}
    ranked = sorted((family for family in weight if family not in fixed), key=lambda family: -weight[family])
    drawn = _colors_in_use(entries)
    lent = {family: color for family in ranked if (color := _borrow_color(family, drawn))}
    left = [color for color in FAMILY_COLORS if color not in lent.values()]
    free = iter(sorted(left, key=lambda color: color in drawn.values()))
    chosen = {family: lent.get(family) or next(free, OTHER_COLOR) for family in ranked}
    return {**{family: color for family, color in chosen.items() if color != OTHER_COLOR}, **fixed}


def _colors_in_use(entries: Sequence[ReportEntry]) -> dict[str, str]:
    """Return the kernel families in the chart of kernel times with their colours."""
    timed_ones = [entry for entry in entries if not entry.emulated and has_times(entry.measurement)]
    names = families(timed_ones)
    present = {time.family for time in family_times(timed_ones, names)}
    return {name: color for name, color in zip(names, FAMILY_COLORS, strict=False) if name in present}


def _borrow_color(family: str, kernels: Mapping[str, str]) -> str | None:
    """Return the colour of the first kernel family of that name: "igemm" is "Convolution IGEMM", "vadd" is "Add"."""
    for name, color in kernels.items():
        if family.lower() in (last := name.lower().split()[-1], f"v{last}"):
            return color
    return None


def _by_family(rows: Sequence[Bar]) -> DataTable:
    return DataTable(
        caption="Instructions per inference by kernel family",
        columns=(Column("Variant"), Column("Family"), Column("Count (million)", True), Column("Share", True)),
        rows=tuple((row.label, s.part, digits(s.value), percent(s.share)) for row in rows for s in row.parts),
    )


def _totals(counts: Sequence[_Count]) -> DataTable:
    heads = ("Million", "Instructions", "Estimates", "Estimates differ by")
    return DataTable(
        caption="Instructions per inference: the median of the estimates",
        columns=(Column("Variant"), *(Column(head, True) for head in heads)),
        rows=tuple(_total(count) for count in counts),
        cards="narrow",
    )


def _total(count: _Count) -> tuple[str, ...]:
    total, spread = count.found.per_inference, count.found.spread
    return (
        count.entry.label,
        digits(total / 1e6),
        whole(round(total)),
        whole(count.found.estimates),
        UNKNOWN if spread is None else f"{whole(round(spread * total))} ({percent(spread)})",
    )


def _kernels(count: _Count, *, folded: bool) -> DataTable:
    kernels = sorted(count.found.kernels or (), key=lambda kernel: -kernel.per_inference)
    return DataTable(
        caption=f"Microkernels and other functions that ran: {count.entry.label}",
        columns=(Column("Microkernel"), Column("Family"), Column("Count (million)", True), Column("Share", True)),
        rows=tuple((k.name, k.family, digits(k.per_inference / 1e6), percent(k.share)) for k in kernels),
        cards="narrow",
        folded=folded,
    )
