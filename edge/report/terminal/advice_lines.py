"""Advice for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from edge.measure.advice import ShippingAdvice, VariantStanding
from edge.report.formatting import count_of, digits
from edge.report.terminal.text_layout import shorten, wrap

_NAME = 32


def advice_text(found: Sequence[ShippingAdvice]) -> str:
    """Return what to ship, a table for each board; what is said of all boards alike stands at the end."""
    alike = [text for text in found[0].sentences if all(text in each.sentences for each in found)] if found else []
    shared = alike if len(found) > 1 else []
    lines = ["What to ship", *(line for each in found for line in ("", *_board(each, shared)))]
    if shared:
        lines += ["", "On each of them:", *(line for text in shared for line in wrap(text, "- "))]
    return "\n".join(lines)


def _board(advice: ShippingAdvice, shared: Collection[str]) -> Iterator[str]:
    front = advice.front
    by = "instructions, which are not time" if front.speed == "instructions" else "median latency"
    yield from wrap(f"{front.device}, {front.runtime}, {count_of(front.threads, 'thread')}, by {by}")
    head = ("", "variant", "million" if front.speed == "instructions" else "ms", "MB", "accuracy", "standing")
    rows = [head, *(_row(each) for each in sorted(advice.outcomes, key=lambda each: each.point.cost))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for mark, name, *numbers, standing in rows:
        cells = (cell.rjust(width) for cell, width in zip(numbers, widths[2:], strict=False))
        yield "  ".join([f"{mark:1} {name.ljust(widths[1])}", *cells, standing])
    for sentence in advice.sentences:
        yield from wrap(sentence) if sentence not in shared else ()


def _row(outcome: VariantStanding) -> tuple[str, ...]:
    point = outcome.point
    cost = digits(point.cost) if point.median_ms is not None else f"{point.cost / 1e6:,.1f}"
    share = "unknown" if point.share is None else f"{point.share:.1%}"
    mark = ">" if outcome.standing == "SHIP" else ""
    return mark, shorten(point.label, _NAME), cost, digits(point.model_bytes / 1e6), share, outcome.standing
