"""Which other process used the processors the most, from /proc (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Busiest(NamedTuple):
    """A process and the processor time it used between two readings."""

    pid: int
    name: str
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def ticks_by_process() -> dict[int, tuple[str, int]]:
    """Return name and processor time in ticks of every process but this one; one that ends meanwhile is left out."""
    own, found = os.getpid(), {}
    for folder in os.scandir(PROC):
        if folder.name.isdecimal() and int(folder.name) != own:
            try:
                with open(f"{PROC}/{folder.name}/stat", "rb") as file:  # noqa: PTH123  (hundreds of them, between windows)
                    text = file.read()
            except OSError:
                continue
            # The name stands in parentheses and may hold any byte, also ") ": what follows begins after the last one.
            begin, end = text.find(b"("), text.rfind(b")")
            fields = text[end + 2 :].split()
            if len(fields) > 12:
                found[int(folder.name)] = (text[begin + 1 : end].decode("utf-8", "replace"),
                                           int(fields[11]) + int(fields[12]))  # fmt: skip
    return found


def busiest(before: dict[int, tuple[str, int]], after: dict[int, tuple[str, int]]) -> Busiest | None:
    """Return the process whose time grew the most; None where none grew. One that began meanwhile counts in full."""
    grown = [(ticks - before.get(pid, (name, 0))[1], pid, name) for pid, (name, ticks) in after.items()]
    most = max(grown, default=(0, 0, ""))
    return Busiest(most[1], most[2], most[0] / os.sysconf("SC_CLK_TCK")) if most[0] > 0 else None
