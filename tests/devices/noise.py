"""A serial line made of two pseudo-terminals, with a person in the middle who flips bytes."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import tty


class NoisyLine:
    """Two ports: `near` for this machine, `far` for the board. Each byte is flipped with probability `flips`.

    `flipped` and `passed` count bytes; after `cut_after` of them nothing passes any more, as if the cable were pulled.
    `carried` is what came through, "down" towards the board.
    """

    def __init__(self, *, flips: float = 0.0, seed: int = 0) -> None:
        self.flips, self.flipped, self.passed, self.cut_after = flips, 0, 0, None
        self.carried = {"down": bytearray(), "up": bytearray()}
        self._random = random.Random(seed)
        self._ends = [pty.openpty(), pty.openpty()]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.near, self.far = (os.ttyname(slave) for _, slave in self._ends)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._pass, daemon=True)

    def __enter__(self) -> NoisyLine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        self._thread.join(10)
        os.close(self._stop)
        for each in self._ends:
            for end in each:
                os.close(end)

    def _pass(self) -> None:
        masters = [master for master, _ in self._ends]
        while True:
            ready, _, _ = select.select([*masters, self._stop], [], [])
            if self._stop in ready:
                return
            for way, source, goal in (("down", *masters), ("up", *masters[::-1])):
                if source in ready:
                    data = self._noisy(os.read(source, 1024))
                    self.carried[way] += data
                    while data:
                        data = data[os.write(goal, data) :]

    def _noisy(self, data: bytes) -> bytes:
        self.passed += len(data)
        if self.cut_after is not None and self.passed > self.cut_after:
            return b""
        if not self.flips:
            return data
        out = bytearray(data)
        for place in range(len(out)):
            if self._random.random() < self.flips:
                out[place] ^= 1 << self._random.randrange(8)
                self.flipped += 1
        return bytes(out)
