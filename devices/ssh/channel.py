"""Follows a program on the board from the event loop: its output, its end, the state of its connection."""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence

import asyncssh

from devices.contract import Exit
from devices.errors import DeviceError

CHUNK_BYTES = 1 << 18
MOST_WAITING_BYTES = 4 << 20  # of output nobody has read; beyond, the program waits
MOST_ERRORS_BYTES = 1 << 16
MOST_COMMAND_BYTES = 100_000  # Linux takes 128 KiB as one argument of a program
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The board's shell marks the begin of both outputs, writes its own number, then becomes the program. What came before
# the marks was written by start-up files such as ~/.bashrc.
_SCRIPT = 'printf "%s\\n" "$1"; printf "%s %s\\n" "$1" "$$" >&2; shift; exec "$@"'


def command_line(argv: Sequence[str], env: Mapping[str, str], marker: str) -> str:
    """Return the command as one line that any POSIX shell splits into exactly these arguments.

    Raises:
        DeviceError: It cannot be sent: a NUL in it, no program, a name that is no variable's, or too long.
    """
    bad = [name for name in env if not _NAME.fullmatch(name)]
    if bad or not argv or any("\0" in each for each in (*argv, *env.values())):
        what = f"the variable {bad[0]!r}" if bad else "an empty command or a NUL in an argument"
        raise DeviceError(f"{what} cannot be sent to a device")
    settings = [f"{name}={value}" for name, value in env.items()]
    words = ["exec", *(["env", *settings] if settings else []), "sh", "-c", _SCRIPT, "sh", marker, *argv]
    line = shlex.join(words)
    if len(line.encode("utf-8", "surrogateescape")) > MOST_COMMAND_BYTES:
        raise DeviceError(
            f"the command {argv[0]!r} is {len(line)} characters long, {MOST_COMMAND_BYTES} can be sent",
            hint="send what is long as input or as a file",
        )
    return line


class RemoteProgram(asyncssh.SSHClientSession[bytes]):
    """The state of one program; every method and field belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.marker = f"edge-{secrets.token_hex(6)}"
        self.out, self.err, self._prologue = bytearray(), bytearray(), bytearray()
        self.pid: int | None = None
        self._begun = False  # its own output: the mark has come
        self.exit: Exit | None = None
        self.at_end = False  # of its output
        self.gone = False  # the channel is closed
        self._unbounded = False
        self._paused_reading = self._paused_writing = False
        self._changed = asyncio.Event()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    @property
    def channel(self) -> asyncssh.SSHClientChannel[bytes]:
        """Return the channel, which is there from the start on."""
        assert self._channel is not None
        return self._channel

    @property
    def over(self) -> bool:
        """Return whether it takes no more input."""
        return self.exit is not None or self.gone

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is checked after each event."""
        while not done():
            self._changed.clear()
            await self._changed.wait()

    async def write(self, data: bytes) -> None:
        """Send all of the data; a BrokenPipeError says that the program takes no more."""
        for begin in range(0, len(data), CHUNK_BYTES):
            if self.over:
                break
            self.channel.write(data[begin : begin + CHUNK_BYTES])
            await self.until(lambda: self.over or not self._paused_writing)
        if self.over:
            raise BrokenPipeError("the program takes no more input")

    def take(self) -> bytes:
        """Return and drop the output so far."""
        data = bytes(self.out)
        self.out.clear()
        self._flow()
        return data

    def let_flow(self) -> None:
        """Accept all further output, without a limit."""
        self._unbounded = True
        self._flow()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Note the channel."""
        self._channel = chan
        chan.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Store its output."""
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.err += data
            if self.pid is None and (number := self._after_mark(self.err, rb" (\d+)")):
                self.pid = int(number)
            del self.err[:-MOST_ERRORS_BYTES]
        elif self._begun:
            self.out += data
        else:
            self._prologue += data
            self._begun = self._after_mark(self._prologue, b"()") is not None
            if self._begun:
                self.out, self._prologue = self._prologue, bytearray()
        self._flow()
        self._changed.set()

    def eof_received(self) -> bool:
        """Note the end of its output; its input stays open."""
        self.at_end = True
        self._changed.set()
        return True

    def pause_writing(self) -> None:
        """Note that not all has been sent."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """Note that all has been sent."""
        self._paused_writing = False
        self._changed.set()

    def exit_status_received(self, status: int) -> None:
        """Note how it ended."""
        self.exit = Exit(status)
        self._changed.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Note what ended it."""
        self.exit = Exit(None, f"SIG{signal}")
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the channel is closed, for whatever reason."""
        self.gone = self.at_end = True
        if not self._begun:  # it never came to the program: what the login shell wrote instead is all there is
            self.out += self._prologue
        self._changed.set()

    def _after_mark(self, data: bytearray, what: bytes) -> bytes | None:
        """Cut off all up to the end of the mark's line; return what follows the mark, None if it has not come."""
        found = re.search(rb"%s%s\n" % (self.marker.encode(), what), data)
        if found is None:
            return None
        number = bytes(found[1])
        del data[: found.end()]
        return number

    def _flow(self) -> None:
        """Stop or let the program write on; the channel's window does the rest."""
        full = len(self.out) > MOST_WAITING_BYTES and not self._unbounded
        if full != self._paused_reading and self._channel is not None:
            self._paused_reading = full
            (self._channel.pause_reading if full else self._channel.resume_reading)()
