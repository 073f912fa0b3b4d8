"""Defines what a measurement holds beside latency and kernels: cooling, sustained load, delegates, sparse kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from converters.decode import AtLeast, Count, NonNegative


@dataclass(frozen=True)
class CoolDown:
    """The wait before a measurement: its length, its first and last temperature, and what ended it."""

    waited_s: NonNegative
    begin_c: float
    end_c: float
    limit_c: float
    ended_by: str


@dataclass(frozen=True)
class SustainedPoint:
    """The end of one stretch of inferences; `throttled` holds the firmware's reports then, None if unknown."""

    time_s: NonNegative
    median_ms: NonNegative
    runs: Count
    temperature_c: float | None
    clock_mhz: NonNegative | None
    throttled: tuple[str, ...] | None


@dataclass(frozen=True)
class Sustained:
    """Latency, heat and clock over time under continuous load.

    `first_ms` and `last_ms` are the medians over the first and last tenth of the points; `change` is last / first - 1.
    """

    threads: Count
    duration_s: NonNegative
    first_ms: NonNegative
    last_ms: NonNegative
    change: Annotated[float, AtLeast(-1)]
    points: tuple[SustainedPoint, ...]

    def first_throttle_s(self) -> float | None:
        """Return when the firmware first reported throttling; None if it never did, or reports nothing."""
        return next((point.time_s for point in self.points if point.throttled), None)


@dataclass(frozen=True)
class DelegateUsed:
    """A delegate that was loaded: its library, and its options as text."""

    library: str
    options: str


@dataclass(frozen=True)
class CpuPart:
    """The operators that a compiled file leaves to the CPU, by name in their order, timed alone."""

    operators: tuple[str, ...]
    median_ms: NonNegative
    spread: NonNegative | None


@dataclass(frozen=True)
class Accelerated:
    """One model through delegates.

    Attributes:
        delegates: In the order they were loaded.
        compiled_operators: How many operators Google's compiler made; 0 where the file is not compiled.
        first_ms: The first inference, in which parameters are loaded; None where it was not timed.
        steady_ms: The median of the later ones.
        once_ms: The extra time of the first inference; None where there is none.
        cpu: The operators that run on the CPU; None where there are none, or they are unknown.
        delegate_ms: The delegate's part of a later inference; None where it is unknown.
        delegate_share: That as a share, 0 to 1.
        method: How the latency was split, or why it was not.
        attached: The Edge TPUs that the device reports, as text; () where it reports none.
    """

    delegates: tuple[DelegateUsed, ...]
    compiled_operators: Count
    first_ms: NonNegative | None
    steady_ms: NonNegative
    once_ms: NonNegative | None
    cpu: CpuPart | None
    delegate_ms: NonNegative | None
    delegate_share: NonNegative | None
    method: str
    attached: tuple[str, ...]


@dataclass(frozen=True)
class PredictedKernels:
    """The sparse kernels predicted from the file for the device's processor and runtime, before anything runs.

    Attributes:
        target: the board it was analysed for; None for devices that were not measured.
        runtime: "name==version".
        ran: 1x1 convolutions that a sparse kernel will run, of `of` in the file; None where it is not known.
        corrupts: whether the runtime will compute wrong results, or refuse the file.
        reasons: the rules that are not met, or why nothing is known; the most important first.
    """

    target: str | None
    runtime: str
    ran: Count | None
    of: Count | None
    corrupts: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class SparseVerdict:
    """Predicted against observed.

    Attributes:
        predicted: the prediction.
        agrees: whether the observation matches the prediction; None where either is unknown.
        any_ran: whether any sparse kernel ran; None where it is not known.
        proof: the kind of observation: "kernel names" counts convolutions, "instructions" shows whether any ran;
            None where there is none.
        text: the verdict as a sentence, such as "sparse kernels ran: 34 of 34".
    """

    predicted: PredictedKernels
    agrees: bool | None
    any_ran: bool | None
    proof: str | None
    text: str
