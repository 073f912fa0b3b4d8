"""Defines the trace, the output of every power meter: samples over time, and counts of the missing ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_tools.errors import TraceError


@dataclass(frozen=True, eq=False)
class Trace:
    """Power samples of one meter; all arrays have the same length.

    Attributes:
        time_s: Seconds, strictly increasing, on the meter's own clock, or on the host's monotonic clock if the
            meter has none.
        power_w: Power, in watts.
        supply_v: Supply voltage, NaN if the meter does not measure it.
        current_a: Current, NaN if the meter does not measure it.
        inputs: Digital inputs, bit 0 is the trigger; zeros if the meter has none.
        lost: Samples known to be lost, from sequence numbers or counters.
        damaged: Frames discarded for their check sum, their format or impossible values.

    Raises:
        TraceError: The lengths differ, or the time is not finite or does not increase.
    """

    time_s: NDArray[np.float64]
    power_w: NDArray[np.float64]
    supply_v: NDArray[np.float64]
    current_a: NDArray[np.float64]
    inputs: NDArray[np.uint8]
    lost: int = 0
    damaged: int = 0

    def __post_init__(self) -> None:
        lengths = [len(column) for column in (self.power_w, self.supply_v, self.current_a, self.inputs)]
        if set(lengths) - {len(self.time_s)}:
            raise TraceError(f"a trace of {len(self.time_s)} times has columns of {lengths} samples")
        if len(self) and not (np.isfinite(self.time_s[[0, -1]]).all() and (self.time_s[1:] > self.time_s[:-1]).all()):
            raise TraceError(
                "the time of a trace does not increase from sample to sample",
                hint="samples of two meters, or from before and after a restart, are two traces",
            )

    def __len__(self) -> int:
        return len(self.time_s)

    @classmethod
    def empty(cls, *, lost: int = 0, damaged: int = 0) -> Trace:
        """Return a trace without samples."""
        none = np.empty(0)
        return cls(none, none, none, none, np.empty(0, np.uint8), lost, damaged)

    @classmethod
    def concatenate(cls, traces: Iterable[Trace]) -> Trace:
        """Return the samples of all traces in sequence, and the sums of their counters."""
        parts = list(traces)
        lost, damaged = sum(part.lost for part in parts), sum(part.damaged for part in parts)
        full = [part for part in parts if len(part)]
        if not full:
            return cls.empty(lost=lost, damaged=damaged)
        return cls(
            np.concatenate([part.time_s for part in full]),
            np.concatenate([part.power_w for part in full]),
            np.concatenate([part.supply_v for part in full]),
            np.concatenate([part.current_a for part in full]),
            np.concatenate([part.inputs for part in full]),
            lost,
            damaged,
        )
