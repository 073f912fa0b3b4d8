"""Builds the section on trade-offs: size, speed and accuracy of the variants, board by board.

Speed is latency where it was measured and instructions where it was emulated; they never share an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.measure.advice import ShippingAdvice, VariantStanding
from edge.measure.fronts import Front, Point
from edge.measure.measurement import RecordedAccuracy
from edge.report.charts.scatter_chart import (
    DOMINATED,
    FRONT,
    INACCURATE,
    SHIP,
    UNJUDGED,
    AxisRange,
    Dot,
    plane,
    plane_height,
)
from edge.report.document import Chart, Column, DataTable, Key, Section
from edge.report.formatting import UNKNOWN, count_of, digits, megabytes, percent
from edge.report.sections.summary_section import accuracy_text

_Z95 = 1.959964
_LOOKS = {
    SHIP: Key("point-ship", "to ship"),
    FRONT: Key("point-front", "on the front: no other is as good in all respects and better in one"),
    DOMINATED: Key("point-dominated", "dominated"),
    INACCURATE: Key("point-inaccurate", "too inaccurate"),
    UNJUDGED: Key("point-cross", "not judged"),
}
_DRAWN = {"SHIP": SHIP, "on the front": FRONT, "dominated": DOMINATED, "too inaccurate": INACCURATE}
_SPEEDS = {"latency": "Latency", "instructions": "Instructions"}


def tradeoff_section(found: Sequence[ShippingAdvice]) -> Section | None:
    """Return the Pareto front of each board, None where there are no two variants to weigh."""
    weighed = [advice for advice in found if len(advice.front.points) > 1]
    if not weighed:
        return None
    several = len(weighed) > 1
    speeds = list(dict.fromkeys(advice.front.speed for advice in weighed))
    return Section(
        key="tradeoff-section",
        title=f"Size, {speeds[0] if len(speeds) == 1 else 'speed'}, accuracy",
        paragraphs=tuple(text for advice in weighed for text in _texts(advice.front, several=several)),
        charts=tuple(
            chart for index, advice in enumerate(weighed) for chart in _charts(advice, index, several=several)
        ),
    )


def _charts(advice: ShippingAdvice, index: int, *, several: bool) -> list[Chart]:
    front = advice.front
    where = f" · {_where(front)}" if several else ""
    speed, outcomes = _SPEEDS[front.speed], advice.outcomes
    sizes = Chart(
        key=f"size-{index}",
        title=f"{speed} and size{where}",
        description=f"Points, {front.speed} across, size up; both are better when small. {_describe(outcomes)}",
        spec=plane(
            [Dot(o.point.label, _across(o.point), o.point.model_bytes / 1e6, _standing(o)) for o in outcomes],
            x=_span(front),
            y=AxisRange(0.0, max(p.model_bytes for p in front.points) / 1e6 * 1.15 or 1.0, "size (MB)"),
        ),
        height_px=plane_height(),
        table=_table(advice),
        legend=_legend(outcomes),
    )
    known = [outcome for outcome in outcomes if outcome.point.accuracy is not None]
    return [sizes, _accuracies(advice, known, f"accuracy-{index}", where)] if known else [sizes]


def _accuracies(advice: ShippingAdvice, known: Sequence[VariantStanding], key: str, where: str) -> Chart:
    dots = [_accuracy_dot(outcome) for outcome in known]
    low, high = min(dot.low or 0.0 for dot in dots), max(dot.high or 100.0 for dot in dots)
    speed = advice.front.speed
    return Chart(
        key=key,
        title=f"{_SPEEDS[speed]} and accuracy{where}",
        description=f"Points, {speed} across, accuracy up; up and left is better. {_describe(known)}",
        spec=plane(dots, x=_span(advice.front), y=AxisRange(max(0.0, low - 3), min(100.0, high + 3), "accuracy (%)")),
        height_px=plane_height(),
        table=_table(advice),
        legend=(*_legend(known), Key("whisker", "95 % interval, from the number of images")),
    )


def _accuracy_dot(outcome: VariantStanding) -> Dot:
    point = outcome.point
    assert point.accuracy is not None
    low, high = wilson(point.accuracy)
    share = point.accuracy.correct / point.accuracy.of
    return Dot(point.label, _across(point), share * 100, _standing(outcome), low * 100, high * 100)


def _across(point: Point) -> float:
    """Return where a point stands on its board's axis: ms, or millions of instructions."""
    return point.cost if point.median_ms is not None else point.cost / 1e6


def _span(front: Front) -> AxisRange:
    unit = "median latency (ms)" if front.speed == "latency" else "instructions per inference (million)"
    return AxisRange(0.0, max(map(_across, front.points)) * 1.12 or 1.0, unit)


def _standing(outcome: VariantStanding) -> str:
    return _DRAWN.get(outcome.standing, UNJUDGED)


def _legend(outcomes: Sequence[VariantStanding]) -> tuple[Key, ...]:
    present = set(map(_standing, outcomes))
    return tuple(key for standing, key in _LOOKS.items() if standing in present)


def _describe(outcomes: Sequence[VariantStanding]) -> str:
    return "; ".join(
        f"{(p := each.point).label}: {digits(_across(p))} {_unit(p)}, {megabytes(p.model_bytes)} MB, "
        f"accuracy {accuracy_text(p.accuracy)}, {each.standing}"
        for each in outcomes
    )


def _unit(point: Point) -> str:
    return "ms" if point.median_ms is not None else "million instructions"


def _where(front: Front) -> str:
    return f"{front.device}, {front.runtime}, {count_of(front.threads, 'thread')}"


def _texts(front: Front, *, several: bool) -> list[str]:
    texts, where = [], f" on {_where(front)}" if several else ""
    unknown = [point.label for point in front.points if point.accuracy is None]
    if len(unknown) == len(front.points):
        texts.append(f"The accuracy of no variant{where} is known, so the front weighs {front.speed} and size only.")
    elif unknown:
        texts.append(f"The accuracy of {', '.join(unknown)} is unknown; nothing is assumed in its place.")
    pictures = sorted({point.accuracy.of for point in front.points if point.accuracy})
    if len(pictures) > 1:
        counts = " and ".join(f"{count:,}" for count in pictures)
        texts.append(f"Accuracies{where} were counted on different numbers of images ({counts}): compare with care.")
    return texts


def _table(advice: ShippingAdvice) -> DataTable:
    front = advice.front
    columns = (
        Column("Variant"),
        Column("Median (ms)" if front.speed == "latency" else "Instructions (million)", True),
        Column("Size (MB)", True),
        Column("Accuracy", True),
        Column("95 % interval", True),
        Column("Standing"),
        Column("Why"),
    )
    rows = tuple(_row(outcome) for outcome in advice.outcomes)
    return DataTable(caption=f"{_where(front)}: {', '.join(front.objectives)}", columns=columns, rows=rows)


def _row(outcome: VariantStanding) -> tuple[str, ...]:
    point = outcome.point
    span = wilson(point.accuracy) if point.accuracy else None
    return (
        point.label,
        digits(_across(point)),
        megabytes(point.model_bytes),
        accuracy_text(point.accuracy),
        f"{percent(span[0])} to {percent(span[1])}" if span else UNKNOWN,
        outcome.standing,
        outcome.why or "",
    )


def wilson(accuracy: RecordedAccuracy) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a counted accuracy, as shares of 1 (Wilson 1927, JASA 22)."""
    n, share = accuracy.of, accuracy.correct / accuracy.of
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
