"""Counts executed instructions: compiles the plugin for QEMU that counts them by block, and reads its output."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.emulated.build_cache import build_once, cache_folder, find_program, run_builder
from devices.emulated.qemu import HOW_TO_COUNT, Qemu
from devices.errors import CountError

SOURCE = Path(__file__).with_name("count.c")
_DEADLINE_S = 60.0


@dataclass(frozen=True)
class CountedWindow:
    """Instructions executed between two marks of the guest: in all, and by the guest address of their block."""

    number: int
    total: int
    blocks: Mapping[int, int]
    threads: int


def build_plugin(qemu: Qemu) -> Path:
    """Return the plugin, compiled now unless this source has been compiled before.

    Raises:
        CountError: This QEMU cannot count instructions.
        MissingPartError: gcc is not installed.
        PreparationError: It cannot be compiled.
    """
    if qemu.why_no_counts is not None:
        raise CountError(qemu.why_no_counts, hint=HOW_TO_COUNT)
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    destination = cache_folder() / f"count-{platform.machine()}-{digest}.so"
    return build_once(destination, _compile, what="the counting plugin", deadline_s=_DEADLINE_S)


def read_counts(path: Path) -> tuple[CountedWindow, ...]:
    """Read the file the plugin wrote.

    Raises:
        CountError: It is missing, cut off, or not what the plugin writes.
    """
    try:
        with path.open(encoding="ascii") as lines:
            return tuple(_parse_windows(line.split() for line in lines))
    except (OSError, ValueError, IndexError) as error:
        raise CountError(f"the counts of instructions cannot be read: {error}") from error


def _compile(destination: Path) -> None:
    run_builder(
        [find_program("gcc"), "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", os.fspath(destination),
         os.fspath(SOURCE), "-pthread"],
        what="the counting plugin",
        deadline_s=_DEADLINE_S,
        hint="it needs gcc and the C library's headers: sudo apt install gcc libc6-dev",
    )  # fmt: skip


def _parse_windows(lines: Iterator[list[str]]) -> Iterator[CountedWindow]:
    for kind, number in lines:
        if kind != "window":
            raise ValueError(f"expected a window, got {kind!r}")
        blocks: dict[int, int] = {}
        for words in lines:
            if words[0] == "end":
                break
            address, count = int(words[1], 16), int(words[2])
            blocks[address] = blocks.get(address, 0) + count
        else:
            raise ValueError(f"window {number} has no end")
        if words[1] != number or sum(blocks.values()) != int(words[2]):
            raise ValueError(f"window {number} does not add up")
        yield CountedWindow(int(number), int(words[2]), blocks, int(words[3]))
