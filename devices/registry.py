"""Devices by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from devices.errors import UnknownDeviceError

if TYPE_CHECKING:
    from devices.contract import Device


@dataclass(frozen=True)
class Entry:
    """A device that can be named: what reaches it, a word about it, and "module:attribute" of what makes it."""

    name: str
    kind: str
    about: str
    maker: str


DEVICES: Mapping[str, Entry] = MappingProxyType(
    {each.name: each for each in (Entry("local", "local", "this machine", "devices.local:LocalDevice"),)}
)


def find_device(name: str) -> Device:
    """Return the device of that name; nothing is started or connected yet.

    Raises:
        UnknownDeviceError: There is none.
    """
    entry = DEVICES.get(name)
    if entry is None:
        near = get_close_matches(name, DEVICES, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise UnknownDeviceError(f"there is no device {name!r}", hint=f"{meant}devices are: {', '.join(DEVICES)}")
    module, _, attribute = entry.maker.partition(":")
    made: Device = getattr(importlib.import_module(module), attribute)()
    return made
