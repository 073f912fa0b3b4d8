"""Wheel tags of a board (PEP 425, PEP 600)."""

from __future__ import annotations

from devices.solver.target import Version

# The oldest glibc that manylinux tags of an architecture speak of, and the names from before PEP 600.
_OLDEST = {"x86_64": 5, "aarch64": 17, "armv7l": 17}
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def python_tag(python: Version) -> str:
    """Return the tag of a CPython: (3, 11, 2) gives cp311."""
    return f"cp{python[0]}{python[1]}"


def platform_tags(architecture: str, glibc: Version) -> tuple[str, ...]:
    """Return all manylinux tags whose wheels run with this glibc, the newest first.

    pip matches tags exactly, so that a download for another machine must name each of them.
    """
    tags = []
    for minor in range(glibc[1], _OLDEST.get(architecture, 1000) - 1, -1) if glibc[0] == 2 else ():
        tags.append(f"manylinux_2_{minor}_{architecture}")
        if minor in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[minor]}_{architecture}")
    return tuple(tags)
