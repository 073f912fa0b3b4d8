"""Reads our own meter: an Arduino with an INA sensor, running firmware_tools/power_meter (see its PROTOCOL.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from devices.meters.accuracy import SHUNT_TOLERANCE, chip_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import parse_settings, setting
from devices.meters.streamed import StreamedMeter, open_at
from firmware_tools.codecs import edge_frames
from firmware_tools.codecs.edge_commands import Configuration, Identity
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import InstrumentError, ReplyError
from firmware_tools.power_meter.chips import INA_FACTS
from firmware_tools.power_meter.meter_client import MeterClient
from firmware_tools.trace import Trace

LEAST_SHUNT_OHM, MOST_SHUNT_OHM = 0.0005, 10.0


@dataclass(frozen=True)
class EdgeSettings:
    """Settings of the chip; None leaves a code as it is."""

    averaging: int | None = setting("the INA chip's code for averaging", low=0, high=7)
    bus_conversion: int | None = setting("the INA chip's code for bus conversion", low=0, high=7)
    shunt_conversion: int | None = setting("the INA chip's code for shunt conversion", low=0, high=7)
    shunt_tolerance: float = setting("limit of the shunt's relative error", SHUNT_TOLERANCE, low=0.0, high=0.2)


class ClientPort:
    """The client's stream of bytes, in the form of the other meters' ports."""

    def __init__(self, path: str) -> None:
        self.client = open_at(path, MeterClient(path).__enter__)

    def write(self, data: bytes) -> None:
        """Commands go through the client."""
        raise NotImplementedError

    def read(self, *, deadline_s: float) -> bytes:
        """Return the bytes that have arrived, waiting at most so long for the first."""
        return self.client.read(wait_s=deadline_s)

    def close(self) -> None:
        """Close the port."""
        self.client.__exit__(None, None, None)


class EdgeMeter(StreamedMeter[EdgeSettings, edge_frames.EdgeState]):
    """Our meter at a serial port."""

    kind = "edge"
    Settings = EdgeSettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        super().__init__(name, address, parse_settings(name, settings, EdgeSettings), pace_s=0.005)
        self._identity: Identity | None = None
        self._configuration: Configuration | None = None
        self._supply_v: float | None = None  # of the first samples since START

    def identity(self) -> Identity:
        """Return the identity that the meter reported when it was opened, or last calibrated."""
        if self._identity is None:
            raise InstrumentError(f"{self.name} is not open")
        return self._identity

    def calibrate_shunt(self, shunt_ohm: float) -> float:
        """Store the shunt's resistance in the meter's EEPROM and return what it read back.

        Raises:
            ReplyError: The meter could not store it.
        """
        asked = round(shunt_ohm * 1e6)
        stored = self._client.calibrate(asked)
        if stored != asked:
            raise ReplyError(f"{self.name} stored {stored} micro-ohm instead of {asked}", hint="its EEPROM fails")
        self._info = self._greet()
        return stored / 1e6

    @property
    def _client(self) -> MeterClient:
        assert isinstance(self.port, ClientPort)
        return self.port.client

    def _open_port(self) -> ClientPort:
        return ClientPort(self._address)

    def _greet(self) -> MeterInfo:
        self._identity = self._client.identify()
        if self._identity.streaming:  # it was left running
            self._client.stop()
        self._configuration = self._configure(self._identity.configuration)
        return self._describe(self._identity, self._configuration)

    def read(self, deadline_s: float) -> Trace:
        """Return the samples received since the last call; the first ones' supply sets the offset's uncertainty."""
        trace = super().read(deadline_s)
        if len(trace) and self._supply_v is None:
            self._supply_v = float(np.median(trace.supply_v))
            assert self._identity is not None
            assert self._configuration is not None
            self._info = self._describe(self._identity, self._configuration)
        return trace

    def _configure(self, now: Configuration) -> Configuration:
        """Send the codes that are set, and return those in force."""
        given = self._settings
        if (given.averaging, given.bus_conversion, given.shunt_conversion) == (None, None, None):
            return now
        wanted = {
            "averaging": now.averaging if given.averaging is None else given.averaging,
            "bus_conversion": now.bus_conversion if given.bus_conversion is None else given.bus_conversion,
            "shunt_conversion": now.shunt_conversion if given.shunt_conversion is None else given.shunt_conversion,
        }
        actual = self._client.configure(**wanted)
        if _codes(actual) != wanted:
            raise ReplyError(f"{self.name} was set to {wanted} and has {actual}", hint="its INA chip has other codes")
        return actual

    def _describe(self, identity: Identity, configuration: Configuration) -> MeterInfo:
        tolerance = self._settings.shunt_tolerance
        has_shunt = INA_FACTS[identity.chip].has_outer_shunt
        accuracy = chip_accuracy(
            identity.chip.name.lower(), shunt_ohm=identity.shunt_uohm / 1e6 if has_shunt else None,
            shunt_tolerance=tolerance, is_calibrated=identity.calibrated, supply_v=self._supply_v,
        )  # fmt: skip
        version = ".".join(map(str, identity.firmware))
        settings = {
            "chip": identity.chip.name.lower(),
            **_codes(configuration),
            "period_us": configuration.period_us, "shunt_uohm": identity.shunt_uohm if has_shunt else None,
            "calibrated": identity.calibrated, "shunt_tolerance": tolerance,
        }  # fmt: skip
        rate = 1e6 / configuration.period_us if configuration.period_us else None
        return self.describe(
            f"edge power meter, {identity.chip.name}, firmware {version}", accuracy, rate_hz=rate, clock="meter",
            has_trigger=True, settings=settings,
        )  # fmt: skip

    def _begin(self) -> None:
        self._supply_v = None
        self.discard()
        self._decoder = Decoder(edge_frames.decode, edge_frames.initial(identity=self._identity))
        self._client.start()

    def _end(self) -> None:
        self._client.stop()
        self.discard()


def _codes(configuration: Configuration) -> dict[str, int]:
    return {
        "averaging": configuration.averaging,
        "bus_conversion": configuration.bus_conversion,
        "shunt_conversion": configuration.shunt_conversion,
    }
