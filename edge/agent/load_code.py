"""Keeps processors busy in a pattern that a power meter can recognise."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from types import TracebackType

import numpy as np

from edge.agent.messages import LoadCode

# A Barker code of 13 chips (1 busy, 0 idle) as runs of equal chips: shifted against itself by any number of chips, no
# more than one of them agrees beyond chance (R. H. Barker, Group Synchronizing of Binary Digital Systems, 1953).
BARKER_RUNS = ((1, 5), (0, 2), (1, 2), (0, 1), (1, 1), (0, 1), (1, 1))
# Runs are drawn so much longer or shorter, lest all their ends fall on the same phase of the meter's samples.
DITHER = 0.1
_SIZE = 96  # of the matrices: one product takes well under a millisecond on the slowest board


class ProcessorLoad:
    """Threads that multiply matrices while asked to; a context manager that ends them."""

    def __init__(self, threads: int) -> None:
        self._meet = threading.Barrier(threads)
        self._until_s = 0.0
        self._spans = [(0.0, 0.0)] * threads
        self._workers = [threading.Thread(target=self._work, args=(index,), daemon=True) for index in range(1, threads)]

    def __enter__(self) -> ProcessorLoad:
        self._multiply = _product()
        for worker in self._workers:
            worker.start()
        self.busy(0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meet.abort()
        for worker in self._workers:
            worker.join(timeout=10)

    def busy(self, seconds: float) -> tuple[float, float, float]:
        """Keep all threads busy; return when they began and ended on average, and how far apart at most."""
        self._until_s = time.monotonic() + seconds
        self._meet.wait(timeout=60)
        self._run(0)
        self._meet.wait(timeout=60)
        begins, ends = zip(*self._spans, strict=True)
        count = len(begins)
        blur = max(max(begins) - min(begins), max(ends) - min(ends))
        return sum(begins) / count, sum(ends) / count, blur

    def _work(self, index: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                self._meet.wait()
                self._run(index)
                self._meet.wait()

    def _run(self, index: int) -> None:
        begin = now = time.monotonic()
        while now < self._until_s:
            self._multiply()
            now = time.monotonic()
        self._spans[index] = (begin, now)


def run_code(load: ProcessorLoad, chip_s: float, set_line: Callable[[int], None], seed: int) -> LoadCode:
    """Run one code with a chip's pause on either side; `set_line` is called at each begin and end."""
    draw = random.Random(seed)
    begin_s = time.monotonic()
    time.sleep(chip_s)
    spans, blurs = [], []
    for level, chips in BARKER_RUNS:
        seconds = chips * chip_s * draw.uniform(1 - DITHER, 1 + DITHER)
        if not level:
            time.sleep(seconds)
            continue
        set_line(1)
        begun_s, ended_s, blur_s = load.busy(seconds)
        set_line(0)
        spans.append((begun_s, ended_s))
        blurs.append(blur_s)
    time.sleep(chip_s)
    return LoadCode(begin_s, time.monotonic(), tuple(spans), max(blurs))


def _product() -> Callable[[], object]:
    values = np.random.default_rng(0).standard_normal((_SIZE, _SIZE)).astype(np.float32)

    def multiply() -> object:
        return values @ values

    return multiply
