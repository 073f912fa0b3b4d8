"""Releases of models on this machine, as files: one folder, its root, that holds everything.

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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.agent.request import field
from edge.runtime.errors import RuntimeFault

CHUNK_BYTES = 1 << 20
MANIFEST, CURRENT = "manifest.json", "current"
SCHEMA = "edge-release/1"
_FULL = (errno.ENOSPC, errno.EDQUOT)
Job = Callable[[dict[str, Any], Any], dict[str, Any]]
_locked: list[Path] = []  # the roots whose locks this agent holds; requests need not name the last one


class Refused(Exception):  # noqa: N818  (what happened, not a kind of error)
    """What the host turns into an error of its own: the kind, a message, a hint, and values for it."""

    def __init__(self, kind: str, message: str, *, hint: str | None = None, **values: object) -> None:
        super().__init__(message)
        self.answer = {"kind": kind, "message": message, "hint": hint, **values}


def refusing(job: Job) -> Job:
    """Make a job answer {"refused": {...}} where it refuses or the disk does."""

    def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            return job(request, progress)
        except Refused as refusal:
            return {"refused": refusal.answer}
        except OSError as error:
            where = error.filename or request.get("root")
            if error.errno in _FULL:
                return {"refused": {"kind": "full", "message": f"no space is left at {where}", "hint": None}}
            return {"refused": {"kind": "disk", "message": f"{where}: {error.strerror or error}", "hint": None}}

    return run


class Store:
    """The folder of one root; knows where things are and puts them there whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs, self.releases = root / "blobs", root / "releases"
        self.current, self.lock, self.unit = root / CURRENT, root / "lock", root / "unit"

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Store:
        """Return the store a request names, or the one whose lock this agent took last.

        "~" is the home folder here, and other relative paths begin there.
        """
        if request.get("root") is None and _locked:
            return cls(_locked[-1])
        text = field(dict(request), "root", str)
        return cls(Path("~").expanduser() / Path(text).expanduser())

    def make(self) -> None:
        """Make the folders that are not there yet, and be the one that requests mean if they name none."""
        _locked[:] = [*(each for each in _locked if each != self.root), self.root]
        for folder in (self.root, self.blobs, self.releases):
            folder.mkdir(parents=True, exist_ok=True)

    def blob(self, sha256: str) -> Path:
        """Return where the content of this sum belongs."""
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise RuntimeFault(f"{sha256[:80]!r} is no sha256")
        return self.blobs / sha256

    def part(self, sha256: str) -> Path:
        """Return where the beginning of that content is collected."""
        return self.blob(sha256).with_name(f"{sha256}.part")

    def release(self, name: str) -> Path:
        """Return the folder of a release."""
        if not name or name.startswith(".") or "/" in name:
            raise RuntimeFault(f"{name[:80]!r} is no name of a release")
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

    def manifest(self, name: str) -> dict[str, Any] | None:
        """Return what a release says of itself; None where that cannot be read."""
        try:
            found = json.loads((self.release(name) / MANIFEST).read_text(encoding="utf-8"))
            sound = found["schema"] == SCHEMA and isinstance(found["files"], dict)
            return found if sound and all(isinstance(each["sha256"], str) for each in found["files"].values()) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def faults(self, name: str) -> list[str]:
        """Return what is wrong with a release; each of its files is read and its sum compared."""
        manifest = self.manifest(name)
        if manifest is None:
            return [f"{MANIFEST} cannot be read"]
        found = []
        for file, content in manifest["files"].items():
            got = sha256_of(self.release(name) / Path(file).name)
            if got != content["sha256"]:
                found.append(f"{file} is missing" if got is None else f"{file} is not what was deployed: sha256 {got}")
        return found

    def switch(self, name: str | None) -> None:
        """Make `current` lead to a release, in one step; None takes it away."""
        if name is None:
            self.current.unlink(missing_ok=True)
        else:
            draft = self.root / f".{CURRENT}.new"
            draft.unlink(missing_ok=True)
            draft.symlink_to(f"{self.releases.name}/{name}")
            draft.replace(self.current)
        sync_folder(self.root)

    def tidy(self) -> None:
        """Delete what an interrupted deployment left half-made; not the beginnings of blobs, which are of use."""
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


def digest_of(files: Mapping[str, Any]) -> str:
    """Return a sum over the files of a release, {name: {sha256, bytes}}; the host computes it likewise."""
    text = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
