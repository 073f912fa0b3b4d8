"""From a file, a device and a plan to a measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from converters.decode import encode
from devices.contract import Device
from devices.emulated.device import EmulatedDevice
from devices.facts import Facts
from devices.messages.machine_jobs import ConditionsRequest, MachineSample
from devices.meters.meter_contract import Meter
from edge.agent.client import AgentClient
from edge.agent.messages import KernelsRequest, LatencyRequest
from edge.errors import EdgeError, InputError
from edge.measure.accelerated import Accelerated
from edge.measure.cooling import DEADLINE
from edge.measure.cpu_part import accelerated, accelerator_notes
from edge.measure.emulated import profile_emulated
from edge.measure.endurance import CoolDown, Sustained
from edge.measure.energy.rules import energy_verdict
from edge.measure.energy.run import measured_energy, opened
from edge.measure.energy.run import steps as energy_steps
from edge.measure.energy.value import Energy, NotMeasured
from edge.measure.kernel_view import PROFILED_RUNTIME, KernelView
from edge.measure.latency_run import LatencyRun
from edge.measure.load import cooled, sustained
from edge.measure.measured_model import MeasuredModel, describe_model
from edge.measure.measurement import SCHEMA, Conditions, DeviceRef, Measurement, Memory, PlanRef
from edge.measure.plan import Plan
from edge.measure.sparse_verdict import add_verdict
from edge.measure.validity import join_verdicts
from edge.runtime.delegates import explain_crash
from edge.runtime.errors import CrashedError, RuntimeFault

OnStep = Callable[[str], None]
_SHORT_DEADLINE_S = 30.0
# A window lasts until `min_runs` inferences are made, however slow the model: the deadline only ends what hangs.
_SLACK_S = 900.0


class EnergyNotMeasured(EdgeError):  # noqa: N818  (what happened, not a kind of error)
    """The energy was asked for and could not be measured; all else was, and is in `measurement`."""

    def __init__(self, cause: Exception, measurement: Measurement) -> None:
        hint = getattr(cause, "hint", None) or "all else was measured; run it again for the energy"
        super().__init__(f"the energy was not measured: {cause}", hint=hint)
        self.exit_code = getattr(cause, "exit_code", EdgeError.exit_code)
        self.measurement = measurement


def profile(
    path: Path,
    device: Device,
    plan: Plan,
    *,
    meter: Meter | None = None,
    on_step: OnStep | None = None,
    on_wait: OnStep | None = None,
) -> Measurement:
    """Measure one .tflite file on a device: latency with the plan's threads, with all cores, kernels, memory.

    On an emulated board: instructions and kernels, see `profile_emulated`.

    Runs in a process of the device's agent; a crash of native code there is an error here. A kernel profile that
    cannot be had, for whatever reason, is a reason in the result and loses nothing else.

    Args:
        path: The file; an artifact JSON beside it adds recipe, counts and accuracy if its sha256 fits.
        device: Where to run it.
        plan: For how long, with how many threads.
        meter: The plan's meter where it is open already; else it is opened for this measurement.
        on_step: Called after each of `steps(plan)` steps with what was done.
        on_wait: Called while the board is waited for to cool.

    Raises:
        InputError: The file cannot be read.
        RuntimeFault: The runtime is missing, refuses the model or died.
        DeviceError: The device does not answer.
        EnergyNotMeasured: The power meter or the board failed in the energy run; has the measurement of all else.
    """
    if isinstance(device, EmulatedDevice):
        if plan.sustain_s > 0:
            raise InputError(
                f"{device.name} is emulated: it has no heat and no clock to watch under sustained load",
                hint="leave out --sustain, or measure on a real board",
            )
        if plan.energy is not None:
            raise InputError(
                f"{device.name} is emulated: it draws none of the board's power",
                hint="leave out --energy, or measure on a real board",
            )
        return profile_emulated(path, device, plan, on_step=on_step or _silent)
    subject = describe_model(path)
    with opened(plan.energy) if meter is None else nullcontext(meter) as held:
        found = _found(path, subject, device, plan, meter=held, on_step=on_step or _silent, on_wait=on_wait or _silent)
    measurement = add_verdict(_measurement(found), subject)
    if isinstance(found.energy, NotMeasured) and found.energy.cause is not None:
        raise EnergyNotMeasured(found.energy.cause, measurement) from found.energy.cause
    return measurement


def _found(
    path: Path,
    subject: MeasuredModel,
    device: Device,
    plan: Plan,
    *,
    meter: Meter | None,
    on_step: OnStep,
    on_wait: OnStep,
) -> _Found:
    """Find out all there is, part after part."""
    facts = device.facts(deadline_s=_SHORT_DEADLINE_S)
    session = _Session(device, plan, device.place(path), on_step)
    with AgentClient.on(device) as agent:
        waited = cooled(agent, plan, device.kind, on_wait)
        before = agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)
        run = session.latency(agent, plan.threads)
        cores = _all_cores(plan, facts)
        both = (run,) if cores is None else (run, session.latency(agent, cores))
        view = session.kernels(agent, run)
        parts = accelerated(path, run, device, facts, plan=plan, timed=lambda model: session.alone(agent, model))
    energy = measured_energy(
        device, plan, session.model, meter=meter, machine=facts.cpu.architecture, on_step=session.on_step
    )
    loaded, note = sustained(device, plan, session.model, session.on_step)
    with AgentClient.on(device) as agent:
        after = agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)
    return _Found(subject, facts, plan, both, view, before, after, waited, loaded, note, energy, parts)


def steps(plan: Plan) -> int:
    """Return how many steps `profile` reports at most for one file."""
    stretches = math.ceil(plan.sustain_s / plan.sustain_window_s())
    latencies = 1 + (plan.all_cores and plan.cpus is None) + bool(plan.delegates)
    return (plan.windows + 1) * latencies + plan.kernels + stretches + energy_steps(plan.energy)


@dataclass(frozen=True)
class _Session:
    """The jobs of one measurement, all for one model on one device."""

    device: Device
    plan: Plan
    model: str
    on_step: OnStep

    def alone(self, agent: AgentClient, model: str) -> LatencyRun:
        """Time another model, as this one but without delegates."""
        return replace(self, model=model, plan=replace(self.plan, delegates=())).latency(agent, self.plan.threads)

    def latency(self, agent: AgentClient, threads: int) -> LatencyRun:
        try:
            return self._latency(agent, threads)
        except CrashedError as error:
            raise explain_crash(error, self.plan.delegates) from error

    def _latency(self, agent: AgentClient, threads: int) -> LatencyRun:
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
            on_progress=lambda event: self.on_step(f"{event.stage}, {_threads(threads)}"),
        )
        return LatencyRun.from_result(result, plan, threads)

    def kernels(self, agent: AgentClient, run: LatencyRun) -> KernelView:
        plan, timed = self.plan, run.runtime
        if not plan.kernels:
            return KernelView(reason="not asked for")
        if plan.delegates:
            return KernelView(reason="the runtime's kernel profiler does not reach external delegates")
        if timed.name != PROFILED_RUNTIME:
            return KernelView(reason=f"{timed.name} {timed.version} has no kernel profiler, {PROFILED_RUNTIME} has one")
        try:
            request = KernelsRequest(plan.setup(self.model), runs=plan.kernel_runs)
            result = agent.call(request, deadline_s=_SLACK_S)
        except RuntimeFault as error:
            return KernelView(reason=f"kernel profile not available: {error}")
        self.on_step("kernels")
        return KernelView.from_result(result)


@dataclass(frozen=True)
class _Found:
    """All that was found out, before it is put into the measurement's fields."""

    subject: MeasuredModel
    facts: Facts
    plan: Plan
    runs: tuple[LatencyRun, ...]
    view: KernelView
    before: MachineSample
    after: MachineSample
    waited: CoolDown | None
    loaded: Sustained | None
    note: str | None
    energy: Energy | NotMeasured | None = None
    parts: Accelerated | None = None


