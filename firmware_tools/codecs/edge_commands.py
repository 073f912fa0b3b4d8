"""Encodes the commands to our own power meter and parses its replies; edge_frames.py carries them in frames."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from firmware_tools.codecs.framing import cobs_encode, crc16
from firmware_tools.errors import ReplyError, SettingError
from firmware_tools.power_meter.chips import INA_FACTS, InaChip

VERSION = 1
KIND_SAMPLES, KIND_REPLY, KIND_COMMAND = 1, 2, 8


class Command(IntEnum):
    """The commands."""

    IDENTIFY = 1
    CONFIGURE = 2
    START = 3
    STOP = 4
    CALIBRATE = 5
    SELF_TEST = 6


class ReplyStatus(IntEnum):
    """The outcome of a command."""

    OK = 0
    UNKNOWN_COMMAND = 1
    BAD_ARGUMENTS = 2
    CHIP_SILENT = 3
    STREAMING = 4
    EEPROM_FAILURE = 5


_MEANING = {
    ReplyStatus.UNKNOWN_COMMAND: (
        "does not know this command",
        "its firmware is older than this program: flash it again",
    ),
    ReplyStatus.BAD_ARGUMENTS: ("does not accept these arguments", None),
    ReplyStatus.CHIP_SILENT: ("gets no answer from its INA chip", "check the chip's supply, SDA, SCL and address"),
    ReplyStatus.STREAMING: ("is busy streaming", "stop it first"),
    ReplyStatus.EEPROM_FAILURE: ("could not store the value in its EEPROM", None),
}


@dataclass(frozen=True)
class Reply:
    """An answer to a command; `payload` as the command defines it."""

    command: int
    status: int
    payload: bytes

    SHORTEST: ClassVar[int] = 2

    @classmethod
    def parse(cls, body: bytes) -> Reply:
        """Parse the body of a reply frame."""
        return cls(body[0], body[1], body[2:])

    def values(self, command: Command, layout: str) -> tuple[int, ...]:
        """Return the payload's values.

        Raises:
            ReplyError: The reply is to another command, reports an error, or has the wrong length.
        """
        if self.command != command:
            raise ReplyError(f"the meter was sent {command.name} and replied to command {self.command}")
        if self.status != ReplyStatus.OK:
            known = self.status in _MEANING
            what, hint = _MEANING[ReplyStatus(self.status)] if known else (f"answered with error {self.status}", None)
            raise ReplyError(f"{command.name}: the meter {what}", hint=hint)
        if len(self.payload) != struct.calcsize("<" + layout):
            raise ReplyError(
                f"{command.name}: the meter answered {len(self.payload)} bytes, not {struct.calcsize('<' + layout)}",
                hint="its firmware speaks another version of the protocol: flash it again",
            )
        return struct.unpack("<" + layout, self.payload)


@dataclass(frozen=True)
class Configuration:
    """InaChip codes (0..7) for averaging and for the conversion times, as read back from the chip."""

    averaging: int
    bus_conversion: int
    shunt_conversion: int
    period_us: int

    @classmethod
    def parse(cls, reply: Reply) -> Configuration:
        """Read the reply to CONFIGURE."""
        averaging, bus_conversion, shunt_conversion, period_us = reply.values(Command.CONFIGURE, "3BI")
        return cls(averaging, bus_conversion, shunt_conversion, period_us)


@dataclass(frozen=True)
class Identity:
    """The meter's reply to IDENTIFY.

    Attributes:
        chip: The chip that measures.
        firmware: Major, minor, patch.
        configuration: InaChip codes, and the nominal time between samples.
        shunt_uohm: Resistance of the shunt, in micro-ohms.
        calibrated: `shunt_uohm` is from a valid record in its EEPROM, not the firmware's default.
        overruns: Samples lost in the meter since START.
        i2c_errors: Transfers to the chip that failed, since its reset.
        reset_cause: Its MCUSR register.
        streaming: It is sending samples.
    """

    chip: InaChip
    firmware: tuple[int, int, int]
    configuration: Configuration
    shunt_uohm: int
    calibrated: bool
    overruns: int = 0
    i2c_errors: int = 0
    reset_cause: int = 0
    streaming: bool = False

    @classmethod
    def parse(cls, reply: Reply) -> Identity:
        """Read the reply to IDENTIFY.

        Raises:
            ReplyError: As Reply.values, or the chip is unknown, the shunt has no resistance, or samples have no time
                between them.
        """
        values = reply.values(Command.IDENTIFY, "7BIB3I2B")
        chip, major, minor, patch, averaging, bus_conversion, shunt_conversion = values[:7]
        shunt_uohm, calibrated, period_us, overruns, i2c_errors, reset_cause, streaming = values[7:]
        if chip not in set(InaChip):
            raise ReplyError(
                f"the meter has chip {chip}, which is none of {', '.join(f'{known} {known.name}' for known in InaChip)}"
            )
        if not shunt_uohm and INA_FACTS[InaChip(chip)].has_outer_shunt:
            raise ReplyError("the meter reports a shunt without resistance", hint="calibrate it")
        if not period_us:
            raise ReplyError("the meter reports no time between samples", hint="flash it again")
        return cls(
            InaChip(chip), (major, minor, patch), Configuration(averaging, bus_conversion, shunt_conversion, period_us),
            shunt_uohm, bool(calibrated),
            overruns, i2c_errors, reset_cause, bool(streaming),
        )  # fmt: skip


@dataclass(frozen=True)
class Stopped:
    """The meter's reply to STOP: counts since START."""

    samples_sent: int
    overruns: int

    @classmethod
    def parse(cls, reply: Reply) -> Stopped:
        """Read the reply to STOP."""
        samples_sent, overruns = reply.values(Command.STOP, "2I")
        return cls(samples_sent, overruns)


