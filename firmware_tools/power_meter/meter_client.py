"""Talks to the power meter at a serial port: commands with deadlines, samples as raw bytes.

    with MeterClient("/dev/ttyUSB0") as meter:
        meter.identify()
        meter.start()
        data = meter.read(wait_s=0.5)      # for the codec edge_frames
        meter.stop()

Bytes that arrive while a command waits for its reply are returned by the next `read`. They include the replies, which
the codec understands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TypeVar

from firmware_tools.codecs import edge_commands as protocol
from firmware_tools.codecs import edge_frames
from firmware_tools.codecs.edge_commands import Command, Configuration, Identity, Reply, ReplyStatus, SelfTest, Stopped
from firmware_tools.errors import NoAnswerError
from firmware_tools.line import SerialLine
from firmware_tools.power_meter.chips import INA_FACTS

BAUD = 500_000
# Opening the port resets an Arduino; its boot loader then listens for up to two seconds.
GREETING_S = 5.0
ANSWER_S = 2.0
_AGAIN_S = 0.3
# A self-test watches nine conversions, at most 0.4 s.
_SELF_TEST_AGAIN_S = 1.0

# Where samples are further apart, the meter tests itself at the settings that it has after a reset.
SLOW_US = 20_000
# Bits of the ATmega328P's MCUSR.
_CAUSES = {1: "power on", 2: "reset pin", 4: "brown-out", 8: "watchdog"}

T = TypeVar("T")


class MeterClient:
    """The meter at a port; a context manager that opens and closes it."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._line: SerialLine | None = None
        self._unread: list[bytes] = []

    def __enter__(self) -> MeterClient:
        self._line = SerialLine(self._port, baud=BAUD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def identify(self, *, deadline_s: float = GREETING_S) -> Identity:
        """Repeat IDENTIFY until the meter answers: it may be in its boot loader.

        Raises:
            NoAnswerError: No power meter answered at the port.
            LineError: The connection broke.
        """
        return self._ask(protocol.command(Command.IDENTIFY), Command.IDENTIFY, Identity.parse, deadline_s=deadline_s)

    def configure(self, *, averaging: int, bus_conversion: int, shunt_conversion: int) -> Configuration:
        """Set the chip's codes (0..7, see PROTOCOL.md) and return those in force."""
        codes = {"averaging": averaging, "bus_conversion": bus_conversion, "shunt_conversion": shunt_conversion}
        return self._ask(protocol.configure(**codes), Command.CONFIGURE, Configuration.parse)

    def start(self) -> None:
        """Start the stream of samples, numbered from 0; a meter that is still sending is stopped first.

        Unread bytes of an earlier run are discarded: the meter's clock may have restarted since.
        """
        reply = self._send_start()
        if reply.status == ReplyStatus.STREAMING:
            self.stop()
            reply = self._send_start()
        reply.values(Command.START, "")

    def _send_start(self) -> Reply:
        self._unread.clear()
        return self._reply(protocol.command(Command.START), Command.START, deadline_s=ANSWER_S)

    def stop(self) -> Stopped:
        """Stop the stream; the samples that were on their way are in the next `read`."""
        return self._ask(protocol.command(Command.STOP), Command.STOP, Stopped.parse)

    def calibrate(self, shunt_uohm: int) -> int:
        """Store the shunt's resistance (1 to 10,000,000 micro-ohm) in its EEPROM; returns the value read back."""
        return self._ask(protocol.calibrate(shunt_uohm), Command.CALIBRATE, protocol.parse_calibration)

    def self_test(self) -> SelfTest:
        """Test the chip, the EEPROM, the bus and the conversion time; takes up to half a second."""
        return self._ask(
            protocol.command(Command.SELF_TEST), Command.SELF_TEST, SelfTest.parse,
            deadline_s=ANSWER_S + _SELF_TEST_AGAIN_S, again_s=_SELF_TEST_AGAIN_S,
        )  # fmt: skip

    def read(self, *, wait_s: float) -> bytes:
        """Return the bytes that have arrived; waits at most so long for the first, b"" if none came.

        Raises:
            LineError: The connection broke.
        """
        if self._unread:
            data = b"".join(self._unread)
            self._unread.clear()
            return data
        return self._open_line().read(wait_s)

    def _ask(
        self, frame: bytes, what: Command, parse: Callable[[Reply], T], *, deadline_s: float = ANSWER_S,
        again_s: float = _AGAIN_S,
    ) -> T:  # fmt: skip
        return parse(self._reply(frame, what, deadline_s=deadline_s, again_s=again_s))

    def _reply(self, frame: bytes, what: Command, *, deadline_s: float, again_s: float = _AGAIN_S) -> Reply:
        """Repeat a command until its reply arrives: frames may be damaged, and every command can be repeated."""
        until = time.monotonic() + deadline_s
        state = edge_frames.initial()
        while time.monotonic() < until:
            self._open_line().write(b"\x00" + frame)  # the zero ends a frame that may be half-sent
            again_at = min(until, time.monotonic() + again_s)
            while (left := again_at - time.monotonic()) > 0:
                data = self._open_line().read(left)
                self._unread.append(data)
                _, state = edge_frames.decode(state, data, 0.0)
                for reply in state.replies:
                    if reply.command == what:
                        return reply
        raise NoAnswerError(
            f"{self._port} did not answer {what.name} as a power meter within {deadline_s:g} s",
            hint="is it our meter, with its firmware on it (`edge firmware flash`)?",
        )

    def _open_line(self) -> SerialLine:
        assert self._line is not None, "use it in a with statement"
        return self._line


@dataclass(frozen=True)
class MeterReport:
    """Identity and self-test of the meter at a port: `edge firmware info`."""

    port: str
    identity: Identity
    self_test: SelfTest

    @property
    def reset_cause(self) -> str:
        """Return why it was last reset, as text."""
        causes = [text for bit, text in _CAUSES.items() if self.identity.reset_cause & bit]
        return " and ".join(causes) or "unknown"

    @property
    def is_tested_as_set(self) -> bool:
        """Return whether the self-test was at the present settings; it never is at slow ones."""
        return self.identity.configuration.period_us <= SLOW_US

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong and what to do, most likely cause first."""
        test, problems = self.self_test, []
        if not test.i2c_ok:
            problems.append("the chip does not answer: check its supply, SDA (A4), SCL (A5) and its address (0x40)")
        elif not test.chip_ok:
            problems.append(f"the chip that answers is not an {self.identity.chip.name}: flash with the right --chip")
        elif not test.period_us:
            problems.append("no conversions are seen: is the chip's ALERT wired to D8?")
        elif not test.conversion_time_ok:
            nominal = f"{self.identity.configuration.period_us}" if self.is_tested_as_set else "the data sheet's time"
            problems.append(f"a conversion takes {test.period_us} us instead of {nominal}: another or a broken chip")
        if not test.eeprom_ok and INA_FACTS[self.identity.chip].has_outer_shunt:
            problems.append(f"the shunt is not calibrated: {self.identity.shunt_uohm / 1000:g} mOhm is assumed")
        return tuple(problems)

    def to_json(self) -> dict[str, object]:
        """Return what `edge firmware info --json` prints."""
        identity = asdict(self.identity)
        identity.update(chip=self.identity.chip.name.lower(), firmware=".".join(map(str, self.identity.firmware)))
        return {
            "port": self.port, **identity, "reset_cause": self.reset_cause, "self_test": asdict(self.self_test),
            "problems": list(self.problems),
        }  # fmt: skip


def report(port: str) -> MeterReport:
    """Identify the meter at a port and run its self-test; a meter that is sending samples is stopped.

    Raises:
        NoAnswerError: No power meter answered at the port.
        LineError: The port cannot be opened, or broke.
    """
    with MeterClient(port) as meter:
        identity = meter.identify()
        if identity.streaming:
            meter.stop()
        return MeterReport(port, identity, meter.self_test())