def _measurement(found: _Found) -> Measurement:
    subject, plan, view, run = found.subject, found.plan, found.view, found.runs[0]
    return Measurement(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        artifact=subject.ref,
        device=DeviceRef(found.facts.name, json.loads(json.dumps(found.facts.to_json()))),
        runtime=run.runtime,
        plan=PlanRef(plan.quick, plan.warmup_s, plan.windows, plan.window_s, plan.min_runs, plan.cpus),
        threads=run.threads,
        latency_ms=run.latency(),
        latency_all_cores_ms=found.runs[1].latency() if len(found.runs) > 1 else None,
        windows=run.windows(),
        load_ms=run.load_ms,
        first_ms=run.first_ms,
        instructions=None,
        kernels=view.kernels,
        kernels_reason=view.reason,
        kernel_profile=view.profile,
        operators=view.operators,
        sparse_kernels=view.sparse(subject.pointwise),
        memory=Memory(subject.model_bytes, run.base_rss_bytes, run.peak_rss_bytes),
        accuracy=subject.accuracy,
        energy=found.energy if isinstance(found.energy, Energy) else None,
        conditions=Conditions(
            encode(found.before),
            encode(found.after),
            tuple(encode(each) for run in found.runs for each in run.conditions),
        ),
        validity=join_verdicts(
            [
                *(each.verdict(found.facts.cpu.architecture, prefix=_prefix(each, run)) for each in found.runs),
                energy_verdict(found.energy, run.windows()),
            ]
        ),
        notes=_notes(found),
        cool_down=found.waited,
        sustained=found.loaded,
        accelerated=found.parts,
    )


