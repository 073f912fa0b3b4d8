"""Downloads wheels for another machine and caches them: the same bytes every time, with or without a network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from converters.files import temporary_for
from devices.local_paths import cache_dir
from devices.solver.errors import WheelError
from devices.solver.solve import Solution

DEADLINE_S = 600.0
OnWheel = Callable[[str, int, int], None]  # requirement, wheels done, wheels in all
_CHUNK_BYTES = 1 << 20
_HINT = "connect this machine to the network once, or set EDGE_CACHE_DIR to a cache that holds the wheels"


@dataclass(frozen=True)
class Wheel:
    """A downloaded wheel; `unpacked_bytes` is the disk space of its files."""

    requirement: str
    path: Path
    sha256: str
    bytes: int
    unpacked_bytes: int


@dataclass(frozen=True)
class Wheelhouse:
    """All wheels of a solution, each checked against the sha256 of its first download."""

    wheels: tuple[Wheel, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all wheels."""
        return sum(each.bytes for each in self.wheels)

    @property
    def unpacked_bytes(self) -> int:
        """Return the disk space of all their files."""
        return sum(each.unpacked_bytes for each in self.wheels)


def fetch(solution: Solution, *, deadline_s: float = DEADLINE_S, on_wheel: OnWheel | None = None) -> Wheelhouse:
    """Return the wheels of a solution, from the cache where it has them.

    Args:
        solution: What `solve` found.
        deadline_s: Longest time for all downloads together.
        on_wheel: Called after each wheel.

    Raises:
        WheelError: No network and not in the cache, no such wheel, too slow, or other bytes than at first download.
    """
    until, wheels = time.monotonic() + deadline_s, []
    for done, requirement in enumerate(solution.requirements, 1):
        wheels.append(_wheel(solution, requirement, until))
        if on_wheel is not None:
            on_wheel(requirement, done, len(solution.requirements))
    return Wheelhouse(tuple(wheels))


def _wheel(solution: Solution, requirement: str, until: float) -> Wheel:
    record = _record_of(solution, requirement)
    known = _read(record)
    if known is not None and _is(record.parent / known["file"], known["sha256"]):
        return _describe(requirement, record.parent / known["file"], known["sha256"])
    with _temporary_folder(record.parent) as folder:
        wheel = _download(solution, requirement, until, folder)
        sha256 = sha256_of(wheel)
        if known is not None and sha256 != known["sha256"]:
            raise WheelError(
                f"{wheel.name} has changed: its sha256 is {sha256}, at first download {known['sha256']}",
                hint=f"if the index changed it on purpose, delete {record} and try again",
            )
        return _store(wheel, requirement, record, sha256)


def _store(wheel: Path, requirement: str, record: Path, sha256: str) -> Wheel:
    described = _describe(requirement, wheel, sha256)
    stored = wheel.replace(record.parent / wheel.name)
    with temporary_for(record) as file:
        file.write_text(json.dumps({"file": stored.name, "sha256": sha256}) + "\n")
    return replace(described, path=stored)


def _describe(requirement: str, wheel: Path, sha256: str) -> Wheel:
    try:
        with zipfile.ZipFile(wheel) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise WheelError(f"{wheel} is not a wheel: {error}", hint="delete it and try again") from error
    return Wheel(requirement, wheel, sha256, wheel.stat().st_size, unpacked)


def _record_of(solution: Solution, requirement: str) -> Path:
    """Return the file that records the sha256 of a requirement's wheel for such boards.

    The newest platform tag is part of the name: with a newer glibc pip may prefer another wheel.
    """
    name = re.sub(r"[^\w.]+", "-", requirement)
    return cache_dir() / "wheels" / f"{name}-{solution.python_tag}-{solution.platform_tags[0]}.json"


def _read(record: Path) -> dict[str, str] | None:
    try:
        known = json.loads(record.read_text())
        return {"file": Path(str(known["file"])).name, "sha256": str(known["sha256"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is(wheel: Path, sha256: str) -> bool:
    return wheel.is_file() and sha256_of(wheel) == sha256


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _download(solution: Solution, requirement: str, until: float, folder: Path) -> Path:
    _pip(download_argv(solution, requirement, folder), requirement, until)
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1:
        raise WheelError(f"pip downloaded {len(found)} wheels for {requirement}, expected 1")
    return found[0]


def download_argv(solution: Solution, requirement: str, folder: Path) -> tuple[str, ...]:
    """Return the pip command that downloads one wheel for the board; nothing of it is installed or run."""
    platforms = [word for tag in solution.platform_tags for word in ("--platform", tag)]
    return (
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", ".".join(map(str, solution.python[:2])),
        "--abi", solution.python_tag, *platforms, "--dest", str(folder), requirement,
    )  # fmt: skip


def _pip(argv: tuple[str, ...], requirement: str, until: float) -> None:
    left_s = until - time.monotonic()
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=max(0.0, left_s), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WheelError(
            f"{requirement} was not downloaded before the deadline", hint="give a longer --deadline"
        ) from error
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        raise WheelError("wheels are downloaded with pip, which is not installed here", hint="python -m ensurepip")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines[-1:]
    raise WheelError(
        f"{requirement} could not be downloaded and is not in {cache_dir() / 'wheels'}: {' '.join(errors[:1])[:300]}",
        hint=_HINT,
    )


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder inside another; it is deleted with everything in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{os.getpid()}-", dir=folder) as name:
            yield Path(name)
    except OSError as error:
        raise WheelError(
            f"wheels could not be stored in {folder}: {error.strerror or error}",
            hint="set EDGE_CACHE_DIR to another folder",
        ) from error
