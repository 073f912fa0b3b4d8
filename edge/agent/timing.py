"""Times inferences: in windows with the conditions around each (job `latency`), or for minutes (job `sustain`).

The timed loop holds nothing but the invocation, one reading of the clock and the store of one number: every sample is
the time from one reading to the next, so that no time of the loop is lost or counted twice.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from devices.messages.machine_jobs import MachineSample
from devices.messages.protocol import Progress
from edge.agent import sysfs
from edge.agent.condition_sampler import make_sampler
from edge.agent.messages import LatencyRequest, LatencyResult, SustainPoint, SustainRequest, SustainResult
from edge.agent.running import decode_inputs, load_model, pin_processors, plausible_inputs, runtime_of

Invoke = Callable[[], object]
MOST_SAMPLES = 1_000_000
_LEAST_RUNS = 3  # of a stretch under sustained load
RUNTIME_MODULES = ("ai_edge_litert", "tflite_runtime", "tensorflow")


def measure_latency(request: LatencyRequest, progress: Progress) -> LatencyResult:
    """Time windows of inferences, with the conditions around each and the memory at each stage."""
    with pin_processors(request.setup.cpus):
        base_rss_bytes = _bare_rss_bytes()
        begin = time.perf_counter_ns()
        model = load_model(request.setup)
        load_ns = time.perf_counter_ns() - begin
        loaded_rss_bytes = sysfs.peak_rss_bytes()
        model.prepare(*(plausible_inputs(model) if request.inputs is None else decode_inputs(request.inputs)))
        windows = _time_windows(model.invoke, request, progress)
    return LatencyResult(
        runtime=runtime_of(model),
        load_ns=load_ns,
        first_ns=windows.first_ns,
        warmup_runs=windows.warmup_runs,
        window_samples_ns=windows.samples_ns,
        conditions=windows.conditions,
        base_rss_bytes=base_rss_bytes,
        loaded_rss_bytes=loaded_rss_bytes,
        peak_rss_bytes=sysfs.peak_rss_bytes(),
    )


def sustain_load(request: SustainRequest, progress: Progress) -> SustainResult:
    """Run inferences for minutes; return heat and clock after each stretch of them.

    The stretches follow each other without a pause but for reading the conditions, a few ms; the board stays loaded.
    """
    window_ns = int(request.window_s * 1e9)
    with pin_processors(request.setup.cpus):
        model = load_model(request.setup)
        model.prepare(*plausible_inputs(model))
        fastest_ns = max(1, min(warm_up(model.invoke, 0, _LEAST_RUNS)))
        samples = array("q", bytes(8 * min(MOST_SAMPLES, max(_LEAST_RUNS, 4 * window_ns // fastest_ns + 16))))
        sample_conditions, begin, points = make_sampler(), time.monotonic(), []
        before = sample_conditions()
        while time.monotonic() - begin < request.seconds:
            times = time_window(model.invoke, samples, min_runs=_LEAST_RUNS, window_ns=window_ns)
            ended_s = time.monotonic() - begin
            points.append(SustainPoint(ended_s, statistics.median(times), len(times), sample_conditions()))
            progress("sustain", done=min(ended_s, request.seconds), of=request.seconds)
    return SustainResult(runtime_of(model), before, tuple(points))


@dataclass(frozen=True)
class _Windows:
    first_ns: int
    warmup_runs: int
    samples_ns: tuple[tuple[int, ...], ...]
    conditions: tuple[MachineSample, ...]


def _time_windows(invoke: Invoke, request: LatencyRequest, progress: Progress) -> _Windows:
    window_ns = int(request.window_s * 1e9)
    progress("warm-up", of=request.windows)
    first_ns = time_window(invoke, array("q", [0]), min_runs=1, window_ns=0)[0]
    warm = warm_up(invoke, int(request.warmup_s * 1e9), request.warmup_runs)
    fastest_ns = max(1, min([*warm, first_ns]))
    samples = array("q", bytes(8 * min(MOST_SAMPLES, max(request.min_runs, 2 * window_ns // fastest_ns + 16))))
    sample_conditions = make_sampler()
    conditions, measured = [sample_conditions()], []
    for done in range(1, request.windows + 1):
        measured.append(tuple(time_window(invoke, samples, min_runs=request.min_runs, window_ns=window_ns)))
        conditions.append(sample_conditions())
        progress("window", done=done, of=request.windows)
    return _Windows(first_ns, 1 + len(warm), tuple(measured), tuple(conditions))


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
