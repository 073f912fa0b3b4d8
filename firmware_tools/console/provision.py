"""Prepares a fresh board over its serial console: SSH key, host name, SSH server, and a bridge on the line."""

from __future__ import annotations

import base64
import binascii
import io
import re
import shlex
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters.printable import printable
from firmware_tools.console.login import log_in
from firmware_tools.console.shell import Ask, Shell
from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import LineError, LoginRefusedError, SettingError
from firmware_tools.line import SerialLine
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
# The modules of the bridge, which run on the board.
_BRIDGE_FOLDER = "firmware_tools/serial_link"
_BRIDGE_MODULES = ("frames", "reliable", "bridge")
_BRIDGE_MAIN = "from firmware_tools.serial_link.bridge import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the same sources give the same bytes
_ENABLE = "systemctl enable --now ssh || systemctl enable --now sshd || service ssh start\n"


@dataclass(frozen=True)
class Steps:
    """The steps to carry out on a console, besides listing the board's addresses.

    Attributes:
        key: a public SSH key, one line in OpenSSH's format, to authorize for the user's account.
        hostname: the board's new name (RFC 1123: letters, digits and dashes, 63 at most).
        enable_ssh: start the SSH server now and at each boot.
        bridge: leave a bridge on the line to this port of the board's SSH server, for boards without a network.
    """

    key: str | None = None
    hostname: str | None = None
    enable_ssh: bool = False
    bridge: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that no board would accept.

        Raises:
            SettingError: A value is invalid.
        """
        if self.hostname is not None and not _HOSTNAME.fullmatch(self.hostname):
            raise SettingError(
                f"{self.hostname!r} is not a valid host name", hint="letters, digits and inner dashes, 63 at most"
            )
        if self.key is not None:
            check_public_key(self.key)


@dataclass(frozen=True)
class InterfaceAddress:
    """An address of the board: interface, inet or inet6, address with prefix length."""

    interface: str
    family: str
    address: str


@dataclass(frozen=True)
class Provisioned:
    """The board's identity and the steps done; `key` is "added" or "present", None if none was given."""

    user: str
    hostname: str
    addresses: tuple[InterfaceAddress, ...]
    key: str | None
    bridge: bool


def check_public_key(text: str) -> None:
    """Check that a text is one public key in OpenSSH's format (RFC 4253, section 6.6, base64).

    Raises:
        SettingError: It is not; a private key is recognised, and not shown.
    """
    hint = "a file such as ~/.ssh/id_ed25519.pub, made by `ssh-keygen -t ed25519`"
    if "PRIVATE KEY" in text:
        raise SettingError("this is a private key: it must not leave this machine", hint=hint)
    words = text.split(None, 2)
    if "\n" in text or not text.isprintable() or len(words) < 2 or not words[0].startswith(_KINDS):
        raise SettingError("this is not a public SSH key of one line", hint=hint)
    try:
        blob = base64.b64decode(words[1], validate=True)
        named = blob[4 : 4 + struct.unpack_from(">I", blob)[0]]
    except (binascii.Error, struct.error, ValueError) as error:
        raise SettingError(f"the public key is damaged: {error}", hint=hint) from error
    if named != words[0].encode():
        raise SettingError(f"the public key states {words[0]} but holds another kind", hint=hint)


