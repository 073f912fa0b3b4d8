"""Draws single inferences as dots, one strip per variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.report.charts.vega import (
    ACCENT,
    AXIS_PX,
    CARD,
    GAP_PX,
    HEAD_PX,
    INK,
    Spec,
    frame,
    pixel_axis,
    ratio_axis,
    row_heads,
    tip,
)

_LANES_PX = 52
_STRIP_PX = HEAD_PX + _LANES_PX + GAP_PX


@dataclass(frozen=True)
class Strip:
    """One row of the latency chart: dots are (ms, when), windows (median ms, when); `when` is 0 at begin, 1 at end."""

    label: str
    figures: str
    dots: tuple[tuple[float, float], ...]
    windows: tuple[tuple[float, float], ...]
    median_ms: float
    p90_ms: float
    p99_ms: float
    valid: bool = True


def strips_height(rows: int) -> int:
    """Return the height in px that `strips` takes with its axis."""
    return rows * _STRIP_PX + AXIS_PX


def strips(rows: Sequence[Strip], *, domain_ms: tuple[float, float]) -> Spec:
    """Draw runs as dots, time running down, with ticks at median, p90 and p99; runs beyond the domain are left out."""
    height = len(rows) * _STRIP_PX
    x = ratio_axis("ms", "time per inference (ms)", domain_ms)
    y = pixel_axis("y", height)
    layers = [
        *row_heads([(row.label, row.figures, row.valid) for row in rows], _STRIP_PX, height),
        {
            "data": {"values": [dot for index, row in enumerate(rows) for dot in _dots(row, index, domain_ms[1])]},
            "mark": {"type": "circle", "size": 12, "color": ACCENT, "opacity": 0.35, "aria": False},
            "encoding": {"x": x, "y": y},
        },
        *(_percentile(rows, name, look, {"x": x, "y": y}) for name, look in _TICKS),
        {
            "data": {"values": [mark for index, row in enumerate(rows) for mark in _medians(row, index)]},
            "mark": {"type": "point", "shape": "diamond", "size": 30, "fill": CARD, "color": INK, "aria": False},
            "encoding": {
                "x": x,
                "y": y,
                "tooltip": [tip("label", "variant"), tip("window", "window"), tip("ms", "its median (ms)", ".4~g")],
            },
        },
    ]
    return {**frame(), "height": height + AXIS_PX, "layer": layers}


def _dots(row: Strip, index: int, limit_ms: float) -> list[Spec]:
    return [{"ms": ms, "y": _at(index, when)} for ms, when in row.dots if ms <= limit_ms]


def _medians(row: Strip, index: int) -> list[Spec]:
    return [
        {"label": row.label, "window": number, "ms": ms, "y": _at(index, when)}
        for number, (ms, when) in enumerate(row.windows, 1)
    ]


def _at(index: int, when: float) -> float:
    return index * _STRIP_PX + HEAD_PX + when * _LANES_PX


_TICKS: tuple[tuple[str, Spec], ...] = (
    ("median", {"strokeWidth": 2.5}),
    ("p90", {"strokeWidth": 1.25, "strokeDash": [5, 2]}),
    ("p99", {"strokeWidth": 1.25, "strokeDash": [1.5, 2.5]}),
)


def _percentile(rows: Sequence[Strip], name: str, look: Spec, place: Spec) -> Spec:
    values = [
        {"label": row.label, "what": name, "ms": getattr(row, f"{name}_ms"), "y": _at(index, 0), "y2": _at(index, 1)}
        for index, row in enumerate(rows)
    ]
    tips = [tip("label", "variant"), tip("what", "figure"), tip("ms", "ms", ".4~g")]
    return {
        "data": {"values": values},
        "mark": {"type": "rule", "color": INK, "aria": False, **look},
        "encoding": {**place, "y2": {"field": "y2"}, "tooltip": tips},
    }
