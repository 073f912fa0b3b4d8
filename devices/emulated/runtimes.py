"""Which TFLite runtime an emulated board has: the ones that are known to work, their wheels, and the board's choice."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from devices.emulated.boards import BOARDS
from devices.emulated.errors import PreparationError, RuntimeRefusedError
from devices.emulated.kept import kept_folder, made_by, once
from devices.emulated.qemu import Qemu
from devices.emulated.rootfs import PYTHON
from devices.errors import UnknownDeviceError
from devices.places import config_dir

PLATFORMS = (
    "manylinux2014_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_34_aarch64",
)
_NUMPY = "numpy==1.26.4"
# What its Python interface imports; the rest of what it declares serves compilers that are not used here.
WHEELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ai-edge-litert==2.1.6": ("ai-edge-litert==2.1.6", _NUMPY),
        "ai-edge-litert==2.3.0": ("ai-edge-litert==2.3.0", _NUMPY),
        "tflite-runtime==2.14.0": ("tflite-runtime==2.14.0", _NUMPY),
    }
)
DEFAULT = "ai-edge-litert==2.1.6"
_NEWEST_FIRST = ("ai-edge-litert==2.3.0", DEFAULT)
# From this version on ai-edge-litert dies in every QEMU before this one, at its first inference.
_CRASHES_FROM, _CRASHES_BEFORE = (2, 2), (10,)
_DEADLINE_S = 600.0


@dataclass(frozen=True)
class Refusal:
    """Why a runtime cannot be had, and what would work."""

    why: str
    instead: str


def runtime_of(name: str) -> str:
    """Return the runtime chosen for a board, as "name==version"; without a choice the default.

    Raises:
        PreparationError: The file of choices cannot be read.
    """
    return _choices().get(name, DEFAULT)


def set_runtime(name: str, spec: str, qemu: Qemu) -> str:
    """Choose a board's runtime, from its next program on, and return it as "name==version".

    Args:
        name: The emulated board.
        spec: "name==version"; or "newest", the newest that works with this QEMU.
        qemu: What is to run it.

    Raises:
        UnknownDeviceError: There is no emulated board of that name.
        RuntimeRefusedError: The runtime is not known, or cannot work with this QEMU.
        PreparationError: The choice cannot be stored.
    """
    if name not in BOARDS:
        raise UnknownDeviceError(f"{name!r} is no emulated board", hint=f"emulated boards are: {', '.join(BOARDS)}")
    runtime = _resolved(spec, qemu)
    check_runtime(runtime, qemu)
    _store({**_choices(), name: runtime})
    return runtime


def check_runtime(runtime: str, qemu: Qemu) -> None:
    """Raise if a runtime cannot work with this QEMU, or is not known.

    Raises:
        RuntimeRefusedError: It cannot; the message says why, the hint what would work.
    """
    refusal = refused(runtime, qemu)
    if refusal is not None:
        raise RuntimeRefusedError(refusal.why, hint=refusal.instead)


def refused(runtime: str, qemu: Qemu) -> Refusal | None:
    """Return why a runtime cannot be had with this QEMU; None where it can."""
    name, _, version = runtime.partition("==")
    numbers = tuple(map(int, re.findall(r"\d+", version)))
    if name == "ai-edge-litert" and numbers >= _CRASHES_FROM and qemu.version < _CRASHES_BEFORE:
        return Refusal(
            f"{name} {version} crashes in {qemu}",
            f"{DEFAULT} works with it; QEMU {_CRASHES_BEFORE[0]} runs {_NEWEST_FIRST[0]}, but counts no instructions",
        )
    if runtime not in WHEELS:
        return Refusal(
            f"the runtime {runtime!r} is not known to work on emulated boards", f"known are: {', '.join(WHEELS)}"
        )
    return None


def site_folder(runtime: str) -> Path:
    """Return the folder of a runtime's unpacked wheels, downloaded now if it is not there yet.

    Raises:
        PreparationError: A wheel cannot be downloaded or unpacked.
    """
    wheels = WHEELS[runtime]
    digest = hashlib.sha256(" ".join((PYTHON, *wheels)).encode()).hexdigest()[:12]
    goal = kept_folder() / f"site-{runtime.replace('==', '-')}-{digest}"
    return once(
        goal, lambda draft: _unpack(wheels, draft), what=f"the wheels of {runtime} for aarch64", deadline_s=_DEADLINE_S
    )


def _unpack(wheels: tuple[str, ...], draft: Path) -> None:
    downloads = draft.parent / "wheels"
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    made_by(
        [
            *_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
            "--python-version", PYTHON, "--implementation", "cp", *platforms, "--dest", os.fspath(downloads), *wheels,
        ],
        what=f"the environment of {wheels[0]}",
        deadline_s=_DEADLINE_S,
        hint="its wheels come from the package index that pip is configured for; check the network and try again",
    )  # fmt: skip
    for path in sorted(downloads.iterdir()):
        try:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(draft)
        except zipfile.BadZipFile as error:
            raise PreparationError(f"{path.name} is damaged: {error}", hint="try again") from error


def _pip() -> list[str]:
    """Return what starts pip: this Python's, or the first one installed."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise PreparationError("wheels are downloaded by pip, which is not installed", hint="install pip")
    return [found]


def _resolved(spec: str, qemu: Qemu) -> str:
    if spec.strip() == "newest":
        return next(runtime for runtime in _NEWEST_FIRST if refused(runtime, qemu) is None)
    return re.sub(r"\s+", "", spec).lower().replace("_", "-")


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
