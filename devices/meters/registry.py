"""Meters by name: KIND:ADDRESS, or a name of the user's meters.toml."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from devices.meters.config import named_meters
from devices.meters.errors import UnknownMeterError

if TYPE_CHECKING:
    from devices.meters.contract import Meter
    from devices.meters.settings import Setting


@dataclass(frozen=True)
class Kind:
    """A kind of meter; `maker` and `settings` are "module:attribute" of the class that reads it and of its settings."""

    name: str
    about: str
    example: str
    maker: str
    settings: str


def _kind(name: str, about: str, example: str, maker: str, settings: str = "SETTINGS") -> Kind:
    module = maker.partition(":")[0]
    own = settings if ":" in settings else f"{module}:{settings}"
    return Kind(name, about, example, f"devices.meters.{maker}", f"devices.meters.{own}")


_EACH = (
    _kind("edge", "our meter: Arduino and INA sensor", "edge:/dev/ttyUSB0", "edge_meter:EdgeMeter"),
    _kind("ppk2", "Nordic Power Profiler Kit II", "ppk2:/dev/ttyACM0", "ppk2:Ppk2"),
    _kind("um25c", "UM24C, UM25C or UM34C", "um25c:/dev/rfcomm0", "usb_testers:Um25c"),
    _kind("tc66c", "TC66C", "tc66c:/dev/ttyACM0", "usb_testers:Tc66c"),
    _kind("fnirsi", "FNIRSI FNB48, FNB58, C1", "fnirsi:/dev/hidraw0", "fnirsi:Fnirsi"),
    _kind("csv", "any board that prints readings", "csv:/dev/ttyUSB0", "csv_meter:CsvMeter"),
    _kind("hwmon", "INA sensor with a Linux driver", "hwmon:hwmon3", "hwmon:HwmonMeter"),
    _kind("pmic", "rails of a Raspberry Pi 5 (estimate)", "pmic:pi5", "pmic:PmicMeter"),
    _kind("rapl", "this machine's processor (estimate)", "rapl:package-0", "rapl:RaplMeter"),
    _kind("replay", "a recording, played", "replay:run.edgetrace", "replay:ReplayMeter"),
)
KINDS: Mapping[str, Kind] = MappingProxyType({each.name: each for each in _EACH})


def find_meter(name: str, settings: Mapping[str, Any] | None = None) -> Meter:
    """Return a meter; nothing is opened yet.

    Args:
        name: KIND:ADDRESS, or a name of meters.toml.
        settings: Values that replace those of meters.toml, as texts or in their types.

    Raises:
        UnknownMeterError: There is no such kind or name.
        MeterSettingError: A setting that this kind has not, or out of its range.
    """
    kind, colon, address = name.partition(":")
    if colon:
        return _made(kind, name, address, settings or {})
    named = named_meters()
    if name not in named:
        near = get_close_matches(name, [*named, *KINDS], n=2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        listed = f"named are: {', '.join(named)}" if named else "such as edge:/dev/ttyUSB0"
        raise UnknownMeterError(f"there is no meter {name!r}", hint=f"{meant}meters are KIND:ADDRESS, {listed}")
    found = named[name]
    return _made(found.kind, name, found.address, {**found.settings, **(settings or {})})


def settings_of(kind: str) -> tuple[Setting, ...]:
    """Return the settings of a kind of meter."""
    found: tuple[Setting, ...] = _attribute(KINDS[kind].settings)
    return found


def _made(kind: str, name: str, address: str, settings: Mapping[str, Any]) -> Meter:
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UnknownMeterError(f"there is no kind of meter {kind!r}", hint=f"{meant}kinds are: {', '.join(KINDS)}")
    if not address:
        raise UnknownMeterError(f"{name!r} has no address", hint=f"such as {KINDS[kind].example}")
    made: Meter = _attribute(KINDS[kind].maker)(name, address, settings)
    return made


def _attribute(place: str) -> Any:  # noqa: ANN401
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
