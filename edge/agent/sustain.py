"""The job `sustain`: inferences without a pause for minutes, with heat and clock after each stretch of them."""

from __future__ import annotations

import statistics
import time
from array import array
from typing import Any

from edge.agent.conditions import sampler
from edge.agent.latency import MOST_SAMPLES, time_window, warm_up
from edge.agent.model import load_model, plausible_inputs
from edge.agent.processors import pinned
from edge.agent.request import at_least

_LEAST_RUNS = 3


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer with one point per stretch: when it ended, the median of its inferences, and the conditions then.

    The stretches follow each other without a pause but for reading the conditions, a few ms; the board stays loaded.
    """
    seconds = at_least(request, "seconds", 0)
    window_ns = int(at_least(request, "window_s", 0, 1.0) * 1e9)
    with pinned(request):
        model = load_model(request)
        model.prepare(*plausible_inputs(model))
        fastest_ns = max(1, min(warm_up(model.invoke, 0, _LEAST_RUNS)))
        samples = array("q", bytes(8 * min(MOST_SAMPLES, max(_LEAST_RUNS, 4 * window_ns // fastest_ns + 16))))
        sample_conditions, begin, points = sampler(), time.monotonic(), []
        before = sample_conditions()
        while time.monotonic() - begin < seconds:
            times = time_window(model.invoke, samples, min_runs=_LEAST_RUNS, window_ns=window_ns)
            ended_s = time.monotonic() - begin
            points.append({
                "time_s": ended_s, "median_ns": statistics.median(times), "runs": len(times),
                "conditions": sample_conditions(),
            })  # fmt: skip
            progress(stage="sustain", done=min(ended_s, seconds), of=seconds)
    return {
        "runtime": {"name": model.runtime.name, "version": model.runtime.version},
        "before": before,
        "points": points,
    }
