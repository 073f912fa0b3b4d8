"""Renders the parts of an inference through delegates."""

from __future__ import annotations

from collections.abc import Iterator

from edge.measure.findings import Accelerated
from edge.measure.measurement import Measurement
from edge.report.formatting import digits
from edge.report.terminal.text_layout import wrap


def delegate_summary(measurement: Measurement) -> Iterator[str]:
    """Yield the lines; none where no delegate was used."""
    found = measurement.accelerated
    if found is None:
        return
    yield from wrap(f"delegates: {describe_delegates(found)}")
    yield from wrap(f"{describe_first_inference(found)}; later ones {digits(found.steady_ms)} ms", "  ")
    if found.delegate_ms is not None and found.delegate_share is not None:
        yield f"  delegate's part {digits(found.delegate_ms)} ms ({found.delegate_share:.1%})"
    if found.cpu is not None:
        names = ", ".join(found.cpu.operators)
        yield from wrap(f"CPU's part alone {digits(found.cpu.median_ms)} ms: {names}", "  ")
    yield from wrap(f"parts: {found.method}", "  ")
    for each in found.attached:
        yield from wrap(f"attached: {each}", "  ")
    yield ""


def describe_delegates(found: Accelerated) -> str:
    """Return the libraries with their options."""
    return ", ".join(f"{each.library} {each.options}".strip() for each in found.delegates)


def describe_first_inference(found: Accelerated) -> str:
    """Return what the first inference took, and how much of it only once."""
    once = "" if found.once_ms is None else f", {digits(found.once_ms)} ms of it only once"
    return f"first inference {digits(found.first_ms)} ms{once}"
