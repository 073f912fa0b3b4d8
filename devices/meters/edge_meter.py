"""Our own meter: an Arduino with an INA sensor and the firmware of firmware_tools/power_meter (PROTOCOL.md there)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devices.meters.accuracy import SHUNT_TOLERANCE, of_chip
from devices.meters.contract import MeterInfo
from devices.meters.error_translation import translated
from devices.meters.errors import MeterAnswerError, MeterError
from devices.meters.serial_port import opened
from devices.meters.settings import Setting, checked
from devices.meters.streamed import StreamedMeter
from firmware_tools.codecs.edge_commands import Chip, Configuration, Identity
from firmware_tools.power_meter.client import MeterClient
from firmware_tools.trace import Trace

LEAST_SHUNT_OHM, MOST_SHUNT_OHM = 0.0005, 10.0
_CODES = ("averaging", "bus_conversion", "shunt_conversion")
SETTINGS = (
    *(Setting(name, int, f"the INA chip's code for {name.replace('_', ' ')}", low=0, high=7) for name in _CODES),
    Setting("shunt_tolerance", float, "limit of the shunt's relative error", SHUNT_TOLERANCE, low=0.0, high=0.2),
)


class ClientPort:
    """The client's stream of bytes, as the other meters' ports have one."""

    def __init__(self, path: str) -> None:
        self.client = opened(path, MeterClient(path).__enter__)

    def write(self, data: bytes) -> None:
        """Commands go through the client."""
        raise NotImplementedError

    def read(self, *, deadline_s: float) -> bytes:
        """Return what has come, waiting for the first byte at most so long."""
        return translated(lambda: self.client.read(wait_s=deadline_s))

    def close(self) -> None:
        """Let go of the port."""
        self.client.__exit__(None, None, None)


class EdgeMeter(StreamedMeter):
    """Our meter at a serial port."""

    kind = "edge"

    def __init__(self, name: str, address: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, address, checked(name, settings, SETTINGS), pace_s=0.005)
        self._identity: Identity | None = None
        self._configuration: Configuration | None = None
        self._supply_v: float | None = None  # of the first samples since START

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
        stored = translated(lambda: self._client.calibrate(asked))
        if stored != asked:
            raise MeterAnswerError(f"{self.name} stored {stored} micro-ohm instead of {asked}", hint="its EEPROM fails")
        self._info = translated(self._greet)
        return stored / 1e6

    @property
    def _client(self) -> MeterClient:
        assert isinstance(self.port, ClientPort)
        return self.port.client

    def _opened(self) -> ClientPort:
        return ClientPort(self._address)

    def _greet(self) -> MeterInfo:
        self._identity = self._client.identify()
        if self._identity.streaming:  # somebody left it so
            self._client.stop()
        configuration = self._identity.configuration
        if any(self._settings[name] is not None for name in _CODES):
            configuration = self._configured(configuration)
        self._configuration = configuration
        return self._described(self._identity, configuration)

    def read(self, deadline_s: float) -> Trace:
        """Return the samples that have come since the last call; an offset counts at the supply of the first."""
        trace = super().read(deadline_s)
        if len(trace) and self._supply_v is None:
            self._supply_v = float(np.median(trace.supply_v))
            assert self._identity is not None
            assert self._configuration is not None
            self._info = self._described(self._identity, self._configuration)
        return trace

    def _configured(self, now: Configuration) -> Configuration:
        asked = {name: getattr(now, name) if self._settings[name] is None else self._settings[name] for name in _CODES}
        got = self._client.configure(**asked)
        if {name: getattr(got, name) for name in _CODES} != asked:
            raise MeterAnswerError(f"{self.name} was set to {asked} and has {got}", hint="its INA chip has other codes")
        return got

    def _described(self, identity: Identity, configuration: Configuration) -> MeterInfo:
        tolerance = self._settings["shunt_tolerance"]
        has_shunt = identity.chip != Chip.INA260
        accuracy = of_chip(
            identity.chip.name.lower(), shunt_ohm=identity.shunt_uohm / 1e6 if has_shunt else None,
            shunt_tolerance=tolerance, is_calibrated=identity.calibrated, supply_v=self._supply_v,
        )  # fmt: skip
        version = ".".join(map(str, identity.firmware))
        settings = {
            "chip": identity.chip.name.lower(),
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
        self._supply_v = None
        self.discard()
        self.use_decoder(identity=self._identity)
        self._client.start()

    def _end(self) -> None:
        self._client.stop()
        self.discard()
