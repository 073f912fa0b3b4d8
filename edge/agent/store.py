"""Stores releases of models on this machine as files: one folder, its root, holds everything.

    ROOT/
      blobs/SHA256            contents, named by their sha256; a blob is whole: it got its name after the sum was right
      blobs/SHA256.part       the beginning of one that is being sent, or that a cut connection left
      releases/0007-1a2b3c/   one release: its files (hard links to blobs) and manifest.json
      current -> releases/... what serves; switched by renaming a link, so that it always leads to a whole release
      lock                    held (flock) by the agent of who deploys; names the holder
      unit                    name of the systemd unit that is restarted after a switch, where there is one

Nothing is ordered by time: the clock of a board may be wrong. Releases are numbered.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from converters.decode import DecodeError, decode
from devices.messages.protocol import Progress
from devices.messages.release_jobs import ReleaseManifest
from devices.messages.upload_jobs import RefusedError, StepRefusal
from edge.runtime.errors import RuntimeFault

CHUNK_BYTES = 1 << 20
MANIFEST, CURRENT = "manifest.json", "current"
SCHEMA = "edge-release/1"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_locked: list[Path] = []  # the roots whose locks this agent holds; requests need not name the last one
Q = TypeVar("Q", bound="RootRequest")
R = TypeVar("R")


class RootRequest(Protocol):
    """A request that may name a root."""

    @property
    def root(self) -> str | None: ...


def refuse_on_disk_errors(job: Callable[[Q, Progress], R]) -> Callable[[Q, Progress], R]:
    """Make a job refuse, with a RefusedError, where the disk is full or fails."""

    def run(request: Q, progress: Progress) -> R:
        try:
            return job(request, progress)
        except OSError as error:
            where = error.filename or request.root
            if error.errno in _FULL:
                raise RefusedError(StepRefusal("full", f"no space is left at {where}")) from error
            raise RefusedError(StepRefusal("disk", f"{where}: {error.strerror or error}")) from error

    return run


class Store:
    """The folder of one root; knows where things are and puts them there whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs, self.releases = root / "blobs", root / "releases"
        self.current, self.lock, self.unit = root / CURRENT, root / "lock", root / "unit"

    @classmethod
    def of(cls, request: RootRequest) -> Store:
        """Return the store a request names, or the one whose lock this agent took last.

        "~" is the home folder here, and other relative paths begin there.
        """
        if request.root is not None:
            return cls(Path("~").expanduser() / Path(request.root).expanduser())
        if not _locked:
            raise RuntimeFault("the request names no root, and no lock is held", hint="the job store_lock takes it")
        return cls(_locked[-1])

    def make(self) -> None:
        """Create the missing folders, and become the default for requests that name no root."""
        _locked[:] = [*(each for each in _locked if each != self.root), self.root]
        for folder in (self.root, self.blobs, self.releases):
            folder.mkdir(parents=True, exist_ok=True)

    def blob(self, sha256: str) -> Path:
        """Return where the content of this sum belongs."""
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise RuntimeFault(f"{sha256[:80]!r} is not a sha256")
        return self.blobs / sha256

    def part(self, sha256: str) -> Path:
        """Return where the beginning of that content is collected."""
        return self.blob(sha256).with_name(f"{sha256}.part")

    def release(self, name: str) -> Path:
        """Return the folder of a release."""
        if not name or name.startswith(".") or "/" in name:
            raise RuntimeFault(f"{name[:80]!r} is not the name of a release")
        return self.releases / name

    def names(self) -> list[str]:
        """Return the releases in the order of their numbers."""
        with contextlib.suppress(FileNotFoundError):
            found = [each.name for each in self.releases.iterdir() if not each.name.startswith(".") and each.is_dir()]
            return sorted(found, key=lambda name: (number_of(name), name))
        return []

    def serving(self) -> str | None:
        """Return the name of the release that `current` leads to; None where it leads nowhere."""
        with contextlib.suppress(OSError):
            return Path(os.readlink(self.current)).name  # noqa: PTH115  (3.10 has no Path.readlink for str joins)
        return None

    def manifest(self, name: str) -> ReleaseManifest | None:
        """Return the manifest of a release; None where it cannot be read."""
        try:
            value = json.loads((self.release(name) / MANIFEST).read_text(encoding="utf-8"))
            found = decode(ReleaseManifest, value, MANIFEST, ignore_unknown=True)
        except (OSError, ValueError, RecursionError, DecodeError):
            return None
        return found if found.schema == SCHEMA else None

    def faults(self, name: str) -> list[str]:
        """Read each file of a release and compare its sum; return what is wrong."""
        manifest = self.manifest(name)
        if manifest is None:
            return [f"{MANIFEST} cannot be read"]
        found = []
        for file, content in manifest.files.items():
            got = sha256_of(self.release(name) / Path(file).name)
            if got != content.sha256:
                found.append(f"{file} is missing" if got is None else f"{file} is not what was deployed: sha256 {got}")
        return found

    def switch(self, name: str | None) -> None:
        """Make `current` lead to a release, atomically; None removes it."""
        if name is None:
            self.current.unlink(missing_ok=True)
        else:
            temporary = self.root / f".{CURRENT}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(f"{self.releases.name}/{name}")
            temporary.replace(self.current)
        sync_folder(self.root)

    def tidy(self) -> None:
        """Delete what an interrupted deployment left incomplete, except partly received blobs, which can be resumed."""
        for left in (*self.releases.glob(".*"), self.root / f".{CURRENT}.new"):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def number_of(name: str) -> int:
    """Return the number a release's name begins with; 0 where there is none."""
    digits = name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def sha256_of(path: Path, only_bytes: int | None = None) -> str | None:
    """Return the sum of a file's content, or of its beginning; None where it cannot be read."""
    try:
        digest = hashlib.sha256()
        for chunk in _chunks(path, only_bytes):
            digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, text: str) -> None:
    """Write a new file and make its content survive a loss of power."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _chunks(path: Path, only_bytes: int | None) -> Iterator[bytes]:
    left = only_bytes
    with path.open("rb") as file:
        while left is None or left > 0:
            chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk
