"""Connects to a process of this machine: non-blocking pipes, one poll, a deadline on every wait."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, cast

from devices.contract import Exit
from devices.errors import DeadlineError

CHUNK_BYTES = 1 << 16
PIPE_BYTES = 1 << 20  # the most a pipe holds unless root raised the limit
MOST_ERRORS_BYTES = 1 << 16
TERMINATE_DEADLINE_S = 2.0


class LocalStream:
    """A process of this machine and its three pipes.

    Standard error is drained during every wait, so that a program never blocks on it. The process has a
    session of its own: an interrupt from the terminal reaches the caller, who then decides.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None, *, folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._argv = tuple(argv)
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **(env or {})},
            cwd=folder,
            start_new_session=True,
        )
        self._stdin, self._stdout, self._stderr = (
            cast("IO[bytes]", pipe) for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._out, self._err, self._pending = bytearray(), bytearray(), memoryview(b"")
        self._broken = False
        self._selector = selectors.DefaultSelector()
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        for source in (self._stdout, self._stderr):
            self._selector.register(source, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def __enter__(self) -> LocalStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of the data; raises a BrokenPipeError if the program takes no more."""
        if self._stdin.closed or self._broken:
            raise BrokenPipeError(f"{self._argv[0]} takes no more input")
        self._pending = memoryview(data)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            self._pump(lambda: not self._pending, deadline_s, "take its input")
        finally:
            self._selector.unregister(self._stdin)
            self._pending = memoryview(b"")
        if self._broken:
            raise BrokenPipeError(f"{self._argv[0]} takes no more input")

    def end_input(self) -> None:
        """Close the program's standard input."""
        self._stdin.close()

    def end_output(self) -> None:
        """Close this end of the program's standard output, as a connection that breaks does."""
        if self._open(self._stdout):
            self._selector.unregister(self._stdout)
        self._stdout.close()

    def read(self, *, deadline_s: float) -> bytes:
        """Return what the program has written, at least one byte; b"" at the end."""
        self._pump(lambda: bool(self._out) or not self._open(self._stdout), deadline_s, "write anything")
        return self.output()

    def errors(self) -> bytes:
        """Return the last part of what the program wrote to its standard error so far."""
        self._take(self._stderr, self._err)
        return bytes(self._err)

    def wait(self, *, deadline_s: float) -> Exit:
        """Wait for the program's end; what it wrote until then has been taken, whoever else holds its pipes."""
        handle = os.pidfd_open(self._process.pid) if self._process.poll() is None else None
        if handle is not None:
            self._selector.register(handle, selectors.EVENT_READ)
        try:
            self._pump(lambda: self._process.poll() is not None, deadline_s, "end")
        finally:
            if handle is not None:
                self._selector.unregister(handle)
                os.close(handle)
        for pipe, into in ((self._stdout, self._out), (self._stderr, self._err)):
            self._take(pipe, into)
        return _exit(self._process.returncode)

    def output(self) -> bytes:
        """Return and drop the output that has not been read yet."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def close(self) -> None:
        """End the program if it still runs, politely and then by force, and free everything; may be repeated."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TERMINATE_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._selector.close()
        self._stdout.close()
        self._stderr.close()

    def _pump(self, done: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Move bytes in both directions until `done`."""
        until = time.monotonic() + deadline_s
        while not done():
            ready = self._selector.select(max(0.0, until - time.monotonic()))
            for key, _ in ready:
                self._move(cast("IO[bytes] | int", key.fileobj))
            if not ready and time.monotonic() >= until:
                raise self._late(what, deadline_s)

    def _move(self, pipe: IO[bytes] | int) -> None:
        if pipe is self._stdin:
            try:
                self._pending = self._pending[os.write(self._stdin.fileno(), self._pending[:CHUNK_BYTES]) :]
            except BrokenPipeError:
                self._broken, self._pending = True, memoryview(b"")
        elif pipe is self._stdout:
            self._take(self._stdout, self._out)
        elif pipe is self._stderr:
            self._take(self._stderr, self._err)

    def _take(self, pipe: IO[bytes], into: bytearray) -> None:
        """Take what is there, at most what a pipe can hold; at its end stop watching it."""
        if not self._open(pipe):
            return
        try:
            data = os.read(pipe.fileno(), PIPE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(pipe)
        into += data
        if pipe is self._stderr:
            del into[:-MOST_ERRORS_BYTES]

    def _open(self, pipe: IO[bytes]) -> bool:
        return not pipe.closed and pipe.fileno() in (self._selector.get_map() or {})

    def _late(self, what: str, deadline_s: float) -> DeadlineError:
        return DeadlineError(f"{self._argv[0]} did not {what} within {deadline_s:g} s")


def _exit(returncode: int) -> Exit:
    if returncode >= 0:
        return Exit(returncode)
    try:
        return Exit(None, signal.Signals(-returncode).name)
    except ValueError:
        return Exit(None, f"SIG{-returncode}")
