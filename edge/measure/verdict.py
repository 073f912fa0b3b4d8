"""Decides between two sets of latencies by three one-sided exact tests.

"slower" rejects "at most `margin` slower"; "faster" rejects "at most as much faster"; "not slower" rejects "at least
`margin` slower"; where nothing is rejected the verdict is "inconclusive". Each wrong verdict has a chance of at most
`alpha`. The margin guards the claim of a speed-up too, because two processes of the same model differ by a percent or
two (memory layout, neighbours), which windows of one process cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.measure.statistics import ConfidenceInterval, p_greater, ratio_interval, smallest_p

SLOWER, NOT_SLOWER, FASTER, INCONCLUSIVE = "slower", "not slower", "faster", "inconclusive"


@dataclass(frozen=True)
class VerdictCriteria:
    """The criteria: the allowed slow-down as a share, and the accepted chance of a wrong verdict."""

    margin: float = 0.05
    alpha: float = 0.05


@dataclass(frozen=True)
class Decision:
    """The tests' result; p-values are one-sided, the interval of the ratio errs with `alpha` at each end."""

    unit: str
    units_before: int
    units_after: int
    p_slower: float
    p_not_slower: float
    p_faster: float
    interval: ConfidenceInterval | None
    verdict: str
    sentence: str


def decide(before: Sequence[float], after: Sequence[float], criteria: VerdictCriteria, *, unit: str) -> Decision:
    """Test latencies that are independent of each other: window medians, or medians of whole measurements."""
    allowed = [value * (1 + criteria.margin) for value in before]
    chances = {
        SLOWER: p_greater(allowed, after),
        FASTER: p_greater([value * (1 + criteria.margin) for value in after], before),
        NOT_SLOWER: p_greater(after, allowed),
    }
    verdict = next((name for name, p in chances.items() if p <= criteria.alpha), INCONCLUSIVE)
    units = f"{len(before)} and {len(after)} {unit}"
    least = smallest_p(len(before), len(after))
    return Decision(
        unit=unit,
        units_before=len(before),
        units_after=len(after),
        p_slower=chances[SLOWER],
        p_not_slower=chances[NOT_SLOWER],
        p_faster=chances[FASTER],
        interval=ratio_interval(before, after, criteria.alpha),
        verdict=verdict,
        sentence=_too_few(units, least, criteria)
        if least > criteria.alpha
        else _sentence(verdict, chances, units, criteria),
    )


def exact_verdict(ratio: float, margin: float) -> str:
    """Return the verdict on numbers that were counted, not sampled."""
    if ratio > 1 + margin:
        return SLOWER
    return FASTER if ratio * (1 + margin) < 1 else NOT_SLOWER


def _sentence(verdict: str, chances: dict[str, float], units: str, criteria: VerdictCriteria) -> str:
    percent = f"{criteria.margin * 100:.3g} %"
    claims = {
        SLOWER: f"a slow-down of more than {percent} is shown",
        FASTER: f"a speed-up of more than {percent} is shown",
        NOT_SLOWER: f"a slow-down of {percent} or more is ruled out",
        INCONCLUSIVE: f"a slow-down of more than {percent} is neither shown nor ruled out",
    }
    p = min(chances[SLOWER], chances[NOT_SLOWER]) if verdict == INCONCLUSIVE else chances[verdict]
    return f"{claims[verdict]} (p = {p:.3f}, limit {criteria.alpha:g}, from {units})"


def _too_few(units: str, least: float, criteria: VerdictCriteria) -> str:
    return (
        f"{units} are too few to decide: the smallest p they can reach is {least:.3f}, the limit is {criteria.alpha:g}"
    )
