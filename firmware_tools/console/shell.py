"""Runs commands in a login on a console, each result verified by its check sum."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import secrets
import time
import zlib
from collections.abc import Callable
from types import TracebackType

from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import InstrumentError, LineError, LoginRefusedError, NoAnswerError

WAKE_S = 2.0
PROMPTS = {
    "refused": r"(?i)login incorrect|authentication failure|permission denied",
    "expired": r"(?i)(current password|new password|password has expired)[^\n]*\Z",
    "password": r"(?i)password[^\n]*:\s*\Z",
    "login": r"(?i)login:\s*\Z",
    "shell": r"[$#%>]\s*\Z",
}
PIECE = 48
TRIES = 40
LAST_TRIES, _FEW_TRIES = 12, 4
_STEPS_OUT = 8
_PROMPTS_AT_END = {"login": PROMPTS["login"], "shell": r"\$ (?:\^Q)?[ \x08]*\Z"}  # with the echo of a cleared line
ASK_AGAIN_S = 5.0
_BEGIN = r"^(?:\$ )*"  # prompts precede a command's output
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits reversed
Ask = Callable[[str], str]


class Shell:
    """A user logged in on a terminal, as a context manager: at its end the user is logged out.

    Args:
        terminal: The terminal on which a shell is running.

    Attributes:
        folder: The session's own folder on the board.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self._mark = secrets.token_hex(3)
        self.folder = f"/tmp/e{self._mark}"
        self._ended = False

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            with contextlib.suppress(InstrumentError):
                self._log_out()

    def start(self) -> None:
        """Prepare the session: a shell without line editing, and a folder of its own."""
        self.terminal.type_line("exec sh")
        for line in ("PS1='$ '; stty -ixon", f"umask 077; mkdir -p {self.folder}", f"cd {self.folder}"):
            self.terminal.type_line(line)
        try:
            self._confirm("pwd", self.folder, tries=LAST_TRIES)
        except NoAnswerError as error:
            raise LineError("no folder could be made in the board's /tmp", hint="is its disk full?") from error

    def upload(self, content: bytes, name: str) -> None:
        """Write a file into the session's folder by typing it, and compare its check sum.

        Raises:
            NoAnswerError: It never arrived intact.
        """
        text = base64.b64encode(content).decode()
        pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            self.terminal.type_line(f"echo {piece}>p{number:03d}")
        self.terminal.type_line(f"cat p???|base64 -d>{name}")
        self._confirm(f"cksum<{name}", f"{posix_cksum(content)} {len(content)}")
        self.terminal.type_line("rm p???")

    def run(self, script: str, *, deadline_s: float) -> tuple[int, str]:
        """Run a script; return its status and its verified output.

        Raises:
            NoAnswerError: It did not end in time, or its output never arrived intact.
        """
        self.upload(script.encode(), "s")
        return self._result("sh s 2>&1", deadline_s, None)

    def run_as_root(self, script: str, ask: Ask, *, deadline_s: float) -> tuple[int, str]:
        """Run a script as root, through sudo if the user is not root. `ask` returns the password if sudo asks for it.

        Raises:
            LoginRefusedError: The user may not become root.
            NoAnswerError: See `run`.
        """
        self.upload(script.encode(), "s")
        root = self._result("id -u", deadline_s, None)[1].strip() == "0"
        become = "" if root else "sudo -p 'sudo password: ' "
        return self._result(f"{become}sh s", deadline_s, None if root else ask)

    def become(self, command: str) -> None:
        """Replace the shell by a program; nothing more can be run."""
        self.terminal.type_line(command)
        self._ended = True

    def _log_out(self) -> None:
        """End whatever is running, then the login, until the board shows its login prompt again.

        Once is not enough: a program may lose a Ctrl-C between printing a prompt and reading (sudo does); its prompt
            then
        stays, and typed text does not reach the shell.
        """
        prompt_kind = ""
        for _ in range(_STEPS_OUT):
            with contextlib.suppress(NoAnswerError):
                if prompt_kind == "shell":
                    folder = self.folder.removeprefix("/tmp/")
                    self.terminal.type_line(f"cd /tmp&&rm -r {folder};exit", tries=_FEW_TRIES)
                else:
                    self.terminal.press(b"\x03")
                    self.terminal.clear()
                prompt_kind = ""
                prompt_kind, _ = self.terminal.expect(_PROMPTS_AT_END, deadline_s=WAKE_S, what="a prompt")
                self.terminal.settle()
            if prompt_kind == "login":
                return

    def _result(self, command: str, deadline_s: float, ask: Ask | None) -> tuple[int, str]:
        begin, end = self._mark[:3], self._mark[3:]  # separate when typed, so that an echo is not an answer
        wanted = {"done": rf"{_BEGIN}{self._mark}=(\d{{1,3}})$"}
        asking = {"password": r"sudo password: \Z", "no": r"Sorry, try again|not in the sudoers"} if ask else {}
        self.terminal.type_line(f"({command})>o;r=$?;echo {begin}''{end}=$r")
        until = time.monotonic() + deadline_s
        while True:
            try:
                seen, match = self.terminal.expect(
                    {**wanted, **asking}, deadline_s=min(ASK_AGAIN_S, until - time.monotonic()), what=f"`{command}` end"
                )
            except NoAnswerError:
                if time.monotonic() >= until:
                    raise
                if "password" not in asking:  # the answer may have been damaged
                    self.terminal.type_line(f"echo {begin}''{end}=$r")
                continue
            if seen == "done":
                return int(match[1]), self._output()
            if seen == "no" or ask is None:
                self.terminal.press(b"\x03")
                raise LoginRefusedError("sudo did not let this user become root", hint="is the password right?")
            thinking = time.monotonic()
            secret = ask("sudo")
            until += time.monotonic() - thinking
            if not self.terminal.has_text():  # otherwise sudo is no longer waiting, and the secret would be echoed
                self.terminal.type_secret(secret)
                asking = {"no": asking["no"]}

    def _output(self) -> str:
        """Return the file that a command wrote, requested until it arrives intact."""
        for _ in range(TRIES):
            self.terminal.type_line("base64 -w0 o;echo :`cksum<o`")
            with contextlib.suppress(NoAnswerError, binascii.Error):
                match = self.terminal.expect(
                    {"all": rf"{_BEGIN}([\w+/=]*):(\d{{1,10}}) (\d{{1,10}})$"}, deadline_s=2, what="its output"
                )[1]
                content = base64.b64decode(match[1], validate=True)
                if (posix_cksum(content), len(content)) == (int(match[2]), int(match[3])):
                    return content.decode("utf-8", "replace")
        raise NoAnswerError(f"the output of a command never arrived intact over {self.terminal.line.name}")

    def _confirm(self, command: str, wanted: str, *, tries: int = TRIES) -> None:
        for _ in range(tries):
            self.terminal.type_line(command)
            with contextlib.suppress(NoAnswerError):
                self.terminal.expect({"right": f"{_BEGIN}{re.escape(wanted)}$"}, deadline_s=1, what="the check sum")
                return
        raise NoAnswerError(
            f"the text typed over {self.terminal.line.name} never arrived intact", hint="a better cable?"
        )


def posix_cksum(data: bytes) -> int:
    """Return what POSIX `cksum` prints: the CRC-32 of polynomial 0x04C11DB7, unreflected, the length appended."""
    length = len(data)
    tail = bytearray()
    while length:
        tail.append(length & 0xFF)
        length >>= 8
    reflected = (bytes(data) + bytes(tail)).translate(_MIRROR)
    # zlib's CRC is the reflected one, begins with and ends by inverting; undo both, and mirror bits.
    return int(f"{zlib.crc32(reflected, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2) ^ 0xFFFFFFFF
