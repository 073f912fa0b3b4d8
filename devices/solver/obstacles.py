"""Finds what keeps a runtime from working on a board, and what would fix it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.targets.runtimes import (
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    RECOMMENDED,
    RUNTIMES,
    Runtime,
    Version,
    WheelSupport,
    version_text,
)
from devices.solver.platforms import BoardPlatform

_64_BIT_OF = {"armv7l": "64-bit Raspberry Pi OS (bookworm or newer)", "i686": "a 64-bit system"}
_NO_WHEELS = {
    "armv6l": "the ARMv6 processor of a Raspberry Pi 1, Zero or Zero W; a Raspberry Pi Zero 2 W or newer would do",
    "riscv64": "RISC-V; an aarch64 or x86-64 board would do",
    "i686": "32-bit PCs; a 64-bit system would do",
}
_IN_ASIMD = frozenset({"neon", "vfpv4"})
_FIRST_OS = (
    ((2, 27), "Debian 10, Ubuntu 18.04"),
    ((2, 34), "Raspberry Pi OS bookworm (Debian 12), Ubuntu 22.04"),
)
_PYTHON_OF = (((3, 11), "Raspberry Pi OS bookworm (3.11)"), ((3, 13), "Raspberry Pi OS trixie (3.13)"))


@dataclass(frozen=True)
class Obstacle:
    """The reason, the fix, and how far the fix is: 0 another runtime, 1 software, 2 another system, 3 hardware."""

    why: str
    fix: str
    distance: int


def find_board_obstacle(board: BoardPlatform) -> Obstacle | None:
    """Return what keeps every runtime from the board."""
    if board.architecture not in {name for each in RUNTIMES for name in each.wheels}:
        what = _NO_WHEELS.get(board.architecture, f"{board.architecture}; aarch64, armv7l and x86-64 boards would do")
        kind, _, would = what.partition("; ")
        return Obstacle(f"there are no wheels of any TFLite runtime for {kind}", would, 3)
    if board.implementation != "cpython":
        return Obstacle(
            f"its Python is {board.implementation}, the wheels are for CPython", "install CPython on the board", 1
        )
    if board.glibc is None:
        return Obstacle(
            "its C library is not glibc, or is unknown; the wheels are built for glibc (manylinux)",
            "a system with glibc would do: Raspberry Pi OS, Debian or Ubuntu (Alpine's musl has no wheels)",
            2,
        )
    return _agent_obstacle(board.python[:2])


def find_runtime_obstacle(board: BoardPlatform, runtime: Runtime) -> Obstacle | None:
    """Return the first thing that keeps one runtime from a board that `find_board_obstacle` lets pass."""
    wheel = runtime.wheels.get(board.architecture)
    if wheel is None:
        return Obstacle(
            f"{runtime.name} has no wheels for {board.architecture}, a 32-bit system",
            f"{_64_BIT_OF.get(board.architecture, 'a 64-bit system')} would do",
            2,
        )
    return next(_obstacles(board, runtime, wheel), None)


def _obstacles(board: BoardPlatform, runtime: Runtime, wheel: WheelSupport) -> Iterator[Obstacle]:
    yield from _processor_obstacles(board, runtime, wheel)
    yield from _python_obstacles(board, runtime, wheel)
    yield from _libc_obstacles(board, runtime, wheel)
    if board.emulator is not None and runtime.oldest_emulator and board.emulator < runtime.oldest_emulator:
        yield Obstacle(
            f"{runtime.requirement} crashes in QEMU {version_text(board.emulator)}",
            f"QEMU {version_text(runtime.oldest_emulator)} runs it but counts no instructions; {RECOMMENDED} works",
            0,
        )


def _processor_obstacles(board: BoardPlatform, runtime: Runtime, wheel: WheelSupport) -> Iterator[Obstacle]:
    has = board.features
    # A 64-bit kernel names ARMv8's instructions, of which asimd holds what 32-bit programs know as neon and vfpv4.
    missing = [] if has is None else sorted(wheel.needs - has - (_IN_ASIMD if "asimd" in has else set()))
    if missing:
        cpu = board.cpu or "its processor"
        yield Obstacle(
            f"{runtime.name} needs the {', '.join(missing)} instructions that {cpu} lacks: it would die with SIGILL",
            f"a processor with {', '.join(missing)} would do",
            3,
        )


def _agent_obstacle(python: Version) -> Obstacle | None:
    if OLDEST_PYTHON <= python <= NEWEST_PYTHON:
        return None
    end = (
        f"needs {version_text(OLDEST_PYTHON)} or newer"
        if python < OLDEST_PYTHON
        else f"goes up to {version_text(NEWEST_PYTHON)}"
    )
    return _wrong_python(python, f"for the toolkit's agent, which {end}", (OLDEST_PYTHON, NEWEST_PYTHON))


def _python_obstacles(board: BoardPlatform, runtime: Runtime, wheel: WheelSupport) -> Iterator[Obstacle]:
    python, (oldest, newest) = board.python[:2], wheel.pythons
    if not oldest <= python <= newest:
        end = f"goes up to {version_text(newest)}" if python > newest else f"begins at {version_text(oldest)}"
        range_ = (max(oldest, OLDEST_PYTHON), min(newest, NEWEST_PYTHON))
        yield _wrong_python(python, f"for {runtime.requirement}, which {end}", range_)


def _wrong_python(python: Version, what_for: str, fitting: tuple[Version, Version]) -> Obstacle:
    oldest, newest = fitting
    systems = " or ".join(name for version, name in _PYTHON_OF if oldest <= version <= newest)
    return Obstacle(
        f"Python {version_text(python)} is too {'old' if python < oldest else 'new'} {what_for}",
        f"a Python {version_text(oldest)} to {version_text(newest)} alongside the system's, or {systems}, would do",
        1,
    )


def _libc_obstacles(board: BoardPlatform, runtime: Runtime, wheel: WheelSupport) -> Iterator[Obstacle]:
    if board.glibc is not None and board.glibc < wheel.glibc:
        first = next((name for version, name in reversed(_FIRST_OS) if wheel.glibc >= version), "Debian 8")
        yield Obstacle(
            f"glibc {version_text(board.glibc)} is too old for {runtime.requirement}, which "
            f"needs {version_text(wheel.glibc)}",
            f"a newer system would do: {first} or newer",
            2,
        )
