"""Runs jobs one after another in a thread that does not hold up the end of the process.

The threads of concurrent.futures are joined when the interpreter ends: one that is stuck in native code holds it up.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """One thread that does one job after another. A stuck one does not hold up the interpreter's exit (daemon)."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = SimpleQueue()
        self._lock = Lock()
        self._stopped = self._at_work = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Put a job behind the others; return what will be its result."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Let the job at work be the last one; those that wait are cancelled."""
        with self._lock:
            self._stopped = True
        self._jobs.put(None)

    @property
    def is_at_work(self) -> bool:
        """Whether a job is being done; where it is False after `stop`, no other will be begun."""
        with self._lock:
            return self._at_work

    def join(self, timeout_s: float) -> bool:
        """Wait for the job at work; return whether the thread is at its end."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            with self._lock:
                self._at_work = not self._stopped
            if self._at_work:
                self._do(job, future)
            else:
                future.cancel()

    def _do(self, job: Callable[[], T], future: Future[T]) -> None:
        try:
            tell = partial(future.set_result, job())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for the result
            tell = partial(future.set_exception, error)
        with self._lock:
            self._at_work = False
        tell()
