"""Reads text from a console line and types lines so that no damaged one is run."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from firmware_tools.errors import NoAnswerError
from firmware_tools.line import SerialLine

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_=>])")
MOST_KEPT = 1 << 16
ECHO_S = 1.5
QUIET_S, PAUSE_S = 0.06, 0.25
SLACK = 4  # characters of a prompt before the echo
TRIES = 60
MOST_TYPED = 60  # characters: a terminal driver takes more, a shell that edits its line would wrap it
KILL_LINE, RESUME = b"\x15", b"\x11"


class Terminal:
    """The text side of a line. Secrets that are typed are not stored."""

    def __init__(self, line: SerialLine) -> None:
        self.line = line
        self._text = ""

    @property
    def tail(self) -> str:
        """The last lines, for messages."""
        return " / ".join(self._text.strip().splitlines()[-2:])[-160:]

    def expect(self, wanted: Mapping[str, str], *, deadline_s: float, what: str) -> tuple[str, re.Match[str]]:
        """Wait for one of several patterns in the text not yet consumed.

        Args:
            wanted: Names and regular expressions, tried in this order.
            deadline_s: Longest wait.
            what: A description of it, for the error.

        Returns:
            The name and the match; the text up to its end is consumed.

        Raises:
            NoAnswerError: No pattern matched in time.
        """
        until = time.monotonic() + deadline_s
        while True:
            for name, pattern in wanted.items():
                if (match := re.search(pattern, self._text, re.MULTILINE)) is not None:
                    self._text = self._text[match.end() :]
                    return name, match
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self.no_answer(f"{what} within {deadline_s:g} s")
            self._take(left_s)

    def no_answer(self, what: str) -> NoAnswerError:
        """Return the error for something that did not appear, with the last text received."""
        last = f"; last received: {self.tail!r}" if self.tail else "; nothing was received"
        return NoAnswerError(
            f"{self.line.name} did not show {what}{last}",
            hint="is it the right port and --baud? On a Raspberry Pi, `enable_uart=1` must be in config.txt, and "
            "TX and RX must be crossed",
        )

    def settle(self) -> str:
        """Wait until nothing comes for a moment; return and consume the text."""
        while self._take(QUIET_S):
            pass
        text, self._text = self._text, ""
        return text

    def read_until_pause(self, *, deadline_s: float) -> str:
        """Wait for text and then for a pause; return the text and consume it. "" if none came."""
        until = time.monotonic() + deadline_s
        while not self._text.strip() and time.monotonic() < until:
            self._take(until - time.monotonic())
        while time.monotonic() < until and self._take(PAUSE_S):
            pass
        text, self._text = self._text, ""
        return text

    def press(self, keys: bytes) -> None:
        """Send keys unchanged."""
        self.line.write(keys)

    def has_text(self) -> bool:
        """Tell whether unread text has arrived."""
        self._take(0.0)
        return bool(self._text.strip())

    def clear(self) -> None:
        """Erase a half-typed line; several times, as one of the keys may be damaged."""
        self.press(RESUME + 4 * KILL_LINE)

    def type_line(self, text: str, *, tries: int = TRIES) -> None:
        """Type a command of at most 60 characters, and Enter once the board has echoed exactly that.

        On a noisy line a command may be typed many times before it is run, and may be run twice if the echo of Enter
        was lost: commands must tolerate that.

        Raises:
            NoAnswerError: The echo was never correct.
        """
        assert len(text) <= MOST_TYPED
        for attempt in range(tries):
            if attempt:
                self.settle()
            self._text = ""
            self.press(text.encode())
            if self._sees_echo(text):
                self._text = ""
                self.press(b"\r")
                if self._sees_echo("\n"):
                    return
            self.clear()
        raise NoAnswerError(f"{self.line.name} does not echo typed text", hint="is a shell running there?")

    def type_secret(self, secret: str) -> None:
        """Type a secret, which the board must not echo, and Enter."""
        self.press(secret.encode() + b"\r")

    def _sees_echo(self, text: str) -> bool:
        until = time.monotonic() + ECHO_S
        while text not in self._text:
            left_s = until - time.monotonic()
            if left_s <= 0 or len(self._text) >= len(text) + SLACK:
                return False
            self._take(left_s)
        return self._text.rstrip(" ").endswith(text.rstrip(" ")) or text == "\n"

    def _take(self, wait_s: float) -> bool:
        data = self.line.read(wait_s)
        text = self._text + data.decode("ascii", "replace")
        self._text = _ESCAPES.sub("", text).replace("\r", "")[-MOST_KEPT:]
        return bool(data)
