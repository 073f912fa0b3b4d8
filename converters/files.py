"""Writes files whole or not at all: a reader sees the old content or the new one, never a part.

Every file that stays on the host is written through this module. What runs on a board writes its own: the agent's store
(edge/agent) and the installer of runtimes (devices/solver/installer.py). Folders that are built as a whole are renamed
into place by devices/emulated/build_cache.py.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from converters.errors import WriteError

PRIVATE = 0o600  # for keys and the user's configuration
READABLE = 0o644  # whatever the user's umask says
_CHUNK_BYTES = 1 << 20
_MOST_NAME = 60  # characters of a file's name in its temporary file's: a name has at most 255 bytes
_UNCHANGED = "free some space, or choose a folder you may write to; existing files are unchanged"


def require_folder(folder: Path) -> None:
    """Check before the work begins that a folder can be made and written to, without making it.

    Raises:
        WriteError: a file is in its place, or there is no permission.
    """
    parent = folder
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise WriteError(f"could not write to {folder}: {parent} is no folder", hint="choose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise WriteError(
            f"could not write to {folder}: no permission for {parent}", hint="choose a folder you may write to"
        )


def write_whole(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Write a file.

    Args:
        path: the file; its folder is made.
        data: the content; text is encoded as UTF-8.
        mode: permissions; None leaves them to the user's umask.

    Raises:
        WriteError: the folder cannot be made or the data not written; the file at `path` is as it was.
    """
    with replacing(path, mode=mode) as temporary:
        temporary.write_bytes(_encode(data))


@contextlib.contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary file as `temporary_for` does, with its errors translated.

    Raises:
        WriteError: making, writing or renaming failed.
    """
    try:
        with temporary_for(path, mode=mode) as temporary:
            yield temporary
    except OSError as error:
        raise WriteError(f"could not write {path}: {error.strerror or error}", hint=_UNCHANGED) from error


@contextlib.contextmanager
def temporary_for(path: Path, *, mode: int | None = None, make_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary file in the folder of `path`; rename it if the block succeeds, else remove it.

    For callers that translate errors themselves; `mode` is as for `write_whole`.

    Raises:
        OSError: it could not be made, written or renamed.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    with _make_temporary(path) as temporary:
        yield temporary
        _finish(temporary, mode)
        temporary.replace(path)


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together: all of them or none.

    Raises:
        WriteError: one cannot be written; the files at all the paths are as they were.
    """
    try:
        with contextlib.ExitStack() as stack:
            for path in contents:
                path.parent.mkdir(parents=True, exist_ok=True)
            temporaries = {path: stack.enter_context(_make_temporary(path)) for path in contents}
            for path, temporary in temporaries.items():
                temporary.write_bytes(_encode(contents[path]))
                _finish(temporary, None)
            _exchange(temporaries)
    except OSError as error:
        raise WriteError(
            f"could not write {error.filename or 'the files'}: {error.strerror or error}", hint=_UNCHANGED
        ) from error


@contextlib.contextmanager
def _make_temporary(path: Path) -> Iterator[Path]:
    prefix = f".{path.name[:_MOST_NAME]}."
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix[:_MOST_NAME], dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _exchange(temporaries: Mapping[Path, Path]) -> None:
    """Replace files with temporary ones; where one fails, restore all."""
    before: dict[Path, Path | None] = {}
    try:
        for path, temporary in temporaries.items():
            before[path] = _set_aside(path, temporary.with_suffix(".before"))
            temporary.replace(path)
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
    """Rename a file out of the way; None where there is none."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        return path.rename(aside)
    except FileNotFoundError:
        return None


def _finish(temporary: Path, mode: int | None) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    if mode is None:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    temporary.chmod(mode)


def _encode(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
