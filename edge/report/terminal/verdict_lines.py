"""Renders verdicts: the comparison of two measurements, and the advice which variant to ship."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from edge.measure.advice import ShippingAdvice, VariantStanding
from edge.measure.comparability import NotComparable, Objection
from edge.measure.comparison import ComparisonResult, KernelChange, ModelComparison, QuantityChange
from edge.report.formatting import count_of, digits, file_size
from edge.report.terminal.text_layout import shorten, table, wrap

_KERNELS, _NAME, _VARIANT = 6, 44, 32


def objection_text(refusal: NotComparable) -> str:
    """Return why a model cannot be compared, line by line, the reasons of an invalid measurement one by one."""
    lines = [line for each in refusal.objections for line in _objection(each)]
    return "\n".join([f"{refusal.name} cannot be compared:", *lines])


def _objection(objection: Objection) -> list[str]:
    """Return one line if it fits, else a heading and one paragraph for each reason."""
    whole = list(wrap(str(objection), "  "))
    if len(whole) <= 1 or objection.reasons is None:
        return whole
    return [f"  {objection.text}:", *(line for reason in objection.reasons for line in wrap(reason, "    - "))]


def comparison_summary(outcome: ComparisonResult) -> str:
    """Return each model's verdict with its evidence, then the other changes."""
    lines = [line for each in outcome.comparisons for line in (*_lines(each), "")]
    for side, names in (("first", outcome.only_before), ("second", outcome.only_after)):
        lines += [line for name in names for line in wrap(f"note: {name} is only in the {side} file")]
    return "\n".join(lines).rstrip()


def _lines(comparison: ModelComparison) -> Iterator[str]:
    finding = comparison.finding
    yield from wrap(f"{comparison.name} on {comparison.device}, {count_of(comparison.threads, 'thread')}")
    yield from wrap(f"{finding.verdict.upper()}: {finding.sentence}", "  ")
    yield from wrap(_effect(finding), "  ")
    for caveat in comparison.caveats:
        yield from wrap(f"COMPARED ANYWAY: {caveat}", "  ")
    for note in comparison.notes:
        yield from wrap(f"note: {note}", "  ")
    sizes = f"file {_sizes(comparison.model_bytes)}, peak memory {_sizes(comparison.peak_rss_bytes)}"
    yield from wrap(sizes, "  ")
    yield from _kernels(comparison.kernels)


def _effect(finding: QuantityChange) -> str:
    unit = "ms" if finding.quantity == "latency_ms" else "instructions"
    write = digits if finding.quantity == "latency_ms" else "{:,.0f}".format
    text = f"{write(finding.before)} -> {write(finding.after)} {unit} ({finding.ratio - 1:+.1%}"
    interval = finding.decision.interval if finding.decision else None
    if interval is None:
        return text + ")"
    return f"{text}; {interval.low - 1:+.1%} to {interval.high - 1:+.1%} at {interval.confidence:.0%} confidence)"


def _kernels(changes: tuple[KernelChange, ...] | None) -> Iterator[str]:
    if changes is None:
        yield "  kernels: not known on both sides"
        return
    rows = [_kernel(change) for change in changes[:_KERNELS]]
    if rows:
        yield from table([("  kernels by change", "us before", "us after", "calls"), *rows])


def _kernel(change: KernelChange) -> tuple[str, ...]:
    calls = ["-" if each is None else f"{each:g}" for each in (change.calls_before, change.calls_after)]
    times = ["-" if each is None else digits(each) for each in (change.time_before_us, change.time_after_us)]
    return (f"  {shorten(change.name, _NAME)}", *times, calls[0] if calls[0] == calls[1] else " -> ".join(calls))


def _sizes(values: tuple[int | None, int | None]) -> str:
    texts = [file_size(each) for each in values]
    return texts[0] if texts[0] == texts[1] else " -> ".join(texts)


def advice_text(found: Sequence[ShippingAdvice]) -> str:
    """Return what to ship, a table for each board; remarks on all boards come last."""
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
    rows = [head, *(_advice_row(each) for each in sorted(advice.outcomes, key=lambda each: each.point.cost))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for mark, name, *numbers, standing in rows:
        cells = (cell.rjust(width) for cell, width in zip(numbers, widths[2:], strict=False))
        yield "  ".join([f"{mark:1} {name.ljust(widths[1])}", *cells, standing])
    for sentence in advice.sentences:
        yield from wrap(sentence) if sentence not in shared else ()


def _advice_row(outcome: VariantStanding) -> tuple[str, ...]:
    point = outcome.point
    cost = digits(point.cost) if point.median_ms is not None else f"{point.cost / 1e6:,.1f}"
    share = "unknown" if point.share is None else f"{point.share:.1%}"
    mark = ">" if outcome.standing == "SHIP" else ""
    return mark, shorten(point.label, _VARIANT), cost, digits(point.model_bytes / 1e6), share, outcome.standing
