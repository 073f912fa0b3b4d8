"""The user's meters: meters.toml beside devices.toml, written by hand.

[meters.bench]
kind = "ppk2"
address = "/dev/ttyACM0"
mode = "source"          # settings of that kind follow, see `edge meter list`
supply_mv = 5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.local_paths import config_dir
from devices.meters.errors import UnknownMeterError

_TABLE = "meters"


@dataclass(frozen=True)
class NamedMeter:
    """A meter that the user has given a name."""

    name: str
    kind: str
    address: str
    settings: Mapping[str, Any]


def meters_path() -> Path:
    """Return the file of the user's meters."""
    return config_dir() / "meters.toml"


def named_meters() -> Mapping[str, NamedMeter]:
    """Return the user's meters by name; none where there is no file.

    Raises:
        UnknownMeterError: The file cannot be read, or something in it is wrong; says what.
    """
    path = meters_path()
    if not path.exists():
        return {}
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        table = tomlkit.parse(path.read_text("utf-8")).unwrap().get(_TABLE, {})
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise _wrong(str(error)) from error
    except OSError as error:
        raise _wrong(error.strerror or str(error)) from error
    if not isinstance(table, dict):
        raise _wrong(f"{_TABLE} is no table")
    return {name: _named(name, raw) for name, raw in table.items()}


def _named(name: str, raw: object) -> NamedMeter:
    where = f"[{_TABLE}.{name}]"
    if not isinstance(raw, dict) or not all(isinstance(raw.get(key), str) for key in ("kind", "address")):
        raise _wrong(f"{where} needs a kind and an address, both texts")
    if ":" in name:
        raise _wrong(f"{where}: a name has no colon, which is for KIND:ADDRESS")
    settings = {key: value for key, value in raw.items() if key not in ("kind", "address")}
    return NamedMeter(name, raw["kind"], raw["address"], settings)


def _wrong(what: str) -> UnknownMeterError:
    return UnknownMeterError(f"{meters_path()} cannot be used: {what}", hint="correct the file, or remove it")
