"""Connects a session on the serial line to a TCP port of the board, its SSH server: the board's end of the tunnel.

    python3 bridge.pyz PORT [FOLDER]

It replaces the login shell, so its end is the logout. It leads only to a server that asks for a key. The folder it was
started from is removed. This file is sent to boards: standard library only, compatible with Python 3.7.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import termios
import time
import tty
from typing import Any

from firmware_tools.serial_link.frames import BYE, PING, PONG, RESET, SYN, SYN_ACK, Frames, frame
from firmware_tools.serial_link.reliable import BAUD, Link

VERSION = 1
CONNECT_S = 5.0
LAST_WORDS_S = 1.0
SILENCE_S = 60.0  # a session without a frame for so long has been abandoned: SSH sends one every 10 s
PAUSE_S = 5.0
CHUNK_BYTES = 1 << 12
INTERRUPTS = b"\x03\x03\x03"  # three times Ctrl-C from a person at a terminal
REPEATED = 3  # copies of an unanswered frame: one will get through
_SPEED = 5  # its index in the attributes of termios
_BAUDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class Bridge:
    """One line, at most one session at a time; a new one ends the old."""

    def __init__(self, line: int, port: int) -> None:
        self._line, self._port = line, port
        self._baud = _BAUDS.get(termios.tcgetattr(line)[_SPEED]) or BAUD
        self._frames = Frames()
        self._link: Link | None = None
        self._socket: socket.socket | None = None
        self._out = bytearray()
        self._over = self._end_sent = False
        self._heard_s = 0.0  # when the last complete frame came

    def run(self) -> None:
        """Serve until BYE, three times Ctrl-C, or the end of the line."""
        while not self._over:
            reads, writes = self._waits()
            wait_s = self._wait_s(time.monotonic())
            ready, writable, _ = select.select(reads, writes, [], wait_s)
            if self._line in ready and not self._receive():
                return
            if self._socket in ready:
                self._fetch()
            self._deliver()
            if self._link and time.monotonic() - self._heard_s > SILENCE_S:
                self._drop()
            if self._link:
                if not self._out:  # otherwise repeated frames would queue up on a slow line
                    self._out += self._link.frames(time.monotonic())
                if self._link.done and self._link.over:
                    self._drop()
            if self._line in writable:
                self._write()
        while self._out and select.select([], [self._line], [], LAST_WORDS_S)[1]:
            self._write()

    def _wait_s(self, now_s: float) -> float | None:
        if not self._link:
            return None
        silence_s = max(0.0, self._heard_s + SILENCE_S - now_s)
        soon_s = None if self._out else self._link.wait_s(now_s)
        return silence_s if soon_s is None else min(silence_s, soon_s)

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._out[: os.write(self._line, self._out[:CHUNK_BYTES])]

    def _waits(self) -> tuple[list[Any], list[Any]]:
        reads: list[Any] = [self._line]
        if self._socket and self._link and self._link.room and not self._out:
            reads.append(self._socket)
        return reads, [self._line] if self._out else []

    def _receive(self) -> bool:
        """Process what came over the line; False at its end."""
        try:
            data = os.read(self._line, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        silent = not self._link or time.monotonic() - self._heard_s > PAUSE_S
        self._over = self._over or (INTERRUPTS in data and silent)
        for kind, session, body in self._frames.feed(data):
            self._heard_s = time.monotonic()
            if kind == SYN:
                self._open(session)
            elif kind == PING:
                self._out += frame(PONG, session, bytes([VERSION]))
            elif kind == BYE:
                self._out += REPEATED * frame(BYE, session)
                self._over = True
            elif self._link and session == self._link.session:
                if kind == RESET:
                    self._drop()
                else:
                    self._link.receive(kind, body, time.monotonic())
            elif kind != RESET:
                self._out += frame(RESET, session)
        return bool(data)

    def _open(self, session: int) -> None:
        # A line keeps the order: a SYN after data is from another session that drew the same number.
        if not self._link or self._link.session != session or self._link.heard:
            self._drop()
            try:
                self._socket = socket.create_connection(("127.0.0.1", self._port), CONNECT_S)
            except OSError as error:
                self._out += frame(SYN_ACK, session, b"\1" + (error.strerror or str(error)).encode()[:80])
                return
            self._link, self._end_sent = Link(session, self._baud), False
        self._out += frame(SYN_ACK, session, b"\0")

    def _fetch(self) -> None:
        assert self._socket
        assert self._link
        try:
            data = self._socket.recv(min(self._link.room, CHUNK_BYTES))
        except OSError:
            data = b""
        if data:
            self._link.send(data)
        else:
            self._link.end()
            self._socket.close()
            self._socket = None

    def _deliver(self) -> None:
        if not self._link:
            return
        data = self._link.take()
        if self._socket:
            try:
                if data:
                    self._socket.sendall(data)
                if self._link.over and not self._end_sent:
                    self._end_sent = True
                    self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._link.end()
                self._socket.close()
                self._socket = None

    def _drop(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = self._link = None


def main() -> None:
    """Serve the line on standard input and output, in raw mode."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    line = sys.stdin.fileno()
    os.set_blocking(line, False)
    os.chdir("/")
    if len(sys.argv) > 2:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
    before = termios.tcgetattr(line)
    tty.setraw(line)
    try:
        Bridge(line, int(sys.argv[1])).run()
    finally:
        os.set_blocking(line, True)
        termios.tcsetattr(line, termios.TCSANOW, before)


if __name__ == "__main__":
    main()
