"""Timing a model through delegates: what a compiled file leaves to the CPU, alone; and what the device says of TPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ConverterError
from converters.segments.split import cpu_part
from converters.tflite.values import EDGE_TPU_OPERATOR
from devices.accelerators import USB3_MBIT_PER_S, describe_accelerators
from devices.contract import Device
from devices.facts import Facts
from edge.measure.accelerated import Accelerated, CpuPart, DelegateTimes, DelegateUsed, accelerated_of
from edge.measure.latency_run import LatencyRun
from edge.measure.plan import Plan
from edge.runtime.verified_model import verify_file

Timed = Callable[[str], LatencyRun]


@dataclass(frozen=True)
class Left:
    """What is not the delegate's: the compiled operators counted, the others' names, and the others as a file."""

    compiled_operators: int
    operators: tuple[str, ...]
    data: bytes | None


def left_to_the_cpu(path: Path) -> Left:
    """Read from a file which operators no delegate for the Edge TPU takes; nothing is known of an uncompiled one."""
    verified = verify_file(path)
    if EDGE_TPU_OPERATOR not in verified.custom:
        return Left(0, (), None)
    try:
        found = cpu_part(verified.model, EDGE_TPU_OPERATOR)
    except ConverterError:
        return Left(verified.operators, (), None)
    if found is None:
        return Left(verified.operators, (), None)
    data, operators = found
    return Left(verified.operators - len(operators), tuple(each.name for each in operators), data)


def accelerated(
    path: Path, run: LatencyRun, device: Device, facts: Facts, *, plan: Plan, timed: Timed
) -> Accelerated | None:
    """Return the parts of an inference through the plan's delegates; None where there are none.

    Args:
        path: The model.
        run: Its latency, through the delegates.
        device: Where it ran.
        facts: What the device is.
        plan: With the delegates.
        timed: Times another file on the device, by its path there, without delegates.
    """
    if not plan.delegates:
        return None
    latency = run.latency()
    left = left_to_the_cpu(path)
    return accelerated_of(
        DelegateTimes(run.first_ms, latency.median),
        _timed(left, path, device, timed),
        delegates=tuple(
            DelegateUsed(each.library, ";".join(f"{key}={text}" for key, text in each.options.items()))
            for each in plan.delegates
        ),
        compiled_operators=left.compiled_operators,
        attached=tuple(describe_accelerators(facts.coral)) if facts.coral and facts.coral.is_attached else (),
    )


def accelerator_notes(facts: Facts, plan: Plan) -> tuple[tuple[bool, str], ...]:
    """Return what a reader must know of an inference through delegates: wanted or not, and the note."""
    coral, used = facts.coral, bool(plan.delegates)
    sticks = coral.sticks if coral else ()
    slow = [each for each in sticks if each.link_mbit_s is not None and each.link_mbit_s < USB3_MBIT_PER_S]
    speeds = ", ".join(f"{each.link_mbit_s:g} Mbit/s" for each in slow)
    return (
        (used and not (coral and coral.is_attached),
         "the device states no Edge TPU: what ran through the delegate says nothing about one"),
        (used and bool(slow), f"a Coral stick is on USB 2 ({speeds}): on USB 3, parameters and tensors move about ten "
                              "times as fast"),
        (used and bool(sticks), "a Coral stick states no temperature and no clock: whether it throttled is not known"),
    )  # fmt: skip


def _timed(left: Left, path: Path, device: Device, timed: Timed) -> CpuPart | None:
    if left.data is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edge-cpu-part-") as folder:
        file = Path(folder, f"{path.stem}-cpu.tflite")
        file.write_bytes(left.data)
        found = timed(device.place(file)).latency()
    return CpuPart(left.operators, found.median, found.spread)
