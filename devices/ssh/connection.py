"""Connects blocking code to a board: at the first use, and again after the connection broke."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from devices.contract import Completed, OnTransfer
from devices.errors import DeviceError, TransferError, UnreachableError
from devices.ssh.address import Address
from devices.ssh.channel import RemoteProgram, command_line
from devices.ssh.connect import reach
from devices.ssh.keys import Pins, read_pins
from devices.ssh.links import Links
from devices.ssh.loop import LoopThread
from devices.ssh.sftp import download, send, transferring, upload
from devices.ssh.stream import SSHStream

T = TypeVar("T")
CONNECT_S = 20.0
SERIAL_S = 120.0  # a noisy serial line repeats itself: no deadline over it is shorter
CLOSE_S = 5.0
_KILL = 'kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2" 2>/dev/null'  # the process's group, or it alone


class Connection:
    """The connection between this machine and a board, as a context manager.

    Args:
        name: The board's name.
        address: The board's address.
        pins: The trusted host keys; None reads those that `edge devices add` has pinned.
    """

    def __init__(self, name: str, address: Address, *, pins: Pins | None = None) -> None:
        self.name, self.address, self._pins = name, address, pins
        self._thread = LoopThread()
        self._lock = threading.Lock()
        self._links: Links | None = None
        self._sftp: asyncssh.SFTPClient | None = None
        self._number = 0
        weakref.finalize(self, self._thread.stop)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def number(self) -> int:
        """Return how many times it has been connected: what was checked over another one may have changed."""
        return self._number

    def connect(self, *, deadline_s: float = CONNECT_S) -> float:
        """Connect and log in if it is not connected; return what is left of the deadline.

        Raises:
            HostKeyError: The host key is not the pinned one.
            LoginError: No key of the user was accepted.
            UnreachableError: No answer, or no SSH server.
            DeadlineError: Not in time.
        """
        begin, deadline_s = time.monotonic(), self.extend_deadline(deadline_s)
        with self._lock:
            if self._links is None or not self._links.alive:
                self._drop()
                pins = read_pins() if self._pins is None else self._pins
                self._links = self._do(reach(self.name, self.address, pins), deadline_s, "could not be reached")
                self._number += 1
        return deadline_s - (time.monotonic() - begin)

    def extend_deadline(self, deadline_s: float) -> float:
        """Return how long to wait at most: over a serial line longer than over a network."""
        return deadline_s if self.address.serial is None else max(deadline_s, SERIAL_S)

    def start(self, argv: Sequence[str], env: Mapping[str, str], *, deadline_s: float) -> SSHStream:
        """Start a program.

        Raises:
            DeviceError: The arguments cannot be sent.
            UnreachableError: The connection broke, or the board starts no program.
        """
        left_s = self.connect(deadline_s=deadline_s)
        program = RemoteProgram()
        line = command_line(argv, env, program.marker)
        self._do(self._start(line, program), left_s, f"did not start {argv[0]}")
        return SSHStream(program, thread=self._thread, device=self.name, argv0=argv[0], kill=self._kill)

    def run(
        self, argv: Sequence[str], *, deadline_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a program to its end.

        Raises:
            DeviceError: The arguments cannot be sent, or the program did not end in time.
            UnreachableError: The connection broke, or the board starts no program.
        """
        until = time.monotonic() + self.extend_deadline(deadline_s)
        with self.start(argv, env or {}, deadline_s=deadline_s) as stream:
            with contextlib.suppress(BrokenPipeError):  # it did not want all of it; its status tells the rest
                stream.write(stdin, deadline_s=until - time.monotonic())
            stream.end_input()
            ended = stream.wait(deadline_s=until - time.monotonic())
            return Completed(tuple(argv), ended, stream.output(), stream.errors())

    def put(self, local: Path, remote: str, *, deadline_s: float, on_transfer: OnTransfer | None) -> None:
        """Send a file atomically."""
        self._copy(self._upload(local, remote, on_transfer), deadline_s, f"did not take {local}")

    def get(self, remote: str, local: Path, *, deadline_s: float, on_transfer: OnTransfer | None) -> None:
        """Receive a file atomically."""
        self._copy(self._download(remote, local, on_transfer), deadline_s, f"did not give {remote}")

    def resume(self, local: Path, draft: str, *, deadline_s: float, on_transfer: OnTransfer | None) -> int:
        """Send the rest of a partly uploaded file; return the offset where it began."""
        return self._copy(self._resume(local, draft, on_transfer), deadline_s, f"did not take {local}")

    def rename(self, old: str, new: str, *, deadline_s: float) -> None:
        """Rename a file on the board, replacing what is there."""
        self._copy(self._rename(old, new), deadline_s, f"did not rename {old}")

    def close(self) -> None:
        """End everything; may be repeated. The next use connects again."""
        with self._lock:
            self._drop()
        self._thread.stop()

    def _drop(self) -> None:
        links, self._links, self._sftp = self._links, None, None
        if links is not None:
            with contextlib.suppress(DeviceError, OSError, asyncssh.Error):
                self._do(links.close(), CLOSE_S, "was not closed")

    def _do(self, work: Coroutine[Any, Any, T], deadline_s: float, what: str) -> T:
        return self._thread.call(work, deadline_s=deadline_s, what=f"{self.name} {what}")

    def _copy(self, work: Coroutine[Any, Any, T], deadline_s: float, what: str) -> T:
        try:
            left_s = self.connect(deadline_s=deadline_s)
        except BaseException:
            work.close()
            raise
        return self._do(work, left_s, what)

    @property
    def _board(self) -> asyncssh.SSHClientConnection:
        if self._links is None:
            raise UnreachableError(f"the connection to {self.name} has been closed")
        return self._links.board

    async def _start(self, line: str, program: RemoteProgram) -> None:
        try:
            # Nothing of the user's ~/.ssh/config for terminals: a program gets bytes, and what is sent with it.
            await self._board.create_session(
                lambda: program, line, encoding=None, request_pty=False, env={}, send_env=[], x11_forwarding=False
            )
        except (asyncssh.Error, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UnreachableError(f"{self.name} starts no program: {reason}") from error

    async def _kill(self, signal: str, pid: int) -> None:
        program = RemoteProgram()
        line = command_line(["sh", "-c", _KILL, "sh", signal, str(pid)], {}, program.marker)
        await self._board.create_session(
            lambda: program, line, encoding=None, request_pty=False, env={}, send_env=[], x11_forwarding=False
        )
        await program.until(lambda: program.over)
        program.channel.abort()

    async def _files(self) -> asyncssh.SFTPClient:
        if self._sftp is None:
            try:
                self._sftp = await self._board.start_sftp_client(env={}, send_env=[])
            except (asyncssh.SFTPBadMessage, asyncssh.ChannelOpenError) as error:
                raise TransferError(
                    f"{self.name} transfers no files by SFTP: {error.reason}",
                    hint="a start-up file such as ~/.bashrc must print nothing where there is no terminal, and the "
                    "board's sshd_config needs its line `Subsystem sftp`",
                ) from error
        return self._sftp

    async def _upload(self, local: Path, remote: str, on_transfer: OnTransfer | None) -> None:
        async with transferring(str(local), remote, self.name):
            await upload(await self._files(), local, remote, on_transfer)

    async def _download(self, remote: str, local: Path, on_transfer: OnTransfer | None) -> None:
        async with transferring(remote, str(local), self.name):
            await download(await self._files(), remote, local, on_transfer)

    async def _resume(self, local: Path, draft: str, on_transfer: OnTransfer | None) -> int:
        async with transferring(str(local), draft, self.name):
            sftp = await self._files()
            size = await sftp.getsize(draft) if await sftp.exists(draft) else 0
            begin = size if size and size <= local.stat().st_size else 0
            with local.open("rb") as source:
                await send(sftp, source, draft, begin=begin, on_transfer=on_transfer)
            return begin

    async def _rename(self, old: str, new: str) -> None:
        async with transferring(old, new, self.name):
            await (await self._files()).posix_rename(old, new)
