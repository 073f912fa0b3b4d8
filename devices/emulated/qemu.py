"""Finds the installed QEMU, its version, and whether it loads plugins."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import lru_cache

from converters.errors import MissingPartError
from devices.emulated.build_cache import find_program

PROGRAM = "qemu-aarch64"
# The plugin is written for version 1 of QEMU's plugin API, which QEMU 9 no longer supports.
FIRST_OTHER_API = (9,)
HOW_TO_COUNT = "QEMU 7.2 to 8.2 with plugins can count, such as qemu-user of Debian 12"
_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Qemu:
    """A QEMU of user mode for aarch64; `plugins`: whether it was built with plugins."""

    path: str
    version: tuple[int, ...]
    plugins: bool

    def __str__(self) -> str:
        return f"QEMU {'.'.join(map(str, self.version))}"

    @property
    def why_no_counts(self) -> str | None:
        """Return why it cannot count instructions; None where it can."""
        if not self.plugins:
            return f"{self} was built without plugins, so it counts no instructions"
        if self.version >= FIRST_OTHER_API:
            return f"{self} has a different plugin interface from the counting plugin, so it counts no instructions"
        return None


def find_qemu() -> Qemu:
    """Return the QEMU that is installed.

    Raises:
        MissingPartError: There is none, or it does not print its version.
    """
    return _identify(find_program(PROGRAM))


@lru_cache
def _identify(path: str) -> Qemu:
    version = re.search(r"version (\d+(?:\.\d+)+)", _run(path, "-version"))
    if version is None:
        raise MissingPartError(f"{path} does not print its version", hint="install Debian's qemu-user")
    return Qemu(path, tuple(map(int, version[1].split("."))), "-plugin" in _run(path, "-help"))


def _run(path: str, option: str) -> str:
    try:
        done = subprocess.run(
            [path, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=_DEADLINE_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingPartError(f"{path} cannot be run: {error}", hint="install Debian's qemu-user") from error
    return done.stdout.decode("utf-8", "replace")
