"""Charts of one row per variant as Vega-Lite specifications: pure functions from numbers to plain dicts.

Colours are names of custom properties in page.css (`var(--...)`): the drawn SVG follows light, dark and print without
being drawn anew. Every row is named by text above it, not by an axis beside it, so that long names do not take the
width from the data on a phone. Heights are laid out here in px (a y scale of one unit per px), widths are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
INK, MUTED, LINE, CARD = "var(--ink)", "var(--muted)", "var(--line)", "var(--card)"
ACCENT, ALERT, GOOD = "var(--accent)", "var(--alert)", "var(--good)"
FAMILY_COLORS = tuple(f"var(--c{index})" for index in range(1, 7))
OTHER_COLOR, OUTSIDE_COLOR = "var(--c-other)", "var(--c-outside)"
AXIS_PX = 46
_HEAD_PX, _LANES_PX, _GAP_PX, _BAR_PX = 26, 52, 12, 24
_STRIP_PX = _HEAD_PX + _LANES_PX + _GAP_PX
_BAR_ROW_PX = _HEAD_PX + _BAR_PX + _GAP_PX
_SEGMENT_LABEL_SHARE = 0.12
_FIGURES_PX = 150


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


@dataclass(frozen=True)
class Segment:
    """One part of a bar, `share` of 1 of the whole bar."""

    part: str
    value: float
    share: float


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; `interval` is drawn as a whisker."""

    label: str
    figures: str
    segments: tuple[Segment, ...]
    interval: tuple[float, float] | None = None
    valid: bool = True


def strips_height(rows: int) -> int:
    """Return the height in px that `strips` takes with its axis."""
    return rows * _STRIP_PX + AXIS_PX


def bars_height(rows: int) -> int:
    """Return the height in px that `bars` takes with its axis."""
    return rows * _BAR_ROW_PX + AXIS_PX


def strips(rows: Sequence[Strip], *, domain_ms: tuple[float, float]) -> Spec:
    """Draw runs as dots, time running down, with ticks at median, p90 and p99; runs beyond the domain are left out."""
    height = len(rows) * _STRIP_PX
    x = ratio_axis("ms", "time per inference (ms)", domain_ms)
    y = _pixels("y", height)
    layers = [
        *_heads([(row.label, row.figures, row.valid) for row in rows], _STRIP_PX, height),
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


def bars(rows: Sequence[Bar], *, parts: Sequence[str], colors: Sequence[str], unit: str) -> Spec:
    """Draw one bar per row, cut into parts; `unit` is the axis' title."""
    height = len(rows) * _BAR_ROW_PX
    longest = (
        max((max(sum(s.value for s in row.segments), *(row.interval or (0.0,))) for row in rows), default=1.0) or 1.0
    )
    values = [segment for index, row in enumerate(rows) for segment in _segments(row, index)]
    x, y = ratio_axis("from", unit, (0.0, longest)), _pixels("y", height)
    tips = [tip("label", "variant"), tip("part", "part"), tip("value", unit, ".4~g"), tip("share", "share", ".1%")]
    layers = [
        *_heads([(row.label, row.figures, row.valid) for row in rows], _BAR_ROW_PX, height),
        {
            "data": {"values": values},
            "mark": {"type": "rect", "stroke": CARD, "strokeWidth": 1.5},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "y": y,
                "y2": {"field": "y2"},
                "color": _colored(parts, colors),
                "tooltip": tips,
            },
        },
        {
            "data": {"values": [v for v in values if v["value"] >= longest * _SEGMENT_LABEL_SHARE and len(parts) > 1]},
            "mark": {"type": "text", "fontSize": 12, "fontWeight": 600, "aria": False},
            "encoding": {
                "x": {**x, "field": "middle"},
                "y": _pixels("centre", height),
                "text": _percent("share"),
                "color": _colored(parts, [ink_on(color) for color in colors]),
                "tooltip": tips,
            },
        },
        *_whiskers(rows, x, height),
    ]
    return {**frame(), "height": height + AXIS_PX, "layer": layers, "resolve": {"scale": {"color": "independent"}}}


def ink_on(color: str) -> str:
    """Return the colour of text on a filled part: var(--c1) carries var(--on-c1)."""
    return color.replace("var(--", "var(--on-")


def frame() -> Spec:
    """Return what all charts share: full width, no background, quiet axes."""
    return {
        "$schema": SCHEMA,
        "width": "container",
        "background": None,
        "padding": {"left": 2, "right": 10, "top": 2, "bottom": 2},
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
            "view": {"stroke": None},
        },
    }


