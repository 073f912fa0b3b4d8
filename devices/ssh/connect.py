"""Logs in to a board, through jump hosts if need be; every machine on the way must show its pinned host key."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh

from devices.errors import DeviceError, LoginError, UnreachableError
from devices.ssh.address import Address, Jump, parse_jumps
from devices.ssh.keys import HostKey, Pins, UntrustedKey, algorithms, read_ssh_keys
from devices.ssh.links import Links

KEEPALIVE_S, KEEPALIVES = 10, 3
SERIAL_KEEPALIVES = 12  # on a slow line an answer waits behind what is being sent
MOST_HOPS = 8
# Only keys: no password is ever asked for or sent, and nothing but the user's own file configures the rest.
_ONLY_KEYS: dict[str, Any] = {
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "gss_auth": False,
    "gss_kex": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
}
# What servers on boards should not speak or never do: SHA-1, one vendor's own. Each name that is offered costs bytes.
_NOT_OFFERED = ("sha1", "@ssh.com", "1.3.132.0.10", "rsa2048", "gss-")


@dataclass(frozen=True)
class Hop:
    """One machine to log in to: the SSH library's arguments, and its address by ~/.ssh/config."""

    arguments: dict[str, Any]
    host: str
    port: int
    user: str
    jumps: tuple[Jump, ...]

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f" port {self.port}" if self.port != 22 else "")


async def reach(name: str, address: Address, pins: Pins) -> Links:
    """Connect to a board and log in.

    Args:
        name: The board's name, under which its host key is pinned.
        address: The board's address.
        pins: The trusted host keys.

    Raises:
        UntrustedKey: The board or a machine on the way showed a key that is not pinned.
        LoginError: No key of the user was accepted.
        UnreachableError: No answer, or no SSH server.
    """
    links = Links()
    try:
        jump = address.jump if address.serial is None else "none"
        hop = _hop(_arguments(address.host, address.user, address.port, address.identity), jump)
        link = await _through(hop.jumps, links, pins, depth=0)
        line = await links.over(address)
        links.add(await _log_in(hop, name, pins.get(name, ()), (), link, line))
    except BaseException:
        await links.close()
        raise
    return links


async def _through(
    jumps: Sequence[Jump], links: Links, pins: Pins, *, depth: int
) -> asyncssh.SSHClientConnection | None:
    """Log in to the machines on the way, the first of them through those that ~/.ssh/config has for it."""
    if depth > MOST_HOPS:
        raise UnreachableError("the jump hosts form a loop", hint="see ProxyJump in ~/.ssh/config")
    link: asyncssh.SSHClientConnection | None = None
    for number, jump in enumerate(jumps):
        hop = _hop(_arguments(jump.host, jump.user, jump.port, None), None)
        if number == 0:
            link = await _through(hop.jumps, links, pins, depth=depth + 1)
        label = f"[{hop.host}]:{hop.port}"
        link = await _log_in(hop, label, pins.get(label, ()), read_ssh_keys(hop.host, hop.port), link)
        links.add(link)
    return link


def _arguments(host: str, user: str | None, port: int | None, identity: str | None) -> dict[str, Any]:
    given = {"username": user, "port": port, "client_keys": [identity] if identity else None}
    return {"host": host, **{key: value for key, value in given.items() if value is not None}}


def _hop(arguments: dict[str, Any], jump: str | None) -> Hop:
    """Look up the address in ~/.ssh/config; explicit values take precedence."""
    try:
        found = asyncssh.SSHClientConnectionOptions(**{**arguments, "client_keys": None}, tunnel=jump or (), config=())
    except (asyncssh.ConfigParseError, OSError, ValueError) as error:
        raise DeviceError(f"~/.ssh/config cannot be used for {arguments['host']}: {error}") from error
    jumps = parse_jumps(found.tunnel) if isinstance(found.tunnel, str) else ()
    if "client_keys" not in arguments and (named := found.config.get("IdentityFile")) is not None:
        # One that is not there is passed over, as ssh does; with none left, the usual ones of ~/.ssh are tried.
        there = [each for each in cast("list[str]", named) if Path(each).expanduser().is_file()]
        arguments = {**arguments, "client_keys": there}
    arguments = {**arguments, **{name: _offer(getattr(found, name)) for name in ("kex_algs", "mac_algs")}}
    return Hop(arguments, found.host, found.port, found.username, jumps)


def _offer(algorithms: Sequence[bytes]) -> list[str]:
    """Return the algorithms without those of `_NOT_OFFERED`; all where ~/.ssh/config asks for nothing else."""
    names = [each.decode("ascii") for each in algorithms]
    return [name for name in names if not any(part in name for part in _NOT_OFFERED)] or names


class _Client(asyncssh.SSHClient):
    """Keeps the host key that was shown and not trusted."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Refuse the key: the trusted keys were given beforehand."""
        self.shown = key
        return False


async def _log_in(
    hop: Hop,
    label: str,
    pinned: Sequence[HostKey],
    vouched: Sequence[asyncssh.SSHKey],
    through: asyncssh.SSHClientConnection | None,
    line: socket.socket | None = None,
) -> asyncssh.SSHClientConnection:
    client = _Client()
    trusted = [*(each.key for each in pinned), *vouched]
    try:
        return await asyncssh.connect(
            **hop.arguments,
            **_ONLY_KEYS,
            **({"tunnel": through} if line is None else {"sock": line}),
            client_factory=lambda: client,
            known_hosts=(trusted, [], []),
            server_host_key_algs=algorithms(trusted),
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES if line is None else SERIAL_KEEPALIVES,
            ignore_encrypted=True,
        )
    except (asyncssh.Error, OSError, ValueError, asyncio.TimeoutError) as error:
        if client.shown is not None:
            known = pinned or [HostKey.of(label, key) for key in vouched]
            raise UntrustedKey(str(hop), HostKey.of(label, client.shown), known) from error
        raise _translate(hop, error) from error


def _translate(hop: Hop, error: Exception) -> DeviceError:
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginError(
            f"{hop} accepted no key of {getpass.getuser()} on this machine",
            hint=f"`ssh-copy-id {_destination(hop)}` puts your key on it, asking for the password there; a key with a "
            "passphrase must be in the agent (`ssh-add`)",
        )
    if isinstance(error, asyncssh.KeyImportError | FileNotFoundError) and not isinstance(error, socket.gaierror):
        return LoginError(f"the key for {hop} cannot be used: {error}", hint="see --identity and ~/.ssh/config")
    if isinstance(error, socket.gaierror):
        return UnreachableError(
            f"the name {hop.host!r} cannot be resolved: {error.strerror}",
            hint="is the board on? `edge devices scan` lists those that announce themselves",
        )
    if isinstance(error, asyncio.TimeoutError):
        return UnreachableError(f"{hop} did not answer in time", hint="is the board on?")
    if isinstance(error, asyncssh.ChannelOpenError):
        return UnreachableError(f"the machine before it cannot reach {hop}: {error.reason}")
    if isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno)
    else:
        reason = getattr(error, "reason", None) or str(error)
    return UnreachableError(f"{hop} cannot be reached: {reason}", hint="is the board on, and does sshd run there?")


def _destination(hop: Hop) -> str:
    return f"-p {hop.port} {hop.user}@{hop.host}" if hop.port != 22 else f"{hop.user}@{hop.host}"
