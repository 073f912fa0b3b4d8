"""From a file and an emulated board to a measurement: instructions and kernels, neither time nor energy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from devices.emulated.device import EmulatedDevice
from devices.emulated.errors import CountError
from devices.emulated.qemu import HOW_TO_COUNT, find_qemu
from devices.facts import Facts
from devices.messages.model_jobs import ModelSetup
from edge.agent.client import AgentClient
from edge.agent.messages import KernelsRequest
from edge.errors import InputError
from edge.measure.instructions import count_instructions
from edge.measure.kernel_view import PROFILED_RUNTIME, KernelView
from edge.measure.measured_model import MeasuredModel, describe_model
from edge.measure.measurement import (
    SCHEMA,
    Conditions,
    DeviceRef,
    Instructions,
    Measurement,
    Memory,
    PlanRef,
    RuntimeRef,
    Validity,
)
from edge.measure.plan import Plan
from edge.measure.sparse_verdict import add_verdict
from edge.runtime.errors import RuntimeFault, RuntimeMissingError

_SHORT_DEADLINE_S, _LONG_DEADLINE_S = 60.0, 900.0
_BUDGET_S, _QUICK_BUDGET_S = 3.0, 0.0
NOTES = (
    "instructions are counted exactly, but they are not time: no caches, no memory bandwidth, no issue width",
    "latency_ms is null: emulated milliseconds mean nothing; measure on the board",
    "energy is null: an emulator draws none of the board's power",
    "memory of the process is null: it would be the emulator's",
    "inputs: random values (seed 0), [-1, 1) for floating point, the whole range of 8 bits, else zeros",
)


def profile_emulated(path: Path, device: EmulatedDevice, plan: Plan, *, on_step: Callable[[str], None]) -> Measurement:
    """Count one .tflite file's instructions on an emulated board, in all and by kernel, and see which kernels ran.

    Where QEMU cannot count, the measurement names the kernels and is invalid, with the reason. One thread runs. Of the
    plan, `threads`, `runtime`, `kernels` and `quick` (the fewest windows) count.

    Args:
        path: The file; an artifact JSON beside it adds recipe, counts and accuracy if its sha256 fits.
        device: The board.
        plan: What to do.
        on_step: Called after each of three steps.

    Raises:
        InputError: The file cannot be read, or what only a real board can show is asked for.
        RuntimeFault: The runtime is missing, refuses the model or died.
        DeviceError: The board cannot be emulated; or this QEMU cannot count, and kernels are not asked for.
    """
    _refuse_what_takes_time(plan)
    subject = describe_model(path)
    facts = device.facts(deadline_s=_SHORT_DEADLINE_S)
    on_step("facts")
    no_counts = find_qemu().why_no_counts
    if no_counts is not None and not plan.kernels:
        raise CountError(no_counts, hint=HOW_TO_COUNT)
    count = None
    if no_counts is None:
        budget_s = _QUICK_BUDGET_S if plan.quick else _BUDGET_S
        count = count_instructions(device, device.place(path), runtime=plan.runtime, budget_s=budget_s)
        on_step("instructions")
    runtime = count.runtime if count else _stated_runtime(facts)
    view = _kernels(device, device.place(path), plan, runtime)
    on_step("kernels")
    verdict = count.verdict() if count else Validity(valid=False, reasons=(f"{no_counts}: {HOW_TO_COUNT}",), unknown=())
    instructions = count.instructions() if count else None
    return add_verdict(_measurement(_Found(subject, facts, plan, runtime, instructions, view, verdict)), subject)


def _refuse_what_takes_time(plan: Plan) -> None:
    asked = {
        f"{plan.threads} threads": (plan.threads != 1, "--threads"),
        "chosen processors": (plan.cpus is not None, "--cpus"),
        "a delegate": (bool(plan.delegates), "--delegate"),
    }
    for what, (wanted, option) in asked.items():
        if wanted:
            raise InputError(
                f"{what} asked for: an emulated board only counts the instructions of one thread",
                hint=f"leave out {option}; the board itself shows it",
            )


@dataclass(frozen=True)
class _Found:
    """All that was found out, before it is put into the measurement's fields."""

    subject: MeasuredModel
    facts: Facts
    plan: Plan
    runtime: RuntimeRef
    instructions: Instructions | None
    view: KernelView
    verdict: Validity


def _stated_runtime(facts: Facts) -> RuntimeRef:
    first = next(iter(facts.runtimes), None)
    if first is None:
        raise RuntimeMissingError(f"{facts.name} has no TFLite runtime", hint=f"edge devices setup {facts.name}")
    return RuntimeRef(first.name, first.version or "unknown")


def _kernels(device: EmulatedDevice, model: str, plan: Plan, runtime: RuntimeRef) -> KernelView:
    """Return which kernels ran, without the times that the emulator's own slowness made."""
    if not plan.kernels:
        return KernelView(reason="not asked for")
    if runtime.name != PROFILED_RUNTIME:
        return KernelView(reason=f"{runtime.name} {runtime.version} has no kernel profiler, {PROFILED_RUNTIME} has one")
    try:
        with AgentClient.on(device) as agent:
            result = agent.call(KernelsRequest(ModelSetup(model), runs=1), deadline_s=_LONG_DEADLINE_S)
    except RuntimeFault as error:
        return KernelView(reason=f"kernel profile not available: {error}")
    return KernelView.from_result(result).without_times()


def _measurement(found: _Found) -> Measurement:
    subject, plan, view = found.subject, found.plan, found.view
    stated = {"emulator": found.facts.board, "cpu": found.facts.cpu.model}
    return Measurement(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        artifact=subject.ref,
        device=DeviceRef(found.facts.name, json.loads(json.dumps(found.facts.to_json()))),
        runtime=found.runtime,
        plan=PlanRef(plan.quick, plan.warmup_s, plan.windows, plan.window_s, plan.min_runs),
        threads=1,
        latency_ms=None,
        latency_all_cores_ms=None,
        windows=(),
        load_ms=None,
        first_ms=None,
        instructions=found.instructions,
        kernels=view.kernels,
        kernels_reason=view.reason,
        kernel_profile=view.profile,
        operators=view.operators,
        sparse_kernels=view.sparse(subject.pointwise),
        memory=Memory(subject.model_bytes, None, None),
        accuracy=subject.accuracy,
        energy=None,
        conditions=Conditions(stated, stated, ()),
        validity=found.verdict,
        notes=(*NOTES, *subject.notes),
    )
