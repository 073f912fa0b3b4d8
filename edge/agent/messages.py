"""Defines the requests and results of the jobs that measure; devices/messages has those that `devices` uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from converters.decode import AtLeast, Count, NonNegative, Positive
from devices.messages.machine_jobs import MachineSample, RuntimeVersion
from devices.messages.model_jobs import DelegateSpec, ModelSetup
from devices.messages.protocol import EncodedArray, Request
from edge.runtime.delegates import Delegate
from edge.runtime.kernels import KernelProfile


@dataclass(frozen=True)
class LatencyResult:
    """Every sample of every window, the conditions before and after each, and the memory at each stage."""

    runtime: RuntimeVersion
    load_ns: int
    first_ns: int
    warmup_runs: int
    window_samples_ns: tuple[tuple[int, ...], ...]
    conditions: tuple[MachineSample, ...]
    base_rss_bytes: int | None
    loaded_rss_bytes: int | None
    peak_rss_bytes: int | None


@dataclass(frozen=True)
class LatencyRequest(Request[LatencyResult]):
    """Warm up, then time windows of at least `window_s` seconds and `min_runs` inferences each.

    `inputs` are one array per input; None draws them.
    """

    job = "latency"
    answer = LatencyResult

    setup: ModelSetup
    warmup_s: NonNegative = 0.5
    warmup_runs: Count = 5
    windows: Positive = 5
    window_s: NonNegative = 1.0
    min_runs: Positive = 10
    inputs: tuple[EncodedArray, ...] | None = None


@dataclass(frozen=True)
class SustainPoint:
    """The end of one stretch of inferences: when, the median of its inferences, and the conditions then."""

    time_s: float
    median_ns: float
    runs: int
    conditions: MachineSample


@dataclass(frozen=True)
class SustainResult:
    """One point for each stretch."""

    runtime: RuntimeVersion
    before: MachineSample
    points: tuple[SustainPoint, ...]


@dataclass(frozen=True)
class SustainRequest(Request[SustainResult]):
    """Run inferences without a pause for so many seconds, in stretches of `window_s`."""

    job = "sustain"
    answer = SustainResult

    setup: ModelSetup
    seconds: NonNegative
    window_s: NonNegative = 1.0


@dataclass(frozen=True)
class LoadCode:
    """One load code: when the processors were busy, and how far apart the threads began or ended at most."""

    begin_s: float
    end_s: float
    busy_s: tuple[tuple[float, float], ...]
    blur_s: float


@dataclass(frozen=True)
class EnergyWindowRun:
    """One window, from the begin of its first inference to the end of its last."""

    begin_s: float
    end_s: float
    runs: int


@dataclass(frozen=True)
class EnergyResult:
    """The parts of the run and their times, on the board's monotonic clock.

    `marks` are changes of the trigger line: when, to which level, and within how many seconds of that.
    """

    runtime: RuntimeVersion
    idle_s: tuple[tuple[float, float], ...]
    codes: tuple[LoadCode, ...]
    windows: tuple[EnergyWindowRun, ...]
    marks: tuple[tuple[float, int, float], ...]
    chip_s: float
    conditions: tuple[MachineSample, ...]


@dataclass(frozen=True)
class EnergyRequest(Request[EnergyResult]):
    """Idle, a load code, windows of inferences, the code again, idle, for a power meter to record.

    Attributes:
        idle_s: Length of each idle part, after `settle_s` without load.
        chip_s: Length of one chip of the load code.
        guard_s: How long inferences go on before and after each window.
        trigger: A GPIO line that is high during codes and windows, such as "gpiochip0:17".
    """

    job = "energy"
    answer = EnergyResult

    setup: ModelSetup
    idle_s: NonNegative
    chip_s: Annotated[float, AtLeast(0.001)]
    settle_s: NonNegative = 1.0
    guard_s: NonNegative = 0.3
    windows: Positive = 5
    window_s: NonNegative = 10.0
    min_runs: Positive = 10
    trigger: str | None = None


@dataclass(frozen=True)
class KernelsResult:
    """The kernel profile, or the reason why there is none."""

    profile: KernelProfile | None
    reason: str | None = None


@dataclass(frozen=True)
class KernelsRequest(Request[KernelsResult]):
    """Run a model under the runtime's kernel profiler."""

    job = "kernels"
    answer = KernelsResult

    setup: ModelSetup
    runs: Positive = 10


@dataclass(frozen=True)
class MarkedResult:
    """The lengths of the windows in inferences, and the process's memory map, line by line."""

    runtime: RuntimeVersion
    lengths: tuple[int, ...]
    maps: tuple[str, ...]


@dataclass(frozen=True)
class MarkedRequest(Request[MarkedResult]):
    """Run windows marked for an instruction counter, for about `budget_s`; see edge.agent.marked."""

    job = "marked"
    answer = MarkedResult

    setup: ModelSetup
    budget_s: NonNegative = 6.0


def specs_of(delegates: Sequence[Delegate]) -> tuple[DelegateSpec, ...]:
    """Return delegates in the protocol's form."""
    return tuple(DelegateSpec(each.library, each.options) for each in delegates)
