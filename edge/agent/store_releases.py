"""Creates, switches, lists and deletes releases: the jobs of releases."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from converters.decode import encode
from devices.messages.protocol import Progress
from devices.messages.release_jobs import (
    CleanRequest,
    CleanResult,
    PublishRequest,
    ReleaseManifest,
    ReleaseState,
    StatusRequest,
    StatusResult,
    SwitchRequest,
    SwitchResult,
)
from devices.messages.upload_jobs import RefusedError, StepRefusal
from edge.agent.store import MANIFEST, SCHEMA, Store, number_of, refuse_on_disk_errors, sync_folder, write_synced
from edge.agent.store_lock import holder_of, lease_on
from edge.runtime.errors import RuntimeFault


@refuse_on_disk_errors
def publish(request: PublishRequest, progress: Progress) -> SwitchResult:
    """Make a release of contents that are here, and switch to it.

    The release that served stays, and its name goes into the manifest as `previous`. What was deployed is read back
    through `current` before this ends.
    """
    store = Store.of(request)
    with lease_on(store):
        previous = store.serving()
        number = 1 + max((number_of(name) for name in store.names()), default=0)
        name = f"{number:04d}-{request.sha256[:12]}"
        manifest = ReleaseManifest(
            schema=SCHEMA,
            id=name,
            number=number,
            files=request.files,
            previous=previous,
            label=request.label,
            deployed=request.deployed,
            by=request.by,
            golden=request.golden,
        )
        _make(store, name, manifest)
        store.switch(name)
        faults = store.faults(name)
        if faults:
            _go_back(store, name, previous)
            message = f"{name} differs when read back: {'; '.join(faults)}"
            raise RefusedError(StepRefusal("damaged", message, hint="is the disk failing?"))
    return SwitchResult(name, previous)


@refuse_on_disk_errors
def switch(request: SwitchRequest, progress: Progress) -> SwitchResult:
    """Switch to a release after comparing its sums, or to none; then delete another."""
    store, target, doomed = Store.of(request), request.to, request.delete
    with lease_on(store):
        before = store.serving()
        if target is not None:
            check_sound(store, target)
        store.switch(target)
        if doomed is not None and doomed != target:
            _delete(store, doomed)
            sync_folder(store.releases)
    return SwitchResult(target, before)


@refuse_on_disk_errors
def clean(request: CleanRequest, progress: Progress) -> CleanResult:
    """Delete the releases beyond the newest `keep`, and contents that no release refers to."""
    store = Store.of(request)
    with lease_on(store):
        return CleanResult(tuple(prune(store, request.keep)))


@refuse_on_disk_errors
def list_status(request: StatusRequest, progress: Progress) -> StatusResult:
    """List the releases; with `verify`, each file of each release (or of the release `only`) is read and compared."""
    store = Store.of(request)
    releases = []
    for name in store.names():
        checked = request.verify and request.only in (None, name)
        faults = tuple(store.faults(name)) if checked else None
        releases.append(ReleaseState(name, number_of(name), store.manifest(name), faults))
        progress("verify", done=len(releases))
    return StatusResult(
        root=str(store.root),
        current=store.serving(),
        releases=tuple(releases),
        holder=holder_of(store),
        free_bytes=_free_bytes(store.root),
    )


def prune(store: Store, keep: int, *, spare: Collection[str] = ()) -> list[str]:
    """Keep the newest releases, what serves and the one before it; return what was deleted.

    Contents that no release refers to go as well, except those whose sha256 is in `spare`.
    """
    names, current = store.names(), store.serving()
    manifest = store.manifest(current) if current else None
    wanted = {current, *names[-keep:], manifest.previous if manifest else None}
    gone = [name for name in names if name not in wanted]
    for name in gone:
        _delete(store, name)
    if gone:
        sync_folder(store.releases)
    _sweep(store, spare)
    return gone


def check_sound(store: Store, name: str) -> None:
    """Refuse a release that does not exist or is not as it was deployed."""
    if name not in store.names():
        message = f"there is no release {name!r} at {store.root}"
        raise RefusedError(StepRefusal("unknown", message, releases=tuple(store.names())))
    faults = store.faults(name)
    if faults:
        message = f"release {name} is damaged: {'; '.join(faults)}"
        raise RefusedError(StepRefusal("damaged", message, hint="deploy the model again"))


def _make(store: Store, name: str, manifest: ReleaseManifest) -> None:
    """Make the whole folder under another name, then rename it."""
    temporary = store.releases / f".{name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for file, content in manifest.files.items():
            if Path(file).name != file or file == MANIFEST:
                raise RuntimeFault(f"{file[:80]!r} is not the name of a file in a release")
            _link(store.blob(content.sha256), temporary / file)
        write_synced(temporary / MANIFEST, json.dumps(encode(manifest), indent=2, ensure_ascii=False) + "\n")
        sync_folder(temporary)
        temporary.replace(store.release(name))
        sync_folder(store.releases)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link(blob: Path, path: Path) -> None:
    try:
        os.link(blob, path)
    except FileNotFoundError:
        raise RuntimeFault(f"the content {blob.name} has not been sent") from None
    except PermissionError:  # a file system without hard links
        shutil.copyfile(blob, path)
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def _go_back(store: Store, name: str, previous: str | None) -> None:
    store.switch(previous if previous in store.names() else None)
    _delete(store, name)
    sync_folder(store.releases)


def _delete(store: Store, name: str) -> None:
    doomed = store.releases / f".{name}.gone"
    store.release(name).rename(doomed)  # in one step: a half-deleted release is never seen as one
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(store: Store, spare: Collection[str]) -> None:
    """Delete the contents that no release refers to; while a manifest cannot be read, none."""
    manifests = [store.manifest(name) for name in store.names()]
    if None in manifests:
        return
    used = {each.sha256 for manifest in manifests if manifest for each in manifest.files.values()}
    for blob in store.blobs.iterdir():
        if blob.name.removesuffix(".part") not in (*used, *spare):
            blob.unlink(missing_ok=True)


def _free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
