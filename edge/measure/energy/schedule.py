"""What the board did and when, on its own monotonic clock: the result of the agent's job `energy`, parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.measure.conditions import ConditionsSample


@dataclass(frozen=True)
class Stretch:
    """A time from begin to end."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s


@dataclass(frozen=True)
class Runs(Stretch):
    """A window of inferences, from the begin of its first to the end of its last."""

    count: int


@dataclass(frozen=True)
class Mark:
    """A change of the trigger line: it happened within `half_width_s` of `time_s`."""

    time_s: float
    level: int
    half_width_s: float


@dataclass(frozen=True)
class Code:
    """One load code: the stretches in which the processors were busy, and how sharply they began and ended.

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
    def from_result(cls, result: Mapping[str, Any]) -> Schedule:
        """Read the result of the agent's job `energy`."""
        return cls(
            idle=tuple(Stretch(*map(float, each)) for each in result["idle_s"]),
            codes=tuple(_code(each) for each in result["codes"]),
            windows=tuple(
                Runs(float(each["begin_s"]), float(each["end_s"]), int(each["runs"])) for each in result["windows"]
            ),
            marks=tuple(Mark(float(time), int(level), float(width)) for time, level, width in result["marks"]),
            chip_s=float(result["chip_s"]),
            conditions=tuple(ConditionsSample.from_json(each) for each in result["conditions"]),
        )


def _code(value: Mapping[str, Any]) -> Code:
    return Code(
        stretch=Stretch(float(value["begin_s"]), float(value["end_s"])),
        busy=tuple(Stretch(*map(float, each)) for each in value["busy_s"]),
        blur_s=float(value["blur_s"]),
    )
