"""The power meter at a serial port: commands with deadlines, samples as raw bytes.

    with MeterClient("/dev/ttyUSB0") as meter:
        meter.identify()
        meter.start()
        data = meter.read(wait_s=0.5)      # for firmware_tools.codecs: decoder("edge", identity=...)
        meter.stop()

Bytes that come while a command waits for its reply are kept: the next `read` returns them first. They hold the replies
too, which the codec understands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from firmware_tools.codecs import edge_commands as protocol
from firmware_tools.codecs import edge_meter
from firmware_tools.codecs.edge_commands import Command, Configuration, Identity, Reply, SelfTest, Status, Stopped
from firmware_tools.errors import NoAnswerError
from firmware_tools.line import Line

BAUD = 500_000
# Opening the port resets an Arduino; its boot loader then listens for up to two seconds.
GREETING_S = 5.0
ANSWER_S = 2.0
_AGAIN_S = 0.3
# A self-test watches nine conversions, at most 0.4 s.
_SELF_TEST_AGAIN_S = 1.0

T = TypeVar("T")


class MeterClient:
    """The meter at a port; a context manager that opens and closes it."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._line: Line | None = None
        self._kept: list[bytes] = []

    def __enter__(self) -> MeterClient:
        self._line = Line(self._port, baud=BAUD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def identify(self, *, deadline_s: float = GREETING_S) -> Identity:
        """Ask until the meter answers: it may be in its boot loader.

        Raises:
            NoAnswerError: Nothing at the port answered as a power meter.
            LineError: The port is gone.
        """
        return self._ask(protocol.command(Command.IDENTIFY), Command.IDENTIFY, Identity.parsed, deadline_s=deadline_s)

    def configure(self, *, averaging: int, bus_conversion: int, shunt_conversion: int) -> Configuration:
        """Set the chip's codes (0..7, see PROTOCOL.md) and return what it holds now."""
        codes = {"averaging": averaging, "bus_conversion": bus_conversion, "shunt_conversion": shunt_conversion}
        return self._ask(protocol.configure(**codes), Command.CONFIGURE, Configuration.parsed)

    def start(self) -> None:
        """Let it send samples, numbered from 0; a meter that somebody left sending is stopped first.

        What an earlier run left unread is forgotten: the meter's clock may have begun anew since.
        """
        reply = self._started()
        if reply.status == Status.STREAMING:
            self.stop()
            reply = self._started()
        reply.values(Command.START, "")

    def _started(self) -> Reply:
        self._kept.clear()
        return self._reply(protocol.command(Command.START), Command.START, deadline_s=ANSWER_S)

    def stop(self) -> Stopped:
        """Let it stop; the samples that were on their way are in the next `read`."""
        return self._ask(protocol.command(Command.STOP), Command.STOP, Stopped.parsed)

    def calibrate(self, shunt_uohm: int) -> int:
        """Store the shunt's resistance (1 to 10,000,000 micro-ohm) in its EEPROM; returns what it read back."""
        return self._ask(protocol.calibrate(shunt_uohm), Command.CALIBRATE, protocol.calibrated_shunt_uohm)

    def self_test(self) -> SelfTest:
        """Let it look at its chip, its EEPROM, its bus and its conversion time; takes up to half a second."""
        return self._ask(
            protocol.command(Command.SELF_TEST), Command.SELF_TEST, SelfTest.parsed,
            deadline_s=ANSWER_S + _SELF_TEST_AGAIN_S, again_s=_SELF_TEST_AGAIN_S,
        )  # fmt: skip

    def read(self, *, wait_s: float) -> bytes:
        """Return the bytes that have come; waits for the first one at most so long, b"" if none came.

        Raises:
            LineError: The port is gone.
        """
        if self._kept:
            data = b"".join(self._kept)
            self._kept.clear()
            return data
        return self._open_line().read(wait_s)

    def _ask(
        self, frame: bytes, what: Command, parsed: Callable[[Reply], T], *, deadline_s: float = ANSWER_S,
        again_s: float = _AGAIN_S,
    ) -> T:  # fmt: skip
        return parsed(self._reply(frame, what, deadline_s=deadline_s, again_s=again_s))

    def _reply(self, frame: bytes, what: Command, *, deadline_s: float, again_s: float = _AGAIN_S) -> Reply:
        """Send a command until it is answered: frames may be damaged, and every command can be repeated."""
        until = time.monotonic() + deadline_s
        state = edge_meter.initial()
        while time.monotonic() < until:
            self._open_line().write(b"\x00" + frame)  # the zero ends what may stand half-sent before
            patience = min(until, time.monotonic() + again_s)
            while (left := patience - time.monotonic()) > 0:
                data = self._open_line().read(left)
                self._kept.append(data)
                _, state = edge_meter.decode(state, data, 0.0)
                for reply in state.replies:
                    if reply.command == what:
                        return reply
        raise NoAnswerError(
            f"{self._port} did not answer {what.name} as a power meter within {deadline_s:g} s",
            hint="is it our meter, with its firmware on it (`edge firmware flash`)?",
        )

    def _open_line(self) -> Line:
        assert self._line is not None, "use it in a with statement"
        return self._line
