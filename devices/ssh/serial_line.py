"""The way to a board's SSH server over a serial line, where a bridge stands at its other end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from devices.errors import UnreachableError

if TYPE_CHECKING:
    from firmware_tools.serial_link.tunnel import Tunnel

BAUD = 115200
BRIDGE_S = 10.0


def open_tunnel(port: str, baud: int | None, given_up: Callable[[], bool]) -> Tunnel:
    """Open a serial port and the way through it.

    Args:
        port: Its file.
        baud: Bits per second; None is what boards' consoles have.
        given_up: Asked now and then; once it says yes, the port is given back.

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
