"""A login on a console, and commands run there, each result with its check sum."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import secrets
import time
from collections.abc import Callable
from types import TracebackType

from firmware_tools.console.cksum import posix_cksum
from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import InstrumentError, LineError, LoginRefusedError, NoAnswerError

LOGIN_S, WAKE_S = 20.0, 2.0  # a password that was wrong is answered after seconds
_WAKE = b"\x11\x15\r"
PROMPTS = {
    "refused": r"(?i)login incorrect|authentication failure|permission denied",
    "expired": r"(?i)(current password|new password|password has expired)[^\n]*\Z",
    "password": r"(?i)password[^\n]*:\s*\Z",
    "login": r"(?i)login:\s*\Z",
    "shell": r"[$#%>]\s*\Z",
}
PIECE = 48
TRIES = 40
_LAST_TRIES, _FEW_TRIES = 12, 4
_STEPS_OUT = 8
_STANDS = {"login": PROMPTS["login"], "shell": r"\$ (?:\^Q)?[ \x08]*\Z"}  # and what a cleared line shows there
ASK_AGAIN_S = 5.0
_MOST_TEXT = 2000
_BEGIN = r"^(?:\$ )*"  # prompts stand before what a command prints
Ask = Callable[[str], str]


class Shell:
    """A user logged in on a terminal, as a context manager: at its end the user is logged out.

    Args:
        terminal: What stands on the line.
        folder: A folder of this session's own on the board.
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
        """Make the session plain: a shell that edits nothing, and a folder of its own."""
        self.terminal.type_line("exec sh")
        for line in ("PS1='$ '; stty -ixon", f"umask 077; mkdir -p {self.folder}", f"cd {self.folder}"):
            self.terminal.type_line(line)
        try:
            self._confirm("pwd", self.folder, tries=_LAST_TRIES)
        except NoAnswerError as error:
            raise LineError("the board has no room for a folder in /tmp", hint="is its disk full?") from error

    def upload(self, content: bytes, name: str) -> None:
        """Write a file into the session's folder by typing it, and compare its check sum.

        Raises:
            NoAnswerError: It never arrived whole.
        """
        text = base64.b64encode(content).decode()
        pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            self.terminal.type_line(f"echo {piece}>p{number:03d}")
        self.terminal.type_line(f"cat p???|base64 -d>{name}")
        self._confirm(f"cksum<{name}", f"{posix_cksum(content)} {len(content)}")
        self.terminal.type_line("rm p???")

    def run(self, script: str, *, deadline_s: float) -> tuple[int, str]:
        """Run a script; return its status and what it printed, unharmed by the line.

        Raises:
            NoAnswerError: It did not end in time, or what it printed never arrived whole.
        """
        self.upload(script.encode(), "s")
        return self._result("sh s 2>&1", deadline_s, None)

    def run_as_root(self, script: str, ask: Ask, *, deadline_s: float) -> tuple[int, str]:
        """Run a script as root, through sudo where the user is not root. `ask` gives the password if sudo wants it.

        Raises:
            LoginRefusedError: The board does not let this user become root.
            NoAnswerError: See `run`.
        """
        self.upload(script.encode(), "s")
        root = self._result("id -u", deadline_s, None)[1].strip() == "0"
        become = "" if root else "sudo -p 'sudo password: ' "
        return self._result(f"{become}sh s", deadline_s, None if root else ask)

    def become(self, command: str) -> None:
        """Let a program take the shell's place; nothing more can be run."""
        self.terminal.type_line(command)
        self._ended = True

    def _log_out(self) -> None:
        """End whatever still runs or asks, then the login, until the board asks for a login again.

        Once is not enough: a program between asking and listening loses the Ctrl-C that comes just then (sudo does);
        it asks on, and what is typed there never reaches the shell.
        """
        stands = ""
        for _ in range(_STEPS_OUT):
            with contextlib.suppress(NoAnswerError):
                if stands == "shell":
                    folder = self.folder.removeprefix("/tmp/")
                    self.terminal.type_line(f"cd /tmp&&rm -r {folder};exit", tries=_FEW_TRIES)
                else:
                    self.terminal.press(b"\x03")
                    self.terminal.clear()
                stands = ""
                stands, _ = self.terminal.expect(_STANDS, deadline_s=WAKE_S, what="a prompt")
                self.terminal.settle()
            if stands == "login":
                return

    def _result(self, command: str, deadline_s: float, ask: Ask | None) -> tuple[int, str]:
        begin, end = self._mark[:3], self._mark[3:]  # apart when typed, so that an echo is no answer
        wanted = {"done": rf"{_BEGIN}{self._mark}=(\d{{1,3}})$"}
        asking = {"password": r"sudo password: \Z", "no": r"Sorry, try again|not in the sudoers"} if ask else {}
        self.terminal.type_line(f"({command})>o;r=$?;echo {begin}''{end}=$r")
        until = time.monotonic() + deadline_s
        while True:
            try:
                seen, found = self.terminal.expect(
                    {**wanted, **asking}, deadline_s=min(ASK_AGAIN_S, until - time.monotonic()), what=f"`{command}` end"
                )
            except NoAnswerError:
                if time.monotonic() >= until:
                    raise
                if "password" not in asking:  # the answer may have been damaged
                    self.terminal.type_line(f"echo {begin}''{end}=$r")
                continue
            if seen == "done":
                return int(found[1]), self._output()
            if seen == "no" or ask is None:
                self.terminal.press(b"\x03")
                raise LoginRefusedError("sudo did not let this user become root", hint="is the password right?")
            thinking = time.monotonic()
            secret = ask("sudo")
            until += time.monotonic() - thinking
            if not self.terminal.has_news():  # else sudo waits no longer, and the secret would be echoed
                self.terminal.type_secret(secret)
                asking = {"no": asking["no"]}

    def _output(self) -> str:
        """Return the file that a command wrote, asked for until it arrives whole."""
        for _ in range(TRIES):
            self.terminal.type_line("base64 -w0 o;echo :`cksum<o`")
            with contextlib.suppress(NoAnswerError, binascii.Error):
                found = self.terminal.expect(
                    {"all": rf"{_BEGIN}([\w+/=]*):(\d{{1,10}}) (\d{{1,10}})$"}, deadline_s=2, what="its output"
                )[1]
                content = base64.b64decode(found[1], validate=True)
                if (posix_cksum(content), len(content)) == (int(found[2]), int(found[3])):
                    return content.decode("utf-8", "replace")
        raise NoAnswerError(f"the output of a command never arrived whole over {self.terminal.line.name}")

    def _confirm(self, command: str, wanted: str, *, tries: int = TRIES) -> None:
        for _ in range(tries):
            self.terminal.type_line(command)
            with contextlib.suppress(NoAnswerError):
                self.terminal.expect({"right": f"{_BEGIN}{re.escape(wanted)}$"}, deadline_s=1, what="the check sum")
                return
        raise NoAnswerError(
            f"what was typed over {self.terminal.line.name} never arrived whole", hint="a better cable?"
        )


