"""Describes the findings of a scan and the user's access to them."""

from __future__ import annotations

import grp
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Access:
    """Whether this user may open a file of the kernel; `problem` is the reason why not, `hint` the remedy."""

    path: str
    allowed: bool
    problem: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class ScanFinding:
    """A board, a port or an accelerator: its kind, its name, and how to reach it."""

    kind: str  # board, serial, coral-usb or coral-pci
    name: str
    about: str
    addresses: tuple[str, ...] = ()
    port: int | None = None
    access: Access | None = None  # None: there is no file to open
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


def access_to(device: Path, *, shown: str) -> Access:
    """Ask the kernel whether this user may read and write a device file.

    Args:
        device: The file.
        shown: Its path as the user knows it.
    """
    try:
        state = device.stat()
    except OSError as error:
        return Access(shown, allowed=False, problem=f"{shown}: {error.strerror}")
    if os.access(device, os.R_OK | os.W_OK):
        return Access(shown, allowed=True)
    group = _group(state.st_gid)
    problem = f"{shown} is not open to this user (mode {state.st_mode & 0o777:03o}, group {group})"
    if state.st_mode & 0o060 == 0o060 and state.st_gid != 0:
        hint = f"sudo usermod -aG {group} $USER, then log in again"
    else:
        hint = "a udev rule must assign it to one of your groups"
    return Access(shown, allowed=False, problem=problem, hint=hint)


def read_text(path: Path) -> str | None:
    """Return a short file of the kernel's without blanks; None where there is none."""
    try:
        return path.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
