"""The way to a board's SSH server over a serial line, where a bridge stands at its other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.errors import UnreachableError

if TYPE_CHECKING:
    from firmware_tools.serial_link.tunnel import Tunnel

BAUD = 115200
BRIDGE_S = 10.0


def open_tunnel(port: str, baud: int | None) -> Tunnel:
    """Open a serial port and the way through it.

    Raises:
        UnreachableError: The port cannot be opened, no bridge answers, or it reaches no SSH server.
    """
    from firmware_tools.errors import LineError
    from firmware_tools.line import Line
    from firmware_tools.serial_link.tunnel import Tunnel

    try:
        return Tunnel(Line(port, baud=baud or BAUD), deadline_s=BRIDGE_S)
    except LineError as error:
        raise UnreachableError(str(error), hint=error.hint) from error