def ratio_axis(field: str, title: str, domain: tuple[float, float]) -> Spec:
    """Return a quantitative x channel with a fixed domain and quiet grid lines."""
    scale = {"domain": [*domain], "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis(title)}


def axis(title: str) -> Spec:
    """Return the look of one axis."""
    return {
        "title": title,
        "titleColor": MUTED,
        "titleFontWeight": 400,
        "titleFontSize": 12,
        "titlePadding": 8,
        "labelColor": MUTED,
        "labelFontSize": 12,
        "labelOverlap": True,
        "labelFlush": True,
        "gridColor": LINE,
        "domain": False,
        "ticks": False,
        "tickCount": 5,
    }


def tip(field: str, title: str, form: str | None = None) -> Spec:
    """Return one line of a tooltip."""
    if form is None:
        return {"field": field, "type": "nominal", "title": title}
    return {"field": field, "type": "quantitative", "title": title, "format": form}


def _heads(rows: Sequence[tuple[str, str, bool]], step: int, height: int) -> list[Spec]:
    values = [{"label": label, "figures": figures, "valid": valid, "y": index * step + _HEAD_PX - 10}
              for index, (label, figures, valid) in enumerate(rows)]  # fmt: skip
    mark = {"type": "text", "baseline": "middle", "fontSize": 12.5, "aria": False}
    color = {"condition": {"test": "datum.valid", "value": INK}, "value": ALERT}
    return [
        {
            "data": {"values": values},
            "mark": {**mark, **place},
            "encoding": {"x": {"value": x}, "y": _pixels("y", height), "text": {"field": field}, "color": ink},
        }
        for field, x, ink, place in (
            ("label", 0, color, {"align": "left", "fontWeight": 600, "limit": {"expr": f"width - {_FIGURES_PX + 6}"}}),
            ("figures", "width", {"value": MUTED}, {"align": "right", "limit": _FIGURES_PX}),
        )
    ]


def _dots(row: Strip, index: int, limit_ms: float) -> list[Spec]:
    return [{"ms": ms, "y": _at(index, when)} for ms, when in row.dots if ms <= limit_ms]


def _medians(row: Strip, index: int) -> list[Spec]:
    return [
        {"label": row.label, "window": number, "ms": ms, "y": _at(index, when)}
        for number, (ms, when) in enumerate(row.windows, 1)
    ]


def _at(index: int, when: float) -> float:
    return index * _STRIP_PX + _HEAD_PX + when * _LANES_PX


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


def _whiskers(rows: Sequence[Bar], x: Spec, height: int) -> list[Spec]:
    """Draw the intervals, if there are any: a line from end to end with a stroke across each."""
    values = []
    for index, row in enumerate(rows):
        if row.interval is not None:
            middle, (low, high) = index * _BAR_ROW_PX + _HEAD_PX + _BAR_PX / 2, row.interval
            for begin, end, half in ((low, high, 0.0), (low, low, 5.0), (high, high, 5.0)):
                values.append({"from": begin, "to": end, "y": middle - half, "y2": middle + half})
    if not values:
        return []
    encoding = {"x": x, "x2": {"field": "to"}, "y": _pixels("y", height), "y2": {"field": "y2"}}
    mark = {"type": "rule", "color": INK, "strokeWidth": 1.5, "aria": False}
    return [{"data": {"values": values}, "mark": mark, "encoding": encoding}]


def _segments(row: Bar, index: int) -> list[Spec]:
    top, begin, values = index * _BAR_ROW_PX + _HEAD_PX, 0.0, []
    for segment in row.segments:
        end = begin + segment.value
        values.append({
            "label": row.label, "part": segment.part, "value": segment.value, "share": segment.share,
            "from": begin, "to": end, "middle": (begin + end) / 2,
            "y": top, "y2": top + _BAR_PX, "centre": top + _BAR_PX / 2,
        })  # fmt: skip
        begin = end
    return values


def _colored(parts: Sequence[str], colors: Sequence[str]) -> Spec:
    return {"field": "part", "type": "nominal", "legend": None, "scale": {"domain": [*parts], "range": [*colors]}}


def _percent(field: str) -> Spec:
    return {"field": field, "type": "quantitative", "format": ".0%"}


def _pixels(field: str, height: int) -> Spec:
    scale = {"domain": [0, height], "reverse": True, "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "axis": None, "scale": scale}
