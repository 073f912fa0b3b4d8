"""Defines the board's work while a power meter records, and its duration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError

# The fewest windows, the shortest one and the fewest inferences in one that are valid (see energy.rules).
WINDOWS, WINDOW_S, INFERENCES = 5, 10.0, 10
# A recording is held in memory, 33 bytes a sample.
MOST_SAMPLES = 20_000_000
_SLOWEST_CHIP_S = 4.0
_IDLE_S = 5.0


@dataclass(frozen=True)
class EnergyPlan:
    """One energy run: with a meter, and perhaps a trigger line of the board (CHIP:LINE) wired to it.

    The recording is written to the file `trace`, if named, which replaces an existing one.
    A window ends when `window_s` has passed and `min_runs` inferences were made.
    """

    meter: str
    trigger: str | None = None
    windows: int = WINDOWS
    window_s: float = WINDOW_S
    min_runs: int = INFERENCES
    trace: Path | None = None

    @property
    def steps(self) -> int:
        """The number of steps that a run reports."""
        return self.windows + 2

    def __post_init__(self) -> None:
        """Reject a plan that cannot be measured."""
        for name, value, least in (("windows", self.windows, 1), ("min_runs", self.min_runs, 1),
                                   ("window_s", self.window_s, 0.001)):  # fmt: skip
            if not value >= least or value == float("inf"):
                raise InputError(f"the energy plan's {name} is {value}, expected at least {least}")
        # The kernel numbers lines with 32 bits, a chip has at most some hundred.
        if self.trigger is not None and not re.fullmatch(r"\w{1,32}:[0-9]{1,5}", self.trigger, re.ASCII):
            raise InputError(f"a trigger line is CHIP:LINE, such as gpiochip0:17, got {self.trigger!r}")


@dataclass(frozen=True)
class Pace:
    """Durations that depend on the meter's rate: the slower it is, the longer they are."""

    chip_s: float
    guard_s: float
    idle_s: float

    @classmethod
    def for_rate(cls, rate_hz: float | None, plan: EnergyPlan) -> Pace:
        """Return the pace for a meter's nominal rate; an unknown rate counts as 4 samples a second.

        A chip of the load code holds at least 4 samples, the inferences around a window 3, an idle stretch 20; it is
        as long as a window, at most 5 s.
        """
        step_s = 1 / rate_hz if rate_hz else 0.25
        return cls(
            chip_s=min(max(0.1, 4 * step_s), _SLOWEST_CHIP_S),
            guard_s=max(0.3, 3 * step_s),
            idle_s=max(min(plan.window_s, _IDLE_S), 20 * step_s),
        )

    def seconds(self, plan: EnergyPlan) -> float:
        """Return the run's approximate duration, for a model whose windows end on time."""
        codes, idle = 2 * 16 * self.chip_s, 2 * (self.idle_s + 1)
        return codes + idle + plan.windows * (plan.window_s + 2 * self.guard_s + 0.3)


def check_size(rate_hz: float | None, pace: Pace, plan: EnergyPlan) -> None:
    """Refuse a run whose recording would not fit into memory."""
    samples = (rate_hz or 0) * pace.seconds(plan)
    if samples > MOST_SAMPLES:
        raise InputError(
            f"the run would take {pace.seconds(plan):.0f} s, {samples:.2g} samples of this meter; at most "
            f"{MOST_SAMPLES:.2g} are held in memory",
            hint="fewer or shorter windows (--energy-windows, --energy-window-seconds)",
        )
