"""Parses the schedule of an energy run: the board's work on its own monotonic clock, from the agent's job `energy`."""

from __future__ import annotations

from dataclasses import dataclass

from edge.agent.messages import EnergyResult, LoadCode
from edge.measure.conditions import ConditionsSample


@dataclass(frozen=True)
class Stretch:
    """A stretch of time."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.begin_s


@dataclass(frozen=True)
class Runs(Stretch):
    """A window of inferences, from the start of its first to the end of its last."""

    count: int


@dataclass(frozen=True)
class Mark:
    """A change of the trigger line: it happened within `half_width_s` of `time_s`."""

    time_s: float
    level: int
    half_width_s: float


@dataclass(frozen=True)
class Code:
    """One load code: the stretches in which the processors were busy, and the precision of their ends.

    `stretch` holds the whole code with the pause of one chip on either side.
    """

    stretch: Stretch
    busy: tuple[Stretch, ...]
    blur_s: float


@dataclass(frozen=True)
class Schedule:
    """One energy run: idle, code, windows, code, idle."""

    idle: tuple[Stretch, ...]
    codes: tuple[Code, ...]
    windows: tuple[Runs, ...]
    marks: tuple[Mark, ...]
    chip_s: float
    conditions: tuple[ConditionsSample, ...]

    @property
    def whole(self) -> Stretch:
        """From the first moment of anything to the last."""
        parts = [*self.idle, *self.windows, *(code.stretch for code in self.codes)]
        return Stretch(min(each.begin_s for each in parts), max(each.end_s for each in parts))

    @classmethod
    def from_result(cls, result: EnergyResult) -> Schedule:
        """Read the result of the agent's job `energy`."""
        return cls(
            idle=tuple(Stretch(*each) for each in result.idle_s),
            codes=tuple(_code(each) for each in result.codes),
            windows=tuple(Runs(each.begin_s, each.end_s, each.runs) for each in result.windows),
            marks=tuple(Mark(*each) for each in result.marks),
            chip_s=result.chip_s,
            conditions=tuple(ConditionsSample.of(each) for each in result.conditions),
        )


def _code(code: LoadCode) -> Code:
    return Code(
        stretch=Stretch(code.begin_s, code.end_s),
        busy=tuple(Stretch(*each) for each in code.busy_s),
        blur_s=code.blur_s,
    )
