"""Logs in on a console, or uses a login that is already open."""

from __future__ import annotations

import contextlib
import re
import time

from firmware_tools.console.shell import ASK_AGAIN_S, LAST_TRIES, PROMPTS, WAKE_S, Ask, Shell
from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import LoginRefusedError, NoAnswerError

LOGIN_S = 20.0  # a wrong password is answered after seconds
_WAKE = b"\x11\x15\r"
_MOST_TEXT = 2000


def log_in(terminal: Terminal, user: str, ask: Ask) -> Shell:
    """Log in, or use the login that is already open; return a plain shell.

    Args:
        terminal: The terminal on the line.
        user: The account to log in with.
        ask: Called with "login" when the board asks for the password.

    Raises:
        LoginRefusedError: The password is wrong or has expired.
        NoAnswerError: Neither a login nor a shell prompt appeared.
    """
    return _LoginAttempt(terminal, user, ask).run()


class _LoginAttempt:
    """Answers prompts until a shell appears or the time is over."""

    def __init__(self, terminal: Terminal, user: str, ask: Ask) -> None:
        self._terminal, self._user, self._ask = terminal, user, ask
        self._user_typed = self._password_typed = False
        self._wait_s = ASK_AGAIN_S  # for the next prompt, before the line is woken up
        self._until = time.monotonic() + 3 * LOGIN_S

    def run(self) -> Shell:
        text = ""
        self._terminal.press(_WAKE)
        while (left_s := self._until - time.monotonic()) > 0:
            received = self._terminal.read_until_pause(deadline_s=min(self._wait_s, left_s))
            text = (text + received)[-_MOST_TEXT:]
            prompt = _prompt(text, self._password_typed)
            if prompt is None and received.strip():
                continue  # a prompt may be on its way
            text, self._wait_s = "", WAKE_S
            if prompt == "shell":
                return _plain(self._terminal)
            self._answer(prompt)
        raise self._terminal.no_answer(f"a login or a shell within {3 * LOGIN_S:g} s")

    def _answer(self, prompt: str | None) -> None:
        if prompt == "refused":
            name = self._terminal.line.name
            raise LoginRefusedError(f"{self._user} was refused at {name}", hint="is the password right?")
        if prompt == "expired":
            raise LoginRefusedError(
                f"the board asks {self._user} for a new password first", hint="log in there once with a terminal"
            )
        if prompt == "login":
            with contextlib.suppress(NoAnswerError):  # it may have arrived, with only the echo lost
                self._terminal.type_line(self._user, tries=LAST_TRIES)
            self._user_typed, self._password_typed, self._wait_s = True, False, ASK_AGAIN_S
        elif prompt == "password" and self._user_typed and not self._password_typed:
            self._type_password()
        else:  # no prompt, or an abandoned login, which is refused after seconds
            self._terminal.press(_WAKE)
            self._wait_s = LOGIN_S if prompt == "password" else WAKE_S

    def _type_password(self) -> None:
        asked_s = time.monotonic()
        secret = self._ask("login")
        self._until += time.monotonic() - asked_s
        if not self._terminal.has_text():  # otherwise the board is no longer waiting, and the secret would be echoed
            self._terminal.type_secret(secret)
            self._password_typed, self._wait_s = True, LOGIN_S


def _prompt(text: str, password_typed: bool) -> str | None:
    """Return the prompt at the end of the text; a refusal counts only after we typed a password."""
    for name, pattern in PROMPTS.items():
        if (password_typed or name != "refused") and re.search(pattern, text):
            return name
    return None


def _plain(terminal: Terminal) -> Shell:
    """Return a plain shell; on any error the user is logged out."""
    shell = Shell(terminal)
    try:
        shell.start()
    except BaseException as error:
        shell.__exit__(type(error), error, error.__traceback__)
        raise
    return shell
