"""Caches folders and files that are built once, atomically, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from converters.errors import MissingPartError
from devices.errors import PreparationError
from devices.local_paths import cache_dir

DEBIAN_PACKAGES = {"qemu-aarch64": "qemu-user", "mmdebstrap": "mmdebstrap", "gcc": "gcc"}
_POLL_S = 0.05
_LINES, _COLUMNS = 3, 200


def cache_folder() -> Path:
    """Return the folder of all that emulated boards share."""
    return cache_dir() / "emulated"


def build_once(destination: Path, build: Callable[[Path], None], *, what: str, deadline_s: float) -> Path:
    """Return `destination`, built by `build` if it does not exist yet.

    `build` gets a path in an empty temporary folder next to the destination; where it succeeds, what it made there is
    renamed. Other processes that need the same destination wait for it meanwhile.

    Raises:
        PreparationError: The cache cannot be written, or another process did not finish within the deadline.
    """
    if destination.exists():
        return destination
    try:
        with _lock(destination, what, deadline_s):
            if not destination.exists():
                _build(destination, build)
    except OSError as error:
        raise PreparationError(
            f"{what} could not be stored in {destination.parent}: {error.strerror or error}",
            hint="free some space there, or set EDGE_CACHE_DIR to another folder",
        ) from error
    return destination


def find_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingPartError: It is not installed; the hint names the package.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingPartError(
            f"emulated boards need {name}, which is not installed",
            hint=f"on Debian or Ubuntu: sudo apt install {DEBIAN_PACKAGES[name]}",
        )
    return path


def run_builder(argv: Sequence[str], *, what: str, deadline_s: float, hint: str) -> None:
    """Run the program that builds something.

    Raises:
        PreparationError: It failed or took too long; carries the end of its output.
    """
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=deadline_s)
    except BaseException as error:
        _kill(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise PreparationError(f"{what} was not built within {deadline_s:g} s", hint=hint) from error
    if process.returncode:
        lines = [line[:_COLUMNS] for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
        raise PreparationError(
            f"{what} could not be built: {Path(argv[0]).name} ended with status {process.returncode}"
            + "".join(f"\n  {line}" for line in lines[-_LINES:]),
            hint=hint,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.communicate()


def _build(destination: Path, build: Callable[[Path], None]) -> None:
    prefix = f".draft-{destination.name}-"
    for leftover in destination.parent.glob(f"{prefix}*"):  # by a process that was killed: the lock is ours
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=destination.parent) as folder:
        temporary = Path(folder) / destination.name
        build(temporary)
        temporary.replace(destination)


@contextlib.contextmanager
def _lock(destination: Path, what: str, deadline_s: float) -> Iterator[None]:
    """Hold the destination's lock, which ends with the process that holds it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + deadline_s
    with (destination.parent / f".{destination.name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise PreparationError(
                        f"another process is still building {what} after {deadline_s:g} s",
                        hint="wait for it, or end it, and try again",
                    ) from error
                time.sleep(_POLL_S)
        yield
