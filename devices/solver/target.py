"""What the choice of a runtime depends on: a few facts of a board, from its agent or from its Python alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.facts import ARM_FEATURES, X86_FEATURES, Facts

Version = tuple[int, ...]
# A 64-bit kernel may carry 32-bit programs: Raspberry Pi OS (32-bit) boots that way on a Pi 3, 4 and 5.
_32_BIT = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}
_X86_WORD = "cx8"  # every x86 since the Pentium has it, no other processor knows the word
_ALIASES = {"arm64": "aarch64", "AMD64": "x86_64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Target:
    """A board as the solver sees it.

    `architecture` is that of the board's programs, not of its kernel. `glibc` is None where the C library is another
    or unknown, `features` None where the processor does not state them. `emulator` is QEMU's version on an emulated
    board.
    """

    architecture: str
    python: Version
    glibc: Version | None
    features: frozenset[str] | None = None
    implementation: str = "cpython"
    cpu: str | None = None
    os: str | None = None
    emulator: Version | None = None

    @classmethod
    def of(cls, facts: Facts, *, emulator: Version | None = None) -> Target:
        """Read it from a board's facts."""
        return cls(
            architecture=userland(facts.cpu.architecture, facts.python.bits),
            python=version_of(facts.python.version),
            glibc=_glibc(facts.libc),
            features=frozenset(facts.cpu.features) if facts.cpu.features or facts.cpu.model else None,
            implementation=facts.python.implementation,
            cpu=facts.cpu.model,
            os=facts.os.name,
            emulator=emulator,
        )

    @classmethod
    def of_python(cls, state: Mapping[str, Any]) -> Target:
        """Read it from what a Python on the board states of itself (devices/solver/installer.py, `state`)."""
        architecture = userland(str(state["machine"]), int(state["bits"]))
        return cls(
            architecture=architecture,
            python=version_of(str(state["python"])),
            glibc=_glibc(state["libc"]),
            features=_features(frozenset(str(state["cpu_words"] or "").split()), architecture),
            implementation=str(state["implementation"]),
            os=state["os"],
        )


def _features(words: frozenset[str], architecture: str) -> frozenset[str] | None:
    """Return those of a processor's words that matter; None where they are another processor's, as under QEMU."""
    x86 = architecture in ("x86_64", "i686")
    if not words or (_X86_WORD in words) is not x86:
        return None
    return words & {*(X86_FEATURES if x86 else ARM_FEATURES)}


def userland(machine: str, bits: int) -> str:
    """Return the architecture of the programs: that of the kernel, or its 32-bit one if Python has 32 bits."""
    name = _ALIASES.get(machine, machine)
    return _32_BIT.get(name, name) if bits == 32 else name


def version_of(text: str) -> Version:
    """Return the numbers a version begins with: "3.11.2+" gives (3, 11, 2)."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(map(int, found[0].split("."))) if found else ()


def dotted(version: Version) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


def _glibc(libc: str | None) -> Version | None:
    name, _, version = (libc or "").partition(" ")
    return (version_of(version)[:2] or None) if name == "glibc" else None
