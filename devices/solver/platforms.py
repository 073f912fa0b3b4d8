"""Describes a board to the solver: the few facts that decide which wheels it can use, and their tags."""

from __future__ import annotations

import re
from dataclasses import dataclass

from converters.targets.runtimes import Version
from devices.facts import ARM_FEATURES, X86_FEATURES, Facts

# A 64-bit kernel may carry 32-bit programs: Raspberry Pi OS (32-bit) boots that way on a Pi 3, 4 and 5.
_32_BIT = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}
# The oldest glibc that manylinux tags of an architecture speak of, and the names from before PEP 600.
_OLDEST_MANYLINUX = {"x86_64": 5, "aarch64": 17, "armv7l": 17}
_OLD_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_X86_WORD = "cx8"  # every x86 since the Pentium has it, no other processor knows the word
_ALIASES = {"arm64": "aarch64", "AMD64": "x86_64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Environment:
    """An environment that was installed; `runtime` is "name==version", None where there is no environment."""

    runtime: str | None = None


@dataclass(frozen=True)
class PythonState:
    """The state of a Python on a board, and of the board (devices/solver/installer.py, `state`).

    Attributes:
        python: its version.
        libc: such as "glibc 2.36"; None where it is unknown.
        cpu_words: what the kernel calls the processor's features, separated by spaces.
        numpy: the version that this Python imports; None where there is none.
        base: the toolkit's folder on the board.
        wheels: sha256 of the wheels that are there.
        current: the environment in use; `previous` the one before.
    """

    python: str
    executable: str
    implementation: str
    bits: int
    machine: str
    libc: str | None
    cpu_words: str
    os: str | None
    numpy: str | None = None
    free_disk_bytes: int = 0
    base: str = ""
    wheels: tuple[str, ...] = ()
    current: Environment = Environment()
    previous: Environment = Environment()


@dataclass(frozen=True)
class BoardPlatform:
    """The facts that decide which wheels a board can use.

    Attributes:
        architecture: that of the board's programs, not of its kernel.
        glibc: None where the C library is another or unknown.
        features: the processor's instructions; None where it does not state them.
        emulator: QEMU's version on an emulated board.
    """

    architecture: str
    python: Version
    glibc: Version | None
    features: frozenset[str] | None = None
    implementation: str = "cpython"
    cpu: str | None = None
    os: str | None = None
    emulator: Version | None = None

    @property
    def python_tag(self) -> str:
        """The tag of the board's CPython (PEP 425): 3.11.2 gives cp311."""
        return f"cp{self.python[0]}{self.python[1]}"

    @property
    def platform_tags(self) -> tuple[str, ...]:
        """All manylinux tags (PEP 600) whose wheels run with the board's glibc, the newest first.

        pip matches tags exactly, so that a download for another machine must name each of them.
        """
        if self.glibc is None or self.glibc[0] != 2:
            return ()
        tags = []
        for minor in range(self.glibc[1], _OLDEST_MANYLINUX.get(self.architecture, 1000) - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.architecture}")
            if minor in _OLD_TAGS:
                tags.append(f"{_OLD_TAGS[minor]}_{self.architecture}")
        return tuple(tags)

    @classmethod
    def from_facts(cls, facts: Facts) -> BoardPlatform:
        """Read it from a board's facts."""
        return cls(
            architecture=_userland(facts.cpu.architecture, facts.python.bits),
            python=parse_version(facts.python.version),
            glibc=_parse_glibc(facts.libc),
            features=frozenset(facts.cpu.features) if facts.cpu.features or facts.cpu.model else None,
            implementation=facts.python.implementation,
            cpu=facts.cpu.model,
            os=facts.os.name,
        )

    @classmethod
    def from_python(cls, state: PythonState) -> BoardPlatform:
        """Make it from the state of a Python on the board."""
        architecture = _userland(state.machine, state.bits)
        return cls(
            architecture=architecture,
            python=parse_version(state.python),
            glibc=_parse_glibc(state.libc),
            features=_select_features(frozenset(state.cpu_words.split()), architecture),
            implementation=state.implementation,
            os=state.os,
        )


def parse_version(text: str) -> Version:
    """Return the numbers a version begins with: "3.11.2+" gives (3, 11, 2)."""
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(map(int, match[0].split("."))) if match else ()


def _select_features(words: frozenset[str], architecture: str) -> frozenset[str] | None:
    """Return those of a processor's words that matter; None where they are another processor's, as under QEMU."""
    x86 = architecture in ("x86_64", "i686")
    if not words or (_X86_WORD in words) is not x86:
        return None
    return words & {*(X86_FEATURES if x86 else ARM_FEATURES)}


def _userland(machine: str, bits: int) -> str:
    """Return the architecture of the programs: that of the kernel, or its 32-bit one if Python has 32 bits."""
    name = _ALIASES.get(machine, machine)
    return _32_BIT.get(name, name) if bits == 32 else name


def _parse_glibc(libc: str | None) -> Version | None:
    name, _, version = (libc or "").partition(" ")
    return (parse_version(version)[:2] or None) if name == "glibc" else None
