"""Chooses the TFLite runtime of an emulated board, unpacks its wheels and verifies that it works there."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from dataclasses import replace
from pathlib import Path

from converters.files import PRIVATE, temporary_for
from converters.targets.boards import EMULATED_BOARDS
from converters.targets.runtimes import RECOMMENDED
from devices.contract import Device
from devices.emulated.build_cache import build_once, cache_folder
from devices.emulated.qemu import Qemu, find_qemu
from devices.emulated.rootfs import GLIBC, PYTHON
from devices.errors import PreparationError, UnknownDeviceError
from devices.local_paths import config_dir
from devices.solver.platforms import BoardPlatform, parse_version
from devices.solver.setup_result import OnStep, SetupResult
from devices.solver.solve import Solution, solve
from devices.solver.wheels import fetch

# Of a runtime's requirements the first two, itself and NumPy, are all that running a model takes.
_NEEDED = 2
_DEADLINE_S = 600.0


def read_choice(name: str) -> str:
    """Return the runtime chosen for a board, as "name==version"; without a choice the recommended one.

    Raises:
        PreparationError: The file of choices cannot be read.
    """
    return _read_choices().get(name, RECOMMENDED)


def set_runtime(name: str, spec: str | None, qemu: Qemu) -> str:
    """Choose a board's runtime, from its next program on, and return it as "name==version".

    Args:
        name: The emulated board.
        spec: What `devices.solver.solve.solve` takes: "name==version", a name, "newest" (of those that work with this
            QEMU), or None for the one verified the most.
        qemu: What is to run it.

    Raises:
        UnknownDeviceError: There is no emulated board of that name.
        NoRuntimeFits: The runtime is not known, or cannot work with this QEMU; says why and what would.
        PreparationError: The choice cannot be stored.
    """
    solution = solve_emulated(name, spec, qemu)
    runtime = f"{solution.name}=={solution.version}"
    _store_choices({**_read_choices(), name: runtime})
    return runtime


def solve_emulated(name: str, spec: str | None, qemu: Qemu) -> Solution:
    """Return the runtime that fits a board under a QEMU.

    Raises:
        UnknownDeviceError: There is no emulated board of that name.
        NoRuntimeFits: None, or not what was asked for; says why and what would. A runtime that would crash in this
            QEMU is refused.
    """
    board = EMULATED_BOARDS.get(name)
    if board is None:
        raise UnknownDeviceError(
            f"{name!r} is not an emulated board", hint=f"emulated boards are: {', '.join(EMULATED_BOARDS)}"
        )
    platform = BoardPlatform(
        architecture=board.machine,
        python=parse_version(PYTHON),
        glibc=GLIBC,
        features=frozenset(board.features),
        cpu=board.qemu_cpu,
        emulator=qemu.version,
    )
    return solve(platform, spec)


def set_up_emulated(device: Device, want: str | None, *, deadline_s: float, on_step: OnStep) -> SetupResult:
    """Choose the board's runtime, download its parts and verify that it works; else the old choice is restored.

    Raises:
        DeviceError: It is refused, its parts cannot be made, or it fails its check.
    """
    from devices.solver.check import check_runtime

    until, qemu = time.monotonic() + deadline_s, find_qemu()
    solution, before = solve_emulated(device.name, want, qemu), read_choice(device.name)
    on_step("choosing", 0, 2)
    chosen = set_runtime(device.name, f"{solution.name}=={solution.version}", qemu)
    on_step("checking", 1, 2)
    try:
        check_runtime(device, "python3", solution, deadline_s=until - time.monotonic())
    except BaseException:
        set_runtime(device.name, before, qemu)
        raise
    on_step("ready", 2, 2)
    previous = before if before != chosen else None
    return SetupResult(device.name, solution, chosen, "python3", previous, sent_bytes=0, wheels_bytes=0)


def unpack_runtime(solution: Solution) -> Path:
    """Return the folder of a runtime's unpacked wheels, downloaded now if it is not there yet; boards share it.

    Raises:
        WheelError: A wheel cannot be downloaded.
        PreparationError: It cannot be unpacked.
    """
    wheels = solution.requirements[:_NEEDED]
    digest = hashlib.sha256(" ".join((solution.python_tag, *wheels)).encode()).hexdigest()[:12]
    return build_once(
        cache_folder() / f"site-{solution.name}-{solution.version}-{digest}",
        lambda folder: _unpack(solution, folder),
        what=f"the environment of {solution.name} {solution.version}",
        deadline_s=_DEADLINE_S,
    )


def _unpack(solution: Solution, folder: Path) -> None:
    needed = replace(solution, requirements=solution.requirements[:_NEEDED])
    for wheel in fetch(needed, deadline_s=_DEADLINE_S).wheels:
        try:
            with zipfile.ZipFile(wheel.path) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise PreparationError(f"{wheel.path} is damaged: {error}", hint="delete it and try again") from error


def _read_choices() -> dict[str, str]:
    path = _choices_path()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PreparationError(f"{path} cannot be read: {error}", hint="remove it and choose again") from error
    choices = value if isinstance(value, dict) else {}
    return {str(name): runtime for name, runtime in choices.items() if isinstance(runtime, str)}


def _store_choices(choices: dict[str, str]) -> None:
    path = _choices_path()
    try:
        with temporary_for(path, mode=PRIVATE) as file:
            file.write_text(json.dumps(choices, indent=1, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise PreparationError(f"the choice could not be stored in {path}: {error.strerror}") from error


def _choices_path() -> Path:
    return config_dir() / "emulated.json"
