"""Receives contents: the jobs that find what is missing, write the next bytes of a content, and seal it.

What is sent collects in SHA256.part. A connection that was cut leaves it there, and the next deployment goes on after
what it holds, if the host finds that the sum of that beginning is right.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from devices.messages.protocol import Progress
from devices.messages.upload_jobs import (
    CheckRequest,
    CheckResult,
    MissingContent,
    RefusedError,
    SealRequest,
    SealResult,
    StepRefusal,
    WantedContent,
    WriteRequest,
    WriteResult,
)
from edge.agent.store import Store, refuse_on_disk_errors, sha256_of, sync_folder
from edge.agent.store_lock import lease_on
from edge.agent.store_releases import prune
from edge.runtime.errors import RuntimeFault

SPARE_BYTES = 1 << 20  # for folders and manifests, and so that the board is not left without a byte


@refuse_on_disk_errors
def check(request: CheckRequest, progress: Progress) -> CheckResult:
    """Return which contents are not here, and how much of each is.

    A blob that is here is read and its sum compared; a damaged one counts as missing. What is found at the `seeds` of a
    content is taken from there.
    """
    store = Store.of(request)
    with lease_on(store):
        missing = tuple(_look_up(store, each) for each in request.files if not _has(store, each))
        _make_room(store, sum(each.bytes - each.have for each in missing), request)
    return CheckResult(missing)


@refuse_on_disk_errors
def write(request: WriteRequest, progress: Progress) -> WriteResult:
    """Write the request's payload at `offset` of a content; what was there from `offset` on is dropped."""
    store = Store.of(request)
    path = store.part(request.sha256)
    with lease_on(store):
        try:
            with path.open("r+b" if path.exists() else "wb") as file:
                if os.fstat(file.fileno()).st_size < request.offset:
                    raise RuntimeFault(f"{path.name} holds fewer than {request.offset} bytes")
                file.truncate(request.offset)
                file.seek(request.offset)
                file.write(request.payload)
        except OSError:
            path.unlink(missing_ok=True)  # give the space back: others may need it more
            raise
    return WriteResult(request.offset + len(request.payload))


@refuse_on_disk_errors
def seal(request: SealRequest, progress: Progress) -> SealResult:
    """Check the sum of a content that is complete, make it survive a loss of power, and give it its name."""
    store, sha256 = Store.of(request), request.sha256
    path = store.part(sha256)
    with lease_on(store):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        got = sha256_of(path)
        if got != sha256:
            path.unlink(missing_ok=True)
            message = f"what arrived has the sha256 {got}, sent was {sha256}"
            raise RefusedError(StepRefusal("damaged", message, hint="send it again"))
        path.chmod(0o444)  # releases share these bytes: nobody shall write into them
        path.replace(store.blob(sha256))
        sync_folder(store.blobs)
    return SealResult(sha256)


def _has(store: Store, wanted: WantedContent) -> bool:
    blob = store.blob(wanted.sha256)
    if not blob.exists() and not any(_copy_seed(Path(seed).expanduser(), blob) for seed in wanted.seeds):
        return False
    if sha256_of(blob) == wanted.sha256:
        return True
    blob.unlink(missing_ok=True)  # releases that share the damaged bytes keep them; their sums show the damage
    return False


def _copy_seed(seed: Path, blob: Path) -> bool:
    """Copy a content from another place of this machine; a link would share later damage."""
    if not seed.is_file() or sha256_of(seed) != blob.name:
        return False
    temporary = blob.with_name(f"{blob.name}.part")
    with contextlib.suppress(OSError):
        shutil.copyfile(seed, temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(blob)
        sync_folder(blob.parent)
        return True
    temporary.unlink(missing_ok=True)
    return False


def _look_up(store: Store, wanted: WantedContent) -> MissingContent:
    part = store.part(wanted.sha256)
    have = part.stat().st_size if part.exists() else 0
    if have > wanted.bytes:
        part.unlink()
        have = 0
    return MissingContent(wanted.sha256, wanted.bytes, have, sha256_of(part) if have else None)


def _make_room(store: Store, bytes_needed: int, request: CheckRequest) -> None:
    """Refuse what will not fit before it is sent; old releases that would go anyway go now if that helps."""
    if bytes_needed and _free_bytes(store) < bytes_needed + SPARE_BYTES:
        prune(store, request.keep, spare=[each.sha256 for each in request.files])
    free = _free_bytes(store)
    if bytes_needed and free < bytes_needed + SPARE_BYTES:
        raise RefusedError(StepRefusal(
            "full",
            f"{bytes_needed} bytes have to be sent and {SPARE_BYTES} to spare, {free} are free at {store.root}",
            hint="free some space on the board, keep fewer releases (--keep), or choose another --release-root",
        ))  # fmt: skip


def _free_bytes(store: Store) -> int:
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize
