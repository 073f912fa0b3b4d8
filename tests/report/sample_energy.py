"""An energy to report on, made by hand."""

from __future__ import annotations

import math

from edge.measure.energy.value import (
    Alignment,
    Component,
    Drawing,
    Energy,
    EnergyWindow,
    Idle,
    MeterRef,
    Quantity,
    RefusedAlignment,
)

IDLE_W, BUSY_W, LATENCY_S = 2.4, 4.1, 0.025


def sample_energy(*, factor: float = 1.0, reasons: tuple[str, ...] = (), is_estimate: bool = False) -> Energy:
    """Return five windows of 10 s between stretches of idle; `factor` makes each inference longer."""
    latency_s, runs = LATENCY_S * factor, round(10 / (LATENCY_S * factor))
    windows = tuple(
        EnergyWindow(
            begin_s=7 + 11 * index, end_s=17 + 11 * index, runs=runs, gross_j=BUSY_W * 10,
            net_j=(BUSY_W - IDLE_W) * 10, mean_w=BUSY_W, peak_w=4.9, missing_s=0.0,
        )
        for index in range(5)
    )  # fmt: skip
    gross_j, net_j = BUSY_W * latency_s, (BUSY_W - IDLE_W) * latency_s
    lines = (
        Component("meter gain", "B", 0.003 * gross_j, 0.003 * net_j, None, "0.3 % of the energy"),
        Component("repeatability", "A", 0.001 * gross_j, 0.002 * net_j, 4, "scatter of 5 windows"),
    )
    return Energy(
        gross_j=_quantity(gross_j, [line.gross_j for line in lines]),
        net_j=_quantity(net_j, [line.net_j for line in lines]),
        mean_w=BUSY_W,
        peak_w=4.9,
        inferences=5 * runs,
        windows=windows,
        idle=Idle(before_w=IDLE_W, after_w=2.42, drift=0.0083, seconds=10.0),
        components=lines,
        meter=MeterRef(
            "edge",
            "bench",
            "edge power meter, INA226",
            {},
            213.0,
            201.0,
            0.003,
            0.001,
            "data sheet",
            "meter",
            True,
            "averages since the sample before",
        ),
        alignment=Alignment("load code", 12.0, 1e-4, 0.0, 2.6e-3, 1e-5, "correlation 0.98 before and 0.97 after", 5e-4),
        refused=(RefusedAlignment("trigger edges", "no trigger line was named"),),
        samples=14000,
        lost=3,
        damaged=0,
        trace_sha256="ab" * 32,
        trace=_drawing(),
        is_estimate=is_estimate,
        reasons=reasons,
        unknown=(),
    )


def _quantity(value, parts):
    standard = math.sqrt(sum(part**2 for part in parts))
    return Quantity(value, standard, 2.05 * standard, 2.05, 50.0)


def _drawing():
    times = [index * 0.035 for index in range(2000)]
    means = [BUSY_W if 7 <= time < 61 else IDLE_W for time in times]
    return Drawing(
        time_s=tuple(times),
        min_w=tuple(mean - 0.1 for mean in means),
        max_w=tuple(mean + 0.2 for mean in means),
        mean_w=tuple(means),
    )
