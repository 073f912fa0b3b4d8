"""A thread that does one job after another, and that nobody has to wait for.

The threads of concurrent.futures are joined when the interpreter ends: one that is stuck in native code holds it up.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """One thread that does one job after another. A stuck one does not hold up the interpreter's exit (daemon)."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = SimpleQueue()
        self._stopped = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Put a job behind the others; return what will be its result."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Let the job at work be the last one; those that wait are cancelled."""
        self._stopped = True
        self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the job at work; return whether the thread is at its end."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            if self._stopped:
                future.cancel()
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for the result
                future.set_exception(error)
