"""Deleting old releases and the contents nobody refers to any more."""

from __future__ import annotations

import shutil
from collections.abc import Collection

from edge.agent.store import Store, sync_folder


def prune(store: Store, keep: int, *, spare: Collection[str] = ()) -> list[str]:
    """Keep the newest releases, what serves and the one before it; return what was deleted.

    Contents that no release refers to go as well, except those whose sha256 is in `spare`.
    """
    names, current = store.names(), store.serving()
    wanted = {current, *names[-keep:]}
    manifest = store.manifest(current) if current else None
    wanted.add(manifest.get("previous") if manifest else None)
    gone = [name for name in names if name not in wanted]
    for name in gone:
        doomed = store.releases / f".{name}.gone"
        store.release(name).rename(doomed)  # in one step: a half-deleted release is never seen as one
        shutil.rmtree(doomed, ignore_errors=True)
    if gone:
        sync_folder(store.releases)
    _sweep(store, spare)
    return gone


def _sweep(store: Store, spare: Collection[str]) -> None:
    """Delete the contents that no release refers to; while a manifest cannot be read, none."""
    manifests = [store.manifest(name) for name in store.names()]
    if None in manifests:
        return
    used = {each["sha256"] for manifest in manifests if manifest for each in manifest["files"].values()}
    for blob in store.blobs.iterdir():
        if blob.name.removesuffix(".part") not in (*used, *spare):
            blob.unlink(missing_ok=True)
