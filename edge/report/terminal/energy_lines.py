"""Describes an energy measurement: for the terminal, the notes and the report."""

from __future__ import annotations

from collections.abc import Iterator

from edge.measure.energy.value import Energy, Quantity
from edge.report.formatting import joule_unit, uncertainty_places
from edge.report.terminal.text_layout import wrap


def energy_summary(energy: Energy | None) -> Iterator[str]:
    """Return the lines of a terminal's summary."""
    if energy is None:
        return
    label = "energy per inference (ESTIMATE)" if energy.is_estimate else "energy per inference"
    net = "" if energy.net_j is None else f", net of idle {format_joules(energy.net_j)}"
    yield from wrap(f"{label}: {format_joules(energy.gross_j)}{net}")
    idle = "" if energy.idle is None else f", idle {(energy.idle.before_w + energy.idle.after_w) / 2:.3g} W"
    yield from wrap(
        f"power: mean {energy.mean_w:.3g} W, peak {energy.peak_w:.3g} W{idle}; {len(energy.windows)} windows, "
        f"{energy.inferences} inferences", "  ",
    )  # fmt: skip
    yield from wrap(f"meter: {describe_meter(energy)}", "  ")
    yield from wrap(f"clocks: {describe_alignment(energy)}", "  ")
    yield ""


def format_joules(quantity: Quantity) -> str:
    """Return "0.123 J +- 0.004 J (k=2.0)"; the uncertainty with two digits, the value to the same place."""
    unit, name = joule_unit([quantity.value], micro="u")
    value = quantity.value / unit
    if quantity.expanded_uncertainty is None or quantity.coverage_factor is None:
        return f"{value:.3g} {name} +- unknown"
    expanded = quantity.expanded_uncertainty / unit
    places = uncertainty_places(expanded)
    return f"{value:.{places}f} {name} +- {expanded:.{places}f} {name} (k={quantity.coverage_factor:.2g})"


def describe_meter(energy: Energy) -> str:
    """Return what the meter is, and how often its readings changed."""
    meter = energy.meter
    rate = "rate unknown" if meter.effective_rate_hz is None else f"{meter.effective_rate_hz:.3g} new readings/s"
    lost = f"{energy.lost} of {energy.lost + energy.samples} samples lost"
    return f"{meter.identity} ({meter.name}), {rate}, {lost}"


def describe_alignment(energy: Energy) -> str:
    """Return how the clocks were aligned, and how well."""
    found = energy.alignment
    return f"aligned by {found.method}, standard uncertainty {1e3 * found.uncertainty_s:.2g} ms"
