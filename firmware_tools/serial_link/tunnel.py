"""Opens a socket to the board's SSH server over the serial line: this machine's end of the tunnel."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType

from converters.printable import printable
from firmware_tools.errors import LineError, NoAnswerError
from firmware_tools.line import SerialLine
from firmware_tools.serial_link.frames import ACK, BYE, DATA, FIN, PING, PONG, RESET, SYN, SYN_ACK, Frames, frame
from firmware_tools.serial_link.reliable import Link

ASK_EVERY_S = 0.1
CHUNK_BYTES = 1 << 12
LAST_WORDS_S = 2.0
SILENCE_S = 30.0  # without an answer: a rebooted board has no bridge, and would take the data for a login
_KEYS = frozenset(b"\x03\x04\n\r\x1a\x1c")
Accept = Callable[[int, int, bytes], bytes | None]  # kind, session and body of a frame: the answer, or None


class Tunnel:
    """A session with a bridge; `socket` is this side's end of the stream. A context manager.

    Args:
        line: The open serial line; closed with the tunnel.
        deadline_s: Longest wait for the bridge.
        given_up: Polled while waiting for the bridge; True, from another thread, ends the wait.

    Raises:
        NoAnswerError: No bridge answers, it reaches no server, or the wait was given up.
        LineError: The connection broke.
    """

    def __init__(self, line: SerialLine, *, deadline_s: float, given_up: Callable[[], bool] = lambda: False) -> None:
        self._line, self._frames = line, Frames()
        self._out = bytearray()
        self._ended = self._end_passed_on = False  # this side sends no more; the other side's end was passed on
        self._link = Link(_harmless(SYN), line.baud)
        try:
            self._connect(deadline_s, given_up)
        except BaseException:
            self._leave()
            raise
        self.socket, self._inner = socket.socketpair()
        self._waker, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="serial tunnel", daemon=True)
        self._thread.start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def resent(self) -> int:
        """How many frames were sent again so far."""
        return self._link.resent

    def close(self) -> None:
        """End the session immediately; may be repeated."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        with contextlib.suppress(OSError):  # unblocks whoever waits for this side to read
            self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(LAST_WORDS_S + 1)
        for each in (self.socket, self._wake, self._waker):
            each.close()

    def _connect(self, deadline_s: float, given_up: Callable[[], bool]) -> None:
        session = self._link.session

        def accept(kind: int, whose: int, body: bytes) -> bytes | None:
            return body if (kind, whose) == (SYN_ACK, session) and body else None

        body = ask(self._line, self._frames, frame(SYN, session), accept, deadline_s=deadline_s, given_up=given_up)
        if body[0]:
            reason = printable(body[1:].decode("utf-8", "replace"), instead=" ").strip()
            raise NoAnswerError(
                f"the board at {self._line.name} answers, its SSH server does not: {reason}",
                hint="edge devices console --enable-ssh starts it",
            )

    def _run(self) -> None:
        self._inner.setblocking(False)
        try:
            # Offsets have 32 bits: a session ends after 4 GiB as if the line broke.
            with contextlib.suppress(LineError, struct.error), selectors.DefaultSelector() as selector:
                selector.register(self._line.fileno(), selectors.EVENT_READ)
                selector.register(self._waker, selectors.EVENT_READ)
                self._pump(selector)
        finally:
            self._inner.close()
            self._leave()

    def _leave(self) -> None:
        try:
            with contextlib.suppress(LineError):  # the zero ends a frame that is half-sent
                self._line.write(b"\0" + frame(RESET, self._link.session), silence_s=LAST_WORDS_S)
        finally:
            self._line.close()

    def _pump(self, selector: selectors.BaseSelector) -> None:
        while True:
            self._watch(selector)
            wait_s = None if self._out else self._link.wait_s(time.monotonic())
            ready = {key.fileobj for key, _ in selector.select(wait_s)}
            if self._waker in ready:
                return
            known = self._receive()
            if self._inner in ready:
                self._fetch(selector)
            if not (self._deliver() and known):
                return
            if not self._out:
                self._out += self._link.frames(time.monotonic())
            del self._out[: self._line.write_some(self._out)]
            if (self._link.over and self._link.done) or self._link.silence_s(time.monotonic()) > SILENCE_S:
                return

    def _watch(self, selector: selectors.BaseSelector) -> None:
        """Read from this side only while there is room, and write to the line only while data is waiting."""
        both = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        selector.modify(self._line.fileno(), both)
        watched = self._inner in {key.fileobj for key in selector.get_map().values()}
        wanted = bool(self._link.room) and not self._ended
        if wanted and not watched:
            selector.register(self._inner, selectors.EVENT_READ)
        elif watched and not wanted:
            selector.unregister(self._inner)

    def _fetch(self, selector: selectors.BaseSelector) -> None:
        try:
            data = self._inner.recv(min(self._link.room, CHUNK_BYTES))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._link.send(data)
        else:
            self._ended = True
            self._link.end()

    def _receive(self) -> bool:
        """Process what came over the line; False if the bridge no longer knows this session."""
        frames = [each for each in self._frames.feed(self._line.read()) if each[1] == self._link.session]
        for kind, _, body in frames:
            if kind in (DATA, ACK, FIN):
                self._link.receive(kind, body, time.monotonic())
        return RESET not in {kind for kind, _, _ in frames}

    def _deliver(self) -> bool:
        """Pass on what has arrived; False if nobody reads it any more."""
        data = self._link.take()
        try:
            if data:
                self._inner.setblocking(True)
                self._inner.sendall(data)
                self._inner.setblocking(False)
            if self._link.over and not self._end_passed_on:
                self._end_passed_on = True
                self._inner.shutdown(socket.SHUT_WR)
        except OSError:
            return self._ended
        return True


