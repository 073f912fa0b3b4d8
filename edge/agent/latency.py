"""The job `latency`: load a model and time its inferences in windows, with the conditions around each.

The timed loop holds nothing but the invocation, one reading of the clock and the store of one number: every sample is
the time from one reading to the next, so that no time of the loop is lost or counted twice.
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge.agent import sysfs
from edge.agent.conditions import sampler
from edge.agent.model import load_model, plausible_inputs
from edge.agent.processors import pinned
from edge.agent.protocol import decode_array
from edge.agent.request import at_least, count, field

Invoke = Callable[[], object]
MOST_SAMPLES = 1_000_000
RUNTIME_MODULES = ("ai_edge_litert", "tflite_runtime", "tensorflow")


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer with every sample of every window, the conditions before and after, and the memory at each stage."""
    with pinned(request):
        base_rss_bytes = _bare_rss_bytes()
        begin = time.perf_counter_ns()
        model = load_model(request)
        load_ns = time.perf_counter_ns() - begin
        loaded_rss_bytes = sysfs.peak_rss_bytes()
        arrays = field(request, "inputs", list, None)
        model.prepare(*(plausible_inputs(model) if arrays is None else map(decode_array, arrays)))
        result = measure(model.invoke, request, progress)
    return {
        "runtime": {"name": model.runtime.name, "version": model.runtime.version},
        "load_ns": load_ns,
        **result,
        "base_rss_bytes": base_rss_bytes,
        "loaded_rss_bytes": loaded_rss_bytes,
        "peak_rss_bytes": sysfs.peak_rss_bytes(),
    }


def measure(invoke: Invoke, request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Warm up, then time `windows` windows of at least `window_s` seconds and `min_runs` inferences each."""
    windows, min_runs = count(request, "windows", 5), count(request, "min_runs", 10)
    window_ns = int(at_least(request, "window_s", 0, 1.0) * 1e9)
    progress(stage="warm-up", done=0, of=windows)
    first_ns = time_window(invoke, array("q", [0]), min_runs=1, window_ns=0)[0]
    warm = warm_up(invoke, int(at_least(request, "warmup_s", 0, 0.5) * 1e9), count(request, "warmup_runs", 5, least=0))
    fastest_ns = max(1, min([*warm, first_ns]))
    samples = array("q", bytes(8 * min(MOST_SAMPLES, max(min_runs, 2 * window_ns // fastest_ns + 16))))
    sample_conditions = sampler()
    conditions, measured = [sample_conditions()], []
    for done in range(1, windows + 1):
        measured.append(time_window(invoke, samples, min_runs=min_runs, window_ns=window_ns).tolist())
        conditions.append(sample_conditions())
        progress(stage="window", done=done, of=windows)
    return {
        "first_ns": first_ns,
        "warmup_runs": 1 + len(warm),
        "window_samples_ns": measured,
        "conditions": conditions,
    }


def warm_up(invoke: Invoke, warmup_ns: int, least: int) -> list[int]:
    """Run until both the time has passed and the count is reached; return the times of the last runs, in ns."""
    clock = time.perf_counter_ns
    times, done, begin = [], 0, clock()
    before = begin
    while done < least or before - begin < warmup_ns:
        invoke()
        after = clock()
        times.append(after - before)
        done, before = done + 1, after
    return times


def time_window(invoke: Invoke, samples: array[int], *, min_runs: int, window_ns: int) -> array[int]:
    """Time inferences one by one until the window is over.

    Args:
        invoke: Runs one inference on inputs that are already set.
        samples: Where the times go; its length ends the window early.
        min_runs: The window holds at least so many inferences.
        window_ns: And lasts at least so long.

    Returns:
        The time of each inference, in ns. Garbage collection is off meanwhile.
    """
    clock, most, index = time.perf_counter_ns, len(samples), 0
    with _no_garbage_collection():
        before = clock()
        end = before + window_ns
        while index < most:
            invoke()
            after = clock()
            samples[index] = after - before
            before = after
            index += 1
            if after >= end and index >= min_runs:
                break
    return samples[:index]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _bare_rss_bytes() -> int | None:
    """Return the peak memory before a TFLite runtime is imported; None if one already was."""
    import numpy as np  # noqa: F401  (part of the base: every model needs it)

    return None if any(name in sys.modules for name in RUNTIME_MODULES) else sysfs.peak_rss_bytes()
