"""Installs a runtime on a board that has no internet: wheels are downloaded here, sent, unpacked, checked, switched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

from converters.decode import decode
from converters.targets.runtimes import NEWEST_PYTHON, OLDEST_PYTHON, version_text
from devices.contract import NOT_EXECUTABLE, NOT_FOUND, Device
from devices.errors import CommandFailedError, DeadlineError, DeviceError
from devices.solver.check import check_runtime
from devices.solver.errors import NoRuntimeFits, SetupError
from devices.solver.platforms import BoardPlatform, Environment, PythonState, parse_version
from devices.solver.setup_result import OnStep, SetupResult
from devices.solver.solve import Solution, solve
from devices.solver.wheels import Wheel, Wheelhouse, fetch

T = TypeVar("T")
# Tried in this order: the system's own, then others a user may have installed alongside it.
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.10")
_INSTALLER = Path(__file__).with_name("installer.py")
_INSTALLER_PYTHON = (3, 7)
_SPARE_BYTES = 32 << 20


@dataclass(frozen=True)
class BoardPython:
    """One Python of a board, its state, and the runtime that fits it."""

    command: str
    state: PythonState
    solution: Solution


@dataclass(frozen=True)
class _Prepared:
    wheels: str  # the folder that wheels are sent into


@dataclass(frozen=True)
class _Built:
    python: str  # the path of the new environment's Python


@dataclass(frozen=True)
class _Switched:
    previous: Environment


@dataclass(frozen=True)
class _Discarded:
    pass


@dataclass(frozen=True)
class Installation:
    """One installation on a board.

    Attributes:
        until: the monotonic time by which it must be done.
        on_step: called as work goes on.
    """

    device: Device
    until: float
    on_step: OnStep

    def run(self, want: str | None) -> SetupResult:
        """Choose a runtime, send what the board lacks, and switch to it once it has passed its check."""
        self.on_step("asking the board", 0, 1)
        python = self.choose(want)
        house = fetch(python.solution, deadline_s=self._remaining_s(), on_wheel=self._report_wheel)
        sent = self._send(python, house)
        return self._install(python, house, sent)

    def choose(self, want: str | None) -> BoardPython:
        """Return the first Python of the board that a runtime fits, with that runtime; nothing is changed there.

        Raises:
            NoRuntimeFits: Says what keeps runtimes from the system's own Python.
        """
        first: NoRuntimeFits | None = None
        for command in PYTHONS:
            state = self._read_state(command)
            if state is None:
                continue
            try:
                return BoardPython(command, state, solve(BoardPlatform.from_python(state), want))
            except NoRuntimeFits as error:
                first = first or error
        if first is not None:
            raise first
        supported = f"{version_text(OLDEST_PYTHON)} to {version_text(NEWEST_PYTHON)}"
        raise NoRuntimeFits(
            f"{self.device.name} has no Python 3: {', '.join(PYTHONS)} were not found",
            reasons=(),
            hint=f"install Python {supported} on the board (Raspberry Pi OS and Debian: python3)",
        )

    def _read_state(self, command: str) -> PythonState | None:
        """Return what a Python states; None where the board has none of that name."""
        try:
            return self._ask(command, "state", PythonState)
        except CommandFailedError:
            version = self.device.run((command, "--version"), deadline_s=self._remaining_s())
            if version.exit.status in (NOT_FOUND, NOT_EXECUTABLE):
                return None
            text = (version.stdout or version.stderr).decode("utf-8", "replace").strip()
            if (3,) <= parse_version(text.rpartition(" ")[2]) < _INSTALLER_PYTHON:
                raise NoRuntimeFits(
                    f"no TFLite runtime fits {self.device.name}: its {text} is too old for the toolkit's agent",
                    reasons=(),
                    hint="Raspberry Pi OS bookworm or newer would do",
                ) from None
            raise

    def _send(self, python: BoardPython, house: Wheelhouse) -> int:
        """Send the wheels that the board lacks; return how many bytes that were."""
        missing = [wheel for wheel in house.wheels if wheel.sha256 not in python.state.wheels]
        self._check_space(python, house, missing)
        self._check_numpy(python)
        folder = self._ask(python.command, "prepare", _Prepared).wheels
        total, before = sum(wheel.bytes for wheel in missing), 0
        for wheel in missing:
            begin = before

            def report(done: int, _: int, name: str = wheel.requirement, begin: int = begin) -> None:
                self.on_step(f"sending {name}", begin + done, total)

            self.device.put(
                wheel.path, f"{folder}/{wheel.sha256}.whl", deadline_s=self._remaining_s(), on_transfer=report
            )
            before += wheel.bytes
        return total

    def _check_space(self, python: BoardPython, house: Wheelhouse, missing: list[Wheel]) -> None:
        needed = sum(wheel.bytes for wheel in missing) + house.unpacked_bytes + _SPARE_BYTES
        free = python.state.free_disk_bytes
        if free < needed:
            raise SetupError(
                f"{python.solution.name} {python.solution.version} takes {needed >> 20} MiB on {self.device.name}, "
                f"{free >> 20} MiB are free at {python.state.base}",
                hint="free some space on the board, or choose a smaller runtime: --runtime ai-edge-litert==1.2.0",
            )

    def _check_numpy(self, python: BoardPython) -> None:
        if not python.solution.system_packages:
            return
        installed = python.state.numpy
        if installed is None or parse_version(installed) >= (2,):
            raise SetupError(
                f"{python.solution.name} {python.solution.version} needs NumPy 1 from the board's own system "
                f"({python.solution.architecture} has no wheels of it), which has "
                + (f"NumPy {installed}" if installed else "no NumPy"),
                hint=f"on the board: sudo apt install {' '.join(python.solution.system_packages)}",
            )

    def _install(self, python: BoardPython, house: Wheelhouse, sent_bytes: int) -> SetupResult:
        name = _environment_name(python, house)
        self.on_step("installing", 0, 3)
        executable = self._build(python, house, name)
        self.on_step("checking", 1, 3)
        self._check(python, name, executable)
        self.on_step("switching", 2, 3)
        after = self._ask(python.command, "switch", _Switched, name=name)
        self.on_step("ready", 3, 3)
        return SetupResult(
            device=self.device.name,
            solution=python.solution,
            environment=name,
            python=f"{python.state.base}/venv/bin/python",
            previous=after.previous.runtime,
            sent_bytes=sent_bytes,
            wheels_bytes=house.bytes,
        )

    def _build(self, python: BoardPython, house: Wheelhouse, name: str) -> str:
        """Build the environment on the board and return the path of its Python."""
        solution = python.solution
        built = self._ask(
            python.command,
            "build",
            _Built,
            name=name,
            system_packages=bool(solution.system_packages),
            wheels=[{"sha256": wheel.sha256, "file": wheel.path.name} for wheel in house.wheels],
            about={
                "runtime": f"{solution.name}=={solution.version}",
                "requirements": solution.requirements,
                "wheels": [wheel.sha256 for wheel in house.wheels],
            },
        )
        return built.python

    def _check(self, python: BoardPython, name: str, executable: str) -> None:
        """Verify that the new environment works, or delete it."""
        try:
            check_runtime(self.device, executable, python.solution, deadline_s=self._remaining_s())
        except DeviceError as error:
            self._discard(python, name)
            if isinstance(error, SetupError):
                raise SetupError(f"{error}; {_what_stays(python.state)}", hint=error.hint) from error
            raise

    def _discard(self, python: BoardPython, name: str) -> None:
        try:
            self._ask(python.command, "discard", _Discarded, name=name)
        except DeviceError:
            return  # an unchecked environment that nothing points at; the next set-up builds it anew or deletes it

    def _ask(self, command: str, job: str, answer: type[T], **fields: object) -> T:
        """Run one job of the installer on the board and return its answer."""
        request = json.dumps({"job": job, **fields})
        done = self.device.run(
            (command, "-", request), deadline_s=self._remaining_s(), stdin=_INSTALLER.read_bytes()
        ).require_success()
        envelope = json.loads(done.stdout)
        if not envelope["ok"]:
            raise SetupError(f"{self.device.name}: {envelope['error']}", hint=envelope["hint"] or None)
        return decode(answer, envelope["result"], f"{self.device.name}: {job}", ignore_unknown=True)

    def _remaining_s(self) -> float:
        remaining = self.until - monotonic()
        if remaining <= 0:
            raise DeadlineError(
                f"the set-up of {self.device.name} was not done before its deadline", hint="give a longer --deadline"
            )
        return remaining

    def _report_wheel(self, requirement: str, done: int, of: int) -> None:
        self.on_step(f"wheel {requirement}", done, of)


def _environment_name(python: BoardPython, house: Wheelhouse) -> str:
    """Return a name made of everything the environment is made of, so that the same one is not built twice."""
    parts = "\n".join([python.state.executable, python.state.python, *(wheel.sha256 for wheel in house.wheels)])
    digest = hashlib.sha256(parts.encode()).hexdigest()[:12]
    return f"{python.solution.name}-{python.solution.version}-{digest}"


def _what_stays(state: PythonState) -> str:
    return f"{state.current.runtime} stays in use" if state.current.runtime else "nothing was installed"
