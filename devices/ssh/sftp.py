"""Copies files to and from a board by SFTP atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

import asyncssh

from converters.files import temporary_for
from devices.contract import OnTransfer
from devices.errors import TransferError, UnreachableError

BLOCK_BYTES = 1 << 20  # read and sent at once; the library keeps up to 128 requests of it on the way
MODE = 0o644
_CUT = {errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)
_MOST_NAME = 100  # of a destination's name in its temporary's: a file's name has at most 255 bytes


@contextlib.asynccontextmanager
async def transferring(source: str, destination: str, device: str) -> AsyncIterator[None]:
    """Translate the errors of a copy."""
    try:
        yield
    except (*_LOST, asyncssh.DisconnectError) as error:
        raise UnreachableError(f"the connection to {device} broke while {source} was copied") from error
    except (OSError, asyncssh.Error) as error:
        if isinstance(error, OSError) and error.errno in _CUT:  # from the socket; no file gives these
            raise UnreachableError(f"the connection to {device} broke while {source} was copied") from error
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else error.reason
        raise TransferError(
            f"{source} could not be copied to {destination}: {reason}", hint="what was at the destination is untouched"
        ) from error


async def upload(sftp: asyncssh.SFTPClient, local: Path, remote: str, on_transfer: OnTransfer | None) -> None:
    """Send a file under a name of its own next to the destination, have it written to disk, then rename it."""
    folder, name = posixpath.split(remote)
    with local.open("rb") as source:
        temporary = posixpath.join(folder, f".{name[:_MOST_NAME]}.{secrets.token_hex(4)}.part")
        try:
            await send(sftp, source, temporary, begin=0, on_transfer=on_transfer)
            await sftp.posix_rename(temporary, remote)
        except BaseException:
            with contextlib.suppress(asyncssh.Error, OSError):
                await sftp.remove(temporary)
            raise


async def send(
    sftp: asyncssh.SFTPClient, source: BinaryIO, temporary: str, *, begin: int, on_transfer: OnTransfer | None
) -> None:
    """Write the source from `begin` on into a file on the board and have it written to disk there."""
    total = os.fstat(source.fileno()).st_size
    source.seek(begin)
    async with sftp.open(temporary, "r+b" if begin else "wb") as file:
        while block := source.read(BLOCK_BYTES):
            await file.write(block, source.tell() - len(block))
            if on_transfer is not None:
                on_transfer(source.tell(), total)
        await file.truncate(source.tell())
        await file.chmod(MODE)
        with contextlib.suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()


async def download(sftp: asyncssh.SFTPClient, remote: str, local: Path, on_transfer: OnTransfer | None) -> None:
    """Receive a file under a name of its own next to the destination, then rename it."""
    async with sftp.open(remote, "rb") as source:
        total = (await source.stat()).size or 0
        with temporary_for(local, mode=MODE, make_folder=False) as temporary, temporary.open("wb") as into:
            while block := cast("bytes", await source.read(BLOCK_BYTES, into.tell())):
                into.write(block)
                if on_transfer is not None:
                    on_transfer(into.tell(), max(total, into.tell()))
