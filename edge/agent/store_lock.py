"""One deployer at a time: the lock of a root, held by this process and gone with it.

A connection that breaks without a word (a pulled cable) leaves the agent waiting for its next job, for hours. So the
lock is a lease: an agent that holds it and hears nothing for that long ends itself.
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
from typing import IO, Any

from edge.agent.request import at_least, field
from edge.agent.store import Refused, Store, digest_of, refusing
from edge.runtime.errors import RuntimeFault

LEASE_OVER = 129  # as for a lost connection, which it is
POLL_S = 0.05
SAY_S = 1.0


class Lease:
    """A lock that is held, and when its holder was last heard of."""

    def __init__(self, root: Path, file: IO[str], lease_s: float) -> None:
        self.root, self._file, self._lease_s = root, file, lease_s
        self._busy, self._heard_s = 0, time.monotonic()
        threading.Thread(target=self._watch, daemon=True, name="lease").start()

    def __enter__(self) -> None:
        self._busy += 1

    def __exit__(self, *_: object) -> None:
        self._heard_s = time.monotonic()
        self._busy -= 1

    def _watch(self) -> None:
        while not self._file.closed:
            idle_s = time.monotonic() - self._heard_s
            if not self._busy and idle_s > self._lease_s:
                os._exit(LEASE_OVER)
            time.sleep(min(1.0, self._lease_s / 4))


_held: dict[Path, Lease] = {}


def held(store: Store) -> Lease:
    """Return the lease on a store, to be entered while there is work; whoever changes something there needs it.

    Raises:
        RuntimeFault: This agent does not hold the lock.
    """
    if store.root not in _held:
        raise RuntimeFault(f"the lock of {store.root} is not held", hint="the job store_lock takes it")
    return _held[store.root]


@contextlib.contextmanager
def working() -> Iterator[Path | None]:
    """Keep all leases while there is work; gives the root whose lock was taken last, None where none is held."""
    with contextlib.ExitStack() as leases:
        for lease in _held.values():
            leases.enter_context(lease)
        yield next(reversed(_held)) if _held else None


def holder(store: Store) -> dict[str, Any] | None:
    """Return who holds the lock of a store: {"who", "pid"}; None where nobody does."""
    try:
        with store.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _named(file)
    except OSError:
        return None
    return None


@refusing
def lock(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Take the lock of a root, waiting up to `wait_s` for another holder, and tidy up what was left there.

    It is held until this agent ends. With `wanted` (the `digest_of` files) the answer says in `serves` whether just
    these serve already, read and compared.
    """
    store, who = Store.of(request), field(request, "who", str)
    wait_s, lease_s = at_least(request, "wait_s", 0, 0.0), at_least(request, "lease_s", 0.1, 30.0)
    store.make()
    if store.root not in _held:
        file = _locked(store, wait_s, progress)
        file.truncate(0)
        file.write(json.dumps({"who": who, "pid": os.getpid()}))
        file.flush()
        _held[store.root] = Lease(store.root, file, lease_s)
    store.tidy()
    with held(store):
        return {"root": str(store.root), **_serving(store, field(request, "wanted", str, ""))}


def _serving(store: Store, wanted: str) -> dict[str, Any]:
    current = store.serving()
    manifest = store.manifest(current) if current else None
    same = (
        current is not None
        and manifest is not None
        and digest_of(manifest["files"]) == wanted
        and not store.faults(current)
    )
    return {"current": current, "previous": manifest.get("previous") if manifest else None, "serves": same}


def _locked(store: Store, wait_s: float, progress: Any) -> IO[str]:  # noqa: ANN401
    file = store.lock.open("a+")
    until, say_s = time.monotonic() + wait_s, 0.0
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            if now >= until:
                found = _named(file)
                file.close()
                raise _busy(store, found, wait_s) from None
            if now >= say_s:
                progress(stage="waiting", holder=_named(file))
                say_s = now + SAY_S
            time.sleep(POLL_S)
        else:
            return file


def _busy(store: Store, found: dict[str, Any] | None, wait_s: float) -> Refused:
    name = f"{found['who']} (process {found['pid']})" if found else "somebody"
    return Refused(
        "busy",
        f"{name} is deploying to {store.root}; waited {wait_s:g} s",
        hint="try again when that is done; a deployment whose connection is lost lets go by itself",
        holder=found,
    )


def _named(file: IO[str]) -> dict[str, Any] | None:
    try:
        file.seek(0)
        found = json.loads(file.read())
        return {"who": str(found["who"]), "pid": int(found["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
