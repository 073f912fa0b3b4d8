"""Two ends of a link and the serial line between them in virtual time: what a speed and its noise cost, exactly."""

from __future__ import annotations

import random
from collections import deque

from firmware_tools.serial_link.frames import Frames
from firmware_tools.serial_link.reliable import Link

STEP_S, LATENCY_S = 0.001, 0.003
DRIVER_BYTES = 4096  # what the system takes at once of what is sent


class End:
    """One machine: its link, what its driver has yet to send, and what is on its way to it."""

    def __init__(self, baud: int) -> None:
        self.link, self.frames = Link(1, baud), Frames()
        self.unsent, self.got = bytearray(), bytearray()
        self._out, self._driver = bytearray(), bytearray()
        self._arriving: deque[tuple[float, bytes]] = deque()
        self._carries = 0.0
        self.carried = 0
        self.busy_until_s = 0.0

    def work(self, now_s: float) -> None:
        """Do what a tunnel and a bridge do between two waits."""
        if now_s < self.busy_until_s:
            return
        while self._arriving and self._arriving[0][0] <= now_s:
            for kind, _, body in self.frames.feed(self._arriving.popleft()[1]):
                self.link.receive(kind, body, now_s)
        room = self.link.room
        self.link.send(bytes(self.unsent[:room]))
        del self.unsent[:room]
        self.got += self.link.take()
        if not self._out:
            self._out += self.link.frames(now_s)
        room = DRIVER_BYTES - len(self._driver)
        self._driver += self._out[:room]
        del self._out[:room]

    def pass_on(self, other: End, now_s: float, bytes_per_s: float, flip) -> None:
        """Let the line carry what it does in one step."""
        self._carries = self._carries + bytes_per_s * STEP_S if self._driver else 0.0
        some = bytes(self._driver[: int(self._carries)])
        if some:
            del self._driver[: len(some)]
            self._carries -= len(some)
            self.carried += len(some)
            other._arriving.append((now_s + LATENCY_S, flip(some)))


class VirtualLine:
    """A line of some speed between `here` and `there`, who believe the speed `said`.

    Each byte is flipped with probability `flips`.
    """

    def __init__(self, baud: int, *, flips: float = 0.0, seed: int = 0, said: int | None = None) -> None:
        self.here, self.there = End(said or baud), End(said or baud)
        self.now_s = 0.0
        self._bytes_per_s, self.flips, self._chance = baud / 10, flips, random.Random(seed)

    def run_until(self, done, *, limit_s: float) -> float:
        """Let time pass until something is so; return how much did."""
        begin_s = self.now_s
        while not done():
            assert self.now_s - begin_s < limit_s, f"not within {limit_s} s"
            self.now_s += STEP_S
            for end, other in ((self.here, self.there), (self.there, self.here)):
                end.work(self.now_s)
                end.pass_on(other, self.now_s, self._bytes_per_s, self._flipped)
        return self.now_s - begin_s

    def _flipped(self, data: bytes) -> bytes:
        if not self.flips:
            return data
        return bytes(
            each ^ 1 << self._chance.randrange(8) if self._chance.random() < self.flips else each for each in data
        )
