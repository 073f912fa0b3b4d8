"""Checks which packages are installed, from their metadata; nothing is imported."""

from __future__ import annotations

import importlib.util
import operator
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from converters.targets import runtimes
from converters.targets.runtimes import LITERT, TFLITE_RUNTIME, version_text
from edge.doctor.parts import PACKAGES, HostCheck, PackagePart, State

_RUNTIMES = (LITERT, TFLITE_RUNTIME, "tensorflow")
DISTRIBUTION = "edge-convert"
_COMPARE = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt,
            "<": operator.lt}  # fmt: skip
_REQUIREMENT = re.compile(r"^\s*(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?P<range>[^;]*?)\s*(?:;\s*(?P<marker>.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_CLAUSE = re.compile(r"^\s*(==|!=|>=|<=|>|<)\s*([0-9][0-9A-Za-z.]*)\s*$")


@dataclass(frozen=True)
class Requirement:
    """A package the project requires: the version range and the extra that installs it (None: always installed)."""

    name: str
    version_range: str
    extra: str | None


def check_packages() -> Iterator[HostCheck]:
    """Check each package in the table."""
    ranges = read_requirements()
    for package in PACKAGES:
        yield _check_package(
            package, {name: item.version_range for name, item in ranges.items()}, _how(package, ranges)
        )


def _how(package: PackagePart, ranges: dict[str, Requirement]) -> str:
    item = ranges.get(normalize(package.names[0]))
    if item is None:
        return f"pip install {package.names[0]}"
    return f"pip install '{DISTRIBUTION}[{item.extra}]'" if item.extra else f"pip install {DISTRIBUTION}"


def _check_package(package: PackagePart, ranges: dict[str, str], how: str) -> HostCheck:
    state, detail = _state_of(package, ranges)
    return HostCheck(
        section="packages",
        name=package.names[0],
        state=state,
        detail=detail,
        why=package.why,
        how=None if state == "ok" or _excuse(package.names[0]) else how,
        needed_by=package.needed_by,
    )


def _state_of(package: PackagePart, ranges: dict[str, str]) -> tuple[State, str]:
    installed = version_of(*package.names)
    if installed is None:
        return "missing", "not installed" + _excuse(package.names[0])
    name, version = installed
    if not is_importable(package.module):
        return "problem", f"{name} {version} is recorded, but its module {package.module} is not there"
    asked = ranges.get(normalize(package.names[0]), "")
    if within(version, asked) is False:
        return "problem", f"{name} {version} is outside {asked}, the range this version was tested with"
    return "ok", version if name == package.names[0] else f"{name} {version}"


def _excuse(name: str) -> str:
    """Return why a runtime that is not installed is not needed, or cannot be installed."""
    if name == LITERT and _is_arm32():
        return f": it has no wheel for {platform.machine()}"
    if name == TFLITE_RUNTIME and sys.version_info[:2] > runtimes.newest_python(TFLITE_RUNTIME):
        return f": it has no wheel for Python {platform.python_version()}"
    if name == TFLITE_RUNTIME and version_of(LITERT):
        return f", nor needed alongside {LITERT}"
    return ""


def _is_arm32() -> bool:
    return platform.machine().startswith("armv")


def check_runtimes() -> HostCheck:
    """Check that a TFLite runtime is installed."""
    present = [" ".join(item) for item in map(version_of, _RUNTIMES) if item is not None]
    how = f"pip install {LITERT}"
    if _is_arm32():
        newest = version_text(runtimes.newest_python(TFLITE_RUNTIME))
        how = f"pip install '{DISTRIBUTION}[{TFLITE_RUNTIME}]' with Python {newest} or older: {LITERT} is 64-bit only"
    return HostCheck(
        section="packages",
        name="a TFLite runtime",
        state="ok" if present else "missing",
        detail=", ".join(present) or f"none of {', '.join(_RUNTIMES)}",
        why="runs and profiles models on this machine",
        how=None if present else how,
        needed_by=("run", "profile"),
    )


def check_conflicts() -> Iterator[HostCheck]:
    """Yield a problem for each pair of packages, and each setting, that does not work."""
    tflite, numpy = version_of("tflite-runtime"), version_of("numpy")
    if tflite and numpy and release(numpy[1]) >= (2,):
        yield HostCheck(
            section="conflicts",
            name="tflite-runtime and numpy",
            state="problem",
            detail=f"tflite-runtime {tflite[1]} with numpy {numpy[1]}",
            why="tflite-runtime is built for NumPy 1 and cannot be imported with NumPy 2",
            how="pip install 'numpy<2', in an environment without tensorflow",
            needed_by=() if version_of("ai-edge-litert", "tensorflow") else ("run", "profile"),
        )
    for variable, wrong, why in (
        ("TF_USE_LEGACY_KERAS", ("1", "true"), "tf.keras becomes Keras 2, whose models this cannot convert"),
        ("KERAS_BACKEND", ("jax", "torch", "numpy", "openvino"), "conversion needs Keras on TensorFlow"),
    ):
        value = os.environ.get(variable, "")
        if value.lower() in wrong:
            yield HostCheck("conflicts", variable, "problem", f"set to {value}", why, f"unset {variable}", ("convert",))


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


def read_requirements() -> dict[str, Requirement]:
    """Return the installed project's requirements by normalized name; empty where its metadata is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    requirements: dict[str, Requirement] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is not None:
            extra = _EXTRA.search(match["marker"] or "")
            item = Requirement(match["name"], match["range"].strip("()"), extra[1] if extra else None)
            requirements.setdefault(normalize(item.name), item)
    return requirements


def normalize(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def within(version: str, version_range: str) -> bool | None:
    """Whether a version is inside a range such as `>=2.21,<2.22`; None for a range this cannot read."""
    verdict = True
    for clause in filter(None, version_range.split(",")):
        match = _CLAUSE.match(clause)
        if match is None:
            return None
        verdict = verdict and _COMPARE[match[1]](*_pad(release(version), release(match[2])))
    return verdict


def release(version: str) -> tuple[int, ...]:
    """Return the numbers a version begins with: `2.21.0rc1` gives (2, 21, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _pad(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)), other + (0,) * (length - len(other))
