"""Runs the agent's jobs for one model, and sums up what they timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from devices.contract import Device
from devices.messages.machine_jobs import MachineSample
from edge.agent.client import AgentClient
from edge.agent.messages import KernelsRequest, LatencyRequest, LatencyResult, SustainRequest
from edge.measure.conditions import ConditionsSample
from edge.measure.endurance import sum_up_sustained
from edge.measure.findings import Sustained
from edge.measure.kernel_names import PROFILED_RUNTIME, KernelView
from edge.measure.measurement import Interval, Latency, RuntimeRef, Validity, Window
from edge.measure.plan import Plan
from edge.measure.statistics import median, median_interval, percentile, relative_spread, thin_out
from edge.measure.validity import LatencyEvidence, judge
from edge.runtime.delegates import explain_crash
from edge.runtime.errors import CrashedError, RuntimeFault

# A window lasts until `min_runs` inferences are made, however slow the model: the deadline only ends what hangs.
_SLACK_S = 900.0


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
        """Return whether this run is valid."""
        evidence = LatencyEvidence(
            plan=self.plan,
            windows=self.windows(),
            samples_ns=[sample for window in self.samples_ns for sample in window],
            conditions=tuple(ConditionsSample.of(each) for each in self.conditions),
            machine=machine,
        )
        return judge(evidence, prefix=prefix)


@dataclass(frozen=True)
class ModelRuns:
    """The agent's jobs for one model on one device."""

    device: Device
    plan: Plan
    model: str
    on_step: Callable[[str], None]

    def time(self, agent: AgentClient, threads: int) -> LatencyRun:
        """Time the model."""
        try:
            return self._time(agent, threads)
        except CrashedError as error:
            raise explain_crash(error, self.plan.delegates) from error

    def time_alone(self, agent: AgentClient, model: str) -> LatencyRun:
        """Time another model, as this one but without delegates."""
        return replace(self, model=model, plan=replace(self.plan, delegates=())).time(agent, self.plan.threads)

    def _time(self, agent: AgentClient, threads: int) -> LatencyRun:
        plan = self.plan
        result = agent.call(
            LatencyRequest(
                plan.setup(self.model, threads=threads),
                warmup_s=plan.warmup_s,
                windows=plan.windows,
                window_s=plan.window_s,
                min_runs=plan.min_runs,
            ),
            deadline_s=_SLACK_S + 4 * (plan.warmup_s + plan.windows * plan.window_s),
            on_progress=lambda event: self.on_step(f"{event.stage}, {threads_text(threads)}"),
        )
        return LatencyRun.from_result(result, plan, threads)

    def profile_kernels(self, agent: AgentClient, run: LatencyRun) -> KernelView:
        """Run the model under the runtime's kernel profiler, if it has one."""
        plan = self.plan
        if not plan.kernels:
            return KernelView(reason="not asked for")
        if plan.delegates:
            return KernelView(reason="the runtime's kernel profiler does not reach external delegates")
        if run.runtime.name != PROFILED_RUNTIME:
            return KernelView.without_profiler(run.runtime)
        try:
            request = KernelsRequest(plan.setup(self.model), runs=plan.kernel_runs)
            result = agent.call(request, deadline_s=_SLACK_S)
        except RuntimeFault as error:
            return KernelView(reason=f"kernel profile not available: {error}")
        self.on_step("kernels")
        return KernelView.from_result(result)

    def sustain(self) -> tuple[Sustained | None, str | None]:
        """Load the board for the plan's time; an early end is only noted, since everything else is measured by then.

        Runs in a separate agent, so that a board that fails under load does not lose the other results.
        """
        plan = self.plan
        if plan.sustain_s <= 0:
            return None, None
        try:
            with AgentClient.on(self.device) as agent:
                result = agent.call(
                    SustainRequest(plan.setup(self.model), seconds=plan.sustain_s, window_s=plan.sustain_window_s()),
                    # Loading the model, and the last stretch of a slow one, which lasts for three inferences at least.
                    deadline_s=_SLACK_S + 1.5 * plan.sustain_s,
                    on_progress=lambda event: self.on_step(f"sustained load, {event.done / 60:.1f} min"),
                )
        except RuntimeFault as error:
            return None, f"sustained load ended early and is not shown: {error}"
        return sum_up_sustained(result, plan.threads), None


def threads_text(count: int) -> str:
    """Return "1 thread" or "2 threads"."""
    return "1 thread" if count == 1 else f"{count} threads"
