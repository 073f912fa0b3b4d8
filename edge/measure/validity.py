"""Decides whether a measurement is valid: rules as data, each with a limit and a sentence.

A rule returns None (met), Broken or Unknown. A rule is unknown where the device does not report what it needs; unknown
rules are listed with the result and neither pass nor fail it. The limits follow what is known of these boards:
governors and firmware change the clock without the kernel's knowledge, heat makes minute 30 differ from minute 1, and
other tenants of a shared machine add 10 to 20 % from one run to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from edge.measure.conditions import ConditionsSample
from edge.measure.measurement import Validity, Window
from edge.measure.plan import WINDOWS, Plan
from edge.measure.statistics import median, relative_spread, trend


@dataclass(frozen=True)
class LatencyEvidence:
    """The evidence of one latency run: its windows, its samples in time order, and the conditions around them.

    `conditions` holds one sample before the first window and one after each.
    """

    plan: Plan
    windows: tuple[Window, ...]
    samples_ns: Sequence[int]
    conditions: tuple[ConditionsSample, ...]
    machine: str | None = None


class Broken(NamedTuple):
    """A broken rule: the reason, with the value and the limit."""

    reason: str


class Unknown(NamedTuple):
    """A rule that cannot be checked, and why."""

    reason: str


Answer = Broken | Unknown | None


E = TypeVar("E")


@dataclass(frozen=True)
class Rule(Generic[E]):
    """One rule on evidence: its limit (shares as shares, else in the unit of the name) and the check against it."""

    name: str
    limit: float
    check: Callable[[E, float], Answer]


def judge(
    evidence: LatencyEvidence, rules: Sequence[Rule[LatencyEvidence]] | None = None, *, prefix: str = ""
) -> Validity:
    """Apply the rules of latency, by default all; `prefix` starts each reason and names its run."""
    return apply_rules(evidence, RULES if rules is None else rules, prefix=prefix)


def apply_rules(evidence: E, rules: Sequence[Rule[E]], *, prefix: str = "") -> Validity:
    """Return the verdict of several rules on one piece of evidence."""
    answers = [rule.check(evidence, rule.limit) for rule in rules]
    reasons = tuple(prefix + answer.reason for answer in answers if isinstance(answer, Broken))
    unknown = tuple(answer.reason for answer in answers if isinstance(answer, Unknown))
    return Validity(valid=not reasons, reasons=reasons, unknown=unknown)


def join_verdicts(parts: Sequence[Validity]) -> Validity:
    """Return the verdict on a measurement of several parts: valid only if each is; an unknown is listed once."""
    reasons = tuple(reason for part in parts for reason in part.reasons)
    unknown = tuple(dict.fromkeys(each for part in parts for each in part.unknown))
    return Validity(valid=not reasons, reasons=reasons, unknown=unknown)


def _enough_windows(evidence: LatencyEvidence, limit: float) -> Answer:
    count = len(evidence.windows)
    return Broken(f"the number of windows is {count}, at least {limit:g} are needed") if count < limit else None


def _full_windows(evidence: LatencyEvidence, limit: float) -> Answer:
    asked = evidence.plan.window_s
    shortest = min((window.duration_s for window in evidence.windows), default=0.0)
    if shortest >= asked * (1 - limit):
        return None
    return Broken(f"a window lasted {shortest:.3f} s, {asked:.3f} s were asked for")


def _enough_runs(evidence: LatencyEvidence, limit: float) -> Answer:
    fewest = min((window.runs for window in evidence.windows), default=0)
    if fewest < evidence.plan.min_runs:
        return Broken(f"a window holds {fewest} runs, at least {evidence.plan.min_runs} were asked for")
    total = sum(window.runs for window in evidence.windows)
    return Broken(f"{total} runs in all, at least {limit:g} are needed") if total < limit else None


def _small_spread(evidence: LatencyEvidence, limit: float) -> Answer:
    spread = relative_spread([window.median_ms for window in evidence.windows])
    if spread is None:
        return Unknown("the spread of the window medians: there are fewer than two windows")
    return (
        Broken(f"the window medians differ by {spread:.1%}, at most {limit:.0%} is allowed") if spread > limit else None
    )


def _no_drift(evidence: LatencyEvidence, limit: float) -> Answer:
    found = trend([window.median_ms for window in evidence.windows])
    if found is None:
        return Unknown("a drift over the windows: fewer than four cannot show one")
    if found.p_value > _DRIFT_P or abs(found.change) <= limit:
        return None
    return Broken(
        f"the window medians {'rise' if found.change > 0 else 'fall'} steadily, by {abs(found.change):.1%} from first "
        f"to last, at most {limit:.0%} is allowed (heat, clock, or too short a warm-up)"
    )


def _quiet_machine(evidence: LatencyEvidence, limit: float) -> Answer:
    share = _mean_share(evidence, lambda sample: sample.other_cpu_share)
    if share is None:
        return Unknown("the load by other processes: the device does not state it")
    if share <= limit:
        return None
    return Broken(
        f"other processes used {share:.0%} of all processors during the windows, at most {limit:.0%} is allowed"
        f"{_by_name(evidence)}"
    )


def _by_name(evidence: LatencyEvidence) -> str:
    """Name the process that used the most in a window, where the device states it."""
    named = [
        (sample.busiest_process_share, sample.busiest_process)
        for sample in evidence.conditions[1:]
        if sample.busiest_process is not None and sample.busiest_process_share is not None
    ]
    share, name = max(named, default=(0.0, None))
    return "" if name is None else f"; the busiest was {name} with up to {share:.0%}"


def _own_machine(evidence: LatencyEvidence, limit: float) -> Answer:
    share = _mean_share(evidence, lambda sample: sample.steal_share)
    if share is None:
        return Unknown("processor time stolen by a hypervisor: the device does not state it")
    if share <= limit:
        return None
    return Broken(
        f"the hypervisor took {share:.1%} of the processors during the windows, at most {limit:.0%} is allowed"
    )


def _mean_share(evidence: LatencyEvidence, of: Callable[[ConditionsSample], float | None]) -> float | None:
    stated = [(of(sample), sample.wall_s) for sample in evidence.conditions[1:]]
    known = [(share, wall_s) for share, wall_s in stated if share is not None and wall_s]
    total_s = sum(wall_s for _, wall_s in known)
    return sum(share * wall_s for share, wall_s in known) / total_s if known and len(known) == len(stated) else None


def _one_governor(evidence: LatencyEvidence, limit: float) -> Answer:
    stated = [sample.governor for sample in evidence.conditions]
    if not stated or None in stated:
        return Unknown("the frequency governor: the device does not state it")
    found = list(dict.fromkeys(str(each) for each in stated))
    return Broken(f"the frequency governor changed from {' to '.join(found)}") if len(found) > limit else None


def _steady_clock(evidence: LatencyEvidence, limit: float) -> Answer:
    clocks = [khz for sample in evidence.conditions if (khz := sample.clock_khz) is not None]
    if len(clocks) < len(evidence.conditions) or not clocks:
        return Unknown("the clock frequency: the device does not state it")
    change = 1 - min(clocks) / max(clocks)
    if change <= limit:
        return None
    return Broken(
        f"the clock changed between {min(clocks) / 1e3:.0f} and {max(clocks) / 1e3:.0f} MHz, by {change:.0%}, "
        f"at most {limit:.0%} is allowed"
    )


def _not_throttled(evidence: LatencyEvidence, limit: float) -> Answer:
    known = [
        (sample.throttled_now, sample.throttled_since_boot)
        for sample in evidence.conditions
        if sample.throttled_now is not None
    ]
    if len(known) < len(evidence.conditions) or not known:
        return Unknown("throttling by the firmware: the device does not state it")
    new = set(known[-1][1] or ()) - set(known[0][1] or ())
    seen = sorted(new.union(*(now or () for now, _ in known)))
    return (
        Broken(f"the firmware reported {', '.join(seen)} during the windows, none is allowed")
        if len(seen) > limit
        else None
    )


def _cool(evidence: LatencyEvidence, limit: float) -> Answer:
    degrees = [sample.temperature_c for sample in evidence.conditions if sample.temperature_c is not None]
    if not degrees:
        return Unknown("the temperature: the device does not state a plausible one")
    most = limit + (_PC_ALLOWANCE_C if evidence.machine in _PC else 0)
    if max(degrees) <= most:
        return None
    return Broken(f"the processor reached {max(degrees):.1f} C, at most {most:.0f} C is allowed")


def _cool_tpu(evidence: LatencyEvidence, limit: float) -> Answer:
    over = [sample.tpu_over_trip_c for sample in evidence.conditions if sample.tpu_over_trip_c is not None]
    if not over or max(over) < limit:
        return None
    return Broken(f"the Edge TPU was {max(over):.1f} C above the temperature from which it lowers its clock")


def _fine_timer(evidence: LatencyEvidence, limit: float) -> Answer:
    distinct = sorted(set(evidence.samples_ns))
    if len(evidence.samples_ns) < _TIMER_SAMPLES:
        return Unknown(f"the timer's resolution: fewer than {_TIMER_SAMPLES} samples cannot show it")
    # The steps between different samples are whole multiples of the timer's, so the smallest bounds it from above.
    step_ns = min((b - a for a, b in pairwise(distinct)), default=distinct[0])
    middle_ns = median(evidence.samples_ns)
    if step_ns <= limit * middle_ns:
        return None
    return Broken(
        f"the timer steps by {step_ns / 1e3:.4g} us, at most {limit:.0%} of the latency of {middle_ns / 1e3:.4g} us "
        "is allowed"
    )


_DRIFT_P = 0.05
_TIMER_SAMPLES = 10
# Processors of PCs are built for higher temperatures than the boards' 80 C, where a Raspberry Pi begins to throttle.
_PC = ("x86_64", "AMD64", "i686")
_PC_ALLOWANCE_C = 15.0

RULES = (
    Rule("windows", WINDOWS, _enough_windows),
    Rule("window length", 0.01, _full_windows),
    Rule("runs", 15, _enough_runs),
    Rule("spread", 0.10, _small_spread),
    Rule("drift", 0.03, _no_drift),
    Rule("other processes", 0.10, _quiet_machine),
    Rule("hypervisor", 0.02, _own_machine),
    Rule("governor", 1, _one_governor),
    Rule("clock", 0.10, _steady_clock),
    Rule("throttling", 0, _not_throttled),
    Rule("temperature", 80.0, _cool),
    Rule("Edge TPU", 0.0, _cool_tpu),
    Rule("timer", 0.01, _fine_timer),
)
