"""The job `unit`: a systemd unit of this user, for the user's own program that reads the current model."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from edge.agent.request import field
from edge.agent.store import Store, refusing, sync_folder, write_synced
from edge.agent.store_lock import held
from edge.runtime.errors import RuntimeFault

FOLDER = ".config/systemd/user"
DEADLINE_S = 20.0


@refusing
def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Write the unit `name` with `text` and start it; without a text, restart the one of this root if there is one.

    The answer is {"unit": None} where there is none to restart; else it says in `running` whether systemd took it,
    and if not, in `why` what it said. `lingers` is False where the unit runs only while the user is logged in.
    """
    store, text = Store.of(request), field(request, "text", (str, type(None)), None)
    with held(store):
        if text is not None:
            name = _write(store, field(request, "name", str), text)
            return {**_known(name), **_systemctl(("daemon-reload",), ("enable", name), ("restart", name))}
        try:
            name = store.unit.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return {"unit": None}
        return {**_known(name), **_systemctl(("try-restart", name))}


def _write(store: Store, name: str, text: str) -> str:
    if Path(name).name != name or not name.endswith(".service"):
        raise RuntimeFault(f"{name[:80]!r} is no name of a service")
    folder = Path("~").expanduser() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{name}.new"
    write_synced(draft, text)
    draft.replace(folder / name)
    sync_folder(folder)
    write_synced(store.unit, name + "\n")
    return name


def _known(name: str) -> dict[str, Any]:
    user = pwd.getpwuid(os.getuid()).pw_name
    return {
        "unit": name,
        "path": str(Path("~").expanduser() / FOLDER / name),
        "lingers": Path("/var/lib/systemd/linger", user).exists(),
    }


def _systemctl(*calls: tuple[str, ...]) -> dict[str, Any]:
    environment = dict(os.environ)
    runtime = f"/run/user/{os.getuid()}"
    if Path(runtime).is_dir():  # a login without PAM does not set it
        environment.setdefault("XDG_RUNTIME_DIR", runtime)
    for call in calls:
        try:
            done = subprocess.run(
                ["systemctl", "--user", *call], stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S,
                check=False, env=environment,
            )  # fmt: skip
        except FileNotFoundError:
            return {"running": False, "why": "there is no systemctl on this device"}
        except subprocess.TimeoutExpired:
            return {"running": False, "why": f"systemctl --user {' '.join(call)} did not end within {DEADLINE_S:g} s"}
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip() or f"status {done.returncode}"
            return {"running": False, "why": f"systemctl --user {' '.join(call)}: {said}"}
    return {"running": True, "why": None}
