"""Draws one bar per variant, cut into parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.report.charts.vega import (
    AXIS_PX,
    CARD,
    GAP_PX,
    HEAD_PX,
    INK,
    Spec,
    frame,
    ink_on,
    pixel_axis,
    ratio_axis,
    row_heads,
    tip,
)

_BAR_PX = 24
_BAR_ROW_PX = HEAD_PX + _BAR_PX + GAP_PX
_PART_LABEL_SHARE = 0.12


@dataclass(frozen=True)
class BarPart:
    """One part of a bar, `share` of 1 of the whole bar."""

    part: str
    value: float
    share: float


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; `interval` is drawn as a whisker."""

    label: str
    figures: str
    parts: tuple[BarPart, ...]
    interval: tuple[float, float] | None = None
    valid: bool = True


def bars_height(rows: int) -> int:
    """Return the height in px that `bars` takes with its axis."""
    return rows * _BAR_ROW_PX + AXIS_PX


def bars(rows: Sequence[Bar], *, parts: Sequence[str], colors: Sequence[str], unit: str) -> Spec:
    """Draw one bar per row, cut into parts; `unit` is the axis' title."""
    height = len(rows) * _BAR_ROW_PX
    longest = max((max(sum(s.value for s in row.parts), *(row.interval or (0.0,))) for row in rows), default=1.0) or 1.0
    values = [part for index, row in enumerate(rows) for part in _parts(row, index)]
    x, y = ratio_axis("from", unit, (0.0, longest)), pixel_axis("y", height)
    tips = [tip("label", "variant"), tip("part", "part"), tip("value", unit, ".4~g"), tip("share", "share", ".1%")]
    layers = [
        *row_heads([(row.label, row.figures, row.valid) for row in rows], _BAR_ROW_PX, height),
        {
            "data": {"values": values},
            "mark": {"type": "rect", "stroke": CARD, "strokeWidth": 1.5},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "y": y,
                "y2": {"field": "y2"},
                "color": _color_scale(parts, colors),
                "tooltip": tips,
            },
        },
        {
            "data": {"values": [v for v in values if v["value"] >= longest * _PART_LABEL_SHARE and len(parts) > 1]},
            "mark": {"type": "text", "fontSize": 12, "fontWeight": 600, "aria": False},
            "encoding": {
                "x": {**x, "field": "middle"},
                "y": pixel_axis("centre", height),
                "text": _percent("share"),
                "color": _color_scale(parts, [ink_on(color) for color in colors]),
                "tooltip": tips,
            },
        },
        *_whiskers(rows, x, height),
    ]
    return {**frame(), "height": height + AXIS_PX, "layer": layers, "resolve": {"scale": {"color": "independent"}}}


def _whiskers(rows: Sequence[Bar], x: Spec, height: int) -> list[Spec]:
    """Draw the intervals, if there are any: a line from end to end with a stroke across each."""
    values = []
    for index, row in enumerate(rows):
        if row.interval is not None:
            middle, (low, high) = index * _BAR_ROW_PX + HEAD_PX + _BAR_PX / 2, row.interval
            for begin, end, half in ((low, high, 0.0), (low, low, 5.0), (high, high, 5.0)):
                values.append({"from": begin, "to": end, "y": middle - half, "y2": middle + half})
    if not values:
        return []
    encoding = {"x": x, "x2": {"field": "to"}, "y": pixel_axis("y", height), "y2": {"field": "y2"}}
    mark = {"type": "rule", "color": INK, "strokeWidth": 1.5, "aria": False}
    return [{"data": {"values": values}, "mark": mark, "encoding": encoding}]


def _parts(row: Bar, index: int) -> list[Spec]:
    top, begin, values = index * _BAR_ROW_PX + HEAD_PX, 0.0, []
    for part in row.parts:
        end = begin + part.value
        values.append({
            "label": row.label, "part": part.part, "value": part.value, "share": part.share,
            "from": begin, "to": end, "middle": (begin + end) / 2,
            "y": top, "y2": top + _BAR_PX, "centre": top + _BAR_PX / 2,
        })  # fmt: skip
        begin = end
    return values


def _color_scale(parts: Sequence[str], colors: Sequence[str]) -> Spec:
    return {"field": "part", "type": "nominal", "legend": None, "scale": {"domain": [*parts], "range": [*colors]}}


def _percent(field: str) -> Spec:
    return {"field": field, "type": "quantitative", "format": ".0%"}
