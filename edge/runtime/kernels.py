"""Lists the kernels that ran in an inference, with their times, using LiteRT's profiler in the stock wheel."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from edge.runtime.litert_c import Event, UnavailableError, open_session, runtime_version

# Bits of TFLite's Profiler::EventType: an operator of the interpreter; operators inside a delegate.
OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR = 2, 4, 8
# Times from here on are no times: the runtime closes some events with a marker instead of a duration.
SENTINEL_US = 1 << 32
BUILTIN, XNNPACK, DELEGATE = "builtin", "xnnpack", "delegate"
NOT_AVAILABLE = "kernel profile not available on this runtime"


@dataclass(frozen=True)
class OperatorTime:
    """One operator of one inference.

    Attributes:
        index: Its place in the order of execution.
        op: The operation: the schema's name (SOFTMAX) of a built-in, XNNPACK's name (Convolution) else.
        kernel: The kernel family that ran, as the runtime names it; of a built-in, its op.
        runs_in: builtin, xnnpack or delegate (another one's).
        node: Its index in the model's graph; None inside a delegate, where the runtime does not report it.
        time_us: Median over the runs; the runtime truncates each time to whole microseconds.
        calls: How often it ran in one inference.
    """

    index: int
    op: str
    kernel: str
    runs_in: str
    node: int | None
    time_us: float
    calls: int = 1


@dataclass(frozen=True)
class KernelTime:
    """A kernel family: how many operators of one inference it ran, and the median over the runs of their time."""

    name: str
    calls: int
    time_us: float


@dataclass(frozen=True)
class KernelProfile:
    """Kernels by falling time, operators in their order; `invoke_us` is the whole inference as the runtime timed it."""

    version: str
    threads: int
    runs: int
    kernels: tuple[KernelTime, ...]
    operators: tuple[OperatorTime, ...]
    invoke_us: float

    def to_json(self) -> dict[str, Any]:
        """Return the profile as the agent's job `kernels` answers it."""
        return {"available": True, **asdict(self)}


@dataclass(frozen=True)
class Unavailable:
    """The reason why there is no profile."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the agent's job `kernels` answers it."""
        return {"available": False, "reason": self.reason}


@dataclass(frozen=True)
class SparseKernels:
    """The number of operators that a sparse kernel ran, and of 1x1 convolutions."""

    ran: int
    of: int


def profile_kernels(path: str | os.PathLike[str], *, threads: int = 1, runs: int = 10) -> KernelProfile | Unavailable:
    """Run a model under LiteRT's profiler, on the CPU.

    Native code runs on the file: verify it first, and call this in a process whose crash is bearable.

    Args:
        path: The .tflite file.
        threads: Threads of the XNNPACK kernels.
        runs: Inferences that are profiled, after one that is not.
    """
    try:
        version = runtime_version()
        with open_session(path, threads=threads) as session:
            session.run()
            events = [session.run_profiled() for _ in range(max(1, runs))]
        return _profile(version, threads, events)
    except UnavailableError as error:
        return Unavailable(f"{NOT_AVAILABLE}: {error}")


def sparse_kernels(profile: KernelProfile, one_by_one_convolutions: int) -> SparseKernels:
    """Count the operators that a sparse kernel ran; its name, SPMM, is the proof.

    Args:
        profile: Of one model.
        one_by_one_convolutions: Their number in the model: the operators that a sparse kernel could run.
    """
    ran = sum(each.calls for each in profile.operators if each.runs_in == XNNPACK and "SPMM" in each.kernel.split())
    return SparseKernels(ran, one_by_one_convolutions)


def _profile(version: str, threads: int, runs: Sequence[Sequence[Event]]) -> KernelProfile:
    operators = [_operators(events) for events in runs]
    sequence = [(each.tag, each.type, each.node) for each in operators[0]]
    if any([(each.tag, each.type, each.node) for each in others] != sequence for others in operators):
        raise UnavailableError("the model's operators differ from run to run")
    if not sequence:
        raise UnavailableError("the profiler recorded no operators")
    invoke_us = median(_invoke_us(events) for events in runs)
    times = list(zip(*([each.elapsed_us for each in events] for events in operators), strict=True))
    named = [_operator(index, event, median(times[index])) for index, event in enumerate(operators[0])]
    if sum(each.time_us for each in named) > invoke_us * 1.05 + len(named):
        raise UnavailableError("the operators' times add up to more than the inference")
    return KernelProfile(version, threads, len(runs), _kernels(named, times), tuple(named), invoke_us)


def _operators(events: Sequence[Event]) -> list[Event]:
    """Return the events that are operators; a delegate that states its own operators is not one itself."""
    inside = any(each.type in (DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR) for each in events)
    return [
        each
        for each in events
        if each.elapsed_us < SENTINEL_US
        and each.type in (OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR)
        and not (inside and each.type == OPERATOR and _is_delegate(each))
    ]


def _invoke_us(events: Sequence[Event]) -> int:
    found = [each.elapsed_us for each in events if each.tag.lower() == "invoke" and each.elapsed_us < SENTINEL_US]
    if not found:
        raise UnavailableError("the profiler did not time the inference as a whole")
    return max(found)


def _operator(index: int, event: Event, time_us: float) -> OperatorTime:
    if event.type == OPERATOR and not _is_delegate(event):
        return OperatorTime(index, event.tag, event.tag, BUILTIN, event.node, time_us)
    if event.type == DELEGATE_PROFILED_OPERATOR:
        return OperatorTime(index, event.tag.partition(" (")[0], event.tag, XNNPACK, None, time_us)
    return OperatorTime(index, event.tag, event.tag, DELEGATE, None, time_us)


def _is_delegate(event: Event) -> bool:
    return "delegate" in event.tag.lower()


def _kernels(operators: Sequence[OperatorTime], times: Sequence[Sequence[int]]) -> tuple[KernelTime, ...]:
    """Sum each family's time within each run, then take the median over the runs."""
    calls = Counter(each.kernel for each in operators)
    found = []
    for name, count in calls.items():
        rows = [times[each.index] for each in operators if each.kernel == name]
        found.append(KernelTime(name, count, median(sum(run) for run in zip(*rows, strict=True))))
    return tuple(sorted(found, key=lambda each: (-each.time_us, each.name)))
