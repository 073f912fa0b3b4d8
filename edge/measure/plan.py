"""What to measure and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.errors import InputError

# As many windows as the noise rules need to tell a trend or an outlier from chance.
WINDOWS = 5


@dataclass(frozen=True)
class Plan:
    """One measurement's plan; the default takes about 10 s per model with all cores and kernels.

    A window ends when `window_s` has passed and `min_runs` inferences were made, so slow models take longer.
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

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        limits = (
            ("windows", self.windows, 1),
            ("min_runs", self.min_runs, 1),
            ("threads", self.threads, 1),
            ("kernel_runs", self.kernel_runs, 1),
            ("window_s", self.window_s, 0.001),
            ("warmup_s", self.warmup_s, 0),
        )
        for name, value, least in limits:
            if not value >= least or value == float("inf"):
                raise InputError(f"the plan's {name} is {value}, expected at least {least}")


def quick(plan: Plan) -> Plan:
    """Return the plan with short windows: a first look in about 3 s; the measurement says that it was quick."""
    return replace(plan, warmup_s=0.2, window_s=0.2, min_runs=3, kernel_runs=5, quick=True)
