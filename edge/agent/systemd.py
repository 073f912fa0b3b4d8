"""Runs the user's own program as a systemd unit that reads the current model: the job `unit`."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from devices.messages.protocol import Progress
from devices.messages.release_jobs import UnitRequest, UnitResult, UnitState
from edge.agent.store import Store, refuse_on_disk_errors, sync_folder, write_synced
from edge.agent.store_lock import lease_on
from edge.runtime.errors import RuntimeFault

FOLDER = ".config/systemd/user"
DEADLINE_S = 20.0


@refuse_on_disk_errors
def start_unit(request: UnitRequest, progress: Progress) -> UnitResult:
    """Write a unit and start it; without a text, restart the one of this root if there is one."""
    store = Store.of(request)
    with lease_on(store):
        if request.text is not None:
            name = _write(store, request.name, request.text)
            return UnitResult(_start(name, ("daemon-reload",), ("enable", name), ("restart", name)))
        try:
            name = store.unit.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return UnitResult(None)
        return UnitResult(_start(name, ("try-restart", name)))


def _write(store: Store, name: str, text: str) -> str:
    if Path(name).name != name or not name.endswith(".service"):
        raise RuntimeFault(f"{name[:80]!r} is not the name of a service")
    folder = Path("~").expanduser() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.new"
    write_synced(temporary, text)
    temporary.replace(folder / name)
    sync_folder(folder)
    write_synced(store.unit, name + "\n")
    return name


def _start(name: str, *calls: tuple[str, ...]) -> UnitState:
    why = next((why for call in calls if (why := _systemctl(call)) is not None), None)
    return UnitState(
        name=name,
        path=str(Path("~").expanduser() / FOLDER / name),
        running=why is None,
        why=why,
        lingers=Path("/var/lib/systemd/linger", pwd.getpwuid(os.getuid()).pw_name).exists(),
    )


def _systemctl(call: tuple[str, ...]) -> str | None:
    """Run one command; return why it failed, None where it did not."""
    environment = dict(os.environ)
    runtime = f"/run/user/{os.getuid()}"
    if Path(runtime).is_dir():  # a login without PAM does not set it
        environment.setdefault("XDG_RUNTIME_DIR", runtime)
    shown = f"systemctl --user {' '.join(call)}"
    try:
        done = subprocess.run(
            ["systemctl", "--user", *call], stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S,
            check=False, env=environment,
        )  # fmt: skip
    except FileNotFoundError:
        return "there is no systemctl on this device"
    except subprocess.TimeoutExpired:
        return f"{shown} did not end within {DEADLINE_S:g} s"
    if not done.returncode:
        return None
    return f"{shown}: {done.stderr.decode('utf-8', 'replace').strip() or f'status {done.returncode}'}"