def is_bridge(line: SerialLine, *, deadline_s: float) -> bool:
    """Tell whether a bridge answers on a line."""
    mark = _harmless(PING)

    def accept(kind: int, whose: int, body: bytes) -> bytes | None:
        return b"yes" if (kind, whose) == (PONG, mark) else None

    try:
        ask(line, Frames(), frame(PING, mark), accept, deadline_s=deadline_s)
    except NoAnswerError:
        return False
    return True


def dismiss(line: SerialLine, *, deadline_s: float) -> None:
    """End a bridge; the board then shows its login prompt again.

    Raises:
        NoAnswerError: No bridge answers.
    """
    mark = _harmless(BYE)

    def accept(kind: int, whose: int, body: bytes) -> bytes | None:
        return b"yes" if (kind, whose) == (BYE, mark) else None

    ask(line, Frames(), frame(BYE, mark), accept, deadline_s=deadline_s)


def _harmless(kind: int) -> int:
    """Draw a session number whose frame contains no control key, as a shell or a login may be reading the line.

    A getty looks at seven bits of each byte while it guesses the parity, so the eighth bit makes no key harmless. The
    kind itself may be a key (SYN is Ctrl-D); that cannot be avoided.
    """
    while True:
        mark = secrets.randbelow(1 << 16)
        if not (_KEYS - {kind}) & {byte & 0x7F for byte in frame(kind, mark)}:
            return mark


def ask(
    line: SerialLine,
    frames: Frames,
    question: bytes,
    accept: Accept,
    *,
    deadline_s: float,
    given_up: Callable[[], bool] = lambda: False,
) -> bytes:
    """Repeat a question until it is answered.

    Raises:
        NoAnswerError: There was no answer, or the wait was given up.
    """
    until = time.monotonic() + deadline_s
    while time.monotonic() < until and not given_up():
        line.write(b"\0" + question)
        asked = time.monotonic()
        while (left_s := min(asked + ASK_EVERY_S, until) - time.monotonic()) > 0:
            for received in frames.feed(line.read(left_s)):
                if (answer := accept(*received)) is not None:
                    return answer
    raise NoAnswerError(
        f"no bridge answers at {line.name}",
        hint="after a reboot of the board, `edge devices console --port PORT --bridge` starts it again",
    )
