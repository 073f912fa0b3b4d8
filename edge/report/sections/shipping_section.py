"""Builds the section on what to ship: one variant for each board, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence

from edge.measure.advice import AdviceCriteria, ShippingAdvice, advise
from edge.measure.fronts import Front, MeasuredVariant, Point, front_of, groups
from edge.report.document import Column, DataTable, Section
from edge.report.formatting import UNKNOWN, count_of, digits, megabytes
from edge.report.material import ReportEntry
from edge.report.sections.summary_section import accuracy_text

_RULE = (
    "Variants are compared on one board only, with one runtime and one number of threads. Invalid "
    "measurements, and those whose sparse kernels did not run as predicted, are not considered."
)


def fronts(entries: Sequence[ReportEntry]) -> tuple[Front, ...]:
    """Find the Pareto front of every group of measurements that may be compared: never across devices."""
    return tuple(map(front_of, groups(MeasuredVariant(entry.measurement, entry.accuracy) for entry in entries)))


def advice_of(entries: Sequence[ReportEntry], criteria: AdviceCriteria | None = None) -> tuple[ShippingAdvice, ...]:
    """Return the advice for each board among the entries."""
    return tuple(advise(front, criteria) for front in fronts(entries))


def shipping_section(found: Sequence[ShippingAdvice]) -> Section | None:
    """Return what to ship on each board, None where there is nothing to choose from."""
    if not any(len(each.front.points) > 1 for each in found):
        return None
    heads = ("Board", "Runtime", "Variant to ship", "Speed", "Size (MB)", "Accuracy")
    table = DataTable(
        caption="The variant to ship, board by board",
        columns=tuple(Column(head, head == "Size (MB)") for head in heads),
        rows=tuple(_row(each) for each in found),
        cards="narrow",
    )
    return Section(
        key="shipping", title="What to ship", paragraphs=(_RULE,), tables=(table,), bullets=tuple(_sentences(found))
    )


def _row(advice: ShippingAdvice) -> tuple[str, ...]:
    front, ship = advice.front, advice.ship
    place = (front.device, f"{front.runtime}, {count_of(front.threads, 'thread')}")
    if ship is None:
        return (*place, "none", UNKNOWN, UNKNOWN, UNKNOWN)
    return (*place, ship.label, _speed(ship), megabytes(ship.model_bytes), accuracy_text(ship.accuracy))


def _speed(point: Point) -> str:
    if point.median_ms is not None:
        return f"{digits(point.median_ms)} ms"
    return f"{digits(point.cost / 1e6)} million instructions"


def _sentences(found: Sequence[ShippingAdvice]) -> list[str]:
    """Return first what to ship on each board, then the rest, what several boards share once and with their names."""
    said: dict[str, list[str]] = {}
    for part in (slice(0, 1), slice(1, None)):
        for advice in found:
            for text in advice.sentences[part]:
                said.setdefault(text, []).append(advice.front.device)
    several = len({each.front.device for each in found}) > 1
    return [
        f"{', '.join(dict.fromkeys(boards))}: {text}" if several and boards[0] not in text else text
        for text, boards in said.items()
    ]
