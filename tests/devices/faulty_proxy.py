"""A TCP proxy on 127.0.0.1 that counts bytes and, when armed, damages the connection at a chosen one."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass

KINDS = ("drop", "truncate", "corrupt", "stall")
CHUNK_BYTES = 1 << 16
NOTICE_S = 0.3


@dataclass(frozen=True)
class Fault:
    """What happens once `at` bytes have passed in one direction: "up" is towards the board.

    drop: both ends are reset. truncate: both ends see an orderly end. corrupt: one bit of the next byte is flipped; as
    a wrong length may leave both ends waiting for more, an orderly end follows soon. stall: nothing passes any more in
    either direction, and nobody is told.
    """

    kind: str
    direction: str
    at: int


class FaultyProxy:
    """Passes connections on to a port; the fault, if any, happens once."""

    def __init__(self, goal: int) -> None:
        self._goal = goal
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._fault: Fault | None = None
        self._stalled = threading.Event()
        self.passed = {"up": 0, "down": 0}
        self.happened = False

    def __enter__(self) -> FaultyProxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.end()

    def arm(self, fault: Fault | None) -> None:
        """Count from 0 again, and let this fault happen."""
        self.end()
        with self._lock:
            self._fault, self.happened = fault, False
            self._stalled = threading.Event()
            self.passed = {"up": 0, "down": 0}

    def end(self) -> None:
        """Close every connection that is left, stalled ones too."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            _shut(each)

    def _end_these(self, *ends: socket.socket) -> None:
        for each in ends:
            _shut(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                board = socket.create_connection(("127.0.0.1", self._goal))
            except OSError:
                client.close()
                continue
            for each in (client, board):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, board]
            for ends in ((client, board, "up"), (board, client, "down")):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, goal: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if self._stalled.is_set():
                    continue  # nobody is told: the bytes are taken and lost
                goal.sendall(self._damaged(data, direction, (source, goal)))
        with contextlib.suppress(OSError):
            goal.shutdown(socket.SHUT_WR)

    def _damaged(self, data: bytes, direction: str, ends: tuple[socket.socket, socket.socket]) -> bytes:
        with self._lock:
            begin = self.passed[direction]
            self.passed[direction] += len(data)
            fault = self._fault
            if fault is None or self.happened or fault.direction != direction or begin + len(data) <= fault.at:
                return data
            self.happened = True
        left = max(0, fault.at - begin)
        if fault.kind == "corrupt":
            threading.Timer(NOTICE_S, self._end_these, args=ends).start()
            return data[:left] + bytes([data[left] ^ 0x10]) + data[left + 1 :]
        if fault.kind == "stall":
            self._stalled.set()
            return data[:left]
        ends[1].sendall(data[:left])
        for each in ends:
            if fault.kind == "drop":
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _shut(each, reset=fault.kind == "drop")
        raise OSError("cut")


def _shut(each: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):  # another thread that waits for it would keep it open
        each.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
    each.close()
