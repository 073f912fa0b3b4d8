"""Uploads files to a board by content: what is there is not sent again, and interrupted uploads are resumed."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices import board_paths as layout
from devices.contract import Completed
from devices.errors import DeadlineError, DeviceError, TransferError, UnreachableError
from devices.ssh.connection import Connection

ANSWER_S = 30.0  # for what the board answers at once, unless it is very busy
ATTEMPTS = 3
SLOWEST_BYTES_PER_S, SLOWEST_SERIAL_BYTES_PER_S = 50_000, 2_000
# In one go, as each question is a round trip: the home folder, whether the private Python is there, a file's size and
# sum. $1 and $2 are below the home folder.
_INSPECT = (
    'printf "%s\\n" "$HOME"; if [ -x "$HOME/$1" ]; then echo venv; else echo none; fi; '
    'if [ -f "$HOME/$2" ]; then wc -c <"$HOME/$2" && sha256sum <"$HOME/$2"; fi'
)
_FOLDER = 'umask 077 && mkdir -p -- "$1"'
_REMOVE = 'rm -f -- "$1"'


@dataclass(frozen=True)
class RemoteFile:
    """A file on the board: its size and sum, the home folder, and whether there is a private Python."""

    home: str
    venv: bool
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class LocalFile:
    """A local file, and where it belongs below the board's home folder."""

    local: Path
    below: str
    size: int
    sha256: str

    @classmethod
    def of(cls, local: Path, path_of: Callable[[str, str], str]) -> LocalFile:
        """Read a file once; `path_of` gives where its content belongs.

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
    def temporary(self) -> str:
        """Return its path while it is incomplete."""
        folder, name = posixpath.split(self.below)
        return posixpath.join(folder, f".{name}.part")


class Uploader:
    """Uploads files to one board; remembers the files it has seen there, for one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        over_serial = connection.address.serial is not None
        self._slowest_bytes_per_s = SLOWEST_SERIAL_BYTES_PER_S if over_serial else SLOWEST_BYTES_PER_S
        self._seen: dict[str, RemoteFile] = {}
        self._connected = -1

    def model(self, local: Path) -> str:
        """Upload what is missing of the model; return its path on the board.

        Raises:
            TransferError: It could not be read here or written there.
        """
        content = LocalFile.of(local, layout.model_path)
        return posixpath.join(self._ensure(content).home, content.below)

    def agent(self, bundle: Path) -> tuple[str, str]:
        """Return the board's Python and the agent's path on the board."""
        content = LocalFile.of(bundle, layout.agent_path)
        self._seen.pop(content.below, None)  # looked at each time: which Python there is may have changed
        seen = self._ensure(content)
        python = layout.venv_python(seen.home) if seen.venv else layout.SYSTEM_PYTHON
        return python, posixpath.join(seen.home, content.below)

    def _ensure(self, content: LocalFile) -> RemoteFile:
        """Make sure that a file is there; over a new connection, what was seen over the old one is forgotten."""
        self._connection.connect()
        number = self._connection.number
        if number != self._connected:
            self._seen.clear()
            self._connected = number
        seen = self._seen.get(content.below)
        if seen is None:
            seen = self._inspect(content.below, content.size)
            if seen.sha256 != content.sha256:
                self._send_alongside_others(content, seen.home)
            self._seen[content.below] = seen
        return seen

    def _send_alongside_others(self, content: LocalFile, home: str) -> None:
        """Send; another host may be sending the same, and rename or remove the temporary file they share."""
        for attempt in range(ATTEMPTS):
            try:
                return self._send(content, home)
            except (UnreachableError, DeadlineError):
                raise
            except DeviceError:
                if self._inspect(content.below, content.size).sha256 == content.sha256:
                    return None
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    def _send(self, content: LocalFile, home: str) -> None:
        """Send, have the board check the sum, then give the file its name."""
        self._run(_FOLDER, posixpath.join(home, posixpath.dirname(content.below))).require_success()
        temporary = posixpath.join(home, content.temporary)
        begin, got = self._fill(content, temporary)
        if got.sha256 != content.sha256 and begin:  # what was there was not a beginning of this: all of it, once
            self._run(_REMOVE, temporary).require_success()
            _, got = self._fill(content, temporary)
        if got.sha256 != content.sha256:
            self._run(_REMOVE, temporary)
            raise TransferError(
                f"{content.local} arrived damaged on {self._connection.name}: {got.size} of {content.size} bytes, "
                f"sha256 {got.sha256}",
                hint=f"expected {content.sha256}; is the board's disk full?",
            )
        self._connection.rename(temporary, posixpath.join(home, content.below), deadline_s=ANSWER_S)

    def _fill(self, content: LocalFile, temporary: str) -> tuple[int, RemoteFile]:
        """Send what a temporary lacks; return where that began, and what the board then has."""
        deadline_s = ANSWER_S + content.size / self._slowest_bytes_per_s
        begin = self._connection.resume(content.local, temporary, deadline_s=deadline_s, on_transfer=None)
        return begin, self._inspect(content.temporary, content.size)

    def _inspect(self, below: str, size: int) -> RemoteFile:
        done = self._run(_INSPECT, layout.VENV_PYTHON, below, deadline_s=ANSWER_S + size / (20 * SLOWEST_BYTES_PER_S))
        home, venv, *sums = done.stdout.decode("utf-8", "surrogateescape").splitlines() or ["", ""]
        words = " ".join(sums).split()
        if not home.startswith("/") or done.exit.status != 0 or len(words) == 1:
            written = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise DeviceError(
                f"{self._connection.name} cannot inspect {below}: that needs sh, wc and sha256sum",
                hint=f"it wrote: {written[-1][:200]}" if written else None,
            )
        return RemoteFile(home, venv == "venv", int(words[0]) if words else None, words[1] if words else None)

    def _run(self, script: str, *arguments: str, deadline_s: float = ANSWER_S) -> Completed:
        return self._connection.run(["sh", "-c", script, "sh", *arguments], deadline_s=deadline_s)
