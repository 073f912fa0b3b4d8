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

    `flipped` and `passed` count bytes; after `cut_after` of them nothing passes any more, as if the cable were pulled;
    `was_cut` is set once something was lost by that.
    `carried` is what came through, "down" towards the board.
    """

    def __init__(self, *, flips: float = 0.0, seed: int = 0) -> None:
        self.flips, self.cut_after = flips, None
        self.was_cut = threading.Event()
        self.carried = {"down": bytearray(), "up": bytearray()}
        self._counted = {way: [0, 0] for way in self.carried}
        self._ends = [pty.openpty(), pty.openpty()]
        for _, slave in self._ends:
            tty.setraw(slave)
        self.near, self.far = (os.ttyname(slave) for _, slave in self._ends)
        self._stop, self._stopped = os.pipe()
        # One for each direction, as a cable has two wires: neither waits for the other.
        self._threads = [
            threading.Thread(target=self._pass, args=(way, random.Random(2 * seed + place)), daemon=True)
            for place, way in enumerate(self.carried)
        ]

    @property
    def passed(self) -> int:
        return sum(passed for passed, _ in self._counted.values())

    @property
    def flipped(self) -> int:
        return sum(flipped for _, flipped in self._counted.values())

    def __enter__(self) -> NoisyLine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        for thread in self._threads:
            thread.join(10)
        os.close(self._stop)
        for each in self._ends:
            for end in each:
                os.close(end)

    def _pass(self, way: str, chance: random.Random) -> None:
        masters = [master for master, _ in self._ends]
        source, goal = masters if way == "down" else masters[::-1]
        while True:
            ready, _, _ = select.select([source, self._stop], [], [])
            if self._stop in ready:
                return
            data = self._noisy(os.read(source, 1024), self._counted[way], chance)
            self.carried[way] += data
            while data and select.select([self._stop], [goal], [])[1]:
                data = data[os.write(goal, data[:256]) :]

    def _noisy(self, data: bytes, counted: list[int], chance: random.Random) -> bytes:
        counted[0] += len(data)
        if self.cut_after is not None and self.passed > self.cut_after:
            self.was_cut.set()
            return b""
        if not self.flips:
            return data
        out = bytearray(data)
        for place in range(len(out)):
            if chance.random() < self.flips:
                out[place] ^= 1 << chance.randrange(8)
                counted[1] += 1
        return bytes(out)