@dataclass(frozen=True)
class SelfTest:
    """The meter's reply to SELF_TEST; `period_us` is the measured time between conversions."""

    chip_ok: bool
    eeprom_ok: bool
    i2c_ok: bool
    conversion_time_ok: bool
    period_us: int

    @classmethod
    def parse(cls, reply: Reply) -> SelfTest:
        """Read the reply to SELF_TEST."""
        bits, period_us = reply.values(Command.SELF_TEST, "BI")
        return cls(bool(bits & 1), bool(bits & 2), bool(bits & 4), bool(bits & 8), period_us)


def parse_calibration(reply: Reply) -> int:
    """Read the reply to CALIBRATE: the resistance as read back from EEPROM."""
    shunt_uohm = reply.values(Command.CALIBRATE, "I")[0]
    if not shunt_uohm:
        raise ReplyError("CALIBRATE: the meter read back a shunt of 0 micro-ohm")
    return shunt_uohm


def frame(kind: int, body: bytes, *, version: int = VERSION) -> bytes:
    """Return a complete frame, including its end."""
    payload = bytes([version << 4 | kind]) + body
    return cobs_encode(payload + crc16(payload).to_bytes(2, "little")) + b"\x00"


def command(what: Command, arguments: bytes = b"") -> bytes:
    """Return the frame of a command."""
    return frame(KIND_COMMAND, bytes([what]) + arguments)


def configure(*, averaging: int, bus_conversion: int, shunt_conversion: int) -> bytes:
    """Return the frame that sets averaging and conversion times; chip codes 0..7.

    Raises:
        SettingError: A code is not between 0 and 7.
    """
    codes = (averaging, bus_conversion, shunt_conversion)
    if not all(0 <= code <= 7 for code in codes):
        raise SettingError(f"averaging and conversion times are chip codes between 0 and 7, not {codes}")
    return command(Command.CONFIGURE, bytes(codes))


def calibrate(shunt_uohm: int) -> bytes:
    """Return the frame that stores the shunt's resistance.

    Raises:
        SettingError: It is not between 1 micro-ohm and 10 ohm.
    """
    if not 1 <= shunt_uohm <= 10_000_000:
        raise SettingError(f"a shunt has between 1 and 10,000,000 micro-ohm, not {shunt_uohm}")
    return command(Command.CALIBRATE, struct.pack("<I", shunt_uohm))