def _notes(found: _Found) -> tuple[str, ...]:
    run, cores = found.runs[0], found.facts.cpu.usable_cores
    samples = sum(len(window) for window in run.samples_ns)
    governor = found.after.governor
    return tuple(
        note
        for wanted, note in (
            (True, "inputs: random values (seed 0), [-1, 1) for floating point, the whole range of 8 bits, else zeros"),
            (found.plan.quick, "quick plan: short windows, for a first look; measure without --quick before deciding"),
            (samples < 100, f"p99 is the largest of {samples} samples: fewer than 100 hold no 99th percentile"),
            (governor not in (None, "performance"), f"governor {governor}: pinning it to performance lessens noise"),
            (cores is not None and run.threads > cores, f"{run.threads} threads on {cores} usable cores"),
            *_board_notes(found),
            *accelerator_notes(found.facts, found.plan),
        )
        if wanted
    ) + found.subject.notes  # fmt: skip


def _board_notes(found: _Found) -> tuple[tuple[bool, str], ...]:
    plan, waited = found.plan, found.waited
    cpus = plan.cpus or ()
    earlier = found.before.throttled.since_boot if found.before.throttled else ()
    wanted = plan.longest_wait_s(found.facts.kind) > 0
    return (
        (bool(cpus), f"ran on processor{'s' if len(cpus) > 1 else ''} {', '.join(map(str, cpus))} only"),
        (len(set(cpus)) < found.runs[0].threads and bool(cpus), "more threads than processors were chosen"),
        (wanted and waited is None, "not waited for cooling: the device states no temperature"),
        (waited is not None and waited.ended_by == DEADLINE,
         "the board had not cooled when the longest wait was over; give it longer (--cool-wait)"),
        (bool(earlier), f"before this run, since boot, the firmware had reported {', '.join(earlier)}: "
                        "check power supply and cooling"),
        (found.note is not None, found.note or ""),
    )  # fmt: skip


def _all_cores(plan: Plan, facts: Facts) -> int | None:
    cores = facts.cpu.usable_cores or facts.cpu.cores
    wanted = plan.all_cores and plan.cpus is None
    return cores if wanted and cores is not None and cores > 1 and cores != plan.threads else None


def _prefix(run: LatencyRun, first: LatencyRun) -> str:
    return "" if run is first else f"all cores ({_threads(run.threads)}): "


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _silent(note: str) -> None:
    """Report nothing."""
