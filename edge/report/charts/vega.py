"""Defines what all charts share: colours, frame, axes, tooltips, and the heads of rows, as Vega-Lite specifications.

Colours are names of custom properties in page.css (`var(--...)`): the drawn SVG follows light, dark and print without
being redrawn. Every row is named by text above it, not by an axis beside it, so that long names do not take the
width from the data on a phone. Heights are laid out here in px (a y scale of one unit per px), widths are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
INK, MUTED, LINE, CARD = "var(--ink)", "var(--muted)", "var(--line)", "var(--card)"
ACCENT, ALERT, GOOD = "var(--accent)", "var(--alert)", "var(--good)"
FAMILY_COLORS = tuple(f"var(--c{index})" for index in range(1, 7))
OTHER_COLOR, OUTSIDE_COLOR = "var(--c-other)", "var(--c-outside)"
AXIS_PX = 46
HEAD_PX, GAP_PX = 26, 12
_FIGURES_PX = 150


def swatch_of(color: str) -> str:
    """Return the style sheet's class for a colour's swatch in a legend: "c1" for var(--c1)."""
    return color.removeprefix("var(--").removesuffix(")")


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


def row_heads(rows: Sequence[tuple[str, str, bool]], step: int, height: int) -> list[Spec]:
    """Return the layers that write label and figures above each row; an invalid one is red."""
    values = [{"label": label, "figures": figures, "valid": valid, "y": index * step + HEAD_PX - 10}
              for index, (label, figures, valid) in enumerate(rows)]  # fmt: skip
    mark = {"type": "text", "baseline": "middle", "fontSize": 12.5, "aria": False}
    color = {"condition": {"test": "datum.valid", "value": INK}, "value": ALERT}
    return [
        {
            "data": {"values": values},
            "mark": {**mark, **place},
            "encoding": {"x": {"value": x}, "y": pixel_axis("y", height), "text": {"field": field}, "color": ink},
        }
        for field, x, ink, place in (
            ("label", 0, color, {"align": "left", "fontWeight": 600, "limit": {"expr": f"width - {_FIGURES_PX + 6}"}}),
            ("figures", "width", {"value": MUTED}, {"align": "right", "limit": _FIGURES_PX}),
        )
    ]


def pixel_axis(field: str, height: int) -> Spec:
    """Return a y channel of one unit per px, from the top down."""
    scale = {"domain": [0, height], "reverse": True, "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "axis": None, "scale": scale}
