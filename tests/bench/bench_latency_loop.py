"""What the timed loop of a latency measurement adds to a bare loop of invocations of the runtime's interpreter.

Both loops run the same interpreter in short turns, so that a change of the machine's speed meets both alike. The figure
compares the fastest twentieth of the turns: what other processes take is not the loop's.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

from edge.agent.running import plausible_inputs
from edge.agent.timing import time_window
from edge.runtime import load

MODEL = Path(__file__).resolve().parents[3] / "shared/data/edgetpu_pairs/mobilenet_v1_0.25_128_quant.tflite"
TURNS, RUNS = 600, 5
SAMPLES = array("q", bytes(8 * RUNS))


def bare_ns(invoke: Callable[[], object]) -> float:
    """Return the time of one inference in a loop that does nothing else."""
    gc.collect()
    begin = time.perf_counter_ns()
    for _ in range(RUNS):
        invoke()
    return (time.perf_counter_ns() - begin) / RUNS


def timed_ns(invoke: Callable[[], object]) -> float:
    """Return the time of one inference as a measurement takes it, all of the loop included."""
    return sum(time_window(invoke, SAMPLES, min_runs=RUNS, window_ns=0)) / RUNS


def main() -> None:
    """Print the overhead."""
    model = load(MODEL)
    model.prepare(*plausible_inputs(model))
    # The interpreter's own method, below everything this project adds.
    bare, timed = model._interpreter.invoke, model.invoke
    bare_ns(bare)
    pairs = []
    for turn in range(TURNS):
        first, second = (bare_ns(bare), timed_ns(timed)) if turn % 2 else (timed_ns(timed), bare_ns(bare))
        pairs.append((first, second) if turn % 2 else (second, first))
    plain, ours = (quantiles(column, n=20)[0] for column in zip(*pairs, strict=True))
    print(f"bare_invoke {plain / 1e3:.1f} us")
    print(f"latency_loop_overhead {100 * (ours / plain - 1):.2f} percent")


if __name__ == "__main__":
    main()
