"""What stands on the other end of a console line: text that comes, and lines typed so that no damaged one is run."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from firmware_tools.errors import NoAnswerError
from firmware_tools.line import Line

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_=>])")
MOST_KEPT = 1 << 16
ECHO_S = 1.5
QUIET_S, PAUSE_S = 0.06, 0.25
SLACK = 4  # characters of a prompt before the echo
TRIES = 60
MOST_TYPED = 60  # characters: a terminal driver takes more, a shell that edits its line would wrap it
KILL_LINE, RESUME = b"\x15", b"\x11"


class Terminal:
    """The text side of a line.

    Nothing of what is typed as a secret is kept.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._text = ""

    @property
    def tail(self) -> str:
        """The last words, for messages."""
        return " / ".join(self._text.strip().splitlines()[-2:])[-160:]

    def expect(self, wanted: Mapping[str, str], *, deadline_s: float, what: str) -> tuple[str, re.Match[str]]:
        """Wait for one of several patterns at or after the place that was read so far.

        Args:
            wanted: names and regular expressions, tried in this order.
            deadline_s: longest wait.
            what: what is waited for, in words.

        Returns:
            The name and the match; the text up to its end is forgotten.

        Raises:
            NoAnswerError: None came.
        """
        until = time.monotonic() + deadline_s
        while True:
            for name, pattern in wanted.items():
                if (found := re.search(pattern, self._text, re.MULTILINE)) is not None:
                    self._text = self._text[found.end() :]
                    return name, found
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self.nothing(f"{what} within {deadline_s:g} s")
            self._take(left_s)

    def nothing(self, what: str) -> NoAnswerError:
        """Return the error that says what did not show itself, and what came instead."""
        said = f"; the last that came: {self.tail!r}" if self.tail else "; nothing came at all"
        return NoAnswerError(
            f"{self.line.name} did not show {what}{said}",
            hint="is it the right port and --baud? On a Raspberry Pi, `enable_uart=1` must be in config.txt, "
            "and TX and RX cross",
        )

    def settle(self) -> str:
        """Wait until nothing comes for a moment; return and forget what has come."""
        while self._take(QUIET_S):
            pass
        text, self._text = self._text, ""
        return text

    def after_a_pause(self, *, deadline_s: float) -> str:
        """Wait for something to come and then for a pause; return the last of it, forget all. "" if nothing came."""
        until = time.monotonic() + deadline_s
        while not self._text.strip() and time.monotonic() < until:
            self._take(until - time.monotonic())
        while time.monotonic() < until and self._take(PAUSE_S):
            pass
        text, self._text = self._text, ""
        return text

    def press(self, keys: bytes) -> None:
        """Send keys as they are."""
        self.line.write(keys)

    def has_news(self) -> bool:
        """Whether something has come that nobody read yet."""
        self._take(0.0)
        return bool(self._text.strip())

    def clear(self) -> None:
        """Throw away what stands half typed; several times, as one of the keys may be damaged."""
        self.press(RESUME + 4 * KILL_LINE)

    def type_line(self, text: str, *, tries: int = TRIES) -> None:
        """Type a command of at most 60 characters, and Enter only once the board has echoed just that.

        On a noisy line a command may be typed many times before it is run once, and may be run twice if the echo of
        Enter was lost: commands must bear that.

        Raises:
            NoAnswerError: The echo was never right.
        """
        assert len(text) <= MOST_TYPED
        for attempt in range(tries):
            if attempt:
                self.settle()
            self._text = ""
            self.press(text.encode())
            if self._echoed(text):
                self._text = ""
                self.press(b"\r")
                if self._echoed("\n"):
                    return
            self.clear()
        raise NoAnswerError(f"{self.line.name} does not echo what is typed", hint="is a shell running there?")

    def type_secret(self, secret: str) -> None:
        """Type what the board must not echo, and Enter."""
        self.press(secret.encode() + b"\r")

    def _echoed(self, text: str) -> bool:
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
