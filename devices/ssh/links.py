"""Holds the open connections on the way to a board, including a serial line with a bridge."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncssh

from devices.errors import DeviceError, UnreachableError
from devices.ssh.address import Address

if TYPE_CHECKING:
    from firmware_tools.serial_link.tunnel import Tunnel

BAUD = 115200
BRIDGE_S = 10.0


class Links:
    """The open connections on the way to a board; the last is the board's."""

    def __init__(self) -> None:
        self._open: list[asyncssh.SSHClientConnection] = []
        self._tunnel: Tunnel | None = None

    async def over(self, address: Address) -> socket.socket | None:
        """Open the serial line that an address names and return the end of it to log in through; None without one."""
        if address.serial is None:
            return None
        given_up = threading.Event()
        opening = asyncio.ensure_future(asyncio.to_thread(open_tunnel, address.serial, address.baud, given_up.is_set))
        try:
            self._tunnel = await asyncio.shield(opening)
        except asyncio.CancelledError:
            given_up.set()  # the thread cannot be ended: it gives the port back itself
            with contextlib.suppress(DeviceError):
                self._tunnel = await opening
            raise
        return self._tunnel.socket

    def add(self, link: asyncssh.SSHClientConnection) -> None:
        """Keep a connection, to be closed before those it goes through."""
        self._open.append(link)

    @property
    def board(self) -> asyncssh.SSHClientConnection:
        """Return the connection to the board."""
        return self._open[-1]

    @property
    def alive(self) -> bool:
        """Return whether all of them are open, as far as is known here."""
        return bool(self._open) and not any(each.is_closed() for each in self._open)

    async def close(self) -> None:
        """Close all of them, the board's first."""
        while self._open:
            link = self._open.pop()
            link.close()
            await link.wait_closed()
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            await asyncio.to_thread(tunnel.close)


def open_tunnel(port: str, baud: int | None, given_up: Callable[[], bool]) -> Tunnel:
    """Open a serial port and the way through it.

    Args:
        port: Its file.
        baud: Bits per second; None is the rate of boards' consoles.
        given_up: Called now and then; once it returns True, the port is closed.

    Raises:
        UnreachableError: The port cannot be opened, no bridge answers, it reaches no SSH server, or it was given up.
        MissingPartError: pyserial is not installed.
    """
    from firmware_tools.errors import LineError
    from firmware_tools.line import SerialLine
    from firmware_tools.serial_link.tunnel import Tunnel

    try:
        tunnel = Tunnel(SerialLine(port, baud=baud or BAUD), deadline_s=BRIDGE_S, given_up=given_up)
    except LineError as error:
        raise UnreachableError(str(error), hint=error.hint) from error
    if given_up():
        tunnel.close()
        raise UnreachableError(f"the connection over {port} was given up")
    return tunnel