def provision(
    line: SerialLine, user: str, steps: Steps, ask: Callable[[str], str], *, on_step: Callable[[str], None]
) -> Provisioned:
    """Log in on a console, carry out the steps, and log out (or leave the bridge running).

    A bridge still on the line is ended first. No secret is typed where it would be echoed, and none is stored.

    Args:
        line: The open line.
        user: The account to log in with.
        steps: The steps to carry out.
        ask: Called with "login" or "sudo" for a password, only if the board wants one.
        on_step: Called with a message before each step.

    Raises:
        LoginRefusedError: The board refuses the login, or root rights where they are needed.
        NoAnswerError: No console answers.
        LineError: A step failed; contains the board's message.
    """
    if is_bridge(line, deadline_s=0.5):
        on_step("ending the bridge that is on the line")
        dismiss(line, deadline_s=5)
    on_step("logging in")
    with log_in(Terminal(line), user, ask) as shell:
        _require(shell, user)
        key = _install_key(shell, steps.key, on_step) if steps.key else None
        if steps.hostname:
            on_step("setting the name")
            _as_root(shell, _NAME.format(name=steps.hostname), ask, "the name could not be set")
        if steps.enable_ssh:
            on_step("starting the SSH server")
            _as_root(shell, _ENABLE, ask, "the SSH server could not be started")
        on_step("reading the addresses")
        facts = _parse_facts(shell.run(_FACTS, deadline_s=SHORT_S)[1])
        if steps.bridge is not None:
            on_step("starting the bridge")
            _start_bridge(shell, line, steps.bridge)
    return Provisioned(facts["user"][0], facts["hostname"][0], _addresses(facts), key, steps.bridge is not None)


def _require(shell: Shell, user: str) -> None:
    """Refuse to continue if another user had been left logged in."""
    current = _clean(shell.run("id -un\n", deadline_s=SHORT_S)[1])
    if current != user:
        raise LoginRefusedError(
            f"{current} was logged in there, not {user}; that login was ended", hint="run the command again"
        )


def _clean(text: str) -> str:
    """Return the end of a board's words, without what would steer the user's terminal."""
    return printable(text, instead=" ").strip()[-200:]


def _install_key(shell: Shell, key: str, on_step: Callable[[str], None]) -> str:
    on_step("installing the key")
    status, output = shell.run(_KEY.format(key=shlex.quote(key.strip())), deadline_s=SHORT_S)
    if status:
        raise LineError(f"the key could not be installed: {_clean(output)}", hint="is the board's disk full?")
    return _clean(output)


def _as_root(shell: Shell, script: str, ask: Ask, what: str) -> None:
    status, output = shell.run_as_root(f"exec 2>&1\n{script}", ask, deadline_s=LONG_S)
    if status:
        raise LineError(f"{what}: {_clean(output) or f'status {status}'}", hint="it needs root: does sudo work there?")


def _start_bridge(shell: Shell, line: SerialLine, port: int) -> None:
    shell.upload(bridge_program(), "b.pyz")
    status, output = shell.run(_PYTHON, deadline_s=SHORT_S)
    if status:
        raise LineError(f"the bridge needs Python 3.7 or later on the board: {_clean(output) or 'it has none'}")
    # Python loads the program completely first, so the folder can be removed; its end is the end of the login.
    shell.become(f"exec python3 b.pyz {port} {shell.folder}")
    if not is_bridge(line, deadline_s=BRIDGE_S):
        raise LineError(f"the bridge did not start on {line.name}: {shell.terminal.tail or 'no output'}")


def _parse_facts(text: str) -> dict[str, list[str]]:
    facts: dict[str, list[str]] = {"user": [], "hostname": [], "address": []}
    for row in text.splitlines():
        name, _, rest = row.partition(" ")
        facts.setdefault(name, []).append(_clean(rest))
    return {name: values or (["unknown"] if name != "address" else []) for name, values in facts.items()}


def _addresses(facts: dict[str, list[str]]) -> tuple[InterfaceAddress, ...]:
    rows = (row.split() for row in facts["address"])
    return tuple(InterfaceAddress(*row) for row in rows if len(row) == 3 and row[1] in ("inet", "inet6"))


def bridge_program() -> bytes:
    """Return the bridge as a zip that runs on Python 3.7 and later with nothing else installed."""
    sources = Path(__file__).parents[1] / "serial_link"
    files = {"__main__.py": _BRIDGE_MAIN, "firmware_tools/__init__.py": "", f"{_BRIDGE_FOLDER}/__init__.py": ""}
    files |= {f"{_BRIDGE_FOLDER}/{name}.py": (sources / f"{name}.py").read_text("utf-8") for name in _BRIDGE_MODULES}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return packed.getvalue()
