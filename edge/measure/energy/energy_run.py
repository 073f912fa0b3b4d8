"""Runs an energy measurement: a meter records in a thread of its own while the board's agent works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from converters.decode import encode
from converters.errors import WriteError
from devices.contract import Device
from devices.errors import DeviceError
from devices.messages.machine_jobs import ClockRequest
from devices.messages.protocol import ProgressEvent
from devices.meters.lookup import find_meter
from devices.meters.meter_contract import Meter, MeterInfo
from devices.meters.recorder import Recorder
from devices.meters.recording import Recording, save_recording
from edge.agent.client import AgentClient
from edge.agent.messages import EnergyRequest
from edge.errors import InputError
from edge.measure.energy.align_clock import RoundTrip
from edge.measure.energy.analyse import EnergyRun, energy_of
from edge.measure.energy.schedule import Schedule
from edge.measure.energy.value import Energy, NotMeasured
from edge.measure.plan import EnergyPlan, Plan
from edge.runtime.errors import RuntimeFault
from firmware_tools.errors import InstrumentError

# A recording is held in memory, 33 bytes a sample.
MOST_SAMPLES = 20_000_000
_SLOWEST_CHIP_S = 4.0
_IDLE_S = 5.0

OnStep = Callable[[str], None]
_SHORT_DEADLINE_S = 30.0
_SLACK_S = 900.0
_ROUND_TRIPS = 20
_SETTLE_S = 1.0


@contextmanager
def open_meter(plan: EnergyPlan) -> Iterator[Meter]:
    """Open the plan's meter and keep it open, so that its faults are found before anything is measured.

    A meter that supplies the board would switch it off if it were closed in between. An error in closing it does
    not affect what was measured.

    Raises:
        InstrumentError: There is no such meter, or it does not answer.
        InputError: It lacks what the plan requires: it is a recording, has no input for the trigger line, or takes
            more samples than fit into memory.
    """
    meter = find_meter(plan.meter).__enter__()
    try:
        check_meter(meter.info(), plan)
        yield meter
    finally:
        with suppress(InstrumentError):
            meter.__exit__(None, None, None)


def check_meter(info: MeterInfo, plan: EnergyPlan) -> None:
    """Refuse a meter that lacks what the plan requires.

    Raises:
        InputError: The meter is a recording, or has no input for the trigger line.
    """
    if info.kind == "replay":
        raise InputError(
            f"{info.name} is a recording, not a meter wired to this board",
            hint="name a meter that is wired to the board, see `edge meter list`",
        )
    if plan.trigger is not None and not info.has_trigger:
        raise InputError(
            f"{info.name} ({info.kind}) has no input for the trigger line {plan.trigger}",
            hint="leave out --energy-trigger: the clocks are aligned by a pattern of load",
        )
    check_size(info.nominal_rate_hz, Pace.for_rate(info.nominal_rate_hz, plan), plan)


def measure_energy(
    device: Device, plan: Plan, model: str, *, meter: Meter, machine: str | None, on_step: OnStep
) -> Energy | NotMeasured:
    """Measure the energy of a model's inferences with an open meter.

    A failure becomes the cause in the result, since everything else is measured by then.

    Raises:
        InputError: The meter lacks what the plan requires.
    """
    assert plan.energy is not None
    check_meter(meter.info(), plan.energy)
    try:
        run, recording = record_run(device, plan, plan.energy, model, meter=meter, machine=machine, on_step=on_step)
    except (DeviceError, InstrumentError, RuntimeFault) as error:
        return NotMeasured((str(error),), error)
    found = energy_of(run)
    try:
        if plan.energy.trace is not None:
            save_recording(plan.energy.trace, recording)
    except WriteError as error:
        return replace(found, reasons=(*found.reasons, str(error)))
    return found


def record_run(
    device: Device,
    plan: Plan,
    energy: EnergyPlan,
    model: str,
    *,
    meter: Meter,
    machine: str | None,
    on_step: OnStep,
) -> tuple[EnergyRun, Recording]:
    """Run the agent's job while an open meter records; the recording has the board's log in its notes.

    A failing meter ends the run at the board's next event. Its samples until then are saved if the plan names a file.
    """
    info = meter.info()
    pace = Pace.for_rate(info.nominal_rate_hz, energy)
    recorder = Recorder(meter)

    def on_progress(event: ProgressEvent) -> None:
        recorder.check()
        on_step(event.stage)

    try:
        with AgentClient.on(device) as agent, recorder:
            recorder.wait_for_samples(_SHORT_DEADLINE_S)
            before = round_trips(agent)
            result = agent.call(
                _request(plan, energy, pace, model),
                deadline_s=_SLACK_S + 4 * pace.seconds(energy),
                on_progress=on_progress,
            )
            after = round_trips(agent)
            time.sleep(3 * pace.chip_s)  # until the last samples have come
    except (DeviceError, InstrumentError, RuntimeFault) as error:
        _keep(energy.trace, recorder.recording(), str(error))
        raise
    recording = recorder.recording()
    told = {"board": encode(result), "round_trips_s": [[astuple(trip) for trip in each] for each in (before, after)]}
    run = EnergyRun(
        info=recording.info,  # some meters know themselves better once they have measured
        trace=recording.trace,
        arrivals=recording.arrivals,
        schedule=Schedule.from_result(result),
        before=before,
        after=after,
        trigger_asked=energy.trigger is not None,
        machine=machine,
        incomplete=recording.incomplete,
    )
    return run, replace(recording, notes=told)


def round_trips(agent: AgentClient) -> tuple[RoundTrip, ...]:
    """Read the board's clock repeatedly: the shortest round trip bounds the clocks' difference."""
    trips = []
    for _ in range(_ROUND_TRIPS):
        asked = time.monotonic()
        answer = agent.call(ClockRequest(), deadline_s=_SHORT_DEADLINE_S)
        trips.append(RoundTrip(asked, answer.monotonic_s, time.monotonic()))
    return tuple(trips)


def _keep(path: Path | None, recording: Recording, why: str) -> None:
    """Save the samples of a failed run, marked as such; an error of the disk would hide the first failure."""
    if path is not None and len(recording.trace):
        with suppress(WriteError):
            save_recording(path, replace(recording, incomplete=recording.incomplete or why))


def _request(plan: Plan, energy: EnergyPlan, pace: Pace, model: str) -> EnergyRequest:
    return EnergyRequest(
        plan.setup(model),
        idle_s=pace.idle_s,
        chip_s=pace.chip_s,
        settle_s=_SETTLE_S,
        guard_s=pace.guard_s,
        windows=energy.windows,
        window_s=energy.window_s,
        min_runs=energy.min_runs,
        trigger=energy.trigger,
    )


@dataclass(frozen=True)
class Pace:
    """Durations that depend on the meter's rate: the slower it is, the longer they are."""

    chip_s: float
    guard_s: float
    idle_s: float

    @classmethod
    def for_rate(cls, rate_hz: float | None, plan: EnergyPlan) -> Pace:
        """Return the pace for a meter's nominal rate; an unknown rate counts as 4 samples a second.

        A chip of the load code holds at least 4 samples, the inferences around a window 3, an idle stretch 20; it is
        as long as a window, at most 5 s.
        """
        step_s = 1 / rate_hz if rate_hz else 0.25
        return cls(
            chip_s=min(max(0.1, 4 * step_s), _SLOWEST_CHIP_S),
            guard_s=max(0.3, 3 * step_s),
            idle_s=max(min(plan.window_s, _IDLE_S), 20 * step_s),
        )

    def seconds(self, plan: EnergyPlan) -> float:
        """Return the run's approximate duration, for a model whose windows end on time."""
        codes, idle = 2 * 16 * self.chip_s, 2 * (self.idle_s + 1)
        return codes + idle + plan.windows * (plan.window_s + 2 * self.guard_s + 0.3)


def check_size(rate_hz: float | None, pace: Pace, plan: EnergyPlan) -> None:
    """Refuse a run whose recording would not fit into memory."""
    samples = (rate_hz or 0) * pace.seconds(plan)
    if samples > MOST_SAMPLES:
        raise InputError(
            f"the run would take {pace.seconds(plan):.0f} s, {samples:.2g} samples of this meter; at most "
            f"{MOST_SAMPLES:.2g} are held in memory",
            hint="fewer or shorter windows (--energy-windows, --energy-window-seconds)",
        )
