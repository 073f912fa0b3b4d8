"""Parses a board's address and login user; None leaves a value to the user's ~/.ssh/config."""

from __future__ import annotations

import re
from dataclasses import dataclass

from devices.errors import InventoryError

_DESTINATION = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@\s:/\[\]]+|[0-9A-Fa-f:]*::[0-9A-Fa-f:]*)"
)
MOST_PORT = 65535
MOST_BAUD = 12_000_000


@dataclass(frozen=True)
class Address:
    """How to reach a board: a host name, an IP address or an alias of ~/.ssh/config."""

    host: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None  # a private key's file on this machine
    jump: str | None = None  # [user@]host[:port], several joined by commas, as in ssh -J
    serial: str | None = None  # the port of a serial line with a bridge at its other end: no network is needed
    baud: int | None = None

    @property
    def destination(self) -> str:
        """Return it as ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def __str__(self) -> str:
        port = f" port {self.port}" if self.port else ""
        way = f" through {self.jump}" if self.jump else f" over {self.serial}" if self.serial else ""
        return f"{self.destination}{port}{way}"


def parse_destination(text: str) -> tuple[str | None, str]:
    """Return user and host of "[user@]host"; an IPv6 address may stand in brackets.

    Raises:
        InventoryError: It is not of this form, or begins with a dash.
    """
    found = _DESTINATION.fullmatch(text)
    if found is None or text.startswith("-") or found["host"].startswith("-"):
        raise InventoryError(
            f"{text!r} is not an address of a board",
            hint="write [user@]host, for example pi@raspberrypi.local; the port goes into --port",
        )
    return found["user"], found["host"].strip("[]")


@dataclass(frozen=True)
class Jump:
    """One machine on the way, as ProxyJump names it."""

    host: str
    user: str | None
    port: int | None


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """Return the machines of a ProxyJump in the order they are passed; "none" is none.

    Raises:
        InventoryError: One of them is no [user@]host[:port].
    """
    if text.strip().lower() in ("", "none"):
        return ()
    return tuple(_jump(each.strip()) for each in text.split(","))


def _jump(text: str) -> Jump:
    address, port = text.removeprefix("ssh://"), None
    head, colon, tail = address.rpartition(":")
    if colon and tail.isdecimal() and (head.endswith("]") or ":" not in head):
        address, port = head, int(tail)
    user, host = parse_destination(address)
    if port is not None and not 0 < port <= MOST_PORT:
        raise InventoryError(f"{text!r} names port {port}", hint=f"ports are 1 to {MOST_PORT}")
    return Jump(host, user, port)
