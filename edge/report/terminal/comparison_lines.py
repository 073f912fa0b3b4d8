"""A comparison as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from edge.measure.compare import ComparisonResult, KernelChange, ModelComparison, QuantityChange
from edge.report.formatting import count_of, digits, file_size
from edge.report.terminal.text_layout import shorten, table, wrap

_KERNELS, _NAME = 6, 44


def comparison_summary(outcome: ComparisonResult) -> str:
    """Return each model's verdict with its proof, then what changed beside it."""
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
