"""Folders and files that are made once and then kept: whole or not at all, by one process at a time."""

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
from devices.emulated.errors import PreparationError
from devices.local_paths import cache_dir

PACKAGES = {"qemu-aarch64": "qemu-user", "mmdebstrap": "mmdebstrap", "gcc": "gcc"}
_POLL_S = 0.05
_LINES, _COLUMNS = 3, 200


def kept_folder() -> Path:
    """Return the folder of all that emulated boards share."""
    return cache_dir() / "emulated"


def once(goal: Path, make: Callable[[Path], None], *, what: str, deadline_s: float) -> Path:
    """Return `goal`, made by `make` if it is not there yet.

    `make` gets the path of a draft in an empty folder beside the goal; where it succeeds, the draft is renamed. Other
    processes that want the same meanwhile wait and then find it.

    Raises:
        PreparationError: The cache cannot be written, or another process did not finish within the deadline.
    """
    if goal.exists():
        return goal
    try:
        with _locked(goal, what, deadline_s):
            if not goal.exists():
                _make(goal, make)
    except OSError as error:
        raise PreparationError(
            f"{what} could not be kept in {goal.parent}: {error.strerror or error}",
            hint="free some space there, or let EDGE_CACHE_DIR name another folder",
        ) from error
    return goal


def found_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingPartError: It is not installed; the hint names the package.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingPartError(
            f"emulated boards need {name}, which is not installed",
            hint=f"on Debian or Ubuntu: sudo apt install {PACKAGES[name]}",
        )
    return path


def made_by(argv: Sequence[str], *, what: str, deadline_s: float, hint: str) -> None:
    """Run the program that makes something, to its good end.

    Raises:
        PreparationError: It failed or took too long; carries the end of what it wrote.
    """
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=deadline_s)
    except BaseException as error:
        _end(process)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise PreparationError(f"{what} was not made within {deadline_s:g} s", hint=hint) from error
    if process.returncode:
        lines = [line[:_COLUMNS] for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        raise PreparationError(
            f"{what} could not be made: {Path(argv[0]).name} ended with status {process.returncode}"
            + "".join(f"\n  {line}" for line in lines[-_LINES:]),
            hint=hint,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.communicate()


def _make(goal: Path, make: Callable[[Path], None]) -> None:
    prefix = f".draft-{goal.name}-"
    for left in goal.parent.glob(f"{prefix}*"):  # by a process that was killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=goal.parent) as folder:
        draft = Path(folder) / goal.name
        make(draft)
        draft.replace(goal)


@contextlib.contextmanager
def _locked(goal: Path, what: str, deadline_s: float) -> Iterator[None]:
    """Hold the goal's lock, which ends with the process that holds it."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + deadline_s
    with (goal.parent / f".{goal.name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise PreparationError(
                        f"another process is still making {what} after {deadline_s:g} s",
                        hint="wait for it, or end it, and try again",
                    ) from error
                time.sleep(_POLL_S)
        yield
