"""Whole files or none: every file the project writes goes through here."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from converters.errors import WriteError

_CHUNK_BYTES = 1 << 20


def require_folder(folder: Path) -> None:
    """Say before the work that a folder cannot be made or written to; makes nothing.

    Raises:
        WriteError: something that is no folder is in the way, or there is no permission.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise WriteError(f"could not write to {folder}: {there} is no folder", hint="choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise WriteError(
            f"could not write to {folder}: no permission for {there}", hint="choose a folder you may write to"
        )


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    Raises:
        WriteError: the folder cannot be made or the data not written; whatever stood at `path` is untouched.
    """
    with replacing(path) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; put it in place of `path` if the block ends well.

    Raises:
        WriteError: an OSError rose while making, writing or renaming; the temporary file is gone.
    """
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        draft = Path(name)
        yield draft
        _settle(draft, path)
    except OSError as error:
        raise WriteError(
            f"could not write {path}: {error.strerror or error}",
            hint="free some space, or choose a folder you may write to; what stood there before is unchanged",
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together: all of them or none.

    Raises:
        WriteError: one cannot be written; at all the paths stands what stood there before.
    """
    try:
        with contextlib.ExitStack() as drafts:
            ready = {path: drafts.enter_context(_drafted(path, data)) for path, data in contents.items()}
            _exchange(ready)
    except OSError as error:
        raise WriteError(
            f"could not write {error.filename or 'the files'}: {error.strerror or error}",
            hint="free some space, or choose a folder you may write to; what stood there before is unchanged",
        ) from error


@contextlib.contextmanager
def _drafted(path: Path, data: bytes | str) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        _finish(draft)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _exchange(ready: Mapping[Path, Path]) -> None:
    """Put drafts in the places of files; where one cannot be, put all the files back."""
    before: dict[Path, Path | None] = {}
    try:
        for path, draft in ready.items():
            before[path] = _set_aside(path, draft.with_suffix(".before"))
            draft.replace(path)
    except BaseException:
        for path, aside in before.items():
            if aside is None:
                path.unlink(missing_ok=True)
            else:
                aside.replace(path)
        raise
    for aside in before.values():
        if aside is not None:
            aside.unlink()


def _set_aside(path: Path, aside: Path) -> Path | None:
    """Give a file another name; None where there is none."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        return path.rename(aside)
    except FileNotFoundError:
        return None


def _settle(draft: Path, path: Path) -> None:
    _finish(draft)
    draft.replace(path)


def _finish(draft: Path) -> None:
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    draft.chmod(0o666 & ~umask)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
