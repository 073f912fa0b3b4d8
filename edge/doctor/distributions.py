"""What is installed, read from package metadata; nothing is imported."""

from __future__ import annotations

import importlib.util
import operator
import re
from dataclasses import dataclass
from importlib import metadata

DISTRIBUTION = "edge-convert"
_COMPARE = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt,
            "<": operator.lt}  # fmt: skip
_REQUIREMENT = re.compile(r"^\s*(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?P<range>[^;]*?)\s*(?:;\s*(?P<marker>.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_CLAUSE = re.compile(r"^\s*(==|!=|>=|<=|>|<)\s*([0-9][0-9A-Za-z.]*)\s*$")


@dataclass(frozen=True)
class Wanted:
    """A package the project asks for: the version range and the extra that brings it (None: always installed)."""

    name: str
    version_range: str
    extra: str | None


def version_of(*names: str) -> tuple[str, str] | None:
    """Return the name and version of the first of several distributions that is installed; None if none is."""
    for name in names:
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def is_importable(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None


def wanted() -> dict[str, Wanted]:
    """Return what the installed project asks for, by normalized name; empty where its own metadata is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Wanted] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is not None:
            extra = _EXTRA.search(match["marker"] or "")
            item = Wanted(match["name"], match["range"].strip("()"), extra[1] if extra else None)
            found.setdefault(normalized(item.name), item)
    return found


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def within(version: str, version_range: str) -> bool | None:
    """Say whether a version is inside a range such as `>=2.21,<2.22`; None for a range this cannot read."""
    verdict = True
    for clause in filter(None, version_range.split(",")):
        match = _CLAUSE.match(clause)
        if match is None:
            return None
        verdict = verdict and _COMPARE[match[1]](*_padded(release(version), release(match[2])))
    return verdict


def release(version: str) -> tuple[int, ...]:
    """Return the numbers a version begins with: `2.21.0rc1` gives (2, 21, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _padded(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)), other + (0,) * (length - len(other))
