"""Runs asynchronous work for blocking code: one event loop in a thread of its own, a deadline on every wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from devices.errors import DeadlineError, UnreachableError

T = TypeVar("T")
CLEANUP_S = 3.0  # what work that came too late may still take to undo what it began
STOP_S = 5.0
_SILENCE = logging.NullHandler()  # their records do not belong on stderr; the user's own handlers still get them


class LoopThread:
    """An event loop in a daemon thread; it runs from the first call to `stop`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T], *, deadline_s: float, what: str) -> T:
        """Do the work in the loop and wait for its result.

        Raises:
            DeadlineError: No result in time; the work has been cancelled. The message is `what` and the deadline.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(_within(work, deadline_s, what), self._running())
        except BaseException:
            work.close()
            raise
        try:
            return future.result()
        except BaseException:  # an interrupt of the caller, too: the work must not go on without it
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and its thread; may be repeated."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
            thread.join(STOP_S)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                for name in ("asyncio", "asyncssh"):  # a broken connection is reported by an error, once
                    logging.getLogger(name).addHandler(_SILENCE)
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), daemon=True, name="ssh")
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=CLEANUP_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _within(work: Coroutine[Any, Any, T], deadline_s: float, what: str) -> T:
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=max(0.0, deadline_s))
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CLEANUP_S)
        if task.done() and not task.cancelled():
            task.exception()  # seen: the deadline is what is reported
        raise DeadlineError(f"{what} within {deadline_s:.3g} s")
    if task.cancelled():
        raise UnreachableError("the connection was closed meanwhile")
    return task.result()
