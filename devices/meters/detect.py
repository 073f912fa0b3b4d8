"""Detects possible meters on this machine and suggests their names, without opening any."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from devices.findings import access_to
from devices.meters import fnirsi, hwmon, rapl
from devices.meters.kinds import KINDS
from devices.meters.lookup import read_meters

HIDRAW = Path("/sys/class/hidraw")
# Makers of Arduino boards and of the serial chips on compatible boards.
_ARDUINO = {0x2341: "Arduino", 0x2A03: "Arduino", 0x1A86: "CH340 serial chip", 0x0403: "FTDI serial chip",
            0x10C4: "CP210x serial chip"}  # fmt: skip


@dataclass(frozen=True)
class MeterCandidate:
    """A possible meter; `sure` if it certainly is one of that kind."""

    name: str  # for `edge meter read`
    kind: str
    about: str
    sure: bool
    problem: str | None = None  # why this user cannot open it
    hint: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


class PortInfo(Protocol):
    """The attributes of a port in pyserial's list_ports."""

    device: str
    vid: int | None
    pid: int | None
    description: str | None


def candidates() -> list[MeterCandidate]:
    """Return the user's named meters, then the meters that are plugged in."""
    named = [MeterCandidate(each.name, each.kind, f"{each.address} (meters.toml)", sure=True)
             for each in read_meters().values()]  # fmt: skip
    return [*named, *on_serial_ports(_ports()), *on_hidraw(), *on_hwmon(), *on_powercap()]


def on_serial_ports(ports: Iterable[PortInfo]) -> Iterator[MeterCandidate]:
    """Yield the likely meters at serial ports, by their USB ids."""
    for port in sorted(ports, key=lambda each: each.device):
        kind, about, sure = _guess(port)
        access = access_to(Path(port.device), shown=port.device)
        ids = f" ({port.vid:04x}:{port.pid:04x})" if port.vid is not None and port.pid is not None else ""
        yield MeterCandidate(f"{kind}:{port.device}", kind, about + ids, sure, access.problem, access.hint)


def on_hidraw(root: Path = HIDRAW, dev: Path = Path("/dev")) -> Iterator[MeterCandidate]:
    """Yield FNIRSI's testers."""
    for folder in sorted(root.glob("hidraw*")):
        path = dev / folder.name
        model = fnirsi.model_of(str(path), root)
        if model is not None:
            access = access_to(path, shown=str(path))
            hint = access.hint or ("a udev rule must assign it to one of your groups" if access.problem else None)
            yield MeterCandidate(f"fnirsi:{path}", "fnirsi", model, sure=True, problem=access.problem, hint=hint)


def on_hwmon(root: Path = hwmon.ROOT) -> Iterator[MeterCandidate]:
    """Yield current sensors with a Linux driver."""
    for folder, chip in hwmon.sensors(root):
        yield MeterCandidate(f"hwmon:{folder}", "hwmon", f"{chip} on the hardware monitor", sure=True)


def on_powercap(root: Path = rapl.ROOT) -> Iterator[MeterCandidate]:
    """Yield the processor's energy counters, and why this user cannot read them."""
    zones = list(rapl.zones(root))
    names = [zone for _, zone in zones]
    for folder, zone in zones:
        file = root / folder / "energy_uj"
        problem = None if os.access(file, os.R_OK) else f"{file} is readable by root only"
        hint = f"sudo chmod a+r {file} (until the next reboot)" if problem else None
        address = zone if names.count(zone) == 1 else folder
        about = f"RAPL counter {zone} of this machine: an estimate of its processor, never of a board"
        yield MeterCandidate(f"rapl:{address}", "rapl", about, sure=True, problem=problem, hint=hint)


def _guess(port: PortInfo) -> tuple[str, str, bool]:
    for kind in KINDS.values():
        if port.vid is not None and port.pid is not None and (port.vid, port.pid) in kind.usb_ids:
            return kind.name, kind.usb_ids[port.vid, port.pid], True
    if Path(port.device).name.startswith("rfcomm"):
        return "um25c", "Bluetooth serial port: perhaps a UM24C, UM25C or UM34C", False
    maker = _ARDUINO.get(port.vid or 0)
    if maker is not None:
        return "edge", f"{maker}: perhaps our meter, or a board that prints (csv:)", False
    what = port.description if port.description not in (None, "", "n/a") else "serial port"
    return "csv", f"{what}: perhaps a board that prints, or a TC66C (tc66c:)", False


def _ports() -> list[PortInfo]:
    """Return the serial ports; none if pyserial is missing, since no port could be read."""
    try:
        listing = importlib.import_module("serial.tools.list_ports")
    except ImportError:
        return []
    return list(listing.comports())