def log_in(terminal: Terminal, user: str, ask: Ask) -> Shell:
    """Log in, or use the login that is there; return a plain shell.

    Args:
        terminal: What stands on the line.
        user: Who logs in.
        ask: Called with "login" when the board wants the password.

    Raises:
        LoginRefusedError: The password is wrong or has expired.
        NoAnswerError: No login and no shell shows itself.
    """
    said, asked, text, patience_s = False, False, "", ASK_AGAIN_S
    until = time.monotonic() + 3 * LOGIN_S
    terminal.press(_WAKE)
    while (left_s := until - time.monotonic()) > 0:
        news = terminal.after_a_pause(deadline_s=min(patience_s, left_s))
        text = (text + news)[-_MOST_TEXT:]
        seen = _prompt(text, asked)
        if seen is None and news.strip():
            continue  # a prompt may be on its way
        text, patience_s = "", WAKE_S
        if seen == "refused":
            raise LoginRefusedError(f"{user} was not let in at {terminal.line.name}", hint="is the password right?")
        if seen == "expired":
            raise LoginRefusedError(
                f"the board wants {user} to choose a new password first", hint="log in there once with a terminal"
            )
        if seen == "shell":
            return _plain(terminal)
        if seen == "login":
            with contextlib.suppress(NoAnswerError):  # it may stand there, and only the echo was lost
                terminal.type_line(user, tries=_LAST_TRIES)
            said, asked, patience_s = True, False, ASK_AGAIN_S
        elif seen == "password" and said and not asked:
            thinking = time.monotonic()
            secret = ask("login")
            until += time.monotonic() - thinking
            if not terminal.has_news():  # else the board waits no longer, and the secret would be echoed
                terminal.type_secret(secret)
                asked, patience_s = True, LOGIN_S
        else:  # nothing, news, or somebody else's half-finished login, which is refused after seconds
            terminal.press(_WAKE)
            patience_s = LOGIN_S if seen == "password" else WAKE_S
    raise terminal.nothing(f"a login or a shell within {3 * LOGIN_S:g} s")


def _prompt(text: str, asked: bool) -> str | None:
    """Return what the board's words end with; that it refuses counts only after a password of ours."""
    for name, pattern in PROMPTS.items():
        if (asked or name != "refused") and re.search(pattern, text):
            return name
    return None


def _plain(terminal: Terminal) -> Shell:
    """Return a plain shell; whatever prevents it, the user is logged out."""
    shell = Shell(terminal)
    try:
        shell.start()
    except BaseException as error:
        shell.__exit__(type(error), error, error.__traceback__)
        raise
    return shell
