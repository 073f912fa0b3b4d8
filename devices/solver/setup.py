"""A runtime on a board that has no internet: chosen, downloaded here, sent, built beside, checked, switched."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.contract import NOT_EXECUTABLE, NOT_FOUND, Device
from devices.errors import CommandFailedError, DeadlineError, DeviceError
from devices.solver.check import check_runtime
from devices.solver.errors import NoRuntimeFits, SetupError
from devices.solver.platforms import BoardPlatform, version_of
from devices.solver.progress import OnStep, silent
from devices.solver.setup_result import Ready
from devices.solver.solve import Solution, solve
from devices.solver.wheels import Wheel, Wheelhouse, fetch

DEADLINE_S = 900.0
# Tried in this order: the system's own, then others a user may have put beside it.
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.10")
_INSTALLER = Path(__file__).with_name("installer.py")
_SPARE_BYTES = 32 << 20


@dataclass(frozen=True)
class Board:
    """One Python of a board, what it stated, and what fits it."""

    python: str
    state: dict[str, Any]
    solution: Solution


def setup(
    device: Device, want: str | None = None, *, deadline_s: float = DEADLINE_S, on_step: OnStep | None = None
) -> Ready:
    """Install a runtime into the board's private environment (~/.local/share/edge-convert/venv).

    The system's packages are left alone and no package index is asked on the board. The new environment is built
    beside the one in use and takes its place only after two models have run in it with the right answers; whatever
    fails before leaves the board as it was. Wheels that are there already are not sent again.

    Args:
        device: A board; not this machine. An emulated one makes its environment itself, on this machine.
        want: See `devices.solver.solve.solve`.
        deadline_s: Longest time for everything.
        on_step: Called as work goes on.

    Raises:
        NoRuntimeFits: Nothing fits, or not what was asked for.
        WheelError: The wheels cannot be had here.
        SetupError: The board refused, or the runtime failed its check there.
        DeviceError: The board did not answer in time, or a transfer failed.
    """
    _refuse_this_machine(device, want)
    if device.kind == "emulated":
        from devices.solver.emulated import setup_emulated

        return setup_emulated(device, want, deadline_s=deadline_s, on_step=on_step or silent)
    return _Setup(device, time.monotonic() + deadline_s, on_step or silent).run(want)


def plan(device: Device, want: str | None = None, *, deadline_s: float = 60.0) -> Solution:
    """Return what `setup` would install on any device; nothing is changed there and nothing downloaded.

    Raises:
        NoRuntimeFits: Nothing fits, or not what was asked for.
    """
    if device.kind == "local":
        return solve(device.facts(deadline_s=deadline_s), want)
    if device.kind == "emulated":
        from devices.solver.emulated import plan_emulated

        return plan_emulated(device.name, want)
    return choose(device, want, deadline_s=deadline_s).solution


def choose(device: Device, want: str | None = None, *, deadline_s: float = 60.0) -> Board:
    """Return the first Python of the board that a runtime fits, with that runtime; nothing is changed there.

    Raises:
        NoRuntimeFits: Says what keeps runtimes from the system's own Python.
    """
    return _Setup(device, time.monotonic() + deadline_s, silent).choose(want)


def _refuse_this_machine(device: Device, want: str | None) -> None:
    if device.kind != "local":
        return
    solution = solve(device.facts(), want)
    raise SetupError(
        f"{device.name} is this machine: it uses the runtime of the Python that runs `edge`",
        hint=f"install into that one: {sys.executable} -m pip install {' '.join(solution.requirements[:2])}",
    )


@dataclass(frozen=True)
class _Setup:
    """One installation, with the time by which it must be done."""

    device: Device
    until: float
    on_step: OnStep

    def run(self, want: str | None) -> Ready:
        self.on_step("asking the board", 0, 1)
        board = self.choose(want)
        house = fetch(board.solution, deadline_s=self.left_s(), on_wheel=self._fetched)
        sent = self._send(board, house)
        return self._install(board, house, sent)

    def choose(self, want: str | None) -> Board:
        first: NoRuntimeFits | None = None
        for python in PYTHONS:
            state = self._state(python)
            if state is None:
                continue
            try:
                return Board(python, state, solve(BoardPlatform.from_python(state), want))
            except NoRuntimeFits as error:
                first = first or error
        if first is None:
            raise NoRuntimeFits(
                f"{self.device.name} has no Python 3: {', '.join(PYTHONS)} were not found",
                reasons=(),
                hint="install Python 3.10 to 3.13 on the board (Raspberry Pi OS and Debian: python3)",
            )
        raise first

    def _state(self, python: str) -> dict[str, Any] | None:
        try:
            return self.ask(python, "state")
        except CommandFailedError:
            version = self.device.run((python, "--version"), deadline_s=self.left_s())
            if version.exit.status in (NOT_FOUND, NOT_EXECUTABLE):
                return None
            text = (version.stdout or version.stderr).decode("utf-8", "replace").strip()
            if (3,) <= version_of(text.rpartition(" ")[2]) < (3, 7):
                raise NoRuntimeFits(
                    f"no TFLite runtime fits {self.device.name}: its {text} is too old for the toolkit's agent",
                    reasons=(),
                    hint="Raspberry Pi OS bookworm or newer would do",
                ) from None
            raise

    def _send(self, board: Board, house: Wheelhouse) -> int:
        """Send the wheels that the board does not hold; return how many bytes that were."""
        missing = [each for each in house.wheels if each.sha256 not in board.state["wheels"]]
        self._check_room(board, house, missing)
        folder = self.ask(board.python, "prepare")["wheels"]
        total, before = sum(each.bytes for each in missing), 0
        for wheel in missing:
            begin = before

            def transferred(done: int, _: int, name: str = wheel.requirement, begin: int = begin) -> None:
                self.on_step(f"sending {name}", begin + done, total)

            self.device.put(
                wheel.path, f"{folder}/{wheel.sha256}.whl", deadline_s=self.left_s(), on_transfer=transferred
            )
            before += wheel.bytes
        return total

    def _check_room(self, board: Board, house: Wheelhouse, missing: list[Wheel]) -> None:
        wanted = sum(each.bytes for each in missing) + house.unpacked_bytes + _SPARE_BYTES
        free = int(board.state["free_disk_bytes"])
        if free < wanted:
            raise SetupError(
                f"{board.solution.name} {board.solution.version} takes {wanted >> 20} MiB on {self.device.name}, "
                f"{free >> 20} MiB are free at {board.state['base']}",
                hint="free some space on the board, or choose a smaller runtime: --runtime ai-edge-litert==1.2.0",
            )
        self._check_numpy(board)

    def _check_numpy(self, board: Board) -> None:
        if not board.solution.system_packages:
            return
        found = board.state["numpy"]
        if found is None or version_of(found) >= (2,):
            there = f"NumPy {found}" if found else "no NumPy"
            raise SetupError(
                f"{board.solution.name} {board.solution.version} needs NumPy 1 of the board's own system "
                f"({board.solution.architecture} has no wheels of it), there is {there}",
                hint=f"on the board: sudo apt install {' '.join(board.solution.system_packages)}",
            )

    def _install(self, board: Board, house: Wheelhouse, sent_bytes: int) -> Ready:
        solution, name = board.solution, _name_of(board, house)
        self.on_step("installing", 0, 3)
        built = self.ask(
            board.python,
            "build",
            name=name,
            system_packages=bool(solution.system_packages),
            wheels=[{"sha256": each.sha256, "file": each.path.name} for each in house.wheels],
            about={
                "runtime": f"{solution.name}=={solution.version}",
                "requirements": solution.requirements,
                "wheels": [each.sha256 for each in house.wheels],
            },
        )
        self.on_step("checking", 1, 3)
        try:
            check_runtime(self.device, built["python"], solution, deadline_s=self.left_s())
        except DeviceError as error:
            self._discard(board, name)
            if isinstance(error, SetupError):
                raise _kept(error, board) from error
            raise
        self.on_step("switching", 2, 3)
        after = self.ask(board.python, "switch", name=name)
        self.on_step("ready", 3, 3)
        return Ready(
            device=self.device.name,
            solution=solution,
            environment=name,
            python=f"{board.state['base']}/venv/bin/python",
            previous=after["previous"].get("runtime"),
            sent_bytes=sent_bytes,
            wheels_bytes=house.bytes,
        )

    def _discard(self, board: Board, name: str) -> None:
        try:
            self.ask(board.python, "discard", name=name)
        except DeviceError:
            return  # a half-checked environment that nothing points at; the next set-up builds it anew or deletes it

    def ask(self, python: str, job: str, **fields: object) -> dict[str, Any]:
        """Run one job of the installer on the board and return its result."""
        request = json.dumps({"job": job, **fields})
        done = self.device.run(
            (python, "-", request), deadline_s=self.left_s(), stdin=_INSTALLER.read_bytes()
        ).checked()
        answer = json.loads(done.stdout)
        if not answer["ok"]:
            raise SetupError(f"{self.device.name}: {answer['error']}", hint=answer["hint"] or None)
        result: dict[str, Any] = answer["result"]
        return result

    def left_s(self) -> float:
        """Return the seconds that are left."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise DeadlineError(
                f"the set-up of {self.device.name} was not done before its deadline", hint="give a longer --deadline"
            )
        return left

    def _fetched(self, requirement: str, done: int, of: int) -> None:
        self.on_step(f"wheel {requirement}", done, of)


def _name_of(board: Board, house: Wheelhouse) -> str:
    """Return a name made of everything the environment is made of, so that the same one is not built twice."""
    parts = "\n".join([board.state["executable"], board.state["python"], *(each.sha256 for each in house.wheels)])
    digest = hashlib.sha256(parts.encode()).hexdigest()[:12]
    return f"{board.solution.name}-{board.solution.version}-{digest}"


def _kept(error: SetupError, board: Board) -> SetupError:
    current = board.state["current"].get("runtime")
    return SetupError(
        f"{error}; {f'{current} stays in use' if current else 'nothing was installed'}",
        hint=error.hint,
    )
