"""Finds devices by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from converters.targets.boards import EMULATED_BOARDS
from devices.errors import UnknownDeviceError

if TYPE_CHECKING:
    from devices.contract import Device


@dataclass(frozen=True)
class DeviceKind:
    """The properties of a kind of device, by the way it is reached.

    Attributes:
        name: `Device.kind`, which its facts state as well.
        measures: "time" where the processor, its heat and its memory are the device's own; "instructions" where only
            the executed instructions are.
        cools: whether it heats up under load like a board, so that a measurement waits until it is cool.
        own_files: whether its files are its own; else they are this machine's.
    """

    name: str
    measures: Literal["time", "instructions"]
    cools: bool
    own_files: bool


KINDS: Mapping[str, DeviceKind] = MappingProxyType(
    {
        each.name: each
        for each in (
            DeviceKind("local", measures="time", cools=False, own_files=True),
            DeviceKind("ssh", measures="time", cools=True, own_files=True),
            DeviceKind("emulated", measures="instructions", cools=False, own_files=False),
        )
    }
)


@dataclass(frozen=True)
class DeviceEntry:
    """A device that can be named: its kind, a short description, and the "module:attribute" of its factory."""

    name: str
    kind: str
    about: str
    maker: str


_EMULATED = "devices.emulated.device:create_emulated_device"
DEVICES: Mapping[str, DeviceEntry] = MappingProxyType(
    {
        each.name: each
        for each in (
            DeviceEntry("local", "local", "this machine", "devices.local:LocalDevice"),
            *(
                DeviceEntry(name, "emulated", f"{board.board} ({board.cpu}) in QEMU", _EMULATED)
                for name, board in EMULATED_BOARDS.items()
            ),
        )
    }
)


def list_devices() -> Mapping[str, DeviceEntry]:
    """Return all devices that can be named: the built-in ones, then the boards that the user has added.

    Raises:
        InventoryError: devices.toml cannot be used.
    """
    from devices.inventory import entries

    boards = {
        name: DeviceEntry(name, "ssh", str(board.address), "devices.ssh.device:inventory_device")
        for name, board in entries().items()
    }
    return {**DEVICES, **boards}


def find_device(name: str) -> Device:
    """Return the device of that name; nothing is started or connected yet.

    Raises:
        UnknownDeviceError: There is none.
    """
    entry = DEVICES.get(name) or (known := list_devices()).get(name)
    if entry is None:
        near = get_close_matches(name, known, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise UnknownDeviceError(
            f"there is no device {name!r}",
            hint=f"{meant}devices are: {', '.join(known)}; `edge devices add` adds a board",
        )
    module, _, attribute = entry.maker.partition(":")
    made: Device = getattr(importlib.import_module(module), attribute)(name)
    return made


def find_devices(names: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices of these names and of the groups among them, each once, in order.

    Raises:
        UnknownDeviceError: There is none of a name.
        InventoryError: devices.toml cannot be used.
    """
    if not set(names) <= DEVICES.keys():
        from devices.inventory import members

        names = members(names)
    return tuple(map(find_device, dict.fromkeys(names)))
