"""Files on a board by their content: what is there already is not sent again, what was cut off goes on."""

from __future__ import annotations

import hashlib
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from devices import layout
from devices.errors import DeviceError, TransferError

if TYPE_CHECKING:
    from devices.contract import Completed
    from devices.ssh.device import SSHDevice

ASK_S = 30.0  # for what the board answers at once, unless it is very busy
SLOWEST_BYTES_PER_S = 50_000
_SUM = 'if [ -f "$1" ]; then wc -c <"$1" && sha256sum <"$1"; fi'
_FOLDER = 'umask 077 && mkdir -p -- "$1"'
_PYTHON = '[ -x "$1" ] && echo yes || echo no'
_HOME = 'printf "%s" "$HOME"'


class Placer:
    """Places files on one board; remembers, for the time of one connection, what it has seen there."""

    def __init__(self, device: SSHDevice) -> None:
        self._device = device
        self._seen: dict[str, str] = {}
        self._home = ""
        self._connected = -1

    def model(self, local: Path) -> str:
        """Return the model's path on the board, having sent what of it is not there.

        Raises:
            TransferError: It could not be read here or written there.
        """
        sha256 = _sha256_of(local)
        return self._placed(local, layout.model_path(self._fresh_home(), sha256), sha256)

    def agent(self, bundle: Path) -> tuple[str, str]:
        """Return the board's Python and the agent's path on the board."""
        sha256 = _sha256_of(bundle)
        home = self._fresh_home()
        path = self._placed(bundle, layout.agent_path(home, sha256), sha256)
        venv = layout.venv_python(home)
        if venv not in self._seen:
            self._seen[venv] = self._ask(_PYTHON, venv).checked().stdout.decode().strip()
        return venv if self._seen[venv] == "yes" else layout.SYSTEM_PYTHON, path

    def _fresh_home(self) -> str:
        """Return the home folder, over a new connection after forgetting what was seen over the old one."""
        number = self._device.connected()
        if number != self._connected:
            self._seen.clear()
            self._home = self._ask(_HOME).checked().stdout.decode("utf-8", "surrogateescape")
            self._connected = number
        return self._home

    def _placed(self, local: Path, goal: str, sha256: str) -> str:
        size = local.stat().st_size
        if self._seen.get(goal) != sha256:
            if self._sum_of(goal, size) != (size, sha256):
                self._send(local, goal, size, sha256)
            self._seen[goal] = sha256
        return goal

    def _send(self, local: Path, goal: str, size: int, sha256: str) -> None:
        """Send, have the board check the sum, then give the file its name."""
        deadline_s = ASK_S + size / SLOWEST_BYTES_PER_S
        folder, name = posixpath.split(goal)
        self._ask(_FOLDER, folder).checked()
        draft = posixpath.join(folder, f".{name}.part")
        begin = self._device.connection.resume(local, draft, deadline_s=deadline_s, on_transfer=None)
        got = self._sum_of(draft, size)
        if got != (size, sha256) and begin:  # what was there was not a beginning of this: all of it, once
            self._ask('rm -f -- "$1"', draft).checked()
            self._device.connection.resume(local, draft, deadline_s=deadline_s, on_transfer=None)
            got = self._sum_of(draft, size)
        if got != (size, sha256):
            self._ask('rm -f -- "$1"', draft)
            raise TransferError(
                f"{local} did not arrive whole on {self._device.name}: {got[0]} of {size} bytes, sha256 {got[1]}",
                hint=f"sent was {sha256}; is the board's disk full?",
            )
        self._device.connection.rename(draft, goal, deadline_s=ASK_S)

    def _sum_of(self, path: str, size: int) -> tuple[int, str | None]:
        """Return size and sha256 of a file as the board itself finds them; (0, None) where there is none."""
        done = self._ask(_SUM, path, deadline_s=ASK_S + size / (20 * SLOWEST_BYTES_PER_S))
        words = done.checked().stdout.decode("ascii", "replace").split()
        if not words:
            return 0, None
        if len(words) < 2 or not words[0].isdecimal():
            raise DeviceError(f"{self._device.name} cannot compute sha256sum: it said {' '.join(words)[:100]!r}")
        return int(words[0]), words[1]

    def _ask(self, script: str, *arguments: str, deadline_s: float = ASK_S) -> Completed:
        return self._device.run(["sh", "-c", script, "sh", *arguments], deadline_s=deadline_s)


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise TransferError(f"{path} cannot be read: {error.strerror}") from error
