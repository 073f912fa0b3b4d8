"""Implements the device interface for a board over SSH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from devices.bundle import agent_bundle
from devices.contract import Completed, OnTransfer
from devices.facts import Facts
from devices.inventory import find_board
from devices.probe import read_facts
from devices.ssh.address import Address
from devices.ssh.connection import CONNECT_S, Connection
from devices.ssh.keys import Pins
from devices.ssh.stream import SSHStream
from devices.ssh.upload import Uploader


class SSHDevice:
    """A board over SSH: one connection, made at the first use and again after it broke. A context manager.

    Args:
        name: The board's name.
        address: The board's address.
        pins: The trusted host keys; None reads those that `edge devices add` has pinned.
    """

    kind = "ssh"

    def __init__(self, name: str, address: Address, *, pins: Pins | None = None) -> None:
        self.name = name
        self.connection = Connection(name, address, pins=pins)
        self._uploader = Uploader(self.connection)

    def __enter__(self) -> SSHDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; may be repeated."""
        self.connection.close()

    def facts(self, *, deadline_s: float = 30.0) -> Facts:
        """Read the board's facts."""
        left_s = self.connection.connect(deadline_s=deadline_s)
        return read_facts(self, deadline_s=left_s)

    def agent_argv(self) -> tuple[str, ...]:
        """Return the command that starts the agent there; upload the agent first if needed."""
        return self._uploader.agent(agent_bundle())

    def place(self, local: Path) -> str:
        """Make a local file available on the board and return its path there; nothing is sent twice."""
        return self._uploader.model(local)

    def run(
        self, argv: Sequence[str], *, deadline_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a program to its end. A status other than 0 is no error; `Completed.require_success` makes it one."""
        return self.connection.run(argv, deadline_s=deadline_s, stdin=stdin, env=env)

    def put(self, local: Path, remote: str, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file to the board atomically; an existing one is replaced."""
        self.connection.put(local, remote, deadline_s=deadline_s, on_transfer=on_transfer)

    def get(self, remote: str, local: Path, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file from the board atomically; an existing one is replaced."""
        self.connection.get(remote, local, deadline_s=deadline_s, on_transfer=on_transfer)

    def open(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> SSHStream:
        """Start a program and return the connection to it.

        Raises:
            UnreachableError: The board cannot be reached.
        """
        return self.connection.start(argv, env or {}, deadline_s=CONNECT_S)


def inventory_device(name: str) -> SSHDevice:
    """Return the board of that name in the inventory; nothing is connected yet."""
    return SSHDevice(name, find_board(name).address)
