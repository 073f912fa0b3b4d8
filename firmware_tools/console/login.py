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
    user_typed, password_typed, text, wait_s = False, False, "", ASK_AGAIN_S
    until = time.monotonic() + 3 * LOGIN_S
    terminal.press(_WAKE)
    while (left_s := until - time.monotonic()) > 0:
        news = terminal.read_until_pause(deadline_s=min(wait_s, left_s))
        text = (text + news)[-_MOST_TEXT:]
        seen = _prompt(text, password_typed)
        if seen is None and news.strip():
            continue  # a prompt may be on its way
        text, wait_s = "", WAKE_S
        if seen == "refused":
            raise LoginRefusedError(f"{user} was refused at {terminal.line.name}", hint="is the password right?")
        if seen == "expired":
            raise LoginRefusedError(
                f"the board asks {user} for a new password first", hint="log in there once with a terminal"
            )
        if seen == "shell":
            return _plain(terminal)
        if seen == "login":
            with contextlib.suppress(NoAnswerError):  # it may have arrived, with only the echo lost
                terminal.type_line(user, tries=LAST_TRIES)
            user_typed, password_typed, wait_s = True, False, ASK_AGAIN_S
        elif seen == "password" and user_typed and not password_typed:
            thinking = time.monotonic()
            secret = ask("login")
            until += time.monotonic() - thinking
            if not terminal.has_text():  # otherwise the board is no longer waiting, and the secret would be echoed
                terminal.type_secret(secret)
                password_typed, wait_s = True, LOGIN_S
        else:  # no prompt, or an abandoned login, which is refused after seconds
            terminal.press(_WAKE)
            wait_s = LOGIN_S if seen == "password" else WAKE_S
    raise terminal.no_answer(f"a login or a shell within {3 * LOGIN_S:g} s")


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
