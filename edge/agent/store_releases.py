"""The jobs of releases: make one and switch to it, switch back, say what is there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from edge.agent.request import count, field
from edge.agent.store import MANIFEST, SCHEMA, Refused, Store, number_of, refusing, sync_folder, write_synced
from edge.agent.store_lock import held, holder
from edge.agent.store_prune import prune
from edge.runtime.errors import RuntimeFault


@refusing
def publish(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Make a release of contents that are here, and switch to it.

    `files` is {name: {sha256, bytes}}, `about` what else its manifest shall say. The release that served stays, and
    its name goes into the manifest as `previous`. What was deployed is read back through `current` before this ends.
    """
    store, files = Store.of(request), field(request, "files", dict)
    with held(store):
        previous = store.serving()
        number = 1 + max((number_of(name) for name in store.names()), default=0)
        name = f"{number:04d}-{field(request, 'sha256', str)[:12]}"
        manifest = {
            **field(request, "about", dict),
            "schema": SCHEMA,
            "id": name,
            "number": number,
            "files": files,
            "previous": previous,
        }
        _make(store, name, manifest)
        store.switch(name)
        faults = store.faults(name)
        if faults:
            _back(store, name, previous)
            raise Refused("damaged", f"{name} was read back wrong: {'; '.join(faults)}", hint="is the disk sound?")
    return {"id": name, "previous": previous}


@refusing
def switch(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Make release `to` serve after its sums were compared, or none where it is None; `delete` names one to delete."""
    store, target = Store.of(request), field(request, "to", (str, type(None)), None)
    with held(store):
        before = store.serving()
        if target is not None:
            check_sound(store, target)
        store.switch(target)
        doomed = field(request, "delete", (str, type(None)), None)
        if doomed is not None and doomed != target:
            _delete(store, doomed)
    return {"id": target, "previous": before}


@refusing
def clean(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Delete the releases beyond the newest `keep`, and contents nobody refers to."""
    store = Store.of(request)
    with held(store):
        return {"deleted": prune(store, count(request, "keep"))}


@refusing
def status(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Say what is there. With `verify`, each file of each release (or of the release `only`) is read and compared."""
    store, only = Store.of(request), field(request, "only", (str, type(None)), None)
    verify = field(request, "verify", bool, True)
    releases = []
    for name in store.names():
        wanted = only in (None, name)
        releases.append(
            {
                "id": name,
                "number": number_of(name),
                "manifest": store.manifest(name),
                "faults": store.faults(name) if verify and wanted else None,
            }
        )
        progress(stage="verify", done=len(releases))
    return {
        "root": str(store.root),
        "current": store.serving(),
        "releases": releases,
        "holder": holder(store),
        "free_bytes": _free_bytes(store.root),
    }


def check_sound(store: Store, name: str) -> None:
    """Refuse a release that is not there or not as it was deployed."""
    if name not in store.names():
        raise Refused("unknown", f"there is no release {name!r} at {store.root}", releases=store.names())
    faults = store.faults(name)
    if faults:
        raise Refused("damaged", f"release {name} is damaged: {'; '.join(faults)}", hint="deploy the model again")


def _make(store: Store, name: str, manifest: dict[str, Any]) -> None:
    """Make the whole folder under another name, then rename it."""
    draft = store.releases / f".{name}.new"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        for file, content in manifest["files"].items():
            if Path(file).name != file or file == MANIFEST:
                raise RuntimeFault(f"{file[:80]!r} is no name of a file in a release")
            _link(store.blob(content["sha256"]), draft / file)
        write_synced(draft / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        sync_folder(draft)
        draft.replace(store.release(name))
        sync_folder(store.releases)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
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


def _back(store: Store, name: str, previous: str | None) -> None:
    store.switch(previous if previous in store.names() else None)
    _delete(store, name)


def _delete(store: Store, name: str) -> None:
    doomed = store.releases / f".{name}.gone"
    store.release(name).rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    sync_folder(store.releases)


def _free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
