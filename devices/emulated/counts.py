"""What the counting plugin wrote: instructions by block, for each window that the guest marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.emulated.errors import CountError


@dataclass(frozen=True)
class CountedWindow:
    """Instructions executed between two marks: in all, and by the guest address of their block."""

    number: int
    total: int
    blocks: Mapping[int, int]
    threads: int


def read_counts(path: Path) -> tuple[CountedWindow, ...]:
    """Read the file the plugin wrote.

    Raises:
        CountError: It is missing, cut off, or not what the plugin writes.
    """
    try:
        with path.open(encoding="ascii") as lines:
            return tuple(_windows(line.split() for line in lines))
    except (OSError, ValueError, IndexError) as error:
        raise CountError(f"the counts of instructions cannot be read: {error}") from error


def _windows(lines: Iterator[list[str]]) -> Iterator[CountedWindow]:
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
