"""Draws variants as labelled points in a plane of two objectives; labels are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.report.charts.vega import ACCENT, ALERT, AXIS_PX, CARD, GOOD, INK, MUTED, Spec, axis, frame, ratio_axis, tip

_HEIGHT_PX = 280
# Labels are kept apart for a narrow screen; a wider one only gives them more room. Drawn widths differ by font.
_NARROW_PX, _CHAR_PX, _LINE_PX, _LABEL_PX, _POINT_PX = 280, 6.6, 15, 200.0, 14
SHIP, FRONT, DOMINATED, INACCURATE, UNJUDGED = "ship", "on the front", "dominated", "too inaccurate", "not judged"
_DRAWN_FIRST = (UNJUDGED, INACCURATE, DOMINATED, FRONT, SHIP)


@dataclass(frozen=True)
class Dot:
    """One labelled point; `standing` is one of the five words; `low` and `high` bound y where it is uncertain."""

    label: str
    x: float
    y: float
    standing: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class AxisRange:
    """Domain and title of one axis."""

    low: float
    high: float
    title: str

    def share(self, value: float) -> float:
        """Return where a value lies between low (0) and high (1)."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float

    def covers(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class _Place:
    dx: float
    dy: float
    align: str


def plane_height() -> int:
    """Return the height in px that `plane` takes with its axis."""
    return _HEIGHT_PX + AXIS_PX


def plane(dots: Sequence[Dot], *, x: AxisRange, y: AxisRange) -> Spec:
    """Draw points: the one to ship as a diamond, on the front filled, dominated hollow, not judged crossed."""
    across = ratio_axis("x", x.title, (x.low, x.high))
    up = {**ratio_axis("y", y.title, (y.low, y.high)), "axis": {**axis(y.title), "labelFlush": False}}
    # What is drawn last lies on top: the one to ship.
    ordered = sorted(dots, key=lambda dot: _DRAWN_FIRST.index(dot.standing))
    values = [
        {"label": d.label, "x": d.x, "y": d.y, "standing": d.standing, "low": d.low, "high": d.high} for d in ordered
    ]
    tips = [tip("label", "variant"), tip("x", x.title, ".4~g"), tip("y", y.title, ".4~g"), tip("standing", "standing")]
    layers = [
        {
            "data": {"values": [value for value in values if value["low"] is not None]},
            "mark": {"type": "rule", "color": MUTED, "opacity": 0.7, "aria": False},
            "encoding": {"x": across, "y": {**up, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "data": {"values": values},
            "mark": {"type": "point", "size": 110, "strokeWidth": 2, "opacity": 1},
            "encoding": {"x": across, "y": up, **_looks(), "tooltip": tips},
        },
        *(_name(dot, place, across, up) for dot, place in zip(dots, _places(dots, x, y), strict=True)),
    ]
    return {**frame(), "height": _HEIGHT_PX, "layer": layers}


def _looks() -> Spec:
    ranges = {
        "stroke": [GOOD, ACCENT, MUTED, ALERT, ALERT],
        "fill": [GOOD, ACCENT, CARD, CARD, CARD],
        "shape": ["diamond", "circle", "circle", "circle", "cross"],
    }
    return {
        channel: {"field": "standing", "type": "nominal", "legend": None,
                  "scale": {"domain": [SHIP, FRONT, DOMINATED, INACCURATE, UNJUDGED], "range": values}}
        for channel, values in ranges.items()
    }  # fmt: skip


def _name(dot: Dot, place: _Place, across: Spec, up: Spec) -> Spec:
    weight = 600 if dot.standing in (SHIP, FRONT) else 400
    return {
        "data": {"values": [{"label": dot.label, "x": dot.x, "y": dot.y}]},
        "mark": {"type": "text", "align": place.align, "baseline": "middle", "dx": place.dx, "dy": place.dy,
                 "fontSize": 12, "fontWeight": weight, "color": INK, "limit": _LABEL_PX, "aria": False},
        "encoding": {"x": across, "y": up, "text": {"field": "label"}},
    }  # fmt: skip


def _places(dots: Sequence[Dot], x: AxisRange, y: AxisRange) -> list[_Place]:
    """Put each label beside its point, moved up or down until it covers neither point nor label."""
    taken = [_box(dot, x, y, _Place(0, 0, "center"), width=_POINT_PX) for dot in dots]
    places = []
    for dot in dots:
        width, choices = _width(dot.label), _choices(dot, x)
        free = (p for p in choices if not any(_box(dot, x, y, p, width=width).covers(other) for other in taken))
        place = next(free, choices[0])
        taken.append(_box(dot, x, y, place, width=width))
        places.append(place)
    return places


def _choices(dot: Dot, x: AxisRange) -> list[_Place]:
    """Return the places within a narrow chart, the nearest to the point first."""
    near = [
        _Place(12, 0, "left"),
        _Place(-12, 0, "right"),
        _Place(0, -_LINE_PX, "center"),
        _Place(0, _LINE_PX, "center"),
    ]
    steps = sorted(range(-6 * _LINE_PX, 7 * _LINE_PX, _LINE_PX), key=lambda step: (abs(step), step))
    far = [_Place(dx, dy, align) for dy in steps for dx, align in ((8, "left"), (-8, "right"), (0, "center")) if dy]
    begin, width = x.share(dot.x) * _NARROW_PX, _width(dot.label)
    inside = [place for place in (*near, *far) if _label_start(begin, place, width) >= 0
              and _label_start(begin, place, width) + width <= _NARROW_PX]  # fmt: skip
    return inside or near


def _label_start(begin: float, place: _Place, width: float) -> float:
    """Return where a label begins that hangs on a point at `begin`."""
    return begin + place.dx - width * {"left": 0.0, "center": 0.5, "right": 1.0}[place.align]


def _width(label: str) -> float:
    return min(_LABEL_PX, len(label) * _CHAR_PX)


def _box(dot: Dot, x: AxisRange, y: AxisRange, place: _Place, *, width: float) -> _Box:
    left = _label_start(x.share(dot.x) * _NARROW_PX, place, width)
    middle = (1 - y.share(dot.y)) * _HEIGHT_PX + place.dy
    return _Box(left=left, right=left + width, top=middle - _LINE_PX / 2, bottom=middle + _LINE_PX / 2)
