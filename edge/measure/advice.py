"""Recommends the variant to ship on each board, and gives the reasons against the others.

1. Only variants measured on the same board, with the same runtime and number of threads, are compared;
   milliseconds are never compared with instructions.
2. Invalid measurements are not used, nor those whose sparse kernels ran differently than predicted, or whose
   results would be wrong.
3. Where the accuracy of two or more is known, no variant of unknown accuracy is recommended, nor one that gives more
   than `AdviceCriteria.loss` fewer right answers than the most accurate. Otherwise speed and size decide, and the
   sentences state so.
4. Of the rest, the fastest is recommended; of those within `AdviceCriteria.alike` of its speed, the smallest file; of
   files of equal size, the more accurate.

A recommended variant is on the Pareto front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge.measure.fronts import ACCURACY_UNKNOWN, Front, MeasuredVariant, Point, front_of, groups
from edge.measure.measurement import Measurement

Standing = Literal["SHIP", "on the front", "dominated", "too inaccurate", "accuracy unknown", "not to be relied on"]
# Shares of 1 are compared with this much to spare: they are quotients.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class AdviceCriteria:
    """`loss`: right answers a variant may have fewer than the best, as a share of 1; `alike`: speeds taken as equal."""

    loss: float = 0.02
    alike: float = 0.02


@dataclass(frozen=True)
class VariantStanding:
    """The outcome for one variant, and the reason for it."""

    point: Point
    standing: Standing
    why: str | None


@dataclass(frozen=True)
class ShippingAdvice:
    """The recommendation for one board: `ship` is None where there is none; `sentences` give reasons and doubts."""

    front: Front
    outcomes: tuple[VariantStanding, ...]
    ship: Point | None
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it; the points are in the front."""
        return {
            "device": self.front.device,
            "runtime": self.front.runtime,
            "threads": self.front.threads,
            "speed": self.front.speed,
            "ship": None if self.ship is None else asdict(self.ship),
            "variants": [
                {"label": each.point.label, "standing": each.standing, "why": each.why} for each in self.outcomes
            ],
            "sentences": list(self.sentences),
        }


def advise_each(
    measurements: Iterable[Measurement], criteria: AdviceCriteria | None = None
) -> tuple[ShippingAdvice, ...]:
    """Recommend a variant for each board, in the measurements' order; those without a speed are left out."""
    variants = (
        MeasuredVariant(each, each.accuracy if each.accuracy and each.accuracy.of else None) for each in measurements
    )
    return tuple(advise(front_of(group), criteria) for group in groups(variants))


def advise(front: Front, criteria: AdviceCriteria | None = None) -> ShippingAdvice:
    """Choose the variant of one front to ship, by the rules above."""
    criteria = criteria or AdviceCriteria()
    weighed = "accuracy" in front.objectives
    judged = [point for point in front.points if point.standing != "not judged"]
    best = max((point.share or 0.0 for point in judged), default=0.0)
    fit = [point for point in judged if not weighed or (point.share or 0.0) >= best - criteria.loss - _ROUNDING]
    ship = _choose(fit, criteria)
    outcomes = tuple(_outcome(point, ship, fit, best) for point in front.points)
    return ShippingAdvice(front, outcomes, ship, tuple(_sentences(front, outcomes, ship, fit, criteria)))


def speed_text(point: Point) -> str:
    """Return "52.2 million instructions" or "12.3 ms"."""
    if point.median_ms is not None:
        return f"{_digits(point.median_ms)} ms"
    return f"{_digits((point.instructions or 0.0) / 1e6)} million instructions"


def accuracy_in_words(point: Point) -> str:
    """Return "accuracy 83.5% (167 of 200)" or "accuracy unknown"."""
    if point.accuracy is None or point.share is None:
        return "accuracy unknown"
    return f"accuracy {point.share:.1%} ({point.accuracy.correct:,} of {point.accuracy.of:,})"


def _choose(fit: Sequence[Point], criteria: AdviceCriteria) -> Point | None:
    if not fit:
        return None
    fastest = min(point.cost for point in fit)
    alike = [point for point in fit if point.cost <= fastest * (1 + criteria.alike)]
    return min(alike, key=lambda point: (point.model_bytes, -(point.share or 0.0), point.cost))


def _outcome(point: Point, ship: Point | None, fit: Sequence[Point], best: float) -> VariantStanding:
    if point is ship:
        return VariantStanding(point, "SHIP", None)
    if point.standing == "not judged":
        return VariantStanding(
            point, "accuracy unknown" if point.why == ACCURACY_UNKNOWN else "not to be relied on", point.why
        )
    if not any(each is point for each in fit):
        lost = 100 * (best - (point.share or 0.0))
        return VariantStanding(point, "too inaccurate", f"{_digits(lost)} points less accurate than the best")
    return VariantStanding(point, "on the front" if point.standing == "front" else "dominated", point.why)


def _sentences(
    front: Front,
    outcomes: Sequence[VariantStanding],
    ship: Point | None,
    fit: Sequence[Point],
    criteria: AdviceCriteria,
) -> Iterable[str]:
    allowed = f"{100 * criteria.loss:g} points"
    if ship is None:
        yield f"Nothing can be advised for {front.device}: no measurement there can be relied on."
    else:
        yield (
            f"Ship {ship.label} on {front.device}: {speed_text(ship)}, {_megabytes(ship)} MB, "
            f"{accuracy_in_words(ship)}: {_reason(front, ship, fit, criteria)}."
        )
    for outcome in outcomes:
        if outcome.standing == "too inaccurate":
            yield f"Not {outcome.point.label}: {outcome.why}, {allowed} are allowed."
        elif outcome.standing in ("accuracy unknown", "not to be relied on"):
            yield f"Not {outcome.point.label}: {outcome.why}."
    if ship is not None:
        yield from _doubts(front)


def _reason(front: Front, ship: Point, fit: Sequence[Point], criteria: AdviceCriteria) -> str:
    among = "of all"
    if "accuracy" in front.objectives:
        among = f"of those at most {100 * criteria.loss:g} points less accurate than the best"
    if len(fit) == 1:
        return "the only one that could be judged" if len(front.points) == 1 else f"the only one {among}"
    least = "fewest instructions" if front.speed == "instructions" else "lowest latency"
    fastest = min(point.cost for point in fit)
    if sum(point.cost <= fastest * (1 + criteria.alike) for point in fit) == 1:
        return f"the {least} {among}"
    return f"within {criteria.alike:.0%} of the {least} {among}, and of these the smallest file"


def _doubts(front: Front) -> Iterable[str]:
    known = [point for point in front.points if point.accuracy is not None]
    if not known:
        yield "The accuracy of no variant is known: speed and size alone decided. Measure it before you ship."
    elif "accuracy" not in front.objectives:
        yield f"Only the accuracy of {known[0].label} is known: it was not used. Measure the others before you ship."
    counts = sorted({point.accuracy.of for point in known if point.accuracy})
    if len(counts) > 1:
        yield f"Accuracies were counted on different numbers of images ({' and '.join(map(str, counts))})."
    if front.speed == "instructions":
        yield "Instructions are not time: where two are close, measure on the board."


def _megabytes(point: Point) -> str:
    return _digits(point.model_bytes / 1e6)


def _digits(value: float) -> str:
    """Return a number with three significant digits, whole digits kept."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}" if value >= 1e-4 else f"{value:.1e}"
