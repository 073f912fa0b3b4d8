"""Defines what to measure, and for how long."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from devices.messages.model_jobs import ModelSetup
from edge.agent.messages import specs_of
from edge.errors import InputError
from edge.runtime.delegates import Delegate

# As many windows as the noise rules need to tell a trend or an outlier from chance.
WINDOWS = 5
# Of energy: the fewest windows, the shortest one and the fewest inferences in one that are valid (energy_rules).
ENERGY_WINDOWS, ENERGY_WINDOW_S, ENERGY_RUNS = 5, 10.0, 10
BOARD_WAIT_S = 300.0
SUSTAIN_POINTS = 240


@dataclass(frozen=True)
class EnergyPlan:
    """One energy run: with a meter, and perhaps a trigger line of the board (CHIP:LINE) wired to it.

    The recording is written to the file `trace`, if named, which replaces an existing one.
    A window ends when `window_s` has passed and `min_runs` inferences were made.
    """

    meter: str
    trigger: str | None = None
    windows: int = ENERGY_WINDOWS
    window_s: float = ENERGY_WINDOW_S
    min_runs: int = ENERGY_RUNS
    trace: Path | None = None

    @property
    def steps(self) -> int:
        """The number of steps that a run reports."""
        return self.windows + 2

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name, value, least in (("windows", self.windows, 1), ("min_runs", self.min_runs, 1),
                                   ("window_s", self.window_s, 0.001)):  # fmt: skip
            if not value >= least or value == float("inf"):
                raise InputError(f"the energy plan's {name} is {value}, expected at least {least}")
        # The kernel numbers lines with 32 bits, a chip has at most some hundred.
        if self.trigger is not None and not re.fullmatch(r"\w{1,32}:[0-9]{1,5}", self.trigger, re.ASCII):
            raise InputError(f"a trigger line is CHIP:LINE, such as gpiochip0:17, got {self.trigger!r}")


@dataclass(frozen=True)
class Plan:
    """One measurement's plan; the default takes about 10 s per model with all cores and kernels.

    A window ends when `window_s` has passed and `min_runs` inferences were made, so slow models take longer. `cpus`
    are the processors to run on, None leaves them to the kernel; chosen ones leave out the run with all cores.
    `cool_wait_s` is the longest wait for the board to cool below `cool_below_c`, None for the default (boards are
    left to cool, this machine is not). `sustain_s` is how long to load the board at the end. `delegates` take
    operators over from the runtime. `energy` also measures energy with a power meter.
    """

    warmup_s: float = 0.5
    windows: int = WINDOWS
    window_s: float = 0.8
    min_runs: int = 5
    threads: int = 1
    all_cores: bool = True
    kernels: bool = True
    kernel_runs: int = 20
    runtime: str | None = None
    quick: bool = False
    cpus: tuple[int, ...] | None = None
    cool_below_c: float = 50.0
    cool_wait_s: float | None = None
    sustain_s: float = 0.0
    delegates: tuple[Delegate, ...] = ()
    energy: EnergyPlan | None = None

    def __post_init__(self) -> None:
        """Reject a plan that cannot be measured."""
        limits = (
            ("windows", self.windows, 1),
            ("min_runs", self.min_runs, 1),
            ("threads", self.threads, 1),
            ("kernel_runs", self.kernel_runs, 1),
            ("window_s", self.window_s, 0.001),
            ("warmup_s", self.warmup_s, 0),
            ("cool_wait_s", self.cool_wait_s or 0, 0),
            ("sustain_s", self.sustain_s, 0),
        )
        for name, value, least in limits:
            if not value >= least or value == float("inf"):
                raise InputError(f"the plan's {name} is {value}, expected at least {least}")
        if self.cpus is not None and (not self.cpus or min(self.cpus) < 0):
            raise InputError(f"the plan's cpus are {list(self.cpus)}, expected numbers of processors")

    def setup(self, model: str, *, threads: int | None = None) -> ModelSetup:
        """Return how the agent loads and runs the model at this path on the device."""
        return ModelSetup(
            model=model,
            runtime=self.runtime,
            threads=threads or self.threads,
            delegates=specs_of(self.delegates),
            cpus=self.cpus,
        )

    @property
    def steps(self) -> int:
        """The most steps that measuring one file reports."""
        stretches = math.ceil(self.sustain_s / self.sustain_window_s())
        latencies = 1 + (self.all_cores and self.cpus is None) + bool(self.delegates)
        energy = 0 if self.energy is None else self.energy.steps
        return (self.windows + 1) * latencies + self.kernels + stretches + energy

    def longest_wait_s(self, *, cools: bool) -> float:
        """Return how long to wait for a device to cool: by default only if it `cools`, and not if quick."""
        if self.cool_wait_s is not None:
            return self.cool_wait_s
        return BOARD_WAIT_S if cools and not self.quick else 0.0

    def sustain_window_s(self) -> float:
        """Return the length of one stretch under sustained load, for about `SUSTAIN_POINTS` stretches at most."""
        return max(1.0, self.sustain_s / SUSTAIN_POINTS)


def quick(plan: Plan) -> Plan:
    """Return the plan with short windows, for a first look in about 3 s; the measurement is marked as quick."""
    return replace(plan, warmup_s=0.2, window_s=0.2, min_runs=3, kernel_runs=5, quick=True)
