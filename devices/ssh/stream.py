"""Connects blocking code to a program that runs on a board."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from devices.contract import Exit
from devices.errors import DeviceError, UnreachableError
from devices.ssh.channel import RemoteProgram
from devices.ssh.loop import LoopThread

T = TypeVar("T")
SIGNAL_S = 0.25  # until a signal through the connection has had its effect; many servers ignore it
TERMINATE_S = 2.0
CLOSE_S = 12.0
LAST_WORDS_S = 0.5  # after its end, for output on the way; a child that keeps the pipe open gets no longer
Kill = Callable[[str, int], Awaitable[None]]  # name of a signal, number of a process


class SSHStream:
    """A program on a board and its three pipes.

    Standard error is taken as it comes, so that a program never blocks on it.
    """

    def __init__(self, program: RemoteProgram, *, thread: LoopThread, device: str, argv0: str, kill: Kill) -> None:
        self._program, self._thread = program, thread
        self._device, self._argv0, self._kill = device, argv0, kill
        self._input_ended = self._closed = False

    def __enter__(self) -> SSHStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of the data; a BrokenPipeError says that the program takes no more."""
        if self._input_ended or self._closed:
            raise BrokenPipeError(f"{self._argv0} takes no more input")
        self._call(self._program.write(data), deadline_s, "did not take its input")

    def end_input(self) -> None:
        """Close the program's standard input."""
        if not (self._input_ended or self._closed):
            self._input_ended = True
            self._call(self._end_input(), CLOSE_S, "did not take the end of its input")

    def read(self, *, deadline_s: float) -> bytes:
        """Return what the program has written, at least one byte; b"" at the end.

        Raises:
            UnreachableError: The connection broke.
        """
        return self._call(self._read(), deadline_s, "did not write anything")

    def errors(self) -> bytes:
        """Return the last part of what the program wrote to its standard error so far."""
        return bytes(self._program.err)

    def wait(self, *, deadline_s: float) -> Exit:
        """Wait for the program's end; what it wrote until then has been taken, whoever else holds its pipes.

        Raises:
            UnreachableError: The connection broke.
        """
        return self._call(self._wait(), deadline_s, "did not end")

    def output(self) -> bytes:
        """Return and drop the output that has not been read yet."""
        return self._call(self._take(), CLOSE_S, "could not be read")

    def close(self) -> None:
        """End the program if it still runs, politely and then by force, and free everything; may be repeated."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(DeviceError):
                self._thread.call(self._end(), deadline_s=CLOSE_S, what=f"{self._argv0} did not end")

    def _call(self, work: Coroutine[Any, Any, T], deadline_s: float, what: str) -> T:
        return self._thread.call(work, deadline_s=deadline_s, what=f"{self._argv0} on {self._device} {what}")

    async def _read(self) -> bytes:
        program = self._program
        await program.until(lambda: bool(program.out) or program.at_end)
        if not program.out and program.gone and program.exit is None:
            raise self._broken()
        return program.take()

    async def _take(self) -> bytes:
        return self._program.take()

    async def _wait(self) -> Exit:
        program = self._program
        program.let_flow()
        await program.until(lambda: program.over)
        if program.exit is None:
            raise self._broken()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(program.until(lambda: program.at_end), LAST_WORDS_S)
        return program.exit

    async def _end_input(self) -> None:
        with contextlib.suppress(OSError):
            if not self._program.gone:
                self._program.channel.write_eof()

    async def _end(self) -> None:
        program = self._program
        if not program.over:
            await self._end_input()
            for signal, patience_s in (("TERM", TERMINATE_S), ("KILL", TERMINATE_S)):
                if await self._end_with(signal, patience_s):
                    break
        program.channel.abort()
        await program.until(lambda: program.gone)

    async def _end_with(self, signal: str, patience_s: float) -> bool:
        """Signal through the connection; where the server does not pass it on, by the process's number."""
        program = self._program
        with contextlib.suppress(OSError):
            program.channel.send_signal(signal)
        if not await self._over_within(SIGNAL_S) and program.pid is not None:
            with contextlib.suppress(asyncssh.Error, OSError):
                await asyncio.wait_for(self._kill(signal, program.pid), patience_s)
        return await self._over_within(patience_s)

    async def _over_within(self, patience_s: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._program.until(lambda: self._program.over), patience_s)
        return self._program.over

    def _broken(self) -> UnreachableError:
        return UnreachableError(f"the connection to {self._device} broke while {self._argv0} ran")
