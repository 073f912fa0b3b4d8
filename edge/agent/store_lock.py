"""Lets one host deploy at a time: the lock of a root is held by this process and released with its end.

A connection that breaks without notice (a pulled cable) leaves the agent waiting for its next job, for hours. So the
lock is a lease: an agent that holds it and receives nothing for that long ends itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from converters.decode import DecodeError, decode, encode
from devices.messages.protocol import Progress
from devices.messages.release_jobs import digest_of
from devices.messages.upload_jobs import LockHolder, LockRequest, LockResult, RefusedError, StepRefusal
from edge.agent.store import Store, refuse_on_disk_errors
from edge.runtime.errors import RuntimeFault

LEASE_OVER = 129  # as for a lost connection, which it is
POLL_S = 0.05
NOTIFY_S = 1.0


class Lease:
    """A lock that is held, and when its holder last sent a request."""

    def __init__(self, root: Path, file: IO[str], lease_s: float) -> None:
        self.root, self._file, self._lease_s = root, file, lease_s
        self._busy, self._used_s = 0, time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="lease").start()

    def __enter__(self) -> None:
        self._busy += 1

    def __exit__(self, *_: object) -> None:
        self._used_s = time.monotonic()
        self._busy -= 1

    def _watch(self) -> None:
        while not self._file.closed:
            idle_s = time.monotonic() - self._used_s
            if not self._busy and idle_s > self._lease_s:
                os._exit(LEASE_OVER)
            time.sleep(min(1.0, self._lease_s / 4))


_leases: dict[Path, Lease] = {}


def lease_on(store: Store) -> Lease:
    """Return the lease on a store, to be entered while there is work; whoever changes something there needs it.

    Raises:
        RuntimeFault: This agent does not hold the lock.
    """
    if store.root not in _leases:
        raise RuntimeFault(f"the lock of {store.root} is not held", hint="the job store_lock takes it")
    return _leases[store.root]


@contextlib.contextmanager
def keep_leases() -> Iterator[Path | None]:
    """Keep all leases while there is work; gives the root whose lock was taken last, None where none is held."""
    with contextlib.ExitStack() as leases:
        for lease in _leases.values():
            leases.enter_context(lease)
        yield next(reversed(_leases)) if _leases else None


def holder_of(store: Store) -> LockHolder | None:
    """Return who holds the lock of a store; None where nobody does."""
    try:
        with store.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(file)
    except OSError:
        return None
    return None


@refuse_on_disk_errors
def lock(request: LockRequest, progress: Progress) -> LockResult:
    """Take the lock of a root, waiting up to `wait_s` for another holder, and tidy up what was left there."""
    store = Store.of(request)
    store.make()
    if store.root not in _leases:
        file = _lock_file(store, request.wait_s, progress)
        file.truncate(0)
        file.write(json.dumps(encode(LockHolder(request.who, os.getpid()))))
        file.flush()
        _leases[store.root] = Lease(store.root, file, request.lease_s)
    store.tidy()
    with lease_on(store):
        return _serving(store, request.wanted)


def _serving(store: Store, wanted: str) -> LockResult:
    current = store.serving()
    manifest = store.manifest(current) if current else None
    same = (
        current is not None
        and manifest is not None
        and digest_of(manifest.files) == wanted
        and not store.faults(current)
    )
    return LockResult(str(store.root), current, manifest.previous if manifest else None, same)


def _lock_file(store: Store, wait_s: float, progress: Progress) -> IO[str]:
    file = store.lock.open("a+")
    until, notify_s = time.monotonic() + wait_s, 0.0
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            if now >= until:
                holder = _read_holder(file)
                file.close()
                raise _busy(store, holder, wait_s) from None
            if now >= notify_s:
                holder = _read_holder(file)
                progress("waiting", holder=holder.who if holder else None)
                notify_s = now + NOTIFY_S
            time.sleep(POLL_S)
        else:
            return file


def _busy(store: Store, holder: LockHolder | None, wait_s: float) -> RefusedError:
    return RefusedError(StepRefusal(
        "busy",
        f"{holder or 'somebody'} is deploying to {store.root}; waited {wait_s:g} s",
        hint="try again when that is done; a deployment whose connection is lost releases the lock by itself",
    ))  # fmt: skip


def _read_holder(file: IO[str]) -> LockHolder | None:
    try:
        file.seek(0)
        return decode(LockHolder, json.loads(file.read()), "the lock", ignore_unknown=True)
    except (OSError, ValueError, DecodeError):
        return None
