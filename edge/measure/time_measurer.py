"""Measures by time: latency, kernels, energy, heat and memory of models on a device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from converters.decode import encode
from devices.contract import Device
from devices.facts import Facts
from devices.messages.machine_jobs import ConditionsRequest, MachineSample
from devices.registry import KINDS
from edge.agent.client import AgentClient
from edge.measure.accelerated import accelerator_notes, split_latency
from edge.measure.assembly import Observation
from edge.measure.conditions import ConditionsSample
from edge.measure.endurance import DEADLINE, Cooling, cool_down
from edge.measure.energy.value import Energy, NotMeasured
from edge.measure.findings import Accelerated, CoolDown, Sustained
from edge.measure.kernel_names import KernelView
from edge.measure.measured_model import MeasuredModel
from edge.measure.measurement import Conditions, Validity
from edge.measure.model_runs import LatencyRun, ModelRuns, threads_text
from edge.measure.plan import Plan
from edge.measure.validity import join_verdicts

if TYPE_CHECKING:
    from devices.meters.meter_contract import Meter

_SHORT_DEADLINE_S = 30.0


@dataclass
class TimeMeasurer:
    """Measures models on a device, one after the other.

    Each runs in a process of the device's agent; a crash of native code there is an error here. A missing kernel
    profile becomes a reason in the result and affects nothing else.

    A power meter stays open from the first model to the last: one that supplies the board would switch it off between
    two.
    """

    device: Device
    plan: Plan
    on_step: Callable[[str], None]
    on_wait: Callable[[str], None]
    _meter: Meter | None = field(default=None, init=False)
    _open: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> TimeMeasurer:
        """Open the plan's power meter, if there is one.

        Raises:
            InstrumentError: There is no such meter, or it does not answer.
            InputError: The meter cannot do what the plan asks for.
        """
        if self.plan.energy is not None:
            from edge.measure.energy.energy_run import open_meter

            self._meter = self._open.enter_context(open_meter(self.plan.energy))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def observe(self, model: MeasuredModel) -> Observation:
        """Measure one model: latency with the plan's threads and with all cores, kernels, memory, and whatever
        else the plan requires.

        Raises:
            RuntimeFault: The runtime is missing, refuses the model or died.
            DeviceError: The device does not answer.
        """
        device, plan = self.device, self.plan
        facts = device.facts(deadline_s=_SHORT_DEADLINE_S)
        jobs = ModelRuns(device, plan, device.place(model.path), self.on_step)
        with AgentClient.on(device) as agent:
            cooled = self._wait_until_cool(agent)
            before = agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)
            run = jobs.time(agent, plan.threads)
            cores = _all_cores(plan, facts)
            runs = (run,) if cores is None else (run, jobs.time(agent, cores))
            kernels = jobs.profile_kernels(agent, run)
            alone = partial(jobs.time_alone, agent)
            parts = split_latency(model.path, run, device, facts, plan=plan, time=alone)
        energy = self._measure_energy(jobs.model, facts)
        sustained, note = jobs.sustain()
        with AgentClient.on(device) as agent:
            after = agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)
        return _Timed(facts, plan, runs, kernels, before, after, cooled, sustained, note, energy, parts).observation()

    def _wait_until_cool(self, agent: AgentClient) -> CoolDown | None:
        """Wait until the board is cool, as long as the plan allows; None without a wait."""
        longest_s = self.plan.longest_wait_s(cools=KINDS[self.device.kind].cools)
        if longest_s <= 0:
            return None
        return cool_down(
            lambda: ConditionsSample.of(agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)).temperature_c,
            Cooling(limit_c=self.plan.cool_below_c, longest_s=longest_s, interval_s=min(2.0, longest_s / 10)),
            on_wait=lambda degrees: self.on_wait(f"cooling, {degrees:.0f} C"),
        )

    def _measure_energy(self, model: str, facts: Facts) -> Energy | NotMeasured | None:
        if self._meter is None:
            return None
        from edge.measure.energy.energy_run import measure_energy

        machine = facts.cpu.architecture
        return measure_energy(self.device, self.plan, model, meter=self._meter, machine=machine, on_step=self.on_step)


@dataclass(frozen=True)
class _Timed:
    """The results of all jobs."""

    facts: Facts
    plan: Plan
    runs: tuple[LatencyRun, ...]
    kernels: KernelView
    before: MachineSample
    after: MachineSample
    cooled: CoolDown | None
    sustained: Sustained | None
    note: str | None
    energy: Energy | NotMeasured | None
    parts: Accelerated | None

    def observation(self) -> Observation:
        """Return them as one value, judged."""
        run = self.runs[0]
        return Observation(
            facts=self.facts,
            runtime=run.runtime,
            kernels=self.kernels,
            conditions=Conditions(
                encode(self.before),
                encode(self.after),
                tuple(encode(each) for run in self.runs for each in run.conditions),
            ),
            validity=self._verdict(),
            notes=self._notes(),
            threads=run.threads,
            latency=run.latency(),
            latency_all_cores=self.runs[1].latency() if len(self.runs) > 1 else None,
            windows=run.windows(),
            load_ms=run.load_ms,
            first_ms=run.first_ms,
            base_rss_bytes=run.base_rss_bytes,
            peak_rss_bytes=run.peak_rss_bytes,
            energy=self.energy,
            cool_down=self.cooled,
            sustained=self.sustained,
            accelerated=self.parts,
        )

    def _verdict(self) -> Validity:
        prefixes = ("", *(f"all cores ({threads_text(each.threads)}): " for each in self.runs[1:]))
        machine = self.facts.cpu.architecture
        verdicts = [run.verdict(machine, prefix=prefix) for run, prefix in zip(self.runs, prefixes, strict=True)]
        if self.energy is not None:
            from edge.measure.energy.energy_rules import energy_verdict

            verdicts.append(energy_verdict(self.energy, self.runs[0].windows()))
        return join_verdicts(verdicts)

    def _notes(self) -> tuple[str, ...]:
        run, cores = self.runs[0], self.facts.cpu.usable_cores
        samples = sum(len(window) for window in run.samples_ns)
        governor = self.after.governor
        notes = (
            (True, "inputs: random values (seed 0), [-1, 1) for floating point, the whole range of 8 bits, else zeros"),
            (self.plan.quick, "quick plan: short windows, for a first look; measure without --quick before deciding"),
            (samples < 100, f"p99 is the largest of {samples} samples: fewer than 100 hold no 99th percentile"),
            (governor not in (None, "performance"), f"governor {governor}: pinning it to performance lessens noise"),
            (cores is not None and run.threads > cores, f"{run.threads} threads on {cores} usable cores"),
            *self._board_notes(),
            *accelerator_notes(self.facts, self.plan),
        )
        return tuple(note for wanted, note in notes if wanted)

    def _board_notes(self) -> tuple[tuple[bool, str], ...]:
        plan, cooled = self.plan, self.cooled
        cpus = plan.cpus or ()
        earlier = self.before.throttled.since_boot if self.before.throttled else ()
        wanted = plan.longest_wait_s(cools=KINDS[self.facts.kind].cools) > 0
        return (
            (bool(cpus), f"ran on processor{'s' if len(cpus) > 1 else ''} {', '.join(map(str, cpus))} only"),
            (len(set(cpus)) < self.runs[0].threads and bool(cpus), "more threads than processors were chosen"),
            (wanted and cooled is None, "no wait for cooling: the device reports no temperature"),
            (cooled is not None and cooled.ended_by == DEADLINE,
             "the board had not cooled when the longest wait was over; give it longer (--cool-wait)"),
            (bool(earlier), f"before this run, since boot, the firmware had reported {', '.join(earlier)}: "
                            "check power supply and cooling"),
            (self.note is not None, self.note or ""),
        )  # fmt: skip


def _all_cores(plan: Plan, facts: Facts) -> int | None:
    cores = facts.cpu.usable_cores or facts.cpu.cores
    wanted = plan.all_cores and plan.cpus is None
    return cores if wanted and cores is not None and cores > 1 and cores != plan.threads else None
