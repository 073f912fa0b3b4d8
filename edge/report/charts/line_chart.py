"""Draws values over time: one line per variant, or the power during an energy measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.measure.energy.value import Energy
from edge.report.charts.vega import (
    ACCENT,
    FAMILY_COLORS,
    OTHER_COLOR,
    OUTSIDE_COLOR,
    Spec,
    axis,
    frame,
    ratio_axis,
    tip,
)

HEIGHT_PX = 240
_POINTS = 600


@dataclass(frozen=True)
class TimeSeries:
    """One line of a chart over time: (minutes, value) in time order."""

    label: str
    points: tuple[tuple[float, float], ...]


def line_chart(rows: Sequence[TimeSeries], *, unit: str) -> Spec:
    """Draw one line per row over minutes; the y axis begins at 0 where the values differ by half or more."""
    values = [{"label": row.label, "min": x, "value": y} for row in rows for x, y in row.points]
    ys = [y for row in rows for _, y in row.points]
    low, high, longest = min(ys), max(ys), max(x for row in rows for x, _ in row.points)
    margin = max((high - low) * 0.08, abs(high) * 0.01, 1e-6)
    domain = [0.0 if low * 1.5 <= high and low >= 0 else low - margin, high + margin]
    names = [row.label for row in rows]
    y = {
        "field": "value", "type": "quantitative", "axis": axis(unit),
        "scale": {"domain": domain, "nice": False, "zero": False},
    }  # fmt: skip
    encoding = {
        "x": ratio_axis("min", "time under load (minutes)", (0.0, longest)),
        "y": y,
        "color": {
            "field": "label",
            "type": "nominal",
            "legend": None,
            "scale": {"domain": names, "range": line_colors(len(names))},
        },
        "tooltip": [tip("label", "variant"), tip("min", "minutes", ".3~g"), tip("value", unit, ".4~g")],
    }  # fmt: skip
    layers = [
        {"mark": {"type": "line", "strokeWidth": 2, "aria": False}, "encoding": encoding},
        {"mark": {"type": "point", "size": 60, "opacity": 0, "aria": False}, "encoding": encoding},
    ]
    return {**frame(), "height": HEIGHT_PX, "data": {"values": values}, "layer": layers}


def line_colors(count: int) -> list[str]:
    """Return one colour per line; those beyond the palette share the one for others."""
    return [FAMILY_COLORS[index] if index < len(FAMILY_COLORS) else OTHER_COLOR for index in range(count)]


def power_chart(energy: Energy) -> Spec:
    """Draw power over time, windows shaded; a stretch's lowest to highest sample lies behind its mean."""
    points = _points(energy)
    highest = max((point["high"] for point in points), default=1.0) * 1.05
    first, last = (points[0]["s"], points[-1]["s"]) if points else (0.0, 1.0)
    x = ratio_axis("s", "seconds since the run began", (first, last))
    scale = {"domain": [0, highest], "nice": False, "zero": True}
    y = {"field": "w", "type": "quantitative", "axis": axis("power (W)"), "scale": scale}
    windows = [{"s": each.begin_s, "to": each.end_s, "w": 0.0, "top": highest, "window": index, "mean": each.mean_w,
                "runs": each.runs} for index, each in enumerate(energy.windows, 1)]  # fmt: skip
    tips = [tip("window", "window"), tip("mean", "mean (W)", ".4~g"), tip("runs", "inferences", ",")]
    place = {"x": x, "y": y}
    layers = [
        {
            "data": {"values": windows},
            "mark": {"type": "rect", "color": OUTSIDE_COLOR, "opacity": 0.35, "aria": False},
            "encoding": {**place, "x2": {"field": "to"}, "y2": {"field": "top"}, "tooltip": tips},
        },
        {
            "data": {"values": points},
            "mark": {"type": "area", "color": OTHER_COLOR, "opacity": 0.45, "aria": False},
            "encoding": {**place, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "data": {"values": points},
            "mark": {"type": "line", "color": ACCENT, "strokeWidth": 1.2, "aria": False},
            "encoding": place,
        },
    ]
    return {**frame(), "height": HEIGHT_PX, "layer": layers}


def _points(energy: Energy) -> list[dict[str, float]]:
    drawn = energy.trace
    step = -(-len(drawn.time_s) // _POINTS) or 1
    return [
        {
            "s": drawn.time_s[at],
            "w": sum(drawn.mean_w[at : at + step]) / len(drawn.mean_w[at : at + step]),
            "low": min(drawn.min_w[at : at + step]),
            "high": max(drawn.max_w[at : at + step]),
        }
        for at in range(0, len(drawn.time_s), step)
    ]
