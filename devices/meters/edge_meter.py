"""Our own meter: an Arduino with an INA sensor and the firmware of firmware_tools/power_meter (PROTOCOL.md there)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from devices.meters.accuracy import CALIBRATED_TOLERANCE, SHUNT_TOLERANCE, of_chip
from devices.meters.contract import MeterInfo
from devices.meters.errors import MeterAnswerError, MeterError, MeterSilentError
from devices.meters.settings import Setting, checked
from devices.meters.streamed import ANSWER_S, StreamedMeter, translated
from firmware_tools.codecs.edge_commands import (
    Chip,
    Command,
    Configuration,
    Identity,
    Reply,
    Status,
    calibrate,
    calibrated_shunt_uohm,
    command,
    configure,
)

GREETING_S = 5.0  # opening the port may reset an Arduino, whose boot loader then listens for about two seconds
_AGAIN_S = 0.3
LEAST_SHUNT_OHM, MOST_SHUNT_OHM = 0.0005, 10.0
_CODES = ("averaging", "bus_conversion", "shunt_conversion")
SETTINGS = (
    *(Setting(name, int, f"the INA chip's code for {name.replace('_', ' ')}", low=0, high=7) for name in _CODES),
    Setting("shunt_tolerance", float, "limit of the shunt's relative error", low=0.0, high=0.2),
)


class EdgeMeter(StreamedMeter):
    """Our meter at a serial port."""

    kind = "edge"
    baud = 500_000

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, address, checked(name, settings, SETTINGS), pace_s=0.005)
        self._identity: Identity | None = None

    def identity(self) -> Identity:
        """Return what the meter said of itself when it was opened, or last calibrated."""
        if self._identity is None:
            raise MeterError(f"{self.name} is not open")
        return self._identity

    def calibrate_shunt(self, shunt_ohm: float) -> float:
        """Store the shunt's resistance in the meter's EEPROM and return what it read back.

        Raises:
            MeterAnswerError: The meter could not store it.
        """
        asked = round(shunt_ohm * 1e6)
        stored = translated(lambda: calibrated_shunt_uohm(self._answer(calibrate(asked), Command.CALIBRATE)))
        if stored != asked:
            raise MeterAnswerError(f"{self.name} stored {stored} micro-ohm instead of {asked}", hint="its EEPROM fails")
        self._info = translated(self._greet)
        return float(stored) / 1e6

    def _greet(self) -> MeterInfo:
        self.use_decoder()
        self._identity = self._identify()
        if self._identity.streaming:  # somebody left it so
            self._answer(command(Command.STOP), Command.STOP)
        codes = [self._settings[each] for each in _CODES]
        configuration = self._identity.configuration
        if codes != [None] * len(codes):
            configuration = self._configured(configuration)
        return self._described(self._identity, configuration)

    def _identify(self) -> Identity:
        until = time.monotonic() + GREETING_S
        while True:
            reply = self._asked(command(Command.IDENTIFY), Command.IDENTIFY, min(_AGAIN_S, until - time.monotonic()))
            if reply is not None:
                return Identity.parsed(reply)
            if time.monotonic() >= until:
                raise MeterSilentError(
                    f"{self._address} did not answer as a power meter within {GREETING_S:g} s",
                    hint="is it our meter, with its firmware on it? `edge meter list` shows what is plugged in",
                )

    def _configured(self, now: Configuration) -> Configuration:
        asked = {name: now_code if self._settings[name] is None else self._settings[name]
                 for name, now_code in ((name, getattr(now, name)) for name in _CODES)}  # fmt: skip
        got = Configuration.parsed(self._answer(configure(**asked), Command.CONFIGURE))
        if {name: getattr(got, name) for name in _CODES} != asked:
            raise MeterAnswerError(f"{self.name} was set to {asked} and has {got}", hint="its INA chip has other codes")
        return got

    def _described(self, identity: Identity, configuration: Configuration) -> MeterInfo:
        tolerance = self._settings["shunt_tolerance"]
        if tolerance is None:
            tolerance = CALIBRATED_TOLERANCE if identity.calibrated else SHUNT_TOLERANCE
        has_shunt = identity.chip != Chip.INA260
        accuracy = of_chip(
            identity.chip.name.lower(), shunt_ohm=identity.shunt_uohm / 1e6 if has_shunt else None,
            shunt_tolerance=tolerance,
        )  # fmt: skip
        version = ".".join(map(str, identity.firmware))
        settings = {
            **{name: getattr(configuration, name) for name in _CODES},
            "period_us": configuration.period_us, "shunt_uohm": identity.shunt_uohm if has_shunt else None,
            "calibrated": identity.calibrated, "shunt_tolerance": tolerance,
        }  # fmt: skip
        rate = 1e6 / configuration.period_us if configuration.period_us else None
        return self.described(
            f"edge power meter, {identity.chip.name}, firmware {version}", accuracy, rate_hz=rate, clock="meter",
            has_trigger=True, settings=settings,
        )  # fmt: skip

    def _begin(self) -> None:
        self.port.discard()
        self.use_decoder(identity=self._identity)
        self._answer(command(Command.START), Command.START)

    def _end(self) -> None:
        self._answer(command(Command.STOP), Command.STOP)

    def _answer(self, frame: bytes, what: Command) -> Reply:
        """Send a command and return its reply, which says that it was done."""
        reply = self._asked(frame, what, ANSWER_S)
        if reply is None:
            raise MeterSilentError(f"{self.name} did not answer {what.name} within {ANSWER_S:g} s")
        if reply.status != Status.OK:
            reply.values(what, "")  # says what the status means
        return reply

    def _asked(self, frame: bytes, what: Command, deadline_s: float) -> Reply | None:
        """Send a command; samples that come before its reply are kept for the next `read`."""
        assert self._decoder is not None
        until = time.monotonic() + deadline_s
        self.port.write(frame, deadline_s=ANSWER_S)
        while (left := until - time.monotonic()) > 0:
            data = self.port.read(deadline_s=left)
            if not data:
                continue
            self._kept.append(self.decoded(data))
            for reply in self._decoder.state.replies:
                if reply.command == what:
                    found: Reply = reply
                    return found
        return None
