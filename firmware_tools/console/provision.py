"""What a fresh board needs before it can be reached otherwise: a key, a name, its SSH server, what carries files."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import struct
from collections.abc import Callable
from dataclasses import dataclass

from converters.printable import printable
from firmware_tools.console.shell import Ask, Shell, log_in
from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import LineError, LoginRefusedError, SettingError
from firmware_tools.line import Line
from firmware_tools.serial_link.payload import bridge_program
from firmware_tools.serial_link.tunnel import dismiss, is_bridge

SHORT_S, LONG_S, BRIDGE_S = 20.0, 120.0, 15.0
_HOSTNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_KINDS = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519", "sk-ecdsa-")
_FACTS = """\
echo "user `id -un`"
echo "hostname `hostname`"
ip -o addr show scope global 2>/dev/null | while read n name kind address rest; do
echo "address $name $kind $address"; done
"""
_KEY = """\
umask 077
mkdir -p "$HOME/.ssh" && touch "$HOME/.ssh/authorized_keys" || exit 1
grep -qxF {key} "$HOME/.ssh/authorized_keys" && {{ echo present; exit 0; }}
tail -c1 "$HOME/.ssh/authorized_keys" | grep -q . && echo >>"$HOME/.ssh/authorized_keys"
printf '%s\\n' {key} >>"$HOME/.ssh/authorized_keys" && echo added
"""
_NAME = """\
if [ -d /run/systemd/system ]; then hostnamectl set-hostname {name} || exit 1
else echo {name} >/etc/hostname && hostname {name} || exit 1; fi
{{ grep -v '^127\\.0\\.1\\.1[[:space:]]' /etc/hosts; printf '127.0.1.1\\t%s\\n' {name}; }} >h
cp h /etc/hosts.new && mv /etc/hosts.new /etc/hosts 2>/dev/null || {{ rm -f /etc/hosts.new; cat h >/etc/hosts; }}
"""
_PYTHON = "python3 -c 'import sys, termios; sys.exit(sys.version_info < (3, 7))' 2>&1\n"
_ENABLE = "systemctl enable --now ssh || systemctl enable --now sshd || service ssh start\n"


@dataclass(frozen=True)
class Wishes:
    """What to do on a console besides showing the board's addresses.

    Attributes:
        key: a public SSH key, one line of OpenSSH's format, that the user's account shall accept.
        hostname: the board's new name (RFC 1123: letters, digits and dashes, 63 at most).
        enable_ssh: start the SSH server now and at each start of the board.
        bridge: leave a bridge to this port of the board's SSH server on the line, for boards without a network.
    """

    key: str | None = None
    hostname: str | None = None
    enable_ssh: bool = False
    bridge: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no board could take.

        Raises:
            SettingError: Says what is wrong with which.
        """
        if self.hostname is not None and not _HOSTNAME.fullmatch(self.hostname):
            raise SettingError(
                f"{self.hostname!r} is no name for a host", hint="letters, digits and dashes inside, 63 at most"
            )
        if self.key is not None:
            check_public_key(self.key)


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of the board: interface, inet or inet6, address with the length of its prefix."""

    interface: str
    family: str
    address: str


@dataclass(frozen=True)
class Provisioned:
    """What the board is and what was done; `key` is "added" or "present", None if none was wished."""

    user: str
    hostname: str
    addresses: tuple[InterfaceAddress, ...]
    key: str | None
    bridge: bool


def check_public_key(text: str) -> None:
    """Check that a text is one public key of OpenSSH's format (RFC 4253, section 6.6, base64).

    Raises:
        SettingError: It is not; a private key is named as such and not shown.
    """
    hint = "a file such as ~/.ssh/id_ed25519.pub, made by `ssh-keygen -t ed25519`"
    if "PRIVATE KEY" in text:
        raise SettingError("this is a private key: it must not leave this machine", hint=hint)
    words = text.split(None, 2)
    if "\n" in text or not text.isprintable() or len(words) < 2 or not words[0].startswith(_KINDS):
        raise SettingError("this is no public SSH key of one line", hint=hint)
    try:
        blob = base64.b64decode(words[1], validate=True)
        named = blob[4 : 4 + struct.unpack_from(">I", blob)[0]]
    except (binascii.Error, struct.error, ValueError) as error:
        raise SettingError(f"the public key is damaged: {error}", hint=hint) from error
    if named != words[0].encode():
        raise SettingError(f"the public key says {words[0]} and holds another kind", hint=hint)


def provision(
    line: Line, user: str, wishes: Wishes, ask: Callable[[str], str], *, on_step: Callable[[str], None]
) -> Provisioned:
    """Log in on a console, do what is wished, and log out (or leave the bridge there).

    A bridge that is still on the line is ended first. No secret is typed where it would be echoed, none is kept.

    Args:
        line: The open line.
        user: Who logs in.
        wishes: What to do.
        ask: Called with "login" or "sudo" for a password, only if the board wants one.
        on_step: Told each step.

    Raises:
        LoginRefusedError: The board lets this user not in, or not become root where that is needed.
        NoAnswerError: No console answers.
        LineError: Something that was wished failed; says what the board said.
    """
    if is_bridge(line, deadline_s=0.5):
        on_step("ending the bridge that is on the line")
        dismiss(line, deadline_s=5)
    on_step("logging in")
    with log_in(Terminal(line), user, ask) as shell:
        _require(shell, user)
        key = _install_key(shell, wishes.key, on_step) if wishes.key else None
        if wishes.hostname:
            on_step("setting the name")
            _as_root(shell, _NAME.format(name=wishes.hostname), ask, "the name could not be set")
        if wishes.enable_ssh:
            on_step("starting the SSH server")
            _as_root(shell, _ENABLE, ask, "the SSH server could not be started")
        on_step("asking for the addresses")
        told = _told(shell.run(_FACTS, deadline_s=SHORT_S)[1])
        if wishes.bridge is not None:
            on_step("starting the bridge")
            _start_bridge(shell, line, wishes.bridge)
    return Provisioned(told["user"][0], told["hostname"][0], _addresses(told), key, wishes.bridge is not None)


def _require(shell: Shell, user: str) -> None:
    """Refuse to go on where somebody else had been left logged in."""
    found = _clean(shell.run("id -un\n", deadline_s=SHORT_S)[1])
    if found != user:
        raise LoginRefusedError(f"{found} was logged in there, not {user}; that is ended now", hint="run it once more")


def _clean(text: str) -> str:
    """Return the end of a board's words, without what would steer the user's terminal."""
    return printable(text, instead=" ").strip()[-200:]


def _install_key(shell: Shell, key: str, on_step: Callable[[str], None]) -> str:
    on_step("installing the key")
    status, said = shell.run(_KEY.format(key=shlex.quote(key.strip())), deadline_s=SHORT_S)
    if status:
        raise LineError(f"the key could not be installed: {_clean(said)}", hint="is the board's disk full?")
    return _clean(said)


def _as_root(shell: Shell, script: str, ask: Ask, what: str) -> None:
    status, said = shell.run_as_root(f"exec 2>&1\n{script}", ask, deadline_s=LONG_S)
    if status:
        raise LineError(f"{what}: {_clean(said) or f'status {status}'}", hint="that needs root: does sudo work there?")


def _start_bridge(shell: Shell, line: Line, port: int) -> None:
    shell.upload(bridge_program(), "b.pyz")
    status, said = shell.run(_PYTHON, deadline_s=SHORT_S)
    if status:
        raise LineError(f"the bridge needs Python 3.7 or later on the board: {_clean(said) or 'it has none'}")
    # The program reads itself whole before it begins, so the folder can go; its end is the end of the login.
    shell.become(f"exec python3 b.pyz {port} {shell.folder}")
    if not is_bridge(line, deadline_s=BRIDGE_S):
        raise LineError(f"the bridge did not start on {line.name}: {shell.terminal.tail or 'it says nothing'}")


def _told(text: str) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {"user": [], "hostname": [], "address": []}
    for row in text.splitlines():
        name, _, rest = row.partition(" ")
        told.setdefault(name, []).append(_clean(rest))
    return {name: found or (["unknown"] if name != "address" else []) for name, found in told.items()}


def _addresses(told: dict[str, list[str]]) -> tuple[InterfaceAddress, ...]:
    rows = (row.split() for row in told["address"])
    return tuple(InterfaceAddress(*row) for row in rows if len(row) == 3 and row[1] in ("inet", "inet6"))
