"""Computes the energy of an inference from a recording and the board's schedule of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.meters.meter_contract import MeterInfo
from edge.measure.energy import uncertainty_budget as budget
from edge.measure.energy.align import Aligned, ClockEvidence, align
from edge.measure.energy.align_clock import RoundTrip, most_drift
from edge.measure.energy.energy_rules import judge
from edge.measure.energy.meter_rules import EnergyEvidence
from edge.measure.energy.power import (
    Power,
    changes,
    digest,
    drawing,
    effective_rate_hz,
    longest_still,
    power_of,
    samples_are,
)
from edge.measure.energy.schedule import Runs, Schedule, Stretch
from edge.measure.energy.value import (
    Alignment,
    Component,
    Energy,
    EnergyWindow,
    Idle,
    MeterRef,
    NotMeasured,
    Quantity,
)
from edge.measure.statistics import median
from firmware_tools.trace import Trace

Array = NDArray[np.float64]
_FEWEST_SAMPLES = 20
_IDLE_BLOCKS = 10


@dataclass(frozen=True, eq=False)
class EnergyRun:
    """The data of one energy run: the meter's side, the board's side, and what relates their clocks."""

    info: MeterInfo
    trace: Trace
    arrivals: Array
    schedule: Schedule
    before: tuple[RoundTrip, ...]
    after: tuple[RoundTrip, ...]
    trigger_asked: bool = False
    machine: str | None = None
    incomplete: str | None = None


def energy_of(run: EnergyRun, *, only: str | None = None) -> Energy | NotMeasured:
    """Align, integrate, and judge.

    Args:
        run: The recorded run.
        only: Use this method of alignment alone; by default the most certain one.
    """
    found = _energy_of(run, only)
    if isinstance(found, NotMeasured) and run.incomplete is not None:
        return NotMeasured((f"the recording ends early: {run.incomplete}", *found.reasons))
    return found


def _energy_of(run: EnergyRun, only: str | None) -> Energy | NotMeasured:
    if len(run.trace) < _FEWEST_SAMPLES:
        return NotMeasured((f"the meter gave {len(run.trace)} samples, at least {_FEWEST_SAMPLES} are needed",))
    if not run.schedule.windows:
        return NotMeasured(("the board ran no window",))
    power = power_of(run.trace, _kind(run.info), polled=_clock(run.info) == "host")
    aligned = align(ClockEvidence(
        run.schedule, run.trace, power, run.arrivals, run.before, run.after,
        meter_has_clock=_clock(run.info) == "meter", has_trigger=run.info.has_trigger,
        most_drift=most_drift(_kind(run.info)),
    ))  # fmt: skip
    chosen = next((each for each in aligned.found if only in (None, each.method)), None)
    if chosen is None:
        return NotMeasured(tuple(f"{each.method}: {each.reason}" for each in aligned.refused))
    outside = _outside(run.schedule, power, chosen)
    return outside or _Found(run, power, aligned, chosen).energy()


def _outside(schedule: Schedule, power: Power, alignment: Alignment) -> NotMeasured | None:
    for number, window in enumerate(schedule.windows, 1):
        begin, end = alignment.meter_s(window.begin_s), alignment.meter_s(window.end_s)
        if not power.covers(begin, end):
            return NotMeasured((f"the recording ({power.begin_s:.3f} to {power.end_s:.3f} s) does not hold window "
                                f"{number} ({begin:.3f} to {end:.3f} s)",))  # fmt: skip
    return None


@dataclass(frozen=True, eq=False)
class _Found:
    """An aligned run, on its way to a value."""

    run: EnergyRun
    power: Power
    aligned: Aligned
    alignment: Alignment

    def energy(self) -> Energy:
        idle, idle_uncertainty_w = self._idle()
        windows = tuple(self._window(each, idle) for each in self.run.schedule.windows)
        lines = budget.components(budget.Basis(
            self.run.trace, self.power, self.alignment, self.run.schedule.windows, windows,
            self.run.info.gain_uncertainty, self.run.info.offset_uncertainty_w, idle_uncertainty_w,
        ))  # fmt: skip
        gross_j, net_j = self._quantities(windows, lines)
        verdict = judge(self._evidence(windows, idle, _share(lines, gross_j), net_j))
        moved = self._from_begin(self.alignment)
        return Energy(
            gross_j=gross_j,
            net_j=net_j,
            mean_w=sum(each.gross_j for each in windows) / sum(each.seconds for each in self.run.schedule.windows),
            peak_w=max(each.peak_w for each in windows),
            inferences=sum(each.runs for each in windows),
            windows=windows,
            idle=idle,
            components=lines,
            meter=self._meter(),
            alignment=moved,
            refused=self.aligned.refused,
            samples=len(self.run.trace),
            lost=self.run.trace.lost,
            damaged=self.run.trace.damaged,
            trace_sha256=digest(self.run.trace),
            trace=drawing(self.power, moved),
            is_estimate=self.run.info.is_estimate,
            reasons=verdict.reasons,
            unknown=verdict.unknown,
        )

    def _quantities(
        self, windows: tuple[EnergyWindow, ...], lines: tuple[Component, ...]
    ) -> tuple[Quantity, Quantity | None]:
        """Return the medians over the windows, gross and net, with their uncertainties."""
        gross = [each.gross_j / each.runs for each in windows]
        net = [each.net_j / each.runs for each in windows if each.net_j is not None]
        of_gross = [(line.gross_j, line.degrees_of_freedom) for line in lines]
        of_net = [(line.net_j or 0.0, line.degrees_of_freedom) for line in lines]
        repeated = len(windows) > 1
        return (
            budget.quantity(median(gross), of_gross, repeated=repeated),
            budget.quantity(median(net), of_net, repeated=repeated) if net else None,
        )

    @property
    def _origin_s(self) -> float:
        return self.run.schedule.whole.begin_s

    def _from_begin(self, alignment: Alignment) -> Alignment:
        """Return the alignment of a board's clock that begins with the run."""
        at = alignment.meter_s(self._origin_s)
        return Alignment(
            alignment.method, at, alignment.drift, 0.0, alignment.uncertainty_s, alignment.drift_uncertainty,
            alignment.detail, alignment.power_uncertainty_s,
        )  # fmt: skip

    def _on_meter(self, stretch: Stretch, margin_s: float = 0.0) -> tuple[float, float]:
        begin, end = self.alignment.meter_s(stretch.begin_s), self.alignment.meter_s(stretch.end_s)
        return begin + margin_s, end - margin_s

    def _window(self, runs: Runs, idle: Idle | None) -> EnergyWindow:
        begin, end = self._on_meter(runs)
        # The mean is taken on the meter's clock and the time on the board's: the board's quartz is the better one.
        mean_w = self.power.mean_w(begin, end)
        inside = self.power.samples_within(begin, end)
        return EnergyWindow(
            begin_s=runs.begin_s - self._origin_s,
            end_s=runs.end_s - self._origin_s,
            runs=runs.count,
            gross_j=mean_w * runs.seconds,
            net_j=None if idle is None else (mean_w - self._idle_w(idle, runs)) * runs.seconds,
            mean_w=mean_w,
            peak_w=float(inside.max()) if len(inside) else mean_w,
            missing_s=self.power.missing_s(begin, end),
        )

    def _idle_w(self, idle: Idle, runs: Runs) -> float:
        """Return the idle power at a window: on the line from before to after."""
        before, after = ((each.begin_s + each.end_s) / 2 for each in self.run.schedule.idle)
        share = ((runs.begin_s + runs.end_s) / 2 - before) / (after - before)
        return idle.before_w + share * (idle.after_w - idle.before_w)

    def _idle(self) -> tuple[Idle | None, float | None]:
        """Return the idle power with its standard uncertainty: noise, and a change whose course was not recorded."""
        margin = 3 * self.alignment.uncertainty_s + 2 * self.power.step_s
        spans = [self._on_meter(each, margin) for each in self.run.schedule.idle]
        if len(spans) != 2 or not all(self.power.covers(*span) for span in spans):
            return None, None
        means, noises = zip(*(self._blocks(*span) for span in spans), strict=True)
        before, after = means
        idle = Idle(
            before_w=before,
            after_w=after,
            drift=after / before - 1 if before > 0 and after > 0 else None,
            seconds=sum(each.seconds for each in self.run.schedule.idle),
        )
        return idle, float(np.sqrt(sum(noise**2 for noise in noises) / 4 + (after - before) ** 2 / 12))

    def _blocks(self, begin: float, end: float) -> tuple[float, float]:
        """Return mean power and the standard uncertainty of it, from the means of blocks (noise is not white)."""
        edges = np.linspace(begin, end, _IDLE_BLOCKS + 1)
        means = np.diff(self.power.joules_until(edges)) / np.diff(edges)
        return float(means.mean()), float(means.std(ddof=1)) / _IDLE_BLOCKS**0.5

    def _meter(self) -> MeterRef:
        info, begin_end = self.run.info, self._on_meter(self.run.schedule.whole)
        inside = self.power.samples_within(*begin_end)
        return MeterRef(
            kind=info.kind,
            name=info.name,
            identity=info.identity,
            settings=dict(info.settings),
            nominal_rate_hz=info.nominal_rate_hz,
            effective_rate_hz=effective_rate_hz(inside, begin_end[1] - begin_end[0]),
            gain_uncertainty=info.gain_uncertainty,
            offset_uncertainty_w=info.offset_uncertainty_w,
            accuracy_source=info.accuracy_source,
            clock=info.clock,
            has_trigger=info.has_trigger,
            samples_are=samples_are(_kind(info)),
        )

    def _evidence(
        self, windows: tuple[EnergyWindow, ...], idle: Idle | None, alignment_share: float, net_j: Quantity | None
    ) -> EnergyEvidence:
        time, schedule = self.run.trace.time_s, self.run.schedule
        inside = np.zeros(len(time), dtype=np.bool_)
        for each in schedule.windows:
            low, high = np.searchsorted(time, self._on_meter(each))
            inside[low:high] = True
        readings = [self.power.samples_within(*self._on_meter(each)) for each in schedule.windows]
        return EnergyEvidence(
            meter=self._meter(),
            trace=self.run.trace,
            windows=windows,
            in_windows=inside,
            changes=tuple(map(changes, readings)),
            still=tuple(map(longest_still, readings)),
            idle=idle,
            net_uncertainty_w=self._net_uncertainty_w(net_j),
            alignment=self.alignment,
            alignment_share=alignment_share,
            refused=self.aligned.refused,
            contradictions=self.aligned.contradictions([each.begin_s for each in schedule.windows]),
            trigger_asked=self.run.trigger_asked,
            conditions=schedule.conditions,
            machine=self.run.machine,
            incomplete=self.run.incomplete,
        )

    def _net_uncertainty_w(self, net_j: Quantity | None) -> float | None:
        if net_j is None or net_j.expanded_uncertainty is None:
            return None
        return net_j.expanded_uncertainty / median([each.seconds / each.count for each in self.run.schedule.windows])


def _share(lines: tuple[Component, ...], gross: Quantity) -> float:
    """Return the share of the energy that the alignment leaves uncertain."""
    open_j = next(line.gross_j for line in lines if line.name == "alignment")
    return open_j / gross.value if gross.value > 0 else 1.0


def _kind(info: MeterInfo) -> str:
    """Return the kind of meter that made the samples: of a replay, the recorded one."""
    return str(info.settings.get("recorded_kind", info.kind))


def _clock(info: MeterInfo) -> str:
    """Return the clock that stamped the samples: of a replay, the recorded one."""
    return str(info.settings.get("recorded_clock", info.clock))
