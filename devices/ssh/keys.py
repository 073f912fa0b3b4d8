"""Reads and writes pinned host keys, and compares them with the key that a machine showed.

The pins are lines of OpenSSH's known_hosts format in a file of our own. A board is pinned under its name in the
inventory, so that a new address from DHCP changes nothing; a machine on the way under "[host]:port". What
`ssh` itself has recorded in ~/.ssh/known_hosts counts for machines on the way only: a board is pinned by
`edge devices add`, after the user has seen its fingerprint.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from converters.files import PRIVATE, temporary_for
from devices.errors import HostKeyError, InventoryError
from devices.local_paths import config_dir

# What a machine may prove itself with, best first. RSA with SHA-1 is not among them.
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_HEAD = "# Host keys pinned by `edge devices add`: a device's name, or [host]:port of a jump host, and its key.\n"


@dataclass(frozen=True)
class HostKey:
    """A machine's public key as known_hosts has it: type and base64."""

    label: str  # the name it is pinned under
    kind: str
    base64: str

    @classmethod
    def of(cls, label: str, key: asyncssh.SSHKey) -> HostKey:
        """Return the key a machine showed."""
        kind, text = key.export_public_key("openssh").decode("ascii").split()[:2]
        return cls(label, kind, text)

    @property
    def key(self) -> asyncssh.SSHKey:
        """Return it as the SSH library takes it."""
        return asyncssh.import_public_key(f"{self.kind} {self.base64}")

    @property
    def fingerprint(self) -> str:
        """Return "SHA256:..." as ssh-keygen -l shows it."""
        return self.key.get_fingerprint()

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


Pins = Mapping[str, tuple[HostKey, ...]]  # by label


def pins_path() -> Path:
    """Return the file of the pins."""
    return config_dir() / "known_hosts"


def read_pins() -> dict[str, tuple[HostKey, ...]]:
    """Return all pinned keys by the name they are pinned under.

    Raises:
        InventoryError: The file cannot be read, or a line of it is no pinned key.
    """
    path, found = pins_path(), dict[str, tuple[HostKey, ...]]()
    try:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"the pinned host keys in {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            pin = _parse(line, f"{path}, line {number}")
            found[pin.label] = (*found.get(pin.label, ()), pin)
    return found


def write_pins(pins: Pins) -> None:
    """Replace the file of the pins.

    Raises:
        InventoryError: It could not be written; the old one is untouched.
    """
    rows = [f"{each.label} {each.kind} {each.base64}\n" for label in sorted(pins) for each in pins[label]]
    try:
        with temporary_for(pins_path(), mode=PRIVATE) as file:
            file.write_text(_HEAD + "".join(rows), encoding="utf-8")
    except OSError as error:
        raise InventoryError(f"the host keys could not be pinned in {pins_path()}: {error.strerror}") from error


@contextmanager
def lock_config() -> Iterator[None]:
    """Keep other processes from changing the configuration meanwhile.

    Raises:
        InventoryError: The folder of the configuration cannot be written.
    """
    folder = config_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InventoryError(
            f"the configuration folder {folder} cannot be written: {error.strerror}",
            hint="set EDGE_CONFIG_DIR to another folder",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_ssh_keys(host: str, port: int) -> tuple[asyncssh.SSHKey, ...]:
    """Return the keys that the user's own ~/.ssh/known_hosts has for a machine."""
    path = Path("~/.ssh/known_hosts").expanduser()
    try:
        return tuple(asyncssh.match_known_hosts(str(path), host, "", port)[0]) if path.is_file() else ()
    except (OSError, ValueError):  # unreadable: then it proves nothing
        return ()


def algorithms(trusted: Sequence[asyncssh.SSHKey]) -> list[str]:
    """Return the key algorithms to request: those of the pinned keys first, so that a changed key is detected."""
    kinds = {key.get_algorithm() for key in trusted}
    return sorted(ALGORITHMS, key=lambda each: ("ssh-rsa" if each.startswith("rsa-") else each) not in kinds)


class UntrustedKey(HostKeyError):  # noqa: N818  (the family's name is in its base)
    """A machine showed a key that is not pinned: `shown`; `pinned` is empty at the first contact."""

    def __init__(self, where: str, shown: HostKey, pinned: Sequence[HostKey]) -> None:
        if pinned:
            known = " or ".join(map(str, pinned))
            message = f"the host key of {where} has changed: pinned is {known}, it showed {shown}"
            hint = (
                "this may be an attack. If the board was reinstalled, compare with what "
                "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the board itself, then "
                f"`edge devices remove {shown.label}` and add it again"
            )
        else:
            message = f"the host key of {where} is not pinned: it showed {shown}"
            hint = (
                "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on that machine must print the same; "
                "`edge devices add` asks for it on a terminal, or takes it as --fingerprint SHA256:..."
            )
        super().__init__(message, hint=hint)
        self.where, self.shown, self.pinned = where, shown, tuple(pinned)


def _parse(line: str, where: str) -> HostKey:
    fields = line.split()
    if len(fields) >= 3:
        pin = HostKey(*fields[:3])
        try:
            pin.key  # noqa: B018  (its reading is the check)
        except asyncssh.KeyImportError:
            pass
        else:
            return pin
    raise InventoryError(f"{where} is not a pinned host key", hint="remove the line, then add the device again")
