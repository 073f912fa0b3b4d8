"""Defines what every device can do, however it is reached. Every wait has a deadline and ends in a DeadlineError.

Paths on a device are text, relative to where its programs start. Argument lists reach the program as they are: no
shell reads them on the way.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from devices.errors import CommandFailedError, DeviceError
from devices.facts import Facts

if TYPE_CHECKING:
    from devices.emulated.instruction_counts import CountedWindow

OnTransfer = Callable[[int, int], None]  # bytes done, bytes in all
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # the statuses of a program that may not be run or is not there, as in a shell


@dataclass(frozen=True)
class Exit:
    """The end of a program: its status, or the name of the signal that ended it ("SIGSEGV")."""

    status: int | None
    signal: str | None = None

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal else f"status {self.status}"


@dataclass(frozen=True)
class Completed:
    """A program that has ended, with all it wrote."""

    argv: tuple[str, ...]
    exit: Exit
    stdout: bytes
    stderr: bytes

    def require_success(self) -> Completed:
        """Return this if the status is 0.

        Raises:
            CommandFailedError: It is not; carries the end of what the program wrote to standard error.
        """
        if self.exit.status == 0:
            return self
        said = self.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        text = f": {' / '.join(said)}" if said else ""
        raise CommandFailedError(f"{shlex.join(self.argv)[:200]} ended with {self.exit}{text}")


class Stream(Protocol):
    """The connection to a running program, as a context manager; at its end the program is ended and reaped."""

    def __enter__(self) -> Stream: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of the data; raises a BrokenPipeError if the program takes no more."""

    def end_input(self) -> None:
        """Close the program's standard input."""

    def read(self, *, deadline_s: float) -> bytes:
        """Return what the program has written, at least one byte; b"" at the end."""

    def errors(self) -> bytes:
        """Return the last part (64 KiB) of what the program wrote to its standard error so far."""

    def wait(self, *, deadline_s: float) -> Exit:
        """Wait for the program's end."""

    def close(self) -> None:
        """End the program if it still runs, politely and then by force, and free everything; may be repeated."""


class Device(Protocol):
    """A machine that runs models: this one, a board over SSH, an emulated board."""

    @property
    def name(self) -> str:
        """The name the user calls it by."""

    @property
    def kind(self) -> str:
        """The way it is reached, a name in `devices.registry.KINDS`."""

    def facts(self, *, deadline_s: float = 30.0) -> Facts:
        """Read the device's facts."""

    def agent_argv(self) -> tuple[str, ...]:
        """Return the command that starts the agent there; upload the agent first if needed."""

    def place(self, local: Path) -> str:
        """Make a local file available on the device and return its path there; nothing is sent twice."""

    def run(
        self, argv: Sequence[str], *, deadline_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a program to its end. A status other than 0 is no error; `Completed.require_success` makes it one."""

    def put(self, local: Path, remote: str, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file to the device atomically; an existing one is replaced."""

    def get(self, remote: str, local: Path, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file from the device atomically; an existing one is replaced."""

    def open(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Stream:
        """Start a program and return the connection to it; `env` is added to the device's own environment."""


class InstructionCounter(Device, Protocol):
    """A device on which the executed instructions can be counted."""

    def why_no_counts(self) -> DeviceError | None:
        """Return the error that counting would raise, with a hint; None where it can count."""

    def count(
        self, argv: Sequence[str], *, deadline_s: float, env: Mapping[str, str] | None = None
    ) -> tuple[Completed, tuple[CountedWindow, ...]]:
        """Run one of the device's programs, and count what it executes between the marks it makes."""
