"""Decides whether a model became slower between two files of measurements.

The test uses window medians, because runs inside a window are not independent. Windows of one process still share its
memory layout and the machine's other load; where both sides hold at least four measurements of the same model, their
medians are tested instead, which covers that too. Instructions are counted, so they are compared as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.errors import InputError
from edge.measure.comparability import NotComparable, find_objections
from edge.measure.measurement import Kernel, Measurement
from edge.measure.statistics import median, ratio_estimate
from edge.measure.verdict import (
    FASTER,
    INCONCLUSIVE,
    NOT_SLOWER,
    SLOWER,
    Decision,
    VerdictCriteria,
    decide,
    exact_verdict,
)

# From so many repeats on each side on they are tested: the smallest p they can reach is 1 in 70.
REPEATS = 4
WINDOWS = "window medians"
_PROCESS_NOISE = 0.02


@dataclass(frozen=True)
class QuantityChange:
    """One quantity before and after: "latency_ms" (median) or "instructions", per inference."""

    quantity: str
    before: float
    after: float
    ratio: float
    verdict: str
    sentence: str
    decision: Decision | None


@dataclass(frozen=True)
class ModelComparison:
    """One model before and after; `caveats` are the objections that were overridden, `notes` bounds of the claim."""

    name: str
    device: str
    threads: int
    terms: VerdictCriteria
    finding: QuantityChange
    caveats: tuple[str, ...]
    notes: tuple[str, ...]
    kernels: tuple[KernelChange, ...] | None
    model_bytes: tuple[int, int]
    peak_rss_bytes: tuple[int | None, int | None]


@dataclass(frozen=True)
class ComparisonResult:
    """All comparisons of two files, and the models that only one of them has."""

    comparisons: tuple[ModelComparison, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Return the worst verdict: slower, then inconclusive, then not slower, then faster."""
        gravity = (SLOWER, INCONCLUSIVE, NOT_SLOWER, FASTER)
        return min((each.finding.verdict for each in self.comparisons), key=gravity.index)

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it."""
        return {"schema": "edge-comparison/1", "verdict": self.verdict, **dataclasses.asdict(self)}


def compare(
    before: Sequence[Measurement], after: Sequence[Measurement], criteria: VerdictCriteria, *, force: bool = False
) -> ComparisonResult:
    """Compare the measurements of two files, model by model.

    One model on each side is compared whatever it is called; otherwise models are matched by artifact and device name.
    Several measurements of one model on a side are repeats of each other.

    Args:
        before: The measurements of the first file.
        after: Those of the second file.
        criteria: The allowed slow-down and the error rate.
        force: Compare in spite of objections, which become caveats.

    Raises:
        InputError: Nothing matches, or there is nothing to compare.
        NotComparable: There are objections, and `force` is off.
    """
    first, second = _by_model(before), _by_model(after)
    if len(first) == len(second) == 1:
        pairs = [(*first.values(), *second.values())]
    else:
        pairs = [(first[key], second[key]) for key in first if key in second]
    if not pairs:
        raise InputError(
            f"no model of the first file is in the second: {', '.join(first)} against {', '.join(second)}",
            hint="models are matched by artifact name and device; compare files with one measurement each instead",
        )
    compared = tuple(_compare_model(*pair, criteria=criteria, force=force) for pair in pairs)
    if len(first) == len(second) == 1:
        return ComparisonResult(compared, (), ())
    return ComparisonResult(
        compared, tuple(key for key in first if key not in second), tuple(key for key in second if key not in first)
    )


def _by_model(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for each in measurements:
        found.setdefault(f"{each.artifact.name} on {each.device.name}", []).append(each)
    return found


def _compare_model(
    before: list[Measurement], after: list[Measurement], *, criteria: VerdictCriteria, force: bool
) -> ModelComparison:
    objections = find_objections(before, after)
    first, second = before[0], after[0]
    name = _both(first.artifact.name, second.artifact.name)
    if objections and not force:
        raise NotComparable(name, objections)
    finding = _latency(before, after, criteria) or _instructions(before, after, criteria) or _nothing_in_common(name)
    return ModelComparison(
        name=name,
        device=_both(first.device.name, second.device.name),
        threads=first.threads,
        terms=criteria,
        finding=finding,
        caveats=tuple(map(str, objections)),
        notes=_notes(finding, first, second, criteria),
        kernels=kernel_changes(first, second),
        model_bytes=(first.memory.model_bytes, second.memory.model_bytes),
        peak_rss_bytes=(first.memory.peak_rss_bytes, second.memory.peak_rss_bytes),
    )


def _both(first: str, second: str) -> str:
    return first if first == second else f"{first} -> {second}"


def _notes(
    finding: QuantityChange, before: Measurement, after: Measurement, criteria: VerdictCriteria
) -> tuple[str, ...]:
    one_process = finding.decision is not None and finding.decision.unit == WINDOWS
    notes = {
        f"a margin under {_PROCESS_NOISE:.0%} is within what two processes of one model differ by: profile each "
        f"{REPEATS} times (name the file {REPEATS} times)": one_process and criteria.margin < _PROCESS_NOISE,
        "a quick plan measured at least one side": before.plan.quick or after.plan.quick,
        "both sides measured the same content (same sha256)": before.artifact.sha256 == after.artifact.sha256,
    }
    return tuple(note for note, holds in notes.items() if holds)


def _latency(before: list[Measurement], after: list[Measurement], criteria: VerdictCriteria) -> QuantityChange | None:
    medians = [[each.latency_ms.median for each in side if each.latency_ms] for side in (before, after)]
    windows = [[window.median_ms for each in side for window in each.windows] for side in (before, after)]
    repeated = min(len(before), len(after)) >= REPEATS
    first, second = medians if repeated else windows
    if [len(side) for side in medians] != [len(before), len(after)] or not first or not second:
        return None
    if min(*first, *second) <= 0:
        raise InputError("a latency of 0 ms cannot be compared", hint="profile again with longer windows")
    decision = decide(first, second, criteria, unit="measurements" if repeated else WINDOWS)
    ratio = ratio_estimate(first, second)
    return QuantityChange(
        "latency_ms", median(first), median(second), ratio, decision.verdict, decision.sentence, decision
    )


def _instructions(
    before: list[Measurement], after: list[Measurement], criteria: VerdictCriteria
) -> QuantityChange | None:
    counts = [[each.instructions.per_inference for each in side if each.instructions] for side in (before, after)]
    if [len(side) for side in counts] != [len(before), len(after)] or min(min(side) for side in counts) <= 0:
        return None
    first, second = (median(side) for side in counts)
    ratio = second / first
    sentence = f"{ratio - 1:+.2%} instructions, {criteria.margin:+.2%} allowed (counted, not sampled)"
    return QuantityChange("instructions", first, second, ratio, exact_verdict(ratio, criteria.margin), sentence, None)


def _nothing_in_common(name: str) -> QuantityChange:
    raise InputError(
        f"{name}: the two sides have neither latency windows nor instruction counts in common",
        hint="profile both on the same kind of device",
    )


@dataclass(frozen=True)
class KernelChange:
    """One kernel family before and after, per inference; None where it did not run. Information, not a verdict."""

    name: str
    calls_before: float | None
    calls_after: float | None
    time_before_us: float | None
    time_after_us: float | None


def kernel_changes(before: Measurement, after: Measurement) -> tuple[KernelChange, ...] | None:
    """Return the kernel families, the largest change of time first; None if a side has no kernel profile."""
    if before.kernels is None or after.kernels is None:
        return None
    first = {kernel.name: kernel for kernel in before.kernels}
    second = {kernel.name: kernel for kernel in after.kernels}
    changes = [_change(name, first.get(name), second.get(name)) for name in {**first, **second}]
    return tuple(sorted(changes, key=_size, reverse=True))


def _change(name: str, before: Kernel | None, after: Kernel | None) -> KernelChange:
    return KernelChange(
        name,
        before.calls if before else None,
        after.calls if after else None,
        before.time_us if before else None,
        after.time_us if after else None,
    )


def _size(change: KernelChange) -> float:
    return abs((change.time_after_us or 0.0) - (change.time_before_us or 0.0))
