"""Turns the samples of a latency run into a distribution, its windows and a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from devices.messages.machine_jobs import MachineSample
from edge.agent.messages import LatencyResult
from edge.measure.conditions import ConditionsSample
from edge.measure.measurement import Interval, Latency, RuntimeRef, Validity, Window
from edge.measure.plan import Plan
from edge.measure.statistics import median, median_interval, percentile, relative_spread, thin_out
from edge.measure.validity import LatencyEvidence, judge


@dataclass(frozen=True)
class LatencyRun:
    """The result of one latency job: samples by window, and the conditions before the first and after each."""

    plan: Plan
    threads: int
    runtime: RuntimeRef
    samples_ns: tuple[tuple[int, ...], ...]
    load_ms: float | None
    first_ms: float | None
    conditions: tuple[MachineSample, ...]
    base_rss_bytes: int | None
    peak_rss_bytes: int | None

    @classmethod
    def from_result(cls, result: LatencyResult, plan: Plan, threads: int) -> LatencyRun:
        """Read the result of the agent's job `latency`."""
        return cls(
            plan=plan,
            threads=threads,
            runtime=RuntimeRef(result.runtime.name, str(result.runtime.version)),
            samples_ns=result.window_samples_ns,
            load_ms=result.load_ns / 1e6,
            first_ms=result.first_ns / 1e6,
            conditions=result.conditions,
            base_rss_bytes=result.base_rss_bytes,
            peak_rss_bytes=result.peak_rss_bytes,
        )

    def windows(self) -> tuple[Window, ...]:
        """Return each window's median, runs and duration."""
        return tuple(Window(median(each) / 1e6, len(each), sum(each) / 1e9) for each in self.samples_ns if each)

    def latency(self) -> Latency:
        """Return the distribution over all windows."""
        samples_ms = [sample / 1e6 for window in self.samples_ns for sample in window]
        medians = [window.median_ms for window in self.windows()]
        span = median_interval(medians)
        return Latency(
            median=median(samples_ms),
            p90=percentile(samples_ms, 0.90),
            p99=percentile(samples_ms, 0.99),
            mean=sum(samples_ms) / len(samples_ms),
            min=min(samples_ms),
            samples=len(samples_ms),
            spread=relative_spread(medians),
            interval=None if span is None else Interval(span.low, span.high, span.confidence),
            threads=self.threads,
            values=tuple(round(each, 6) for each in thin_out(samples_ms)),
        )

    def verdict(self, machine: str | None, *, prefix: str = "") -> Validity:
        """Return whether this run is valid, and why not."""
        evidence = LatencyEvidence(
            plan=self.plan,
            windows=self.windows(),
            samples_ns=[sample for window in self.samples_ns for sample in window],
            conditions=tuple(ConditionsSample.of(each) for each in self.conditions),
            machine=machine,
        )
        return judge(evidence, prefix=prefix)
