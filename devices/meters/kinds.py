"""Lists the kinds of meters, one record each.

A new kind needs a record here and a module with its reader. The reader is a class made with (name, address, settings)
that implements the protocol `Meter`, and whose attribute `Settings` is a dataclass (meter_settings.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from devices.meters.meter_contract import Meter
    from devices.meters.meter_settings import Setting


class MeterReader(Protocol):
    """The class that reads a kind of meter."""

    Settings: type

    def __call__(self, name: str, address: str, settings: Mapping[str, object]) -> Meter:
        """Return the meter, not open yet."""


@dataclass(frozen=True)
class MeterKind:
    """A kind of meter.

    Attributes:
        name: What precedes the colon in KIND:ADDRESS.
        about: The meter in a few words.
        example: A name of such a meter.
        reader: "module:class" of its reader, below devices.meters.
        error_limits: Assumed limits of the power's error, relative and in watts, because no vendor states them in a
            citable text; None where they follow from the chip or the recording.
        usb_ids: The meter's name by its USB vendor and product ids.
        is_numbered: Each sample carries the number of its conversion, so every sample is a new value.
    """

    name: str
    about: str
    example: str
    reader: str
    error_limits: tuple[float, float] | None = None
    usb_ids: Mapping[tuple[int, int], str] = field(default_factory=dict)
    is_numbered: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the kind and its settings as `json.dumps` takes them."""
        settings = [
            {"name": each.name, "about": each.about, "default": each.default, "low": each.low, "high": each.high,
             "choices": list(each.choices)} for each in settings_of(self.name)
        ]  # fmt: skip
        return {"kind": self.name, "about": self.about, "example": self.example, "settings": settings}


_KINDS = (
    MeterKind("edge", "our meter: Arduino and INA sensor", "edge:/dev/ttyUSB0", "edge_meter:EdgeMeter",
              is_numbered=True),
    MeterKind("ppk2", "Nordic Power Profiler Kit II", "ppk2:/dev/ttyACM0", "ppk2:Ppk2", (0.10, 0.001),
              usb_ids={(0x1915, 0xC00A): "Nordic PPK2"}, is_numbered=True),
    MeterKind("um25c", "UM24C, UM25C or UM34C", "um25c:/dev/rfcomm0", "usb_testers:Um25c", (0.01, 0.005)),
    MeterKind("tc66c", "TC66C", "tc66c:/dev/ttyACM0", "usb_testers:Tc66c", (0.01, 0.005)),
    MeterKind("fnirsi", "FNIRSI FNB48, FNB58, C1", "fnirsi:/dev/hidraw0", "fnirsi:Fnirsi", (0.01, 0.005),
              usb_ids={(0x0483, 0x003A): "FNIRSI FNB48", (0x0483, 0x003B): "FNIRSI C1",
                       (0x2E3C, 0x5558): "FNIRSI FNB58", (0x2E3C, 0x0049): "FNIRSI FNB48S"}),
    MeterKind("csv", "any board that prints readings", "csv:/dev/ttyUSB0", "csv_meter:CsvMeter", (0.05, 0.010)),
    MeterKind("hwmon", "INA sensor with a Linux driver", "hwmon:hwmon3", "hwmon:HwmonMeter", (0.02, 0.010)),
    # The correction in circulation multiplies by 1.15 and adds 0.6 W: the error can be that large.
    MeterKind("pmic", "rails of a Raspberry Pi 5 (estimate)", "pmic:pi5", "pmic:PmicMeter", (0.15, 0.300)),
    MeterKind("rapl", "this machine's processor (estimate)", "rapl:package-0", "rapl:RaplMeter", (0.10, 0.100)),
    MeterKind("replay", "a recording, played", "replay:run.edgetrace", "replay:ReplayMeter"),
)  # fmt: skip
KINDS: Mapping[str, MeterKind] = MappingProxyType({kind.name: kind for kind in _KINDS})


def load_reader(kind: str) -> MeterReader:
    """Import the reader of a kind."""
    module, _, name = KINDS[kind].reader.partition(":")
    reader: MeterReader = getattr(importlib.import_module(f"devices.meters.{module}"), name)
    return reader


def settings_of(kind: str) -> tuple[Setting, ...]:
    """Return the settings of a kind of meter."""
    from devices.meters.meter_settings import list_settings

    return list_settings(load_reader(kind).Settings)
