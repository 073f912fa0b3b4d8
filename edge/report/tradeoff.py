"""The section on what one pays for what: size against latency against accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from edge.report.document import Chart, Column, Key, Section, Table
from edge.report.entries import count_of
from edge.report.numerals import UNKNOWN, digits, megabytes, percent
from edge.report.pareto import Front, Point, wilson
from edge.report.plane import Dot, Span, plane, plane_height
from edge.report.summary import accuracy_text

_LOOKS = {
    "front": Key("point-front", "on the front: no other is as good in all respects and better in one"),
    "dominated": Key("point-dominated", "dominated"),
    "not judged": Key("point-cross", "not judged"),
}


def tradeoff_section(found: Sequence[Front]) -> Section | None:
    """Return the Pareto fronts, None where nothing was measured."""
    if not found:
        return None
    charts = [chart for index, front in enumerate(found) for chart in _charts(front, index, several=len(found) > 1)]
    texts = [text for front in found for text in _texts(front, several=len(found) > 1)]
    return Section(
        key="tradeoff-section", title="Size, latency, accuracy", paragraphs=tuple(texts), charts=tuple(charts)
    )


def _charts(front: Front, index: int, *, several: bool) -> list[Chart]:
    where = f" · {_where(front)}" if several else ""
    table = _table(front)
    sizes = Chart(
        key=f"size-{index}",
        title=f"Latency and size{where}",
        description=f"Points, latency across, size up; both are better when small. {_said(front.points)}",
        spec=plane(
            [Dot(p.label, p.median_ms, p.model_bytes / 1e6, p.standing) for p in front.points],
            x=_latency(front),
            y=Span(0.0, max(p.model_bytes for p in front.points) / 1e6 * 1.15 or 1.0, "size (MB)"),
        ),
        height_px=plane_height(),
        table=table,
        legend=_legend(front.points),
    )
    known = [point for point in front.points if point.accuracy is not None]
    return [sizes, _accuracies(front, known, f"accuracy-{index}", where)] if known else [sizes]


def _accuracies(front: Front, known: Sequence[Point], key: str, where: str) -> Chart:
    dots = [_accuracy_dot(point) for point in known]
    low, high = min(dot.low or 0.0 for dot in dots), max(dot.high or 100.0 for dot in dots)
    return Chart(
        key=key,
        title=f"Latency and accuracy{where}",
        description=f"Points, latency across, accuracy up; up and left is better. {_said(known)}",
        spec=plane(dots, x=_latency(front), y=Span(max(0.0, low - 3), min(100.0, high + 3), "accuracy (%)")),
        height_px=plane_height(),
        table=_table(front),
        legend=(*_legend(known), Key("whisker", "95 % interval, from the number of pictures")),
    )


def _accuracy_dot(point: Point) -> Dot:
    assert point.accuracy is not None
    low, high = wilson(point.accuracy)
    share = point.accuracy.correct / point.accuracy.of
    return Dot(point.label, point.median_ms, share * 100, point.standing, low * 100, high * 100)


def _latency(front: Front) -> Span:
    return Span(0.0, max(p.median_ms for p in front.points) * 1.12 or 1.0, "median latency (ms)")


def _legend(points: Sequence[Point]) -> tuple[Key, ...]:
    present = {point.standing for point in points}
    return tuple(key for standing, key in _LOOKS.items() if standing in present)


def _said(points: Sequence[Point]) -> str:
    return "; ".join(
        f"{p.label}: {digits(p.median_ms)} ms, {megabytes(p.model_bytes)} MB, "
        f"accuracy {accuracy_text(p.accuracy)}, {p.standing}"
        for p in points
    )


def _where(front: Front) -> str:
    return f"{front.device}, {front.runtime}, {count_of(front.threads, 'thread')}"


def _texts(front: Front, *, several: bool) -> list[str]:
    texts, where = [], f" on {_where(front)}" if several else ""
    unknown = [point.label for point in front.points if point.accuracy is None]
    if len(unknown) == len(front.points):
        texts.append(f"The accuracy of no variant{where} is known, so the front weighs latency and size only.")
    elif unknown:
        texts.append(f"The accuracy of {', '.join(unknown)} is unknown; nothing is assumed in its place.")
    pictures = sorted({point.accuracy.of for point in front.points if point.accuracy})
    if len(pictures) > 1:
        counts = " and ".join(f"{count:,}" for count in pictures)
        texts.append(f"Accuracies{where} were counted on different numbers of pictures ({counts}): compare with care.")
    return texts


def _table(front: Front) -> Table:
    columns = (
        Column("Variant"),
        Column("Median (ms)", True),
        Column("Size (MB)", True),
        Column("Accuracy", True),
        Column("95 % interval", True),
        Column("Standing"),
        Column("Why"),
    )
    rows = tuple(_row(point) for point in front.points)
    return Table(caption=f"{_where(front)}: {', '.join(front.objectives)}", columns=columns, rows=rows)


def _row(point: Point) -> tuple[str, ...]:
    span = wilson(point.accuracy) if point.accuracy else None
    return (
        point.label,
        digits(point.median_ms),
        megabytes(point.model_bytes),
        accuracy_text(point.accuracy),
        f"{percent(span[0])} to {percent(span[1])}" if span else UNKNOWN,
        point.standing,
        point.why or "",
    )
