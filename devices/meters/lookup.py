"""Finds a meter by KIND:ADDRESS, or by its name in meters.toml, which is in the same folder as devices.toml:

[meters.bench]
kind = "ppk2"
address = "/dev/ttyACM0"
mode = "source"          # the settings of that kind, see `edge meter kinds`
supply_mv = 5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from devices.local_paths import config_dir
from devices.meters.kinds import KINDS, load_reader
from firmware_tools.errors import UnknownMeterError

if TYPE_CHECKING:
    from devices.meters.meter_contract import Meter

_TABLE = "meters"


@dataclass(frozen=True)
class NamedMeter:
    """A meter that the user has given a name."""

    name: str
    kind: str
    address: str
    settings: Mapping[str, object]


def find_meter(name: str, settings: Mapping[str, object] | None = None) -> Meter:
    """Return a meter; nothing is opened yet.

    Args:
        name: KIND:ADDRESS, or a name in meters.toml.
        settings: Values that replace those of meters.toml, as texts or in their types.

    Raises:
        UnknownMeterError: There is no such kind or name.
        SettingError: The kind does not have a setting, or its value is out of range.
    """
    kind, colon, address = name.partition(":")
    if colon:
        return _make(kind, name, address, settings or {})
    listed = read_meters()
    if name not in listed:
        near = get_close_matches(name, [*listed, *KINDS], n=2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        names = f"names in meters.toml: {', '.join(listed)}" if listed else "such as edge:/dev/ttyUSB0"
        raise UnknownMeterError(f"there is no meter {name!r}", hint=f"{meant}meters are KIND:ADDRESS, {names}")
    entry = listed[name]
    return _make(entry.kind, name, entry.address, {**entry.settings, **(settings or {})})


def _make(kind: str, name: str, address: str, settings: Mapping[str, object]) -> Meter:
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UnknownMeterError(f"there is no kind of meter {kind!r}", hint=f"{meant}kinds are: {', '.join(KINDS)}")
    if not address:
        raise UnknownMeterError(f"{name!r} has no address", hint=f"such as {KINDS[kind].example}")
    return load_reader(kind)(name, address, settings)


def meters_path() -> Path:
    """Return the path of meters.toml."""
    return config_dir() / "meters.toml"


def read_meters() -> Mapping[str, NamedMeter]:
    """Return the meters of meters.toml by name; none where there is no file.

    Raises:
        UnknownMeterError: The file cannot be read, or an entry is invalid.
    """
    path = meters_path()
    if not path.exists():
        return {}
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        table = tomlkit.parse(path.read_text("utf-8")).unwrap().get(_TABLE, {})
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise _invalid(str(error)) from error
    except OSError as error:
        raise _invalid(error.strerror or str(error)) from error
    if not isinstance(table, dict):
        raise _invalid(f"{_TABLE} is not a table")
    return {name: _parse_entry(name, raw) for name, raw in table.items()}


def _parse_entry(name: str, raw: object) -> NamedMeter:
    where = f"[{_TABLE}.{name}]"
    if not isinstance(raw, dict) or not all(isinstance(raw.get(key), str) for key in ("kind", "address")):
        raise _invalid(f"{where} needs a kind and an address, both strings")
    if ":" in name:
        raise _invalid(f"{where}: a name may not contain a colon, which is for KIND:ADDRESS")
    settings = {key: value for key, value in raw.items() if key not in ("kind", "address")}
    return NamedMeter(name, raw["kind"], raw["address"], settings)


def _invalid(what: str) -> UnknownMeterError:
    return UnknownMeterError(f"{meters_path()} cannot be used: {what}", hint="correct the file, or remove it")
