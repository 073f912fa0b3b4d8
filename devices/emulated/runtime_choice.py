"""Which TFLite runtime an emulated board has: its choice, whether it works with this QEMU, and its unpacked wheels."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from converters.targets.boards import EMULATED_BOARDS
from converters.targets.runtimes import RECOMMENDED
from devices.emulated.build_cache import kept_folder, once
from devices.emulated.errors import PreparationError
from devices.emulated.qemu import Qemu
from devices.emulated.rootfs import GLIBC, PYTHON
from devices.errors import UnknownDeviceError
from devices.local_paths import config_dir
from devices.solver.platforms import BoardPlatform, version_of
from devices.solver.solve import Solution, solve
from devices.solver.wheels import fetch

# Of a runtime's requirements the first two, itself and NumPy, are all that running a model takes.
_NEEDED = 2
_DEADLINE_S = 600.0


def runtime_of(name: str) -> str:
    """Return the runtime chosen for a board, as "name==version"; without a choice the default.

    Raises:
        PreparationError: The file of choices cannot be read.
    """
    return _choices().get(name, RECOMMENDED)


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
    found = solution_of(name, spec, qemu)
    runtime = f"{found.name}=={found.version}"
    _store({**_choices(), name: runtime})
    return runtime


def solution_of(name: str, spec: str | None, qemu: Qemu) -> Solution:
    """Return the runtime that fits a board under a QEMU.

    Raises:
        UnknownDeviceError: There is no emulated board of that name.
        NoRuntimeFits: None, or not what was asked for; says why and what would.
    """
    board = EMULATED_BOARDS.get(name)
    if board is None:
        raise UnknownDeviceError(
            f"{name!r} is not an emulated board", hint=f"emulated boards are: {', '.join(EMULATED_BOARDS)}"
        )
    platform = BoardPlatform(
        architecture=board.machine,
        python=version_of(PYTHON),
        glibc=GLIBC,
        features=frozenset(board.features),
        cpu=board.qemu_cpu,
        emulator=qemu.version,
    )
    return solve(platform, spec)


def site_folder(solution: Solution) -> Path:
    """Return the folder of a runtime's unpacked wheels, downloaded now if it is not there yet; boards share it.

    Raises:
        WheelError: A wheel cannot be downloaded.
        PreparationError: It cannot be unpacked.
    """
    wheels = solution.requirements[:_NEEDED]
    digest = hashlib.sha256(" ".join((solution.python_tag, *wheels)).encode()).hexdigest()[:12]
    goal = kept_folder() / f"site-{solution.name}-{solution.version}-{digest}"
    return once(
        goal,
        lambda draft: _unpack(solution, draft),
        what=f"the environment of {solution.name} {solution.version}",
        deadline_s=_DEADLINE_S,
    )


def _unpack(solution: Solution, draft: Path) -> None:
    needed = replace(solution, requirements=solution.requirements[:_NEEDED])
    for each in fetch(needed, deadline_s=_DEADLINE_S).wheels:
        try:
            with zipfile.ZipFile(each.path) as wheel:
                wheel.extractall(draft)
        except zipfile.BadZipFile as error:
            raise PreparationError(f"{each.path} is damaged: {error}", hint="delete it and try again") from error


def _choices() -> dict[str, str]:
    path = _choices_path()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise PreparationError(f"{path} cannot be read: {error}", hint="remove it and choose again") from error
    stated = value if isinstance(value, dict) else {}
    return {str(name): runtime for name, runtime in stated.items() if isinstance(runtime, str)}


def _store(choices: dict[str, str]) -> None:
    path = _choices_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(choices, file, indent=1, sort_keys=True)
        Path(draft).replace(path)
    except OSError as error:
        raise PreparationError(f"the choice could not be stored in {path}: {error.strerror}") from error


def _choices_path() -> Path:
    return config_dir() / "emulated.json"
