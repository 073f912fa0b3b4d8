"""The jobs by which contents get here: what is missing, the next bytes of one, its end.

What is sent collects in SHA256.part. A connection that was cut leaves it there, and the next deployment goes on behind
what it holds, if the host finds that the sum of that beginning is right.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from edge.agent.request import count, field
from edge.agent.store import Refused, Store, refusing, sha256_of, sync_folder
from edge.agent.store_lock import held
from edge.agent.store_prune import prune
from edge.runtime.errors import RuntimeFault

SPARE_BYTES = 1 << 20  # for folders and manifests, and so that the board is not left without a byte


@refusing
def check(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Say what of `files` ([{sha256, bytes, seeds}]) is not here, and how much of it is.

    A blob that is here is read and its sum compared; a damaged one counts as missing. `seeds` are paths at which the
    same content may lie by another way; what is found there is taken.
    """
    store, files = Store.of(request), field(request, "files", list)
    with held(store):
        missing = [_missing(store, each) for each in files if not _here(store, each)]
        _make_room(store, sum(each["bytes"] - each["have"] for each in missing), request)
    return {"missing": missing}


@refusing
def write(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Write the request's payload at `offset` of a content; what was behind that is dropped."""
    store, offset = Store.of(request), count(request, "offset", least=0)
    path, data = store.part(field(request, "sha256", str)), field(request, "payload", bytes)
    with held(store):
        try:
            with path.open("r+b" if path.exists() else "wb") as file:
                if os.fstat(file.fileno()).st_size < offset:
                    raise RuntimeFault(f"{path.name} holds fewer than {offset} bytes")
                file.truncate(offset)
                file.seek(offset)
                file.write(data)
        except OSError:
            path.unlink(missing_ok=True)  # give the space back: others may need it more
            raise
    return {"bytes": offset + len(data)}


@refusing
def seal(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Check the sum of a content that is complete, make it survive a loss of power, and give it its name."""
    store, sha256 = Store.of(request), field(request, "sha256", str)
    path = store.part(sha256)
    with held(store):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        got = sha256_of(path)
        if got != sha256:
            path.unlink(missing_ok=True)
            raise Refused("damaged", f"what arrived has the sha256 {got}, sent was {sha256}", hint="send it again")
        path.chmod(0o444)  # releases share these bytes: nobody shall write into them
        path.replace(store.blob(sha256))
        sync_folder(store.blobs)
    return {"sha256": sha256}


def _here(store: Store, asked: dict[str, Any]) -> bool:
    blob = store.blob(field(asked, "sha256", str))
    if not blob.exists() and not any(_taken(Path(seed).expanduser(), blob) for seed in field(asked, "seeds", list, [])):
        return False
    if sha256_of(blob) == asked["sha256"]:
        return True
    blob.unlink(missing_ok=True)  # releases that share the damaged bytes keep them, and are found out by their sums
    return False


def _taken(seed: Path, blob: Path) -> bool:
    """Take a content from another place of this machine; a copy, since a link would share later damage."""
    if not seed.is_file() or sha256_of(seed) != blob.name:
        return False
    draft = blob.with_name(f"{blob.name}.part")
    with contextlib.suppress(OSError):
        shutil.copyfile(seed, draft)
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        draft.replace(blob)
        sync_folder(blob.parent)
        return True
    draft.unlink(missing_ok=True)
    return False


def _missing(store: Store, asked: dict[str, Any]) -> dict[str, Any]:
    part, size = store.part(asked["sha256"]), count(asked, "bytes", least=0)
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    return {"sha256": asked["sha256"], "bytes": size, "have": have, "have_sha256": sha256_of(part) if have else None}


def _make_room(store: Store, bytes_needed: int, request: dict[str, Any]) -> None:
    """Refuse what will not fit before it is sent; old releases that would go anyway go now if that helps."""
    if bytes_needed and _free_bytes(store) < bytes_needed + SPARE_BYTES:
        prune(store, count(request, "keep"), spare=[each["sha256"] for each in request["files"]])
    free = _free_bytes(store)
    if bytes_needed and free < bytes_needed + SPARE_BYTES:
        raise Refused(
            "full",
            f"{bytes_needed} bytes have to be sent and {SPARE_BYTES} to spare, {free} are free at {store.root}",
            hint="free some space on the board, keep fewer releases (--keep), or choose another --release-root",
        )


def _free_bytes(store: Store) -> int:
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize
