"""Implements the device interface for this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.files import READABLE, temporary_for
from devices.contract import NOT_EXECUTABLE, NOT_FOUND, Completed, Exit, OnTransfer
from devices.errors import DeadlineError, TransferError, UnreachableError
from devices.facts import Facts
from devices.probe import read_facts
from devices.streams import LocalStream

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalDevice:
    """This machine: programs are its processes, files need no transfer.

    `folder` is where programs start and relative paths begin; None is the current folder.
    """

    name: str = "local"
    kind: str = "local"
    folder: Path | None = None

    def facts(self, *, deadline_s: float = 30.0) -> Facts:
        """Read this machine's facts."""
        return read_facts(self, deadline_s=deadline_s)

    def agent_argv(self) -> tuple[str, ...]:
        """Return the command that starts the agent with the Python that runs this.

        It finds the same packages as this Python does, and nothing in the current directory by accident.
        """
        found = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
        return ("env", f"PYTHONPATH={found}", "PYTHONSAFEPATH=1", sys.executable, "-m", "edge.agent")

    def place(self, local: Path) -> str:
        """Return the file's own path: it is here already."""
        return str(local.absolute())

    def run(
        self, argv: Sequence[str], *, deadline_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a program to its end. A status other than 0 is no error; `Completed.require_success` makes it one."""
        argv, until = tuple(argv), time.monotonic() + deadline_s
        try:
            stream = LocalStream(argv, env, folder=self.folder)
        except FileNotFoundError:
            return Completed(argv, Exit(NOT_FOUND), b"", f"{argv[0]}: not found\n".encode())
        except PermissionError:
            return Completed(argv, Exit(NOT_EXECUTABLE), b"", f"{argv[0]}: may not be run\n".encode())
        with stream:
            with contextlib.suppress(BrokenPipeError):  # it did not want all of it; its status tells the rest
                stream.write(stdin, deadline_s=deadline_s)
            stream.end_input()
            ended = stream.wait(deadline_s=max(0.0, until - time.monotonic()))
            return Completed(argv, ended, stream.output(), stream.errors())

    def put(self, local: Path, remote: str, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file atomically; an existing one is replaced."""
        _copy(local, self._path(remote), deadline_s, on_transfer)

    def get(self, remote: str, local: Path, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file atomically; an existing one is replaced."""
        _copy(self._path(remote), local, deadline_s, on_transfer)

    def open(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> LocalStream:
        """Start a program and return the connection to it.

        Raises:
            UnreachableError: It could not be started.
        """
        try:
            return LocalStream(argv, env, folder=self.folder)
        except OSError as error:
            raise UnreachableError(f"{argv[0]} could not be started on {self.name}: {error.strerror}") from error

    def _path(self, remote: str) -> Path:
        return Path(self.folder or "", remote)


def _copy(source: Path, goal: Path, deadline_s: float, on_transfer: OnTransfer | None) -> None:
    """Copy into a temporary file next to the destination, then rename."""
    try:
        with (
            temporary_for(goal, mode=READABLE, make_folder=False) as temporary,
            temporary.open("wb") as into,
            source.open("rb") as data,
        ):
            total, until = os.fstat(data.fileno()).st_size, time.monotonic() + deadline_s
            while chunk := data.read(CHUNK_BYTES):
                if time.monotonic() > until:
                    raise DeadlineError(f"{source} was not copied within {deadline_s:g} s")
                into.write(chunk)
                if on_transfer is not None:
                    on_transfer(into.tell(), total)
    except OSError as error:
        if isinstance(error, DeadlineError):
            raise
        raise TransferError(
            f"{source} could not be copied to {goal}: {error.strerror}", hint="what was at the destination is untouched"
        ) from error
