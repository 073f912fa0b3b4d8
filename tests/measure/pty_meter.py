"""A power meter at a pseudo-terminal that watches a program of this machine: idle watts, and more while it computes.

It speaks the protocol of our own meter (IDENTIFY, START, STOP, SAMPLES) on a clock of its own. What a program's threads
ran is the kernel's word (/proc/PID/task/TID/schedstat, nanoseconds), so its joules are known.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import struct
import threading
import time
import tty
from pathlib import Path

import numpy as np

from firmware_tools.codecs.edge_commands import KIND_REPLY, KIND_SAMPLES, VERSION, Command
from firmware_tools.codecs.edge_frames import SAMPLE
from firmware_tools.codecs.framing import cobs_encode, crc16
from firmware_tools.power_meter.chips import InaChip

IDLE_W, BUSY_W = 2.0, 3.0  # busy: on top of idle, for each processor used
PERIOD_S, SHUNT_OHM, SUPPLY_V = 0.005, 0.02, 5.0
FAST = 1.002  # the meter's clock against the host's
WRAP_S = 4294.967296  # where 32 bits of microseconds begin anew


class PtyMeter:
    """The meter; a context manager. `path` is its port, `watch` the program to look at (its children too).

    Args:
        wire: A file of "seconds level" lines: when, on the monotonic clock, the trigger input was set, and to what.
    """

    def __init__(self, wire: Path | None = None) -> None:
        self._wire = wire
        self._watched: int | None = None
        self._stop = threading.Event()
        self._streaming = False
        self._sequence = 0
        self._ran_s: dict[int, float] = {}
        self._computed_s = 0.0
        self._known: list[tuple[float, float]] = []

    def __enter__(self) -> PtyMeter:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._stop.is_set():
            self.unplug()

    def unplug(self) -> None:
        """Pull the cable."""
        self._stop.set()
        self._thread.join(10)
        os.close(self._master)
        os.close(self._slave)

    def wait_for_work(self, seconds: float, deadline_s: float) -> None:
        """Wait until the program has computed for so long while the meter was streaming."""
        until = time.monotonic() + deadline_s
        while self._computed_s < seconds:
            assert time.monotonic() < until, f"it computed for {self._computed_s:.3g} s"
            time.sleep(0.01)

    def watch(self, pid: int) -> None:
        """Look at a program from now on."""
        self._watched = pid

    def joules(self, begin_s: float, end_s: float) -> float:
        """Return what the program and the idle board took between two times of this machine's monotonic clock."""
        times, energies = zip(*self._known, strict=True)
        return float(np.diff(np.interp([begin_s, end_s], times, energies))[0])

    def now_s(self) -> float:
        """Return when it last looked."""
        return self._known[-1][0]

    def _run(self) -> None:
        tick, pending, joules, left_s = int(time.monotonic() / PERIOD_S), b"", 0.0, 0.0
        while not self._stop.is_set():
            if select.select([self._master], [], [], PERIOD_S)[0]:
                pending = self._answer(pending + os.read(self._master, 4096))
            now = int(time.monotonic() / PERIOD_S)
            if now == tick:
                continue
            # More than all processors can do was done after `now`, before the kernel was asked.
            most_s, left_s = (os.cpu_count() or 1) * (now - tick) * PERIOD_S, left_s + self._computed()
            computed_s = min(left_s, most_s)
            left_s -= computed_s
            self._computed_s += computed_s * self._streaming
            watts = IDLE_W + BUSY_W * computed_s / ((now - tick) * PERIOD_S)
            joules += watts * (now - tick) * PERIOD_S
            self._known.append((now * PERIOD_S, joules))
            # A converter makes samples on its own, however late this thread is.
            wire = self._wired() if self._streaming else []
            for made in range(tick + 1, now + 1) if self._streaming else ():
                level = next((level for moment_s, level in reversed(wire) if moment_s <= made * PERIOD_S), 0)
                self._send_sample(watts, made * PERIOD_S, level)
            tick = now

    def _computed(self) -> float:
        """Return for how long threads of the agent ran since the last call."""
        total = 0.0
        for task in agent_threads(self._watched) if self._watched else ():
            with contextlib.suppress(OSError, ValueError):
                ran_s = int((task / "schedstat").read_text().split()[0]) * 1e-9
                thread = int(task.name)
                total += ran_s - self._ran_s.get(thread, ran_s)
                self._ran_s[thread] = ran_s
        return total

    def _wired(self) -> list[tuple[float, int]]:
        if self._wire is None or not self._wire.exists():
            return []
        return [(float(moment), int(level)) for moment, level in map(str.split, self._wire.read_text().splitlines())]

    def _send_sample(self, watts: float, now_s: float, level: int) -> None:
        record = np.zeros(1, SAMPLE)
        record["time_us"] = int(now_s * FAST * 1e6) % (1 << 32)
        record["bus"] = round(SUPPLY_V / 1.25e-3)
        record["shunt"] = min(32767, round(watts / SUPPLY_V * SHUNT_OHM / 2.5e-6))
        record["inputs"] = level
        self._send(KIND_SAMPLES, self._sequence.to_bytes(4, "little") + record.tobytes())
        self._sequence += 1

    def _send(self, kind: int, body: bytes) -> None:
        frame = bytes([VERSION << 4 | kind]) + body
        os.write(self._master, cobs_encode(frame + crc16(frame).to_bytes(2, "little")) + b"\x00")

    def _answer(self, data: bytes) -> bytes:
        *frames, rest = data.split(b"\x00")
        for frame in frames:
            if len(frame) > 2:
                self._reply(uncobs(frame)[1])
        return rest

    def _reply(self, command: int) -> None:
        period_us, shunt_uohm = round(PERIOD_S * 1e6), round(SHUNT_OHM * 1e6)
        payload = b""
        if command == Command.IDENTIFY:
            payload = struct.pack("<7BIB3I2B", InaChip.INA226, 1, 0, 0, 1, 3, 3, shunt_uohm, 1, period_us, 0, 0, 0,
                                  self._streaming)  # fmt: skip
        elif command == Command.STOP:
            payload = struct.pack("<2I", self._sequence, 0)
        self._send(KIND_REPLY, bytes([command, 0]) + payload)
        if command in (Command.START, Command.STOP):
            self._streaming, self._sequence = command == Command.START, 0


def uncobs(frame: bytes) -> bytes:
    """Return a frame's payload."""
    out, at = bytearray(), 0
    while at < len(frame):
        out += frame[at + 1 : at + frame[at]] + b"\x00"
        at += frame[at]
    return bytes(out[:-1])


def agent_threads(root: int, marks: tuple[bytes, ...] = (b"edge.agent", b"/agent-")) -> list[Path]:
    """Return the threads of the agents among a program's descendants: started here, or sent to a board as one file."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if any(mark in line for mark in marks):
                found += Path(f"/proc/{pid}/task").iterdir()
    return found
