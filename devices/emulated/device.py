"""Runs programs on an emulated board.

QEMU's user mode emulates a processor, not a machine. The board's Python (`python3`, `python`, or any program by its
path in the root file system) runs on that processor, with the board's C library and TFLite runtime; the kernel, the
files and every other program are this machine's. So one result is exact: the instructions that the board's processor
would execute. Times, temperatures and memory are this machine's and are not reported as the board's.
Programs start in a folder of the board's own, which is their home as well: what is deployed to it lies there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converters.targets.boards import EMULATED_BOARDS, EmulatedBoard
from devices.bundle import agent_bundle
from devices.contract import Completed, OnTransfer
from devices.emulated.build_cache import cache_folder
from devices.emulated.instruction_counts import CountedWindow, build_plugin, read_counts
from devices.emulated.qemu import HOW_TO_COUNT, Qemu, find_qemu
from devices.emulated.rootfs import PYTHON, build_root, root_path
from devices.emulated.runtime_choice import read_choice, set_up_emulated, solve_emulated, unpack_runtime
from devices.errors import CountError, PreparationError
from devices.facts import Clock, Facts
from devices.local import LocalDevice
from devices.probe import read_facts
from devices.solver.setup_result import OnStep, SetupResult
from devices.solver.solve import Solution
from devices.streams import LocalStream

PYTHONS = ("python", "python3", f"python{PYTHON}")
# Set for this machine's programs: they would lead the board's to this machine's libraries, or keep its Python from
# storing the bytecode that makes it start in a third of the time.
_NOT_THE_BOARDS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


@dataclass(frozen=True)
class Guest:
    """All that a program of the board needs: QEMU, the root file system and the runtime's environment."""

    qemu: Qemu
    root: Path
    site: Path

    @property
    def python(self) -> str:
        """Return the path of the board's Python."""
        return str(self.root / "usr" / "bin" / f"python{PYTHON}")

    def env(self) -> dict[str, str]:
        """Return the environment variables of the board's Python; one BLAS thread, so that no idle one is counted."""
        return {
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": str(self.site),
            "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }


@dataclass(frozen=True)
class EmulatedDevice:
    """A board whose processor QEMU emulates; its parts are downloaded and made when the first program starts."""

    name: str
    board: EmulatedBoard
    kind: str = "emulated"

    def facts(self, *, deadline_s: float = 30.0) -> Facts:
        """Return the board's facts. Memory, disk, cores and kernel are this machine's; clock and heat are unknown."""
        qemu = find_qemu()
        stated = read_facts(self, deadline_s=deadline_s)
        return replace(
            stated,
            board=f"{self.board.model} (emulated by {qemu})",
            soc=f"{self.board.soc} (emulated)",
            cpu=replace(stated.cpu, model=self.board.qemu_cpu, features=self.board.features),
            clock=Clock(governor=None, now_khz=None, least_khz=None, most_khz=None),
            temperature_c=None,
            throttled=None,
        )

    def runtime(self) -> str:
        """Return the TFLite runtime chosen for the board, as "name==version"."""
        return read_choice(self.name)

    def prepare(self) -> Guest:
        """Return all parts; what is missing is downloaded or built.

        Raises:
            MissingPartError: QEMU or mmdebstrap is not installed.
            NoRuntimeFits: The board's runtime cannot work with this QEMU.
            PreparationError: A part could not be made.
        """
        qemu = find_qemu()
        solution = solve_emulated(self.name, self.runtime(), qemu)
        return Guest(qemu, build_root(), unpack_runtime(solution))

    def plan_runtime(self, want: str | None) -> Solution:
        """Return the runtime that `set_up_runtime` would choose."""
        return solve_emulated(self.name, want, find_qemu())

    def set_up_runtime(self, want: str | None, *, deadline_s: float, on_step: OnStep) -> SetupResult:
        """Choose the board's runtime, download its parts and verify that it works; else the old choice is restored."""
        return set_up_emulated(self, want, deadline_s=deadline_s, on_step=on_step)

    def agent_argv(self) -> tuple[str, ...]:
        """Return the command that starts the agent with the board's Python."""
        return ("python3", str(agent_bundle()))

    def place(self, local: Path) -> str:
        """Return the file's own path: the board sees this machine's files."""
        return str(local.absolute())

    def run(
        self, argv: Sequence[str], *, deadline_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a program to its end. A status other than 0 is no error; `Completed.require_success` makes it one."""
        words, added = self._command(argv, env)
        done = self._local().run(words, deadline_s=deadline_s, stdin=stdin, env=added)
        return replace(done, argv=tuple(argv))

    def why_no_counts(self) -> CountError | None:
        """Return the error that counting would raise; None where the installed QEMU can count."""
        reason = find_qemu().why_no_counts
        return None if reason is None else CountError(reason, hint=HOW_TO_COUNT)

    def count(
        self, argv: Sequence[str], *, deadline_s: float, env: Mapping[str, str] | None = None
    ) -> tuple[Completed, tuple[CountedWindow, ...]]:
        """Run one of the board's programs, and count what it executes between the marks it makes.

        A mark is its call getpriority(0x65646765, n): 0 begins a window, another number ends it.

        Raises:
            CountError: This QEMU cannot count, or the counts cannot be read.
        """
        plugin = build_plugin(find_qemu())
        with tempfile.TemporaryDirectory(prefix="counts-", dir=self._folder()) as folder:
            out = Path(folder) / "counts"
            words, added = self._command(argv, env, ("-plugin", f"{_escape_commas(plugin)},out={_escape_commas(out)}"))
            done = self._local().run(words, deadline_s=deadline_s, env=added)
            windows = read_counts(out) if done.exit.status == 0 else ()
        return replace(done, argv=tuple(argv)), windows

    def put(self, local: Path, remote: str, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file atomically; an existing one is replaced. Relative paths begin in the board's folder."""
        self._local().put(local, remote, deadline_s=deadline_s, on_transfer=on_transfer)

    def get(self, remote: str, local: Path, *, deadline_s: float, on_transfer: OnTransfer | None = None) -> None:
        """Copy a file atomically; an existing one is replaced. Relative paths begin in the board's folder."""
        self._local().get(remote, local, deadline_s=deadline_s, on_transfer=on_transfer)

    def open(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> LocalStream:
        """Start a program and return the connection to it.

        Raises:
            UnreachableError: It could not be started.
        """
        words, added = self._command(argv, env)
        return self._local().open(words, env=added)

    def _command(
        self, argv: Sequence[str], env: Mapping[str, str] | None, options: Sequence[str] = ()
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return how this machine starts a program of the board, or its own, and what is added to its environment."""
        program, *arguments = argv
        own = {"HOME": str(self._folder())}
        if program not in PYTHONS and not Path(program).is_relative_to(root_path()):
            return tuple(argv), {**own, **(env or {})}
        guest = self.prepare()
        words = (
            guest.qemu.path, "-cpu", self.board.qemu_cpu, "-L", str(guest.root),
            *(word for name in _NOT_THE_BOARDS for word in ("-U", name)), *options,
            guest.python if program in PYTHONS else program, *arguments,
        )  # fmt: skip
        return words, {**own, **guest.env(), **(env or {})}

    def _local(self) -> LocalDevice:
        return LocalDevice(self.name, self.kind, self._folder())

    def _folder(self) -> Path:
        """Return the board's own folder, in which its programs start and which is their home."""
        folder = cache_folder() / "boards" / self.name
        with _translate_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def create_emulated_device(name: str) -> EmulatedDevice:
    """Return the emulated board of that name; nothing is downloaded or started yet."""
    return EmulatedDevice(name, EMULATED_BOARDS[name])


def _escape_commas(path: Path) -> str:
    """Return a path as QEMU's option -plugin takes it, where a comma ends a value and a doubled one is a comma."""
    return os.fspath(path).replace(",", ",,")


@contextlib.contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PreparationError(
            f"the folder {folder} could not be made: {error.strerror}", hint="set EDGE_CACHE_DIR to another folder"
        ) from error
