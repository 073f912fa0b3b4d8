"""Splits the latency of an inference through external delegates into first run, delegate and CPU.

The runtime does not report what a delegate did, nor on which hardware. So the CPU's operators are extracted from a
compiled file, timed alone with the same runtime and threads, and subtracted from the total.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.measure.findings import Accelerated, CpuPart, DelegateUsed

if TYPE_CHECKING:
    from devices.contract import Device
    from devices.facts import Facts
    from edge.measure.model_runs import LatencyRun
    from edge.measure.plan import Plan

SUBTRACTED = (
    "the operators left to the CPU were timed alone, as a graph of their own with the same runtime and threads, and "
    "subtracted from the whole; moving tensors to and from the delegate counts as the delegate's"
)
ALL_TAKEN = "all operators of the file are the delegate's; the interpreter's own time counts as the delegate's"
NOT_KNOWN = "not known: the file is not compiled, and the runtime does not say which operators the delegate took"
WITHIN_NOISE = "not known: the CPU's operators alone took as long as the whole inference, or longer"


@dataclass(frozen=True)
class DelegateTimes:
    """The timings of a model through delegates."""

    first_ms: float | None
    steady_ms: float


def sum_up_parts(
    times: DelegateTimes,
    cpu: CpuPart | None,
    *,
    delegates: tuple[DelegateUsed, ...],
    compiled_operators: int,
    attached: tuple[str, ...],
) -> Accelerated:
    """Split the latency of an inference as far as the timings allow."""
    delegate_ms, method = _delegate_ms(times.steady_ms, cpu, compiled_operators)
    return Accelerated(
        delegates=delegates,
        compiled_operators=compiled_operators,
        first_ms=times.first_ms,
        steady_ms=times.steady_ms,
        once_ms=_once_ms(times),
        cpu=cpu,
        delegate_ms=delegate_ms,
        delegate_share=None if delegate_ms is None or not times.steady_ms else delegate_ms / times.steady_ms,
        method=method,
        attached=attached,
    )


def _once_ms(times: DelegateTimes) -> float | None:
    if times.first_ms is None or times.first_ms < times.steady_ms:
        return None
    return times.first_ms - times.steady_ms


def _delegate_ms(steady_ms: float, cpu: CpuPart | None, compiled_operators: int) -> tuple[float | None, str]:
    if not compiled_operators:
        return None, NOT_KNOWN
    if cpu is None:
        return steady_ms, ALL_TAKEN
    if cpu.median_ms >= steady_ms:
        return None, WITHIN_NOISE
    return steady_ms - cpu.median_ms, SUBTRACTED


@dataclass(frozen=True)
class CpuOperators:
    """The operators that run on the CPU, as names and as a file, and the number of compiled ones."""

    compiled_operators: int
    operators: tuple[str, ...]
    data: bytes | None


def find_cpu_operators(path: Path) -> CpuOperators:
    """Return the operators that the Edge TPU's delegate leaves to the CPU; None for an uncompiled file."""
    from converters.errors import ConverterError
    from converters.segments.split import cpu_part
    from converters.tflite.values import EDGE_TPU_OPERATOR
    from edge.runtime.verified_model import verify_file

    verified = verify_file(path)
    if EDGE_TPU_OPERATOR not in verified.custom:
        return CpuOperators(0, (), None)
    try:
        found = cpu_part(verified.model, EDGE_TPU_OPERATOR)
    except ConverterError:
        return CpuOperators(verified.operators, (), None)
    if found is None:
        return CpuOperators(verified.operators, (), None)
    data, operators = found
    return CpuOperators(verified.operators - len(operators), tuple(each.name for each in operators), data)


def split_latency(
    path: Path, run: LatencyRun, device: Device, facts: Facts, *, plan: Plan, time: Callable[[str], LatencyRun]
) -> Accelerated | None:
    """Return the parts of an inference through the plan's delegates; None where there are none.

    Args:
        path: The model.
        run: Its latency, through the delegates.
        device: Where it ran.
        facts: The device's facts.
        plan: Its delegates are used.
        time: Times another file on the device, by its path there, without delegates.
    """
    if not plan.delegates:
        return None
    from devices.accelerators import describe_accelerators

    latency = run.latency()
    left = find_cpu_operators(path)
    return sum_up_parts(
        DelegateTimes(run.first_ms, latency.median),
        _time_cpu_part(left, path, device, time),
        delegates=tuple(
            DelegateUsed(each.library, ";".join(f"{key}={text}" for key, text in each.options.items()))
            for each in plan.delegates
        ),
        compiled_operators=left.compiled_operators,
        attached=tuple(describe_accelerators(facts.coral)) if facts.coral and facts.coral.is_attached else (),
    )


def accelerator_notes(facts: Facts, plan: Plan) -> tuple[tuple[bool, str], ...]:
    """Return notes on an inference through delegates, each with whether it applies."""
    if not plan.delegates:
        return ()
    from devices.accelerators import USB3_MBIT_PER_S

    coral = facts.coral
    sticks = coral.sticks if coral else ()
    slow = [each for each in sticks if each.link_mbit_s is not None and each.link_mbit_s < USB3_MBIT_PER_S]
    speeds = ", ".join(f"{each.link_mbit_s:g} Mbit/s" for each in slow)
    return (
        (not (coral and coral.is_attached),
         "the device reports no Edge TPU: the latency through the delegate may not be that of one"),
        (bool(slow), f"a Coral stick is on USB 2 ({speeds}): on USB 3, parameters and tensors move about ten "
                     "times as fast"),
        (bool(sticks), "a Coral stick reports neither temperature nor clock: whether it throttled is unknown"),
    )  # fmt: skip


def _time_cpu_part(left: CpuOperators, path: Path, device: Device, time: Callable[[str], LatencyRun]) -> CpuPart | None:
    if left.data is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edge-cpu-part-") as folder:
        file = Path(folder, f"{path.stem}-cpu.tflite")
        file.write_bytes(left.data)
        found = time(device.place(file)).latency()
    return CpuPart(left.operators, found.median, found.spread)
