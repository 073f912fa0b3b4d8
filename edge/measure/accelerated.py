"""What an inference through external delegates is made of: its first run, the delegate's part, the CPU's part.

The runtime does not say what a delegate did, nor on which hardware. So the CPU's operators are taken out of a compiled
file, timed alone with the same runtime and threads, and subtracted from the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from converters.decode import Count, NonNegative

SUBTRACTED = (
    "the operators left to the CPU were timed alone, as a graph of their own with the same runtime and threads, and "
    "subtracted from the whole; moving tensors to and from the delegate counts as the delegate's"
)
ALL_TAKEN = "all operators of the file are the delegate's; the interpreter's own time counts as the delegate's"
NOT_TOLD = "not known: the file is not compiled, and the runtime does not say which operators the delegate took"
WITHIN_NOISE = "not known: the CPU's operators alone took as long as the whole inference, or longer"


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
        once_ms: What the first takes more than a later one; None where it takes less.
        cpu: What is left to the CPU; None where nothing is, or it is not known.
        delegate_ms: The delegate's part of a later inference; None where it is not known.
        delegate_share: That as a share, 0 to 1.
        method: How the parts were told apart, or why not.
        attached: The Edge TPUs that the device states, in words; () where it states none.
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
class DelegateTimes:
    """What was timed of a model through delegates."""

    first_ms: float | None
    steady_ms: float


def accelerated_of(
    times: DelegateTimes,
    cpu: CpuPart | None,
    *,
    delegates: tuple[DelegateUsed, ...],
    compiled_operators: int,
    attached: tuple[str, ...],
) -> Accelerated:
    """Tell the parts of an inference apart, as far as that can be known."""
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
        return None, NOT_TOLD
    if cpu is None:
        return steady_ms, ALL_TAKEN
    if cpu.median_ms >= steady_ms:
        return None, WITHIN_NOISE
    return steady_ms - cpu.median_ms, SUBTRACTED
