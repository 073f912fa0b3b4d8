"""The real firmware on a simulated ATmega328P with a simulated INA chip, at a port like any other.

    schedule = [(1.0, 2.5), (2.0, 4.0), (1.0, 2.5)]          # seconds, watts
    with SimulatedMeter(schedule=schedule, supply_v=5.0, shunt_ohm=0.01) as meter:
        ...                                                  # open meter.port at 500,000 baud, talk to it
        meter.true_energy_j(1.2, 2.8)                        # seconds since the schedule's zero
        meter.true_energy_j(1.2 + meter.zero_s, 2.8 + meter.zero_s, on="meter")   # on the meter's own clock

What is real: the firmware as built by `edge firmware build`, instruction by instruction (simavr), its EEPROM (a file),
the serial line (a pseudo-terminal, at the firmware's baud rate), the host's program. What is simulated: the chip's
registers and conversion times, the two-wire bus at its bit rate, the load. No hardware is proved by it.

Time: simulated time runs as fast as this machine can while samples flow, unless `real_time=True`; then it never runs
ahead of the wall's clock (it may fall behind on a slow machine, and catches up). The schedule begins with the first
START that reaches the firmware, or at power on (`zero_at_boot=True`); before and after it, the load is `idle_w` and the
last watts. The meter's clock begins at each reset, a moment after power on; `zero_s` is the schedule's zero on it.

Live: power(), trigger(), volts() change the load now. Faults: see the methods. Needs avr-gcc, gcc and libsimavr;
`bench_program` says what is missing.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from firmware_tools.power_meter.build import build

CLOCK_HZ = 16_000_000
SOURCES = Path(__file__).parent / "meter_bench"
POWER_ON, RESET_PIN, BROWN_OUT, WATCHDOG = 1, 2, 4, 8
_ANSWER_S = 20.0


def bench_missing() -> tuple[str, str] | None:
    """Return what the simulation needs and is not here, and how to get it; None if all is."""
    for program, package in (("avr-gcc", "gcc-avr avr-libc"), ("gcc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            return program, f"apt install {package}"
    if not Path("/usr/include/simavr/sim_avr.h").is_file():
        return "libsimavr", "apt install libsimavr-dev"
    return None


def bench_program(folder: Path) -> Path:
    """Compile the bench; once a session is enough."""
    program = folder / "meter_bench"
    subprocess.run(
        ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", program,
         *sorted(SOURCES.glob("*.c")), "-lsimavr", "-lm"],
        check=True, timeout=120,
    )  # fmt: skip
    return program


class SimulatedMeter:
    """A power meter to plug in; a context manager. See the module's text for time and truth.

    Args:
        schedule: (seconds, watts) pieces of the load.
        triggers: (seconds, level) changes of the trigger pin, seconds since the schedule's zero.
        program, elf: The compiled bench and the firmware; built into a temporary folder where None.
        eeprom: A file that keeps the EEPROM from one meter to the next; a fresh one where None.
        chip_clock: Factor on the chip's conversion times, 0.9 is a fast chip.
        boot_s: Simulated time in the boot loader after each reset, when bytes are lost.
        reset_on_open: Opening the port resets the board, as an Arduino does.
        count: The chip's registers hold the running number of the conversion instead of the load.
    """

    def __init__(
        self,
        schedule: Sequence[tuple[float, float]] = (),
        *,
        triggers: Sequence[tuple[float, int]] = (),
        supply_v: float = 5.0,
        shunt_ohm: float = 0.01,
        idle_w: float = 0.0,
        chip: str = "ina226",
        program: Path | None = None,
        elf: Path | None = None,
        eeprom: Path | None = None,
        chip_clock: float = 1.0,
        boot_s: float = 0.02,
        reset_on_open: bool = True,
        real_time: bool = False,
        zero_at_boot: bool = False,
        optiboot: bool = False,
        count: bool = False,
        no_alert: bool = False,
    ) -> None:
        self.schedule, self.triggers, self.idle_w = tuple(schedule), tuple(triggers), idle_w
        self._chip, self._program, self._elf, self._eeprom = chip, program, elf, eeprom
        self._numbers = {"supply-v": supply_v, "shunt-ohm": shunt_ohm, "idle-w": idle_w, "chip-clock": chip_clock,
                         "boot-s": boot_s}  # fmt: skip
        self._switches = {"reset-on-open": reset_on_open, "real-time": real_time, "zero-at-boot": zero_at_boot,
                          "optiboot": optiboot, "count": count, "no-alert": no_alert}  # fmt: skip
        self._events: list[tuple[str, ...]] = []
        self._statuses: queue.Queue[dict[str, int]] = queue.Queue()
        self._news = threading.Condition()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def __enter__(self) -> SimulatedMeter:
        self._folder = tempfile.TemporaryDirectory(prefix="meter-")
        folder = Path(self._folder.name)
        elf = self._elf or build(self._chip, out=folder).elf
        program = self._program or bench_program(folder)
        (folder / "schedule").write_text(self._schedule_lines())
        self._process = subprocess.Popen(
            [program, "--elf", elf, "--chip", self._chip, "--schedule", folder / "schedule", "--link", self.port,
             "--eeprom", self._eeprom or folder / "eeprom",
             *(word for name, value in self._numbers.items() for word in (f"--{name}", repr(value))),
             *(f"--{name}" for name, value in self._switches.items() if value)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.wait_for("reset")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, listener, folder = self._process, self._listener, self._folder
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        assert listener is not None
        assert folder is not None
        try:
            process.stdin.close()  # ends the bench, which saves the EEPROM
            process.wait(_ANSWER_S)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        listener.join(_ANSWER_S)
        process.stdout.close()
        folder.cleanup()

    @property
    def port(self) -> Path:
        """Where to open the meter: the same path before and after it was unplugged."""
        assert self._folder is not None
        return Path(self._folder.name, "port")

    # ---- the truth

    @property
    def zero_s(self) -> float:
        """The schedule's zero, in seconds on the meter's clock as it runs now; after the first START."""
        zero = int(self.wait_for("zero")[1])
        return (zero - int(self.events("clock")[-1][1])) / CLOCK_HZ

    def true_power_w(self, time_s: np.ndarray, *, on: str = "schedule") -> np.ndarray:
        """Return the load at these times, in seconds since the zero, or on the meter's clock (`on="meter"`)."""
        starts, watts = self._steps()
        since = np.asarray(time_s, float) - (self.zero_s if on == "meter" else 0.0)
        return watts[np.searchsorted(starts, since, side="right")]

    def true_energy_j(self, start_s: float, stop_s: float, *, on: str = "schedule") -> float:
        """Return the load's energy between two times; live changes by power() are not in it."""
        starts, watts = self._steps()
        shift = self.zero_s if on == "meter" else 0.0
        start_s, stop_s = start_s - shift, stop_s - shift
        edges = np.concatenate(([start_s], starts[(starts > start_s) & (starts < stop_s)], [stop_s]))
        return float(np.sum(np.diff(edges) * watts[np.searchsorted(starts, edges[:-1], side="right")]))

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when each piece of the schedule starts, and the watts before the first and in each."""
        seconds = np.array([duration for duration, _ in self.schedule])
        watts = np.array([self.idle_w, *(watts for _, watts in self.schedule)])
        return np.concatenate(([0.0], np.cumsum(seconds)))[: len(seconds)], watts

    def _schedule_lines(self) -> str:
        starts, watts = self._steps()
        lines = [f"power {start:.9f} {value:.9f}" for start, value in zip(starts, watts[1:], strict=True)]
        lines += [f"trigger {seconds:.9f} {level}" for seconds, level in self.triggers]
        return "\n".join([*lines, ""])

    # ---- changes and faults, now

    def power(self, watts: float) -> int:
        """Change the load; returns the simulated cycle at which it was changed."""
        return self._ask(f"power {watts!r}")["cycle"]

    def trigger(self, level: int) -> int:
        """Change the level of the trigger pin; returns the simulated cycle."""
        return self._ask(f"trigger {level}")["cycle"]

    def volts(self, volts: float) -> None:
        """Change the supply voltage that the chip sees."""
        self._ask(f"volts {volts!r}")

    def brown_out(self) -> None:
        """Reset by a brown-out: memory is lost, the EEPROM is not."""
        self._reset_by(lambda: self._ask("brownout"))

    def cut_write(self, count: int) -> None:
        """Let a brown-out come as soon as so many more bytes have been written to the EEPROM."""
        self._ask(f"cutwrite {count}")

    def hang(self) -> int:
        """Let the program run astray into an endless loop; the watchdog has to find it. Returns the simulated cycle."""
        return self._reset_by(lambda: self._ask("hang"))["cycle"]

    def nack(self, count: int) -> None:
        """Let the chip not acknowledge its next addresses; -1 for ever, 0 no more."""
        self._ask(f"nack {count}")

    def stick(self, clocks: int) -> None:
        """Hold SDA low until SCL has been clocked so often; -1 for ever, 0 lets go."""
        self._ask(f"stick {clocks}")

    def set_clock(self, rounds: int) -> None:
        """Move the meter's clock to so many overflows of its timer, 32.768 ms each; `zero_s` is wrong then."""
        self._ask(f"clock {rounds}")

    def glitch(self) -> None:
        """Put a short pulse on the ALERT wire that means nothing."""
        self._ask("glitch")

    def reset_chip(self) -> None:
        """Let the chip lose its settings, as after a dip of its supply."""
        self._ask("chipreset")

    def spoil_eeprom(self, address: int, value: int) -> None:
        """Change a byte of the EEPROM behind the firmware's back."""
        self._ask(f"eeprom {address} {value}")

    def unplug(self) -> None:
        """Pull the cable: the port is gone, the board without power."""
        self._ask("unplug")

    def replug(self) -> None:
        """Put the cable back."""
        self._reset_by(lambda: self._ask("replug"))

    def status(self) -> dict[str, int]:
        """Return the counters: cycle, conversions of the chip, bytes sent, bytes dropped with nobody there, clocks that
        freed the bus, and the bytes of memory that the stack has not touched."""
        return self._ask("status")

    # ---- what the bench said

    def events(self, name: str) -> list[tuple[str, ...]]:
        """Return what has happened of a kind: reset, clock, zero, watchdog, plugged, unplugged, crashed."""
        with self._news:
            return [event for event in self._events if event[0] == name]

    def wait_for(self, name: str, *, count: int = 1, deadline_s: float = _ANSWER_S) -> tuple[str, ...]:
        """Wait until an event has happened so often, and return the last."""
        until = time.monotonic() + deadline_s
        while True:
            found = self.events(name)
            if len(found) >= count:
                return found[-1]
            with self._news:
                if time.monotonic() > until or (self._process is not None and self._process.poll() is not None):
                    raise TimeoutError(f"no {name} number {count} from the bench; there were {self._events}")
                self._news.wait(0.05)

    def _reset_by(self, action: Callable[[], dict[str, int]]) -> dict[str, int]:
        before = len(self.events("clock"))
        answer = action()
        self.wait_for("clock", count=before + 1)
        return answer

    def _ask(self, line: str) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        return self._statuses.get(timeout=_ANSWER_S)

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = tuple(line.split())
            if words[:1] == ("status",):
                self._statuses.put({key: int(value) for key, value in (word.split("=") for word in words[1:])})
                continue
            with self._news:
                self._events.append(words)
                self._news.notify_all()
