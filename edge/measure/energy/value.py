"""Defines the energy of an inference with its evidence, the value behind a measurement's `energy`.

The attributes are the fields of the JSON, one to one; unknown is None (null). Times are seconds on the board's
monotonic clock, counted from the start of the first idle stretch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.decode import Count, NonNegative


@dataclass(frozen=True)
class Quantity:
    """A value with its combined standard uncertainty and the expanded one, `coverage_factor` times as large.

    The factor is Student's for 95.45 % and the effective degrees of freedom (None: so many that it is 2). All four are
    None where the repeatability is unknown.
    """

    value: float
    standard_uncertainty: NonNegative | None
    expanded_uncertainty: NonNegative | None
    coverage_factor: NonNegative | None
    degrees_of_freedom: NonNegative | None


@dataclass(frozen=True)
class Component:
    """One line of the uncertainty budget: standard uncertainties of the energy per inference, in joules.

    `evaluation` is A (statistics of repeated observations) or B (all other), as the GUM (JCGM 100:2008) calls them.
    `net_j` is None where no net energy is known.
    """

    name: str
    evaluation: str
    gross_j: NonNegative
    net_j: NonNegative | None
    degrees_of_freedom: NonNegative | None
    explanation: str


@dataclass(frozen=True)
class MeterRef:
    """The meter: its own description, and the rate at which its readings really changed."""

    kind: str
    name: str
    identity: str
    settings: Mapping[str, Any]
    nominal_rate_hz: NonNegative | None
    effective_rate_hz: NonNegative | None
    gain_uncertainty: NonNegative
    offset_uncertainty_w: NonNegative
    accuracy_source: str
    clock: str
    has_trigger: bool
    samples_are: str


@dataclass(frozen=True)
class Alignment:
    """The board's clock on the meter's: meter = board + offset_s + drift * (board - reference_s).

    `uncertainty_s` is the standard uncertainty of a moment of the run on the meter's clock, `drift_uncertainty` that of
    `drift`, and `power_uncertainty_s` that of where the load of a moment shows in the power, which follows it late
    (None in older files, which lack it).
    """

    method: str
    offset_s: float
    drift: float
    reference_s: float
    uncertainty_s: NonNegative
    drift_uncertainty: NonNegative
    detail: str
    power_uncertainty_s: NonNegative | None = None

    @property
    def shown_uncertainty_s(self) -> float:
        """Standard uncertainty of where the load of a moment shows in the power."""
        return self.uncertainty_s if self.power_uncertainty_s is None else self.power_uncertainty_s

    def meter_s(self, board_s: float) -> float:
        """Return a moment of the board's clock on the meter's."""
        return board_s + self.offset_s + self.drift * (board_s - self.reference_s)


@dataclass(frozen=True)
class RefusedAlignment:
    """An alignment that is not available or must not be used, and why; `load_unseen`: the load is not in the power."""

    method: str
    reason: str
    load_unseen: bool = False


@dataclass(frozen=True)
class EnergyWindow:
    """One window of inferences; `missing_s` is the time in it without a sample."""

    begin_s: float
    end_s: float
    runs: Count
    gross_j: float
    net_j: float | None
    mean_w: float
    peak_w: float
    missing_s: NonNegative


@dataclass(frozen=True)
class Idle:
    """Mean power of the idle board before and after the windows; `drift` is after / before - 1 of positive ones."""

    before_w: float
    after_w: float
    drift: float | None
    seconds: NonNegative


@dataclass(frozen=True)
class Drawing:
    """The trace for drawing, at most 2000 points: lowest, highest and mean power of stretches of equal length."""

    time_s: tuple[float, ...]
    min_w: tuple[float, ...]
    max_w: tuple[float, ...]
    mean_w: tuple[float, ...]

    def __post_init__(self) -> None:
        """Reject columns of different lengths."""
        lengths = [len(each) for each in (self.time_s, self.min_w, self.max_w, self.mean_w)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"the trace's columns have {', '.join(map(str, lengths))} points, expected as many in each"
            )


@dataclass(frozen=True)
class Energy:
    """Energy per inference, gross and net of the idle board, with its budget, its windows and the verdict on it.

    `gross_j` and `net_j` are medians over the windows, per inference. `is_estimate` marks a meter that computes power
    from a part of the board. `reasons` make the figures invalid; `unknown` are rules that could not be checked.
    """

    gross_j: Quantity
    net_j: Quantity | None
    mean_w: float
    peak_w: float
    inferences: Count
    windows: tuple[EnergyWindow, ...]
    idle: Idle | None
    components: tuple[Component, ...]
    meter: MeterRef
    alignment: Alignment
    refused: tuple[RefusedAlignment, ...]
    samples: Count
    lost: Count
    damaged: Count
    trace_sha256: str
    trace: Drawing
    is_estimate: bool
    reasons: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether no rule was broken."""
        return not self.reasons


@dataclass(frozen=True)
class NotMeasured:
    """The reason why there is no energy; `cause` is the underlying error, if there was one."""

    reasons: tuple[str, ...]
    cause: Exception | None = None
