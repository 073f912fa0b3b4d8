"""Runs on the board, under its own Python and with nothing but the standard library: states what is there, installs.

The host sends this file's text to `python3 - JOB` and reads one JSON document back. It has to be understood by the
Pythons of old systems (3.7) as far as to say which Python they have.

Under the base folder (~/.local/share/edge-convert):
    wheels/SHA256.whl        what was sent, named by content
    environments/ID          virtual environments, built where they stay; ID is made of the wheels' sha256
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


class Refused(Exception):  # noqa: N818
    """What the user must know; becomes {"error": ..., "hint": ...}."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def state() -> Json:
    """Return what the choice of a runtime depends on, and what is installed."""
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
        "current": _manifest(VENV),
        "previous": _manifest(PREVIOUS),
    }


def prepare() -> Json:
    """Make the folder that wheels are sent into."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    return {"wheels": str(WHEELS)}


def build(name: str, system_packages: bool, wheels: list[Json], about: Json) -> Json:
    """Build an environment beside the one in use; one that is whole already is taken as it is."""
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
            os.sync()  # a power cut must not leave an environment that calls itself whole
            _write(folder / DONE, json.dumps(dict(about, id=name)))
    return {"python": str(folder / "bin" / "python")}


def switch(name: str) -> Json:
    """Make an environment the one in use; the one before is kept, older ones and unused wheels are deleted."""
    with _lock():
        folder = ENVIRONMENTS / name
        if not (folder / DONE).is_file():
            raise Refused(f"the environment {name} is not whole")
        old = _target(VENV)
        if VENV.exists() and old is None:
            raise Refused(f"{VENV} is in the way: it is no link of ours", "move it away")
        if old is not None and old != _goal(name):
            _link(PREVIOUS, old)
        _link(VENV, _goal(name))
        _prune()
    return {"current": _manifest(VENV), "previous": _manifest(PREVIOUS)}


def discard(name: str) -> Json:
    """Delete an environment that failed its check, unless it is in use."""
    with _lock():
        if _goal(name) not in (_target(VENV), _target(PREVIOUS)):
            shutil.rmtree(str(ENVIRONMENTS / name), ignore_errors=True)
    return {}


def _goal(name: str) -> str:
    return f"{ENVIRONMENTS.name}/{name}"


def _target(link: Path) -> Any:  # noqa: ANN401
    return os.readlink(str(link)) if link.is_symlink() else None  # noqa: PTH115  (Path.readlink is 3.9's)


def _unpack(path: Path, wheel: Json, packages: Path) -> None:
    """Unpack a wheel (PEP 427). Console scripts are left out: nothing here is started by name."""
    if _sha256(path) != wheel["sha256"]:
        raise Refused(f"{wheel['file']} arrived damaged", "run the command again: it is sent anew")
    with zipfile.ZipFile(str(path)) as archive:
        for entry in archive.infolist():
            parts = [part for part in entry.filename.split("/") if part]
            if parts and parts[0].endswith(".data"):
                if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            if entry.filename.startswith("/") or ".." in parts:
                raise Refused(f"{wheel['file']} holds a file outside its folder: {entry.filename}")
            goal = packages.joinpath(*parts)
            if entry.filename.endswith("/"):
                goal.mkdir(parents=True, exist_ok=True)
                continue
            goal.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as data, goal.open("wb") as file:
                shutil.copyfileobj(data, file, 1 << 20)
        _told_installer(archive, packages)


def _told_installer(archive: zipfile.ZipFile, packages: Path) -> None:
    for name in archive.namelist():
        folder, slash, file = name.partition("/")
        if slash and file == "METADATA" and folder.endswith(".dist-info"):
            _write(packages / folder / "INSTALLER", "edge-convert\n")
            with (packages / folder / "RECORD").open("a") as record:
                record.write(f"{folder}/INSTALLER,,\n")


def _prune() -> None:
    kept = (_target(VENV), _target(PREVIOUS))
    needed = set()
    for folder in ENVIRONMENTS.iterdir():
        if _goal(folder.name) in kept:
            needed.update((_manifest(folder) or {}).get("wheels", ()))
        else:
            shutil.rmtree(str(folder), ignore_errors=True)
    for wheel in WHEELS.glob("*.whl"):
        if wheel.stem not in needed:
            wheel.unlink()


def _link(link: Path, goal: str) -> None:
    draft = link.with_name(link.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    draft.symlink_to(goal)
    os.replace(str(draft), str(link))  # noqa: PTH105  (one step: the link is always there)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    BASE.mkdir(parents=True, exist_ok=True)
    with (BASE / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("another set-up is running on this board", "wait for its end and try again") from None
        yield


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _manifest(folder: Path) -> Json:
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
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("features", "flags"):
            words = set(value.split())
            common = words if common is None else common & words
    return " ".join(sorted(common or ()))


def _os_name() -> Any:  # noqa: ANN401
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return None


def _text(path: str) -> str:
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
    except Refused as refusal:
        answer = {"ok": False, "error": str(refusal), "hint": refusal.hint}
    except OSError as error:
        answer = {"ok": False, "error": f"{error.filename or BASE}: {error.strerror}", "hint": ""}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
