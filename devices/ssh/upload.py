"""Files on a board by their content: what is there already is not sent again, what was cut off goes on."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devices import board_paths as layout
from devices.errors import DeadlineError, DeviceError, TransferError, UnreachableError

if TYPE_CHECKING:
    from devices.contract import Completed
    from devices.ssh.device import SSHDevice

ASK_S = 30.0  # for what the board answers at once, unless it is very busy
ATTEMPTS = 3
SLOWEST_BYTES_PER_S, SLOWEST_SERIAL_BYTES_PER_S = 50_000, 2_000
# In one go, as each question is a round trip: the home folder, whether the private Python is there, a file's size and
# sum. $1 and $2 are below the home folder.
_LOOK = (
    'printf "%s\\n" "$HOME"; if [ -x "$HOME/$1" ]; then echo venv; else echo none; fi; '
    'if [ -f "$HOME/$2" ]; then wc -c <"$HOME/$2" && sha256sum <"$HOME/$2"; fi'
)
_FOLDER = 'umask 077 && mkdir -p -- "$1"'
_REMOVE = 'rm -f -- "$1"'


@dataclass(frozen=True)
class Look:
    """What the board says: where home is, whether there is a private Python, and what a file of its is."""

    home: str
    venv: bool
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Content:
    """A local file, and where it belongs below the board's home folder."""

    local: Path
    below: str
    size: int
    sha256: str

    @classmethod
    def of(cls, local: Path, path_of: Callable[[str, str], str]) -> Content:
        """Read a file once; `path_of` tells where its content belongs.

        Raises:
            TransferError: It cannot be read.
        """
        digest = hashlib.sha256()
        try:
            with local.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                return cls(local, path_of("", digest.hexdigest()), file.tell(), digest.hexdigest())
        except OSError as error:
            raise TransferError(f"{local} cannot be read: {error.strerror}") from error

    @property
    def draft(self) -> str:
        """Return where it is while it is not whole."""
        folder, name = posixpath.split(self.below)
        return posixpath.join(folder, f".{name}.part")


class Placer:
    """Places files on one board; remembers, for the time of one connection, what it has seen there."""

    def __init__(self, device: SSHDevice) -> None:
        self._device = device
        over_serial = device.connection.address.serial is not None
        self._slowest_bytes_per_s = SLOWEST_SERIAL_BYTES_PER_S if over_serial else SLOWEST_BYTES_PER_S
        self._seen: dict[str, Look] = {}
        self._connected = -1

    def model(self, local: Path) -> str:
        """Return the model's path on the board, having sent what of it is not there.

        Raises:
            TransferError: It could not be read here or written there.
        """
        content = Content.of(local, layout.model_path)
        return posixpath.join(self._placed(content).home, content.below)

    def agent(self, bundle: Path) -> tuple[str, str]:
        """Return the board's Python and the agent's path on the board."""
        content = Content.of(bundle, layout.agent_path)
        self._seen.pop(content.below, None)  # looked at each time: which Python there is may have changed
        seen = self._placed(content)
        python = layout.venv_python(seen.home) if seen.venv else layout.SYSTEM_PYTHON
        return python, posixpath.join(seen.home, content.below)

    def _placed(self, content: Content) -> Look:
        """Make sure that a file is there; over a new connection, what was seen over the old one is forgotten."""
        number = self._device.connected()
        if number != self._connected:
            self._seen.clear()
            self._connected = number
        seen = self._seen.get(content.below)
        if seen is None:
            seen = self._look(content.below, content.size)
            if seen.sha256 != content.sha256:
                self._send_beside_others(content, seen.home)
            self._seen[content.below] = seen
        return seen

    def _send_beside_others(self, content: Content, home: str) -> None:
        """Send; another host may be sending the same, and rename or remove the draft they share."""
        for attempt in range(ATTEMPTS):
            try:
                return self._send(content, home)
            except (UnreachableError, DeadlineError):
                raise
            except DeviceError:
                if self._look(content.below, content.size).sha256 == content.sha256:
                    return None
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    def _send(self, content: Content, home: str) -> None:
        """Send, have the board check the sum, then give the file its name."""
        self._ask(_FOLDER, posixpath.join(home, posixpath.dirname(content.below))).checked()
        draft = posixpath.join(home, content.draft)
        begin, got = self._fill(content, draft)
        if got.sha256 != content.sha256 and begin:  # what was there was not a beginning of this: all of it, once
            self._ask(_REMOVE, draft).checked()
            _, got = self._fill(content, draft)
        if got.sha256 != content.sha256:
            self._ask(_REMOVE, draft)
            raise TransferError(
                f"{content.local} did not arrive whole on {self._device.name}: {got.size} of {content.size} bytes, "
                f"sha256 {got.sha256}",
                hint=f"sent was {content.sha256}; is the board's disk full?",
            )
        self._device.connection.rename(draft, posixpath.join(home, content.below), deadline_s=ASK_S)

    def _fill(self, content: Content, draft: str) -> tuple[int, Look]:
        """Send what a draft lacks; return where that began, and what the board then has."""
        deadline_s = ASK_S + content.size / self._slowest_bytes_per_s
        begin = self._device.connection.resume(content.local, draft, deadline_s=deadline_s, on_transfer=None)
        return begin, self._look(content.draft, content.size)

    def _look(self, below: str, size: int) -> Look:
        done = self._ask(_LOOK, layout.VENV_PYTHON, below, deadline_s=ASK_S + size / (20 * SLOWEST_BYTES_PER_S))
        home, venv, *sums = done.stdout.decode("utf-8", "surrogateescape").splitlines() or ["", ""]
        words = " ".join(sums).split()
        if not home.startswith("/") or done.exit.status != 0 or len(words) == 1:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise DeviceError(
                f"{self._device.name} cannot say what it has of {below}: that takes sh, wc and sha256sum",
                hint=f"it said: {said[-1][:200]}" if said else None,
            )
        return Look(home, venv == "venv", int(words[0]) if words else None, words[1] if words else None)

    def _ask(self, script: str, *arguments: str, deadline_s: float = ASK_S) -> Completed:
        return self._device.run(["sh", "-c", script, "sh", *arguments], deadline_s=deadline_s)
