"""What no meter can have recorded: numbers so large that sums of them, or a file of them, would be nonsense."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from devices.meters.errors import RecordingError
from firmware_tools.trace import Trace

MOST_SPAN_S = 1e9  # 32 years
_MOST_TIME_S = 1e12  # seconds since any epoch in use, with room
_MOST = 1e9  # W, V, A
Pairs = NDArray[np.float64]


def check_samples(trace: Trace, arrivals: Pairs) -> None:
    """Look at each number; NaN, for what is not measured, passes.

    Raises:
        RecordingError: One is beyond reason.
    """
    columns = {"power": trace.power_w, "a voltage": trace.supply_v, "a current": trace.current_a}
    for what, column in columns.items():
        if (np.abs(column) > _MOST).any():
            raise RecordingError(f"it has {what} beyond {_MOST:g}, which is impossible")
    if (np.abs(trace.time_s) > _MOST_TIME_S).any() or (np.abs(arrivals) > _MOST_TIME_S).any():
        raise RecordingError(f"it has times beyond {_MOST_TIME_S:g} s, which is impossible")


def check_span(trace: Trace) -> None:
    """Look at the time from the first to the last sample.

    Raises:
        RecordingError: Nobody can have recorded for so long.
    """
    if len(trace) and trace.time_s[-1] - trace.time_s[0] > MOST_SPAN_S:
        raise RecordingError(f"its samples are over {MOST_SPAN_S:g} s apart, which is impossible")
