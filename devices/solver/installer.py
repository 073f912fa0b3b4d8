"""Installs a runtime on a board. Runs there, under the board's own Python and with the standard library alone.

The host sends this file's text to `python3 - JOB` and reads one JSON document back. Old Pythons (3.7) must be able to
run the job `state`, so that the host learns which Python they are.

Under the base folder (~/.local/share/edge-convert):
    wheels/SHA256.whl        what was sent, named by content
    environments/ID          virtual environments, built where they stay; ID is derived from the wheels' sha256
    venv -> environments/ID  the one in use, switched by renaming a link
    previous -> ...          the one before
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator  # noqa: UP035  (Dict is read when the module is loaded, 3.8 has no dict[...])

BASE = Path("~/.local/share/edge-convert").expanduser()
WHEELS, ENVIRONMENTS, VENV, PREVIOUS = BASE / "wheels", BASE / "environments", BASE / "venv", BASE / "previous"
DONE = "edge-convert.json"  # inside an environment, written last: one without it is half-built
Json = Dict[str, Any]  # noqa: UP006


class InstallerError(Exception):
    """A failure that the user is shown; becomes {"error": ..., "hint": ...}."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def state() -> Json:
    """Return the facts that decide which runtime fits, and what is installed."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "bits": sys.maxsize.bit_length() + 1,
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "cpu_words": _cpu_words(),
        "os": _os_name(),
        "numpy": _system_numpy(),
        "free_disk_bytes": shutil.disk_usage(str(_existing(BASE))).free,
        "base": str(BASE),
        "wheels": sorted(each.stem for each in WHEELS.glob("*.whl") if _sha256(each) == each.stem),
        "current": _read_manifest(VENV),
        "previous": _read_manifest(PREVIOUS),
    }


def prepare() -> Json:
    """Make the folder that wheels are sent into."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    return {"wheels": str(WHEELS)}


def build(name: str, system_packages: bool, wheels: list[Json], about: Json) -> Json:
    """Build an environment alongside the one in use; one that is complete already is used as it is."""
    import venv

    folder = ENVIRONMENTS / name
    with _lock():
        if not (folder / DONE).is_file():
            shutil.rmtree(str(folder), ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            venv.EnvBuilder(system_site_packages=system_packages, symlinks=True, with_pip=False).create(str(folder))
            packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
            for wheel in wheels:
                _unpack(WHEELS / (wheel["sha256"] + ".whl"), wheel, packages)
            os.sync()  # a power cut must not leave an environment that looks complete
            _write(folder / DONE, json.dumps(dict(about, id=name)))
    return {"python": str(folder / "bin" / "python")}


def switch(name: str) -> Json:
    """Make an environment the one in use; the one before is kept, older ones and unused wheels are deleted."""
    with _lock():
        folder = ENVIRONMENTS / name
        if not (folder / DONE).is_file():
            raise InstallerError(f"the environment {name} is incomplete")
        old = _read_link(VENV)
        if VENV.exists() and old is None:
            raise InstallerError(f"{VENV} exists, but is not a link that this program made", "move it away")
        if old is not None and old != _link_target(name):
            _set_link(PREVIOUS, old)
        _set_link(VENV, _link_target(name))
        _prune()
    return {"current": _read_manifest(VENV), "previous": _read_manifest(PREVIOUS)}


def discard(name: str) -> Json:
    """Delete an environment that failed its check, unless it is in use."""
    with _lock():
        if _link_target(name) not in (_read_link(VENV), _read_link(PREVIOUS)):
            shutil.rmtree(str(ENVIRONMENTS / name), ignore_errors=True)
    return {}


def _link_target(name: str) -> str:
    return f"{ENVIRONMENTS.name}/{name}"


def _read_link(link: Path) -> Any:  # noqa: ANN401
    return os.readlink(str(link)) if link.is_symlink() else None  # noqa: PTH115  (Path.readlink is 3.9's)


def _unpack(path: Path, wheel: Json, packages: Path) -> None:
    """Unpack a wheel (PEP 427). Console scripts are left out: nothing here is started by name."""
    if _sha256(path) != wheel["sha256"]:
        raise InstallerError(f"{wheel['file']} arrived damaged", "run the command again to resend it")
    with zipfile.ZipFile(str(path)) as archive:
        for entry in archive.infolist():
            parts = [part for part in entry.filename.split("/") if part]
            if parts and parts[0].endswith(".data"):
                if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if entry.filename.startswith("/") or ".." in parts:
                raise InstallerError(f"{wheel['file']} contains a file outside its folder: {entry.filename}")
            destination = packages.joinpath(*parts)
            if entry.filename.endswith("/"):
                destination.mkdir(parents=True, exist_ok=True)
                continue
            destination.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as data, destination.open("wb") as file:
                shutil.copyfileobj(data, file, 1 << 20)
        _record_installer(archive, packages)


def _record_installer(archive: zipfile.ZipFile, packages: Path) -> None:
    for name in archive.namelist():
        folder, slash, file = name.partition("/")
        if slash and file == "METADATA" and folder.endswith(".dist-info"):
            _write(packages / folder / "INSTALLER", "edge-convert\n")
            with (packages / folder / "RECORD").open("a") as record:
                record.write(f"{folder}/INSTALLER,,\n")


def _prune() -> None:
    kept = (_read_link(VENV), _read_link(PREVIOUS))
    needed = set()
    for folder in ENVIRONMENTS.iterdir():
        if _link_target(folder.name) in kept:
            needed.update((_read_manifest(folder) or {}).get("wheels", ()))
        else:
            shutil.rmtree(str(folder), ignore_errors=True)
    for wheel in WHEELS.glob("*.whl"):
        if wheel.stem not in needed:
            wheel.unlink()


def _set_link(link: Path, target: str) -> None:
    new_link = link.with_name(link.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        new_link.unlink()
    new_link.symlink_to(target)
    os.replace(str(new_link), str(link))  # noqa: PTH105  (one step: the link is always there)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    BASE.mkdir(parents=True, exist_ok=True)
    with (BASE / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InstallerError("another set-up is running on this board", "try again when it has ended") from None
        yield


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> Json:
    try:
        with (folder / DONE).open() as file:
            found: Json = json.load(file)
            return found
    except (OSError, ValueError):
        return {}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as data:
            for chunk in iter(lambda: data.read(1 << 20), b""):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _cpu_words() -> str:
    """Return what every processor has: the words common to all lines of features."""
    common = None
    for line in _read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("features", "flags"):
            words = set(value.split())
            common = words if common is None else common & words
    return " ".join(sorted(common or ()))


def _os_name() -> Any:  # noqa: ANN401
    for line in _read_text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return None


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _system_numpy() -> Any:  # noqa: ANN401
    try:
        import numpy
    except Exception:  # noqa: BLE001  (a broken package of the system is as good as none)
        return None
    return numpy.__version__


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


JOBS: Dict[str, Any] = {"state": state, "prepare": prepare, "build": build, "switch": switch, "discard": discard}  # noqa: UP006


def main() -> None:
    """Do one job: {"job": NAME, ...} is the first argument, the answer one line."""
    request = json.loads(sys.argv[1])
    try:
        answer = {"ok": True, "result": JOBS[request.pop("job")](**request)}
    except InstallerError as error:
        answer = {"ok": False, "error": str(error), "hint": error.hint}
    except OSError as error:
        answer = {"ok": False, "error": f"{error.filename or BASE}: {error.strerror}", "hint": ""}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
